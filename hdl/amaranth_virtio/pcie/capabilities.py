"""The capability list, as data.  [PCIe base 5.0 §7.5, §7.7; virtio 1.4 §4.1.4]"""

from collections.abc import Iterable
from dataclasses import dataclass

from virtio_spec import layout
from virtio_spec.pci import CAPABILITIES_OFFSET, MsixMessageControl
from virtio_spec.pci import Capability as CapabilityId
from virtio_spec.virtio_pci import CfgType, VirtioPciCap, VirtioPciCfgCap, VirtioPciNotifyCap
from virtio_spec.wire import field_offset, pack, size

from .config_registers import Access, Field

__all__ = [
    "Capability",
    "link",
    "msix",
    "power_management",
    "virtio_capabilities",
    "virtio_window",
]


@dataclass(frozen=True, kw_only=True)
class Capability:
    """One capability: its id, its length in bytes and what follows id and pointer.

    Offsets of ``fields`` count from the start of the capability.
    """

    id: int
    size: int
    fields: tuple[Field, ...]

    def __post_init__(self):
        for field in self.fields:
            end = 8 * field.offset + field.bit + field.width
            if 8 * field.offset + field.bit < 16 or end > 8 * self.size:
                raise ValueError(f"the field at {field.offset:#x} is outside capability {self.id:#x}")


def link(capabilities: Iterable[Capability]) -> tuple[int, tuple[Field, ...]]:
    """Place capabilities one behind the other, dword aligned, and chain them in this order.

    Returns the offset of the first, 0 if there is none, and the fields at their places in
    configuration space. A list that does not fit below 0x100 is a ``ValueError``.
    """
    placed: list[tuple[int, Capability]] = []
    end = CAPABILITIES_OFFSET
    for capability in capabilities:
        placed.append((end, capability))
        end += (capability.size + 3) & ~3
    if end > 0x100:
        raise ValueError(f"the capabilities end at {end:#x}, beyond configuration space")
    following = [offset for offset, _ in placed[1:]] + [0]
    fields: list[Field] = []
    for (offset, capability), pointer in zip(placed, following, strict=True):
        fields.append(Field(offset=offset, width=8, init=capability.id))
        fields.append(Field(offset=offset + 1, width=8, init=pointer))
        fields.extend(field.moved(offset) for field in capability.fields)
    return (placed[0][0] if placed else 0), tuple(fields)


def _constant(raw: bytes) -> tuple[Field, ...]:
    """Read-only bytes of a packed capability, without id and pointer."""
    return tuple(Field(offset=offset, width=8, init=raw[offset]) for offset in range(2, len(raw)))


def power_management() -> Capability:
    """Power management, version 3: D0 and D3hot, no soft reset, no PME.  [§7.5.2]

    A write of D1 or D2, which the function does not have, completes and is discarded.
    Output ``power_state``.
    """
    return Capability(
        id=CapabilityId.POWER_MANAGEMENT,
        size=8,
        fields=(
            Field(offset=0x02, width=3, init=3),  # Version
            Field(offset=0x04, width=2, access=Access.RW, legal=(0, 3), output="power_state"),
            Field(offset=0x04, bit=3, width=1, init=1),  # No_Soft_Reset
        ),
    )


def msix(*, vectors: int) -> Capability:
    """MSI-X with ``vectors`` table entries, table and PBA where ``virtio_spec.layout`` has them.  [§7.7.2]

    Outputs ``msix_enable``, ``msix_mask``.
    """
    mask, enable = MsixMessageControl.FUNCTION_MASK, MsixMessageControl.ENABLE
    return Capability(
        id=CapabilityId.MSIX,
        size=12,
        fields=(
            Field(offset=0x02, width=11, init=vectors - 1),
            Field(offset=0x02, bit=mask.bit_length() - 1, width=1, access=Access.RW, output="msix_mask"),
            Field(offset=0x02, bit=enable.bit_length() - 1, width=1, access=Access.RW, output="msix_enable"),
            Field(offset=0x04, width=32, init=layout.MSIX_TABLE_OFFSET | layout.MSIX_BAR),
            Field(offset=0x08, width=32, init=layout.MSIX_PBA_OFFSET | layout.MSIX_BAR),
        ),
    )


def _virtio(cfg_type: CfgType, offset: int, length: int) -> dict[str, int]:
    return {
        "cap_vndr": CapabilityId.VENDOR,
        "cfg_type": cfg_type,
        "bar": layout.MODERN_BAR,
        "offset": offset,
        "length": length,
    }


def virtio_capabilities() -> tuple[Capability, ...]:
    """COMMON, NOTIFY, ISR and DEVICE at their places in BAR 4.  [virtio 1.4 §4.1.4]"""
    common = _virtio(CfgType.COMMON, layout.COMMON_OFFSET, layout.COMMON_LENGTH)
    notify = _virtio(CfgType.NOTIFY, layout.NOTIFY_OFFSET, layout.NOTIFY_LENGTH)
    isr = _virtio(CfgType.ISR, layout.ISR_OFFSET, layout.ISR_LENGTH)
    device = _virtio(CfgType.DEVICE, layout.DEVICE_OFFSET, layout.DEVICE_LENGTH)
    raws = [
        pack(VirtioPciCap, cap_len=size(VirtioPciCap), **common),
        pack(
            VirtioPciNotifyCap,
            cap={"cap_len": size(VirtioPciNotifyCap), **notify},
            notify_off_multiplier=layout.NOTIFY_MULTIPLIER,
        ),
        pack(VirtioPciCap, cap_len=size(VirtioPciCap), **isr),
        pack(VirtioPciCap, cap_len=size(VirtioPciCap), **device),
    ]
    return tuple(Capability(id=CapabilityId.VENDOR, size=len(raw), fields=_constant(raw)) for raw in raws)


def virtio_window() -> Capability:
    """PCI_CFG: the registers of the window into the BARs.  [virtio 1.4 §4.1.4.9]

    Outputs ``window_bar``, ``window_offset``, ``window_length``, ``window_data``.
    """
    length = size(VirtioPciCfgCap)
    at = {
        name: field_offset(VirtioPciCap, name) for name in ("cap_len", "cfg_type", "bar", "offset", "length")
    }
    data = field_offset(VirtioPciCfgCap, "pci_cfg_data")
    return Capability(
        id=CapabilityId.VENDOR,
        size=length,
        fields=(
            Field(offset=at["cap_len"], width=8, init=length),
            Field(offset=at["cfg_type"], width=8, init=CfgType.PCI),
            Field(offset=at["bar"], width=8, access=Access.RW, output="window_bar"),
            Field(offset=at["offset"], width=32, access=Access.RW, output="window_offset"),
            Field(offset=at["length"], width=32, access=Access.RW, output="window_length"),
            Field(offset=data, width=32, access=Access.RW, output="window_data"),
        ),
    )

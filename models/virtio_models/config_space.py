"""Configuration space of a virtio function: what it holds, and which bits software may write."""

from dataclasses import dataclass

from virtio_spec import layout, pci, virtio_pci, wire
from virtio_spec.pci import Capability, Command, ConfigOffset, Status
from virtio_spec.virtio import DeviceType
from virtio_spec.virtio_pci import CfgType, Interface, VirtioPciCap, VirtioPciCfgCap, VirtioPciNotifyCap

__all__ = ["ConfigSpace", "Identity", "modern_identity", "transitional_identity"]

CONFIG_BYTES = 256
PM_BYTES, PCIE_BYTES, MSIX_BYTES = 8, 60, 12


@dataclass(frozen=True)
class Identity:
    """Identification of a function, and its number of MSI-X vectors."""

    vendor_id: int
    device_id: int
    revision_id: int
    class_code: int
    subsystem_vendor_id: int
    subsystem_id: int
    vectors: int


def modern_identity(device_type: int, class_code: int, vectors: int) -> Identity:
    """A non-transitional virtio function.  [virtio 1.4 §4.1.2]"""
    return Identity(
        vendor_id=virtio_pci.VENDOR_ID,
        device_id=virtio_pci.MODERN_DEVICE_ID_BASE + device_type,
        revision_id=1,
        class_code=class_code,
        subsystem_vendor_id=virtio_pci.VENDOR_ID,
        subsystem_id=0x1100,
        vectors=vectors,
    )


def transitional_identity(device_type: int, class_code: int, vectors: int) -> Identity:
    """A virtio function that a legacy driver recognises.  [§4.1.2.1, §4.1.2.3]"""
    try:
        device_id = virtio_pci.TRANSITIONAL_DEVICE_IDS[DeviceType(device_type)]
    except (KeyError, ValueError):
        raise ValueError(f"device type {device_type} has no transitional PCI device id") from None
    return Identity(
        vendor_id=virtio_pci.VENDOR_ID,
        device_id=device_id,
        revision_id=0,
        class_code=class_code,
        subsystem_vendor_id=virtio_pci.VENDOR_ID,
        subsystem_id=device_type,
        vectors=vectors,
    )


class ConfigSpace:
    """A type 0 header with power management, PCI Express, MSI-X and the virtio capabilities.

    Parameters
    ----------
    identity
        What the function says it is; without vectors there is no MSI-X.
    interface
        Which BARs and virtio capabilities there are.
    device_config
        Whether there is a device configuration structure.

    Attributes
    ----------
    pm, pcie, msix, window
        Positions of the capabilities; ``window`` is that of PCI_CFG. 0 for what there is not.
    memory_bars
        Size of each memory BAR.
    """

    pm: int
    pcie: int
    msix: int
    window: int

    def __init__(self, identity: Identity, *, interface: Interface, device_config: bool):
        self.memory_bars = {layout.MSIX_BAR: layout.MSIX_BAR_SIZE} if identity.vectors else {}
        if interface.has_modern:
            self.memory_bars[layout.MODERN_BAR] = layout.MODERN_BAR_SIZE
        self.bytes = bytearray(CONFIG_BYTES)
        self.writable = bytearray(CONFIG_BYTES)
        self._header(identity, interface)
        self._capabilities(identity.vectors, interface, device_config)
        self._initial = bytes(self.bytes)

    def put(self, offset: int, size: int, value: int, *, writable: int = 0) -> None:
        """Set a field, and the bits of it that :meth:`write` changes."""
        self.bytes[offset : offset + size] = value.to_bytes(size, "little")
        self.writable[offset : offset + size] = writable.to_bytes(size, "little")

    def get(self, offset: int, size: int) -> int:
        """Value of a field."""
        return int.from_bytes(self.bytes[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """Write by software: read-only bits stay."""
        for position, byte in enumerate(value.to_bytes(size, "little"), offset):
            mask = self.writable[position]
            self.bytes[position] = self.bytes[position] & ~mask & 0xFF | byte & mask

    def function_level_reset(self) -> None:
        """Initial values, but for Max_Payload_Size, which stays.  [PCIe base 5.0 §6.6.2]"""
        control, max_payload = self.pcie + 8, 7 << 5
        kept = self.get(control, 2) & max_payload
        self.bytes[:] = self._initial
        value = self.get(control, 2) & ~max_payload | kept
        self.bytes[control : control + 2] = value.to_bytes(2, "little")

    def _header(self, identity: Identity, interface: Interface) -> None:
        who, put = identity, self.put
        put(ConfigOffset.VENDOR_ID, 2, who.vendor_id)
        put(ConfigOffset.DEVICE_ID, 2, who.device_id)
        command = Command.MEMORY_SPACE | Command.BUS_MASTER | Command.PARITY_ERROR_RESPONSE
        command |= Command.SERR_ENABLE | Command.INTERRUPT_DISABLE
        command |= Command.IO_SPACE if interface.has_legacy else 0
        put(ConfigOffset.COMMAND, 2, 0, writable=command)
        put(ConfigOffset.STATUS, 2, Status.CAPABILITIES_LIST)
        put(ConfigOffset.REVISION_ID, 1, who.revision_id)
        put(ConfigOffset.CLASS_CODE, 3, who.class_code)
        put(ConfigOffset.CACHE_LINE_SIZE, 1, 0, writable=0xFF)
        put(ConfigOffset.SUBSYSTEM_VENDOR_ID, 2, who.subsystem_vendor_id)
        put(ConfigOffset.SUBSYSTEM_ID, 2, who.subsystem_id)
        put(ConfigOffset.INTERRUPT_LINE, 1, 0, writable=0xFF)
        put(ConfigOffset.INTERRUPT_PIN, 1, 1)
        put(ConfigOffset.CAPABILITIES_POINTER, 1, pci.CAPABILITIES_OFFSET)
        bars = ConfigOffset.BAR0
        if interface.has_legacy:
            put(bars + 4 * layout.LEGACY_BAR, 4, 1, writable=-layout.LEGACY_BAR_SIZE & 0xFFFF_FFFF)
        if who.vectors:
            put(bars + 4 * layout.MSIX_BAR, 4, 0, writable=-layout.MSIX_BAR_SIZE & 0xFFFF_FFFF)
        if interface.has_modern:
            size = -layout.MODERN_BAR_SIZE & 0xFFFF_FFFF_FFFF_FFFF
            put(bars + 4 * layout.MODERN_BAR, 8, 0b1100, writable=size)  # 64 bits, prefetchable

    def _capabilities(self, vectors: int, interface: Interface, device_config: bool) -> None:
        put = self.put
        self.pm = position = pci.CAPABILITIES_OFFSET
        put(position, 4, Capability.POWER_MANAGEMENT | 3 << 16)  # version 3, no PME
        put(position + 4, 2, 1 << 3, writable=3)  # No_Soft_Reset; PowerState
        previous, position = position, position + PM_BYTES
        self.pcie = position
        put(position, 4, Capability.PCI_EXPRESS | 2 << 16)  # version 2, endpoint
        put(position + 4, 4, 1 << 5 | 1 << 15 | 1 << 28)  # extended tags, role-based errors, FLR
        control = (1 << 15) - 1 & ~(1 << 9 | 1 << 10)
        put(position + 8, 2, 2 << 12 | 1 << 4 | 1 << 11, writable=control)
        put(position + 12, 4, 1 << 4 | 1)  # x1, 2.5 GT/s
        put(position + 18, 2, 1 << 4 | 1)
        previous = self._link(previous, position)
        position += PCIE_BYTES
        self.msix = self.window = 0
        if vectors:
            self.msix = position
            put(position, 2, Capability.MSIX)
            put(position + 2, 2, vectors - 1, writable=0xC000)
            put(position + 4, 4, layout.MSIX_TABLE_OFFSET | layout.MSIX_BAR)
            put(position + 8, 4, layout.MSIX_PBA_OFFSET | layout.MSIX_BAR)
            previous = self._link(previous, position)
            position += MSIX_BYTES
        if interface.has_modern:
            self._virtio_capabilities(previous, position, device_config)

    def _virtio_capabilities(self, previous: int, position: int, device_config: bool) -> None:
        structures = [
            (CfgType.COMMON, layout.COMMON_OFFSET, layout.COMMON_LENGTH),
            (CfgType.NOTIFY, layout.NOTIFY_OFFSET, layout.NOTIFY_LENGTH),
            (CfgType.ISR, layout.ISR_OFFSET, layout.ISR_LENGTH),
            (CfgType.DEVICE, layout.DEVICE_OFFSET, layout.DEVICE_LENGTH),
            (CfgType.PCI, 0, 0),
        ]
        for kind, offset, length in structures:
            if kind == CfgType.DEVICE and not device_config:
                continue
            cap = {
                "cap_vndr": Capability.VENDOR,
                "cfg_type": kind,
                "bar": 0 if kind == CfgType.PCI else layout.MODERN_BAR,
                "offset": offset,
                "length": length,
            }
            if kind == CfgType.NOTIFY:
                cap["cap_len"] = wire.size(VirtioPciNotifyCap)
                raw = wire.pack(VirtioPciNotifyCap, cap=cap, notify_off_multiplier=layout.NOTIFY_MULTIPLIER)
            elif kind == CfgType.PCI:
                cap["cap_len"] = wire.size(VirtioPciCfgCap)
                raw = wire.pack(VirtioPciCfgCap, cap=cap)
                self.window = position
                self.writable[position + 4] = 0xFF
                self.writable[position + 8 : position + 16] = b"\xff" * 8
            else:
                cap["cap_len"] = wire.size(VirtioPciCap)
                raw = wire.pack(VirtioPciCap, **cap)
            self.bytes[position : position + len(raw)] = raw
            previous = self._link(previous, position)
            position += len(raw)

    def _link(self, previous: int, position: int) -> int:
        self.bytes[previous + 1] = position
        return position

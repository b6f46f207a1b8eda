"""The type 0 configuration space header, as data.  [PCIe base 5.0 §7.5.1]"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from amaranth.utils import exact_log2
from virtio_spec.pci import Command, ConfigOffset, Status
from virtio_spec.virtio_pci import MODERN_DEVICE_ID_BASE, TRANSITIONAL_DEVICE_IDS, VENDOR_ID

from .bars import Bar
from .config_registers import Access, Field

__all__ = ["Identity", "header"]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who the function says it is."""

    vendor_id: int
    device_id: int
    subsystem_vendor_id: int
    subsystem_id: int
    revision: int
    class_code: int  # 24 bits

    def __post_init__(self):
        widths = {"revision": 8, "class_code": 24}
        for name, value in vars(self).items():
            if not 0 <= value < 1 << widths.get(name, 16):
                raise ValueError(f"{name} has {widths.get(name, 16)} bits, too few for {value:#x}")

    @classmethod
    def modern(cls, device_type: int, class_code: int, *, subsystem_id: int = 0x1100) -> Self:
        """Non-transitional virtio device; the subsystem id is QEMU's unless given.  [virtio 1.4 §4.1.2]"""
        if subsystem_id < 0x40:
            raise ValueError(f"subsystem_id is 0x40 or more for a modern device, not {subsystem_id:#x}")
        return cls(
            vendor_id=VENDOR_ID,
            device_id=MODERN_DEVICE_ID_BASE + device_type,
            subsystem_vendor_id=VENDOR_ID,
            subsystem_id=subsystem_id,
            revision=1,
            class_code=class_code,
        )

    @classmethod
    def transitional(cls, device_type: int, class_code: int) -> Self:
        """Transitional or legacy virtio device: revision 0, and the type is the subsystem id.  [§4.1.2.3]"""
        ids = {int(kind): device_id for kind, device_id in TRANSITIONAL_DEVICE_IDS.items()}
        if device_type not in ids:
            raise ValueError(f"virtio device type {int(device_type)} has no transitional PCI device id")
        return cls(
            vendor_id=VENDOR_ID,
            device_id=ids[device_type],
            subsystem_vendor_id=VENDOR_ID,
            subsystem_id=int(device_type),
            revision=0,
            class_code=class_code,
        )


def _identity(identity: Identity) -> tuple[Field, ...]:
    return (
        Field(offset=ConfigOffset.VENDOR_ID, width=16, init=identity.vendor_id),
        Field(offset=ConfigOffset.DEVICE_ID, width=16, init=identity.device_id),
        Field(offset=ConfigOffset.REVISION_ID, width=8, init=identity.revision),
        Field(offset=ConfigOffset.CLASS_CODE, width=24, init=identity.class_code),
        Field(offset=ConfigOffset.SUBSYSTEM_VENDOR_ID, width=16, init=identity.subsystem_vendor_id),
        Field(offset=ConfigOffset.SUBSYSTEM_ID, width=16, init=identity.subsystem_id),
    )


def _command(*, io_space: bool) -> tuple[Field, ...]:
    outputs = {
        Command.MEMORY_SPACE: "memory_space",
        Command.BUS_MASTER: "bus_master",
        Command.PARITY_ERROR_RESPONSE: "parity_error_response",
        Command.SERR_ENABLE: None,
        Command.INTERRUPT_DISABLE: "interrupt_disable",
    }
    if io_space:  # hardwired to 0 without a BAR there
        outputs[Command.IO_SPACE] = "io_space"
    return tuple(
        Field(
            offset=ConfigOffset.COMMAND,
            bit=mask.bit_length() - 1,
            width=1,
            access=Access.RW,
            output=output,
        )
        for mask, output in outputs.items()
    )


def _status() -> tuple[Field, ...]:
    # Signaled System Error stays 0: the function sends no error messages.
    strobes = {
        Status.MASTER_DATA_PARITY_ERROR: "master_data_parity_error",
        Status.SIGNALED_TARGET_ABORT: "signaled_target_abort",
        Status.RECEIVED_TARGET_ABORT: "received_target_abort",
        Status.RECEIVED_MASTER_ABORT: "received_master_abort",
        Status.DETECTED_PARITY_ERROR: "detected_parity_error",
    }

    def bit(mask: Status) -> int:
        return mask.bit_length() - 1

    return (
        Field(offset=ConfigOffset.STATUS, bit=bit(Status.INTERRUPT), width=1, live="interrupt_status"),
        Field(offset=ConfigOffset.STATUS, bit=bit(Status.CAPABILITIES_LIST), width=1, init=1),
        *(
            Field(offset=ConfigOffset.STATUS, bit=bit(mask), width=1, access=Access.RW1C, live=live)
            for mask, live in strobes.items()
        ),
    )


def _bar(bar: Bar) -> tuple[Field, ...]:
    """One base address register: the address bits that size it are writable.  [§7.5.1.2.1]"""
    offset = ConfigOffset.BAR0 + 4 * bar.index
    low = exact_log2(bar.size)
    kind = Field(offset=offset, width=4, init=bar.wide << 2 | bar.prefetchable << 3)
    if bar.io:
        kind = Field(offset=offset, width=2, init=1)
    fields = (
        kind,
        Field(offset=offset, bit=low, width=32 - low, access=Access.RW, output=f"bar{bar.index}"),
    )
    if not bar.wide:
        return fields
    return *fields, Field(offset=offset + 4, width=32, access=Access.RW, output=f"bar{bar.index}_high")


def header(
    *, identity: Identity, bars: Iterable[Bar], interrupt_pin: int, capabilities: int
) -> tuple[Field, ...]:
    """Registers 0x00 to 0x3F; ``capabilities`` is the offset of the first capability.

    Live ``interrupt_status``, and strobes with the names of the Status register's error bits; outputs
    ``memory_space``, ``io_space`` (absent without a BAR there), ``bus_master``,
    ``parity_error_response``, ``interrupt_disable``, ``bar<n>`` (address bits from the BAR's size on)
    and ``bar<n>_high``.
    """
    bars = tuple(bars)
    return (
        *_identity(identity),
        *_command(io_space=any(bar.io for bar in bars)),
        *_status(),
        Field(offset=ConfigOffset.CACHE_LINE_SIZE, width=8, access=Access.RW),
        *(field for bar in bars for field in _bar(bar)),
        Field(offset=ConfigOffset.CAPABILITIES_POINTER, width=8, init=capabilities),
        Field(offset=ConfigOffset.INTERRUPT_LINE, width=8, access=Access.RW),
        Field(offset=ConfigOffset.INTERRUPT_PIN, width=8, init=interrupt_pin),
    )

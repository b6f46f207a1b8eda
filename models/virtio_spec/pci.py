"""PCI configuration space, as far as the endpoint has it.  [PCIe base 5.0 §7.5, §7.7]"""

import enum

from amaranth.lib import data

__all__ = [
    "ClassCode",
    "Capability",
    "Command",
    "ConfigOffset",
    "DeviceControl",
    "DeviceStatus",
    "MsixEntry",
    "MsixMessageControl",
    "Status",
    "CAPABILITIES_OFFSET",
]

CAPABILITIES_OFFSET = 0x40


class ConfigOffset(enum.IntEnum):
    """Byte offsets in a type 0 header.  [§7.5.1]"""

    VENDOR_ID = 0x00
    DEVICE_ID = 0x02
    COMMAND = 0x04
    STATUS = 0x06
    REVISION_ID = 0x08
    CLASS_CODE = 0x09
    CACHE_LINE_SIZE = 0x0C
    LATENCY_TIMER = 0x0D
    HEADER_TYPE = 0x0E
    BIST = 0x0F
    BAR0 = 0x10
    CARDBUS_CIS = 0x28
    SUBSYSTEM_VENDOR_ID = 0x2C
    SUBSYSTEM_ID = 0x2E
    EXPANSION_ROM = 0x30
    CAPABILITIES_POINTER = 0x34
    INTERRUPT_LINE = 0x3C
    INTERRUPT_PIN = 0x3D


class Capability(enum.IntEnum):
    """Capability IDs."""

    POWER_MANAGEMENT = 0x01
    VENDOR = 0x09
    PCI_EXPRESS = 0x10
    MSIX = 0x11


class ClassCode(enum.IntEnum):
    """Class, subclass and programming interface as 24 bits, QEMU's choices (virtio fixes none)."""

    NET = 0x020000
    BLOCK = 0x010000
    CONSOLE = 0x078000
    ENTROPY = 0x00FF00
    VMMCI = 0x078000  # communication controller, other


class Command(enum.IntFlag):
    """Command register.  [§7.5.1.1.3]"""

    IO_SPACE = 1 << 0
    MEMORY_SPACE = 1 << 1
    BUS_MASTER = 1 << 2
    PARITY_ERROR_RESPONSE = 1 << 6
    SERR_ENABLE = 1 << 8
    INTERRUPT_DISABLE = 1 << 10


class Status(enum.IntFlag):
    """Status register.  [§7.5.1.1.4]"""

    INTERRUPT = 1 << 3
    CAPABILITIES_LIST = 1 << 4
    MASTER_DATA_PARITY_ERROR = 1 << 8
    SIGNALED_TARGET_ABORT = 1 << 11
    RECEIVED_TARGET_ABORT = 1 << 12
    RECEIVED_MASTER_ABORT = 1 << 13
    SIGNALED_SYSTEM_ERROR = 1 << 14
    DETECTED_PARITY_ERROR = 1 << 15


class DeviceControl(data.Struct):
    """PCI Express Device Control.  [§7.5.3.4]"""

    correctable_error_enable: 1
    non_fatal_error_enable: 1
    fatal_error_enable: 1
    unsupported_request_enable: 1
    relaxed_ordering: 1
    max_payload: 3  # 128 << n bytes
    extended_tag: 1
    phantom_functions: 1
    aux_power: 1
    no_snoop: 1
    max_read_request: 3  # 128 << n bytes
    initiate_flr: 1


class DeviceStatus(enum.IntFlag):
    """PCI Express Device Status.  [§7.5.3.5]"""

    CORRECTABLE_ERROR = 1 << 0
    NON_FATAL_ERROR = 1 << 1
    FATAL_ERROR = 1 << 2
    UNSUPPORTED_REQUEST = 1 << 3
    AUX_POWER = 1 << 4
    TRANSACTIONS_PENDING = 1 << 5


class MsixMessageControl(enum.IntFlag):
    """MSI-X Message Control; bits 10:0 are the table size less one.  [§7.7.2.2]"""

    FUNCTION_MASK = 1 << 14
    ENABLE = 1 << 15


class MsixEntry(data.Struct):
    """MSI-X table entry, 16 bytes.  [§7.7.2.5]"""

    address_low: 32
    address_high: 32
    data: 32
    masked: 1
    reserved_97: 31

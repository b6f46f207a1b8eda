"""Virtio's own numbers: device types, status bits, feature bits.  [virtio 1.4 §2.1, §2.2, §5, §6]"""

import enum

__all__ = ["NO_VECTOR", "DeviceStatus", "DeviceType", "Feature", "feature_mask"]

NO_VECTOR = 0xFFFF


class DeviceType(enum.IntEnum):
    """Virtio device ID.  [§5]"""

    NET = 1
    BLOCK = 2
    CONSOLE = 3
    ENTROPY = 4
    BALLOON = 5
    SCSI = 8
    P9 = 9
    RTC = 17
    VMMCI = 0xFFFF  # OpenBSD's, outside the standard: its PCI subsystem id


class DeviceStatus(enum.IntFlag):
    """Device status.  [§2.1]"""

    ACKNOWLEDGE = 1
    DRIVER = 2
    DRIVER_OK = 4
    FEATURES_OK = 8
    SUSPEND = 16
    DEVICE_NEEDS_RESET = 64
    FAILED = 128


class Feature(enum.IntEnum):
    """Bit numbers of the features that do not depend on the device type.  [§6]"""

    NOTIFY_ON_EMPTY = 24
    ANY_LAYOUT = 27
    INDIRECT_DESC = 28
    EVENT_IDX = 29
    VERSION_1 = 32
    ACCESS_PLATFORM = 33
    RING_PACKED = 34
    IN_ORDER = 35
    ORDER_PLATFORM = 36
    SR_IOV = 37
    NOTIFICATION_DATA = 38
    NOTIF_CONFIG_DATA = 39
    RING_RESET = 40
    ADMIN_VQ = 41
    SUSPEND = 43


def feature_mask(*bits: int) -> int:
    """Feature word with the given bit numbers set."""
    return sum(1 << bit for bit in set(bits))

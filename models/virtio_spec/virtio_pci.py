"""Virtio over PCI: ids, capabilities and the common configuration.  [virtio 1.4 §4.1]"""

import enum

from amaranth.lib import data

from .virtio import DeviceType

__all__ = [
    "MODERN_DEVICE_ID_BASE",
    "TRANSITIONAL_DEVICE_IDS",
    "VENDOR_ID",
    "CfgType",
    "CommonCfg",
    "Interface",
    "IsrStatus",
    "LegacyHeader",
    "LegacyVectors",
    "NotificationData",
    "VirtioPciCap",
    "VirtioPciCfgCap",
    "VirtioPciNotifyCap",
]

VENDOR_ID = 0x1AF4
MODERN_DEVICE_ID_BASE = 0x1040

#: PCI device ids of transitional devices, of the types that have one.  [§4.1.2.1]
TRANSITIONAL_DEVICE_IDS = {
    DeviceType.NET: 0x1000,
    DeviceType.BLOCK: 0x1001,
    DeviceType.BALLOON: 0x1002,
    DeviceType.CONSOLE: 0x1003,
    DeviceType.SCSI: 0x1004,
    DeviceType.ENTROPY: 0x1005,
    DeviceType.P9: 0x1009,
}


class Interface(enum.StrEnum):
    """Which register interfaces a device has.  [§1.3.1]"""

    MODERN = "modern"
    TRANSITIONAL = "transitional"
    LEGACY = "legacy"

    @property
    def has_modern(self) -> bool:
        """Virtio capabilities and the structures they point at."""
        return self is not Interface.LEGACY

    @property
    def has_legacy(self) -> bool:
        """The legacy header in I/O BAR 0."""
        return self is not Interface.MODERN


class CfgType(enum.IntEnum):
    """``cfg_type`` of a virtio capability.  [§4.1.4]"""

    COMMON = 1
    NOTIFY = 2
    ISR = 3
    DEVICE = 4
    PCI = 5
    SHARED_MEMORY = 8
    VENDOR = 9


class IsrStatus(enum.IntFlag):
    """ISR status byte.  [§4.1.4.5]"""

    QUEUE = 1
    CONFIG = 2


class VirtioPciCap(data.Struct):
    """``struct virtio_pci_cap``, 16 bytes.  [§4.1.4]"""

    cap_vndr: 8
    cap_next: 8
    cap_len: 8
    cfg_type: 8
    bar: 8
    id: 8
    padding: 16
    offset: 32
    length: 32


class VirtioPciNotifyCap(data.Struct):
    """``struct virtio_pci_notify_cap``, 20 bytes.  [§4.1.4.4]"""

    cap: VirtioPciCap
    notify_off_multiplier: 32


class VirtioPciCfgCap(data.Struct):
    """``struct virtio_pci_cfg_cap``, 20 bytes.  [§4.1.4.9]"""

    cap: VirtioPciCap
    pci_cfg_data: 32


class CommonCfg(data.Struct):
    """``struct virtio_pci_common_cfg``, 64 bytes.  [§4.1.4.3]"""

    device_feature_select: 32
    device_feature: 32
    driver_feature_select: 32
    driver_feature: 32
    config_msix_vector: 16
    num_queues: 16
    device_status: 8
    config_generation: 8
    queue_select: 16
    queue_size: 16
    queue_msix_vector: 16
    queue_enable: 16
    queue_notify_off: 16
    queue_desc: 64
    queue_driver: 64
    queue_device: 64
    queue_notif_config_data: 16
    queue_reset: 16
    admin_queue_index: 16
    admin_queue_num: 16


class NotificationData(data.Struct):
    """What a driver writes to notify with NOTIFICATION_DATA, 4 bytes.  [§2.9, §4.1.5.2]

    ``next_off`` and ``next_wrap``: place of the next available entry. Split: bits 14:0 and 15 of
    ``avail.idx``; packed: offset in the ring and wrap counter.
    """

    vq: 16  # the queue's number, or its queue_notif_config_data
    next_off: 15
    next_wrap: 1


class LegacyHeader(data.Struct):
    """Legacy registers at the start of BAR 0, 20 bytes, little-endian.  [§4.1.4.10]"""

    device_features: 32
    driver_features: 32
    queue_address: 32  # physical address / 4096; 0: not in use
    queue_size: 16
    queue_select: 16
    queue_notify: 16
    device_status: 8
    isr_status: 8


class LegacyVectors(data.Struct):
    """Behind the header while MSI-X is enabled, 4 bytes; then the device configuration.  [§4.1.4.10]"""

    config_msix_vector: 16
    queue_msix_vector: 16

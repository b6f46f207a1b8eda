"""Virtio over PCI: ids, capabilities and the common configuration.  [virtio 1.4 §4.1]"""

import enum

from amaranth.lib import data

__all__ = [
    "MODERN_DEVICE_ID_BASE",
    "VENDOR_ID",
    "CfgType",
    "CommonCfg",
    "IsrStatus",
    "VirtioPciCap",
    "VirtioPciCfgCap",
    "VirtioPciNotifyCap",
]

VENDOR_ID = 0x1AF4
MODERN_DEVICE_ID_BASE = 0x1040


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

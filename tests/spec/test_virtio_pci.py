"""Virtio over PCI, virtio 1.4 §4.1: literal offsets, values and bytes."""

import pytest
from virtio_spec import virtio_pci, wire
from virtio_spec.virtio_pci import (
    CfgType,
    CommonCfg,
    Interface,
    IsrStatus,
    LegacyHeader,
    LegacyVectors,
    NotificationData,
    VirtioPciCap,
    VirtioPciCfgCap,
    VirtioPciNotifyCap,
)

COMMON = [
    ("device_feature_select", 0, 4),
    ("device_feature", 4, 4),
    ("driver_feature_select", 8, 4),
    ("driver_feature", 12, 4),
    ("config_msix_vector", 16, 2),
    ("num_queues", 18, 2),
    ("device_status", 20, 1),
    ("config_generation", 21, 1),
    ("queue_select", 22, 2),
    ("queue_size", 24, 2),
    ("queue_msix_vector", 26, 2),
    ("queue_enable", 28, 2),
    ("queue_notify_off", 30, 2),
    ("queue_desc", 32, 8),
    ("queue_driver", 40, 8),
    ("queue_device", 48, 8),
    ("queue_notif_config_data", 56, 2),
    ("queue_reset", 58, 2),
    ("admin_queue_index", 60, 2),
    ("admin_queue_num", 62, 2),
]


def test_the_common_configuration_is_64_bytes_in_the_standards_order():
    assert wire.size(CommonCfg) == 64
    assert list(vars(wire.unpack(CommonCfg, bytes(64)))) == [name for name, _, _ in COMMON]


@pytest.mark.parametrize(("name", "offset", "size"), COMMON, ids=[name for name, _, _ in COMMON])
def test_a_field_of_the_common_configuration_is_in_its_place(name, offset, size):
    assert (wire.field_offset(CommonCfg, name), wire.field_size(CommonCfg, name)) == (offset, size)


LEGACY = [
    ("device_features", 0, 4),
    ("driver_features", 4, 4),
    ("queue_address", 8, 4),
    ("queue_size", 12, 2),
    ("queue_select", 14, 2),
    ("queue_notify", 16, 2),
    ("device_status", 18, 1),
    ("isr_status", 19, 1),
]


def test_the_legacy_header_is_20_bytes_in_the_standards_order():
    assert wire.size(LegacyHeader) == 20
    assert list(vars(wire.unpack(LegacyHeader, bytes(20)))) == [name for name, _, _ in LEGACY]


@pytest.mark.parametrize(("name", "offset", "size"), LEGACY, ids=[name for name, _, _ in LEGACY])
def test_a_field_of_the_legacy_header_is_in_its_place(name, offset, size):
    assert (wire.field_offset(LegacyHeader, name), wire.field_size(LegacyHeader, name)) == (offset, size)


def test_the_legacy_vectors_are_those_of_configuration_and_queue():
    raw = wire.pack(LegacyVectors, config_msix_vector=0x0102, queue_msix_vector=0x0304)
    assert raw == bytes.fromhex("02010403")


def test_a_capability_is_16_bytes():
    raw = bytes.fromhex("09 44 10 01 04 07 0000 00200000 00100000".replace(" ", ""))
    fields = {"cap_vndr": 9, "cap_next": 0x44, "cap_len": 16, "cfg_type": 1, "bar": 4, "id": 7}
    assert wire.pack(VirtioPciCap, **fields, offset=0x2000, length=0x1000) == raw
    found = wire.unpack(VirtioPciCap, raw)
    assert (found.cap_next, found.cap_len, found.bar, found.id) == (0x44, 16, 4, 7)
    assert (found.offset, found.length) == (0x2000, 0x1000)


def test_the_longer_capabilities_have_their_field_behind():
    assert wire.pack(VirtioPciNotifyCap, notify_off_multiplier=4) == bytes(16) + b"\x04\0\0\0"
    assert wire.pack(VirtioPciCfgCap, pci_cfg_data=0x01020304) == bytes(16) + b"\x04\x03\x02\x01"


def test_numbers_are_those_of_the_standard():
    assert {member.name: member.value for member in CfgType} == {
        "COMMON": 1,
        "NOTIFY": 2,
        "ISR": 3,
        "DEVICE": 4,
        "PCI": 5,
        "SHARED_MEMORY": 8,
        "VENDOR": 9,
    }
    assert {member.name: member.value for member in IsrStatus} == {"QUEUE": 1, "CONFIG": 2}
    assert (virtio_pci.VENDOR_ID, virtio_pci.MODERN_DEVICE_ID_BASE) == (0x1AF4, 0x1040)


def test_transitional_ids_are_those_of_the_standard():
    assert {int(kind): device_id for kind, device_id in virtio_pci.TRANSITIONAL_DEVICE_IDS.items()} == {
        1: 0x1000,
        2: 0x1001,
        3: 0x1003,
        4: 0x1005,
        5: 0x1002,
        8: 0x1004,
        9: 0x1009,
    }


def test_a_transitional_device_has_both_interfaces_and_each_other_one():
    assert {kind.value: (kind.has_legacy, kind.has_modern) for kind in Interface} == {
        "modern": (False, True),
        "transitional": (True, True),
        "legacy": (True, False),
    }


def test_notification_data_is_4_bytes():
    raw = wire.pack(NotificationData, vq=0x0102, next_off=0x0304, next_wrap=1)
    assert raw == bytes.fromhex("02010483")

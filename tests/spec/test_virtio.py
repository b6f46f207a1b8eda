"""Numbers of virtio 1.4 §2.1, §5 and §6, written out again."""

import pytest
from virtio_spec.virtio import NO_VECTOR, DeviceStatus, DeviceType, Feature, feature_mask


def numbers(enumeration):
    return {member.name: member.value for member in enumeration}


def test_device_types_have_their_numbers():
    assert numbers(DeviceType) == {
        "NET": 1,
        "BLOCK": 2,
        "CONSOLE": 3,
        "ENTROPY": 4,
        "BALLOON": 5,
        "SCSI": 8,
        "P9": 9,
        "RTC": 17,
        "VMMCI": 0xFFFF,
    }


def test_status_bits_have_their_values():
    assert numbers(DeviceStatus) == {
        "ACKNOWLEDGE": 1,
        "DRIVER": 2,
        "DRIVER_OK": 4,
        "FEATURES_OK": 8,
        "SUSPEND": 16,
        "DEVICE_NEEDS_RESET": 64,
        "FAILED": 128,
    }


def test_feature_bits_have_their_numbers():
    assert numbers(Feature) == {
        "NOTIFY_ON_EMPTY": 24,
        "ANY_LAYOUT": 27,
        "INDIRECT_DESC": 28,
        "EVENT_IDX": 29,
        "VERSION_1": 32,
        "ACCESS_PLATFORM": 33,
        "RING_PACKED": 34,
        "IN_ORDER": 35,
        "ORDER_PLATFORM": 36,
        "SR_IOV": 37,
        "NOTIFICATION_DATA": 38,
        "NOTIF_CONFIG_DATA": 39,
        "RING_RESET": 40,
        "ADMIN_VQ": 41,
        "SUSPEND": 43,
    }


def test_no_vector_is_all_ones():
    assert NO_VECTOR == 0xFFFF


@pytest.mark.parametrize(
    ("bits", "mask"), [((), 0), ((0,), 1), ((32, 5), 0x1_0000_0020), ((5, 5), 0x20), ((63,), 1 << 63)]
)
def test_a_feature_mask_has_the_named_bits(bits, mask):
    assert feature_mask(*bits) == mask

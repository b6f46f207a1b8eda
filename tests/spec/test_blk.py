"""The block device's structures, virtio 1.4 §5.2: literal offsets and values."""

import pytest
from virtio_spec import blk, wire
from virtio_spec.blk import (
    BlkConfig,
    BlkFeature,
    BlkReqHeader,
    BlkReqType,
    BlkSegment,
    BlkSegmentFlag,
    BlkStatus,
)

CONFIG = [
    ("capacity", 0, 8),
    ("size_max", 8, 4),
    ("seg_max", 12, 4),
    ("cylinders", 16, 2),
    ("heads", 18, 1),
    ("sectors", 19, 1),
    ("blk_size", 20, 4),
    ("physical_block_exp", 24, 1),
    ("alignment_offset", 25, 1),
    ("min_io_size", 26, 2),
    ("opt_io_size", 28, 4),
    ("writeback", 32, 1),
    ("unused0", 33, 1),
    ("num_queues", 34, 2),
    ("max_discard_sectors", 36, 4),
    ("max_discard_seg", 40, 4),
    ("discard_sector_alignment", 44, 4),
    ("max_write_zeroes_sectors", 48, 4),
    ("max_write_zeroes_seg", 52, 4),
    ("write_zeroes_may_unmap", 56, 1),
    ("unused1", 57, 3),
    ("max_secure_erase_sectors", 60, 4),
    ("max_secure_erase_seg", 64, 4),
    ("secure_erase_sector_alignment", 68, 4),
    ("zone_sectors", 72, 4),
    ("max_open_zones", 76, 4),
    ("max_active_zones", 80, 4),
    ("max_append_sectors", 84, 4),
    ("write_granularity", 88, 4),
    ("zoned_model", 92, 1),
    ("unused2", 93, 3),
]


def test_the_configuration_is_96_bytes_in_the_standards_order():
    assert wire.size(BlkConfig) == 96
    assert list(vars(wire.unpack(BlkConfig, bytes(96)))) == [name for name, _, _ in CONFIG]


@pytest.mark.parametrize(("name", "offset", "size"), CONFIG, ids=[name for name, _, _ in CONFIG])
def test_a_field_of_the_configuration_is_in_its_place(name, offset, size):
    assert (wire.field_offset(BlkConfig, name), wire.field_size(BlkConfig, name)) == (offset, size)
    raw = wire.pack(BlkConfig, **{name: 256**size - 1})
    assert raw == bytes(offset) + b"\xff" * size + bytes(96 - offset - size)


def test_a_request_header_is_16_bytes():
    raw = wire.pack(BlkReqHeader, type=8, reserved=2, sector=0x0102030405060708)
    assert raw == bytes.fromhex("08000000 02000000 0807060504030201".replace(" ", ""))


def test_a_segment_is_16_bytes():
    raw = wire.pack(BlkSegment, sector=0x0102030405060708, num_sectors=9, flags=BlkSegmentFlag.UNMAP)
    assert raw == bytes.fromhex("0807060504030201 09000000 01000000")


def test_requests_and_status_have_their_numbers():
    assert {member.name: member.value for member in BlkReqType} == {
        "IN": 0,
        "OUT": 1,
        "FLUSH": 4,
        "FLUSH_OUT": 5,
        "GET_ID": 8,
        "GET_LIFETIME": 10,
        "DISCARD": 11,
        "WRITE_ZEROES": 13,
        "SECURE_ERASE": 14,
    }
    assert {member.name: member.value for member in BlkStatus} == {"OK": 0, "IOERR": 1, "UNSUPP": 2}
    assert (blk.SECTOR_BYTES, blk.ID_BYTES) == (512, 20)


def test_features_have_their_numbers():
    assert {member.name: member.value for member in BlkFeature} == {
        "SIZE_MAX": 1,
        "SEG_MAX": 2,
        "GEOMETRY": 4,
        "RO": 5,
        "BLK_SIZE": 6,
        "FLUSH": 9,
        "TOPOLOGY": 10,
        "CONFIG_WCE": 11,
        "MQ": 12,
        "DISCARD": 13,
        "WRITE_ZEROES": 14,
        "LIFETIME": 15,
        "SECURE_ERASE": 16,
        "ZONED": 17,
    }

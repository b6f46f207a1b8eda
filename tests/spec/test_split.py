"""Split rings, virtio 1.4 §2.7: literal bytes, sizes and offsets."""

import pytest
from virtio_spec import split, wire
from virtio_spec.split import (
    AvailFlags,
    AvailHeader,
    Descriptor,
    DescriptorFlag,
    UsedElem,
    UsedFlags,
    UsedHeader,
)


def test_a_descriptor_is_16_bytes():
    raw = bytes.fromhex("8877665544332211 ddccbbaa 0300 0201".replace(" ", ""))
    assert wire.pack(Descriptor, addr=0x1122334455667788, len=0xAABBCCDD, flags=3, next=0x0102) == raw
    found = wire.unpack(Descriptor, raw)
    assert (found.addr, found.len, found.flags, found.next) == (0x1122334455667788, 0xAABBCCDD, 3, 0x0102)
    offsets = [wire.field_offset(Descriptor, name) for name in ("addr", "len", "flags", "next")]
    assert offsets == [0, 8, 12, 14]


def test_ring_headers_are_flags_and_index():
    assert wire.pack(AvailHeader, flags=1, idx=0x1234) == bytes.fromhex("01003412")
    assert wire.pack(UsedHeader, flags=1, idx=0xFFFE) == bytes.fromhex("0100feff")


def test_a_used_element_is_id_and_length():
    assert wire.pack(UsedElem, id=0x0102, len=0x01020304) == bytes.fromhex("0201000004030201")


def test_flags_have_their_values():
    assert (DescriptorFlag.NEXT, DescriptorFlag.WRITE, DescriptorFlag.INDIRECT) == (1, 2, 4)
    assert (AvailFlags.NO_INTERRUPT, UsedFlags.NO_NOTIFY) == (1, 1)
    assert split.MAX_QUEUE_SIZE == 32768


# Sizes and offsets of §2.7, computed by hand.
@pytest.mark.parametrize(
    ("queue_size", "table", "avail", "used", "used_event", "avail_event"),
    [
        (1, 16, 8, 14, 6, 12),
        (8, 128, 22, 70, 20, 68),
        (256, 4096, 518, 2054, 516, 2052),
        (32768, 524288, 65542, 262150, 65540, 262148),
    ],
)
def test_rings_have_their_sizes(queue_size, table, avail, used, used_event, avail_event):
    assert split.descriptor_table_size(queue_size) == table
    assert split.avail_size(queue_size) == avail
    assert split.used_size(queue_size) == used
    assert split.avail_ring_offset(queue_size) == used_event
    assert split.used_ring_offset(queue_size) == avail_event


def test_rings_start_behind_their_header():
    assert [split.avail_ring_offset(index) for index in (0, 1, 7)] == [4, 6, 18]
    assert [split.used_ring_offset(index) for index in (0, 1, 7)] == [4, 12, 60]


# Available ring, used ring and total of §2.7.2, computed by hand.
@pytest.mark.parametrize(
    ("queue_size", "avail", "used", "total"),
    [
        (1, 16, 4096, 8192),
        (2, 32, 4096, 8192),
        (8, 128, 4096, 8192),
        (128, 2048, 4096, 8192),
        (256, 4096, 8192, 12288),
        (512, 8192, 12288, 20480),
        (1024, 16384, 20480, 32768),
        (2048, 32768, 40960, 61440),
        (32768, 524288, 593920, 860160),
    ],
)
def test_a_legacy_queue_has_its_used_ring_on_the_next_page(queue_size, avail, used, total):
    found = split.legacy_layout(queue_size)
    assert (found.avail, found.used, found.total) == (avail, used, total)
    assert split.LEGACY_ALIGN == 4096

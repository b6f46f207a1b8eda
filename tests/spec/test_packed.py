"""Packed rings, virtio 1.4 §2.8: literal bytes and numbers."""

from virtio_spec import packed, wire
from virtio_spec.packed import EventFlags, EventSuppression, PackedDescriptor, PackedFlag


def test_a_descriptor_is_16_bytes():
    raw = bytes.fromhex("8877665544332211 ddccbbaa 0201 8280".replace(" ", ""))
    assert (
        wire.pack(PackedDescriptor, addr=0x1122334455667788, len=0xAABBCCDD, id=0x0102, flags=0x8082) == raw
    )
    offsets = [wire.field_offset(PackedDescriptor, name) for name in ("addr", "len", "id", "flags")]
    assert offsets == [0, 8, 12, 14]


def test_flags_have_their_values():
    values = {flag.name: flag.value for flag in PackedFlag}
    assert values == {"NEXT": 1, "WRITE": 2, "INDIRECT": 4, "AVAIL": 0x80, "USED": 0x8000}


def test_event_suppression_is_4_bytes():
    raw = wire.pack(EventSuppression, off=0x0123, wrap=1, flags=EventFlags.DESC)
    assert raw == bytes.fromhex("23810200")
    assert [flags.value for flags in EventFlags] == [0, 1, 2, 3]


def test_a_ring_of_3_descriptors_is_48_bytes():
    assert packed.descriptor_ring_size(3) == 48

"""Requests to the block device as bytes in and bytes out."""

import pytest
from virtio_models.blk import Blk
from virtio_models.disk import Disk

OK, IOERR, UNSUPP = b"\x00", b"\x01", b"\x02"
IN, OUT, FLUSH, FLUSH_OUT, GET_ID = 0, 1, 4, 5, 8
NEGOTIATED_FLUSH = 1 << 9


def header(type: int, sector: int = 0) -> bytes:
    return type.to_bytes(4, "little") + bytes(4) + sector.to_bytes(8, "little")


def make(**options) -> Blk:
    device = Blk(Disk(bytes(n % 251 for n in range(8 * 512))), **options)
    device.accepted, device.driver_ok = NEGOTIATED_FLUSH, True
    return device


def test_a_read_ends_with_its_status():
    device = make()
    assert device.handle(header(IN, 3), 1025) == device.disk.data[3 * 512 : 5 * 512] + OK


def test_a_write_stores_and_returns_a_status():
    device = make()
    assert device.handle(header(OUT, 2) + b"x" * 512, 1) == OK
    assert device.disk.data[1024:1536] == b"x" * 512
    assert device.disk.unflushed == {2}


def test_a_write_without_flush_negotiated_is_durable():
    device = make()
    device.accepted = 0
    device.handle(header(OUT, 2) + b"x" * 512, 1)
    assert device.disk.unflushed == frozenset()


def test_a_write_before_the_driver_is_ready_is_durable():
    """BLK-LEG-DEV-03, BLK-LEG-DEV-04: accepting features does not turn the cache on."""
    device = make()
    device.legacy, device.driver_ok = True, False
    device.handle(header(OUT, 2) + b"x" * 512, 1)
    assert device.disk.unflushed == frozenset()


def test_flush_out_is_a_flush_on_the_legacy_interface():
    """BLK-LEG-DEV-06."""
    device = make()
    device.legacy = True
    device.handle(header(OUT, 2) + b"x" * 512, 1)
    assert device.disk.unflushed == {2}
    assert device.handle(header(FLUSH_OUT), 1) == OK
    assert device.disk.unflushed == frozenset()


def test_a_flush_reaches_the_disk():
    device = make()
    device.handle(header(OUT, 2) + b"x" * 512, 1)
    assert device.handle(header(FLUSH), 1) == OK
    assert device.disk.unflushed == frozenset()


@pytest.mark.parametrize("room", [0, 5, 20, 32])
def test_the_serial_number_fits_the_room(room):
    device = make(serial=b"ABCDEFGHIJKLMNOPQRST")
    assert device.handle(header(GET_ID), room + 1) == b"ABCDEFGHIJKLMNOPQRST"[:room].ljust(room, b"\0") + OK


@pytest.mark.parametrize(
    ("readable", "room"),
    [
        (header(IN, 8), 512),
        (header(IN, 7), 1024),
        (header(IN, 2**64 - 1), 512),
        (header(IN), 511),
        (header(OUT, 8) + bytes(512), 0),
        (header(OUT) + bytes(511), 3),
        (header(IN)[:15], 512),
        (b"", 4),
    ],
)
def test_what_cannot_be_done_is_an_error_with_zeros(readable, room):
    device = make()
    before = bytes(device.disk.data)
    assert device.handle(readable, room + 1) == bytes(room) + IOERR
    assert device.disk.data == before


@pytest.mark.parametrize("type", [2, 5, 11, 13, 14, 15, 24, 0x8000_0000])
def test_other_requests_are_unsupported(type):
    assert make().handle(header(type), 9) == bytes(8) + UNSUPP


def test_without_room_for_a_status_nothing_is_written():
    assert make().handle(header(IN), 0) == b""


def test_a_read_only_disk_is_not_written():
    device = make(read_only=True)
    assert device.features >> 5 & 1
    assert device.handle(header(OUT) + bytes(512), 1) == IOERR
    assert device.disk.counts["write"] == 0
    assert device.handle(header(IN), 513)[-1:] == OK


def test_the_configuration_follows_the_disk():
    device, heard = make(seg_max=6, size_max=4096), []
    device.changed = lambda: heard.append(device.config()[:8])
    assert device.config()[:16] == bytes.fromhex("0800000000000000 00100000 06000000".replace(" ", ""))
    device.disk.resize(5)
    assert heard == [bytes.fromhex("0500000000000000")]


def test_a_serial_number_has_at_most_20_bytes():
    with pytest.raises(ValueError, match="a serial number has at most 20 bytes, not 21"):
        make(serial=bytes(21))


@pytest.mark.parametrize(("queues", "offered", "told"), [(1, 0, 0), (3, 1, 3), (256, 1, 256)])
def test_several_queues_are_offered_and_counted(queues, offered, told):
    device = make(queues=queues)
    assert (device.queues, device.features >> 12 & 1) == (queues, offered)
    assert device.config()[34:36] == told.to_bytes(2, "little")


@pytest.mark.parametrize("queues", [0, 257])
def test_there_are_1_to_256_queues(queues):
    with pytest.raises(ValueError, match=f"a block device has 1 to 256 queues, not {queues}"):
        make(queues=queues)

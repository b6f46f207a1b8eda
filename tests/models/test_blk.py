"""Requests to the block device as bytes in and bytes out."""

import pytest
from virtio_models.blk import Blk
from virtio_models.disk import Disk

OK, IOERR, UNSUPP = b"\x00", b"\x01", b"\x02"
IN, OUT, FLUSH, FLUSH_OUT, GET_ID, DISCARD, ZEROES = 0, 1, 4, 5, 8, 11, 13
NEGOTIATED_FLUSH, WCE, VERSION_1 = 1 << 9, 1 << 11, 1 << 32


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


@pytest.mark.parametrize("type", [2, 5, 14, 15, 24, 0x8000_0000])
def test_other_requests_are_unsupported(type):
    assert make().handle(header(type), 9) == bytes(8) + UNSUPP


def segments(*parts: tuple[int, int, int]) -> bytes:
    return b"".join(
        sector.to_bytes(8, "little") + count.to_bytes(4, "little") + flags.to_bytes(4, "little")
        for sector, count, flags in parts
    )


def test_write_zeroes_writes_zeros_segment_by_segment():
    """BLK-DEV-27."""
    device = make()
    before = bytes(device.disk.data)
    assert device.handle(header(ZEROES, 99) + segments((1, 2, 0), (8, 0, 0), (5, 1, 1)), 3) == bytes(2) + OK
    assert device.disk.data[512:1536] == bytes(1024)
    assert device.disk.data[5 * 512 : 6 * 512] == bytes(512)
    assert device.disk.data[:512] + device.disk.data[1536:2560] == before[:512] + before[1536:2560]
    assert (device.disk.counts["zeroes"], device.disk.counts["unmap"]) == (3, 1)
    assert device.disk.unflushed == {1, 2, 5}


def test_a_discard_reaches_its_sectors_only():
    device = make()
    before = bytes(device.disk.data)
    assert device.handle(header(DISCARD) + segments((3, 1, 0)), 1) == OK
    assert device.disk.data[1536:2048] != before[1536:2048]
    assert device.disk.data[:1536] + device.disk.data[2048:] == before[:1536] + before[2048:]


@pytest.mark.parametrize(
    ("type", "payload", "status"),
    [
        (DISCARD, segments((0, 1, 1)), UNSUPP),
        (DISCARD, segments((0, 1, 2)), UNSUPP),
        (ZEROES, segments((0, 1, 1 << 31)), UNSUPP),
        (ZEROES, segments((9, 1, 3)), UNSUPP),
        (ZEROES, segments((7, 2, 0)), IOERR),
        (DISCARD, segments((2**64 - 1, 1, 0)), IOERR),
        (DISCARD, segments((0, 6, 0)), IOERR),
        (ZEROES, segments((0, 1, 0))[:15], IOERR),
        (ZEROES, segments(*[(0, 0, 0)] * 4), IOERR),
        (ZEROES, b"", OK),
    ],
)
def test_a_bad_segment_changes_nothing(type, payload, status):
    """BLK-DEV-23, BLK-DEV-24."""
    device = make(max_clear_sectors=5, max_clear_seg=3)
    before = bytes(device.disk.data)
    assert device.handle(header(type) + payload, 4) == bytes(3) + status
    assert device.disk.data == before


@pytest.mark.parametrize("type", [DISCARD, ZEROES])
def test_a_read_only_disk_knows_neither_discard_nor_write_zeroes(type):
    device = make(read_only=True)
    assert (device.features >> 13 & 3, device.config()[36:60]) == (0, bytes(24))
    assert device.handle(header(type) + segments((0, 1, 0)), 1) == UNSUPP


def test_the_limits_of_discard_and_write_zeroes_are_told():
    device = make(max_clear_sectors=0x11223344, max_clear_seg=5)
    assert device.features >> 13 & 3 == 3
    assert device.config()[36:60] == bytes.fromhex("4433221105000000010000004433221105000000 01000000")


def writes_through(device: Blk) -> bool:
    device.handle(header(OUT, 2) + b"x" * 512, 1)
    return not device.disk.unflushed


@pytest.mark.parametrize(
    ("accepted", "mode"),
    [
        (VERSION_1 | WCE | NEGOTIATED_FLUSH, 1),
        (VERSION_1 | NEGOTIATED_FLUSH, 1),
        (VERSION_1 | WCE, 0),
        (VERSION_1, 0),
    ],
)
def test_accepted_features_make_the_first_cache_mode(accepted, mode):
    """BLK-DEV-03."""
    device = make()
    device.accepted = accepted
    assert device.config()[32] == mode
    assert writes_through(device) == (not mode)


def test_a_driver_with_config_wce_chooses_the_cache_mode():
    device = make()
    device.accepted = VERSION_1 | WCE | NEGOTIATED_FLUSH
    for mode in (0, 1, 0):
        device.config_written(32, bytes([mode]))
        assert (device.config()[32], writes_through(device)) == (mode, not mode)
    device.reset()
    assert device.config()[32] == 1


def test_a_driver_without_config_wce_does_not_choose_it():
    device = make()
    device.accepted = VERSION_1 | NEGOTIATED_FLUSH
    device.config_written(32, b"\0")
    assert (device.config()[32], writes_through(device)) == (1, False)


def test_a_legacy_driver_chooses_before_driver_ok_and_features_do_not_change_it():
    """BLK-LEG-DEV-03, BLK-LEG-DEV-04."""
    device = make()
    device.legacy, device.driver_ok, device.accepted = True, False, 0
    device.config_written(32, b"\0")
    for accepted in (0, WCE, WCE | NEGOTIATED_FLUSH):
        device.accepted = accepted
        assert device.config()[32] == 0
    device.driver_ok = True
    assert device.config()[32] == 0
    device.accepted = NEGOTIATED_FLUSH
    assert device.config()[32] == 1


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

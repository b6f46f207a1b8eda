"""Reads in pieces: the content is counted up between any two reads."""

import pytest
from amaranth.lib import data
from hypothesis import given
from hypothesis import strategies as st
from virtio_models.snapshots import Snapshots, field_bytes

HOLD = 1000


class Config(data.Struct):
    flag: 8
    small: 16
    pad: 8
    big: 64
    left: 32
    right: 32


def tear_every_byte(count: int) -> bytes:
    """All bytes have the same value, another one after each read."""
    return bytes([count % 256]) * 20


class Running:
    def __init__(self, together=(("left", "right"),)):
        self.count = 0
        self.snapshots = Snapshots(Config, together, lambda: tear_every_byte(self.count), hold_ns=HOLD)

    def read(self, offset, size):
        """``size`` bytes inside a dword; afterwards the content is another one."""
        lane = offset % 4
        value = self.snapshots.read(offset - lane, (1 << size) - 1 << lane)
        self.count += 1
        assert value & ~((1 << 8 * size) - 1 << 8 * lane) == 0, "bytes that were not asked for"
        return (value >> 8 * lane).to_bytes(4, "little")[:size]


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("first", [4, 12])
def test_eight_bytes_are_of_one_instant_whatever_the_width(size, first):
    """Trap 24: PCI-LEG-DEV-05."""
    running = Running()
    for sample in (0, 8 // size):
        pieces = [running.read(offset, size) for offset in range(first, first + 8, size)]
        assert b"".join(pieces) == bytes([sample]) * 8


def test_words_are_of_one_instant_in_either_order():
    running = Running()
    assert running.read(8, 4) + running.read(4, 4) == bytes(8)
    assert running.read(4, 4) + running.read(8, 4) == b"\2" * 8


def test_who_reads_only_the_low_words_sees_them_move():
    running = Running()
    assert [running.read(4, 4)[0] for _ in range(4)] == [0, 1, 2, 3]


def test_groups_do_not_touch_each_other():
    running = Running()
    found = [running.read(offset, 4)[0] for offset in (4, 12, 8, 16)]
    assert found == [0, 1, 0, 1]


def test_a_read_over_two_fields_takes_each_as_it_is():
    running = Running()
    assert running.read(1, 1) == b"\0"
    assert running.read(0, 4) == b"\1\1\1\1"
    assert running.read(1, 1) == b"\2"
    assert running.read(2, 2) == b"\2\3"


def test_a_field_of_one_byte_is_always_new():
    running = Running()
    assert [running.read(0, 1)[0] for _ in range(3)] == [0, 1, 2]


def test_what_was_left_over_is_dropped_after_a_while():
    for wait, expected in ((HOLD - 1, 0), (HOLD, 1)):
        running = Running()
        running.read(4, 4)
        running.snapshots.elapse(wait)
        assert running.read(8, 4)[0] == expected


def test_any_read_starts_the_wait_again():
    running = Running()
    running.read(4, 4)
    running.snapshots.elapse(HOLD - 1)
    running.read(0, 1)
    running.snapshots.elapse(HOLD - 1)
    assert running.read(8, 4)[0] == 0


def test_beyond_the_end_there_is_nothing():
    running = Running()
    assert running.snapshots.read(20, 15) == 0


def test_a_group_is_of_neighbours():
    with pytest.raises(ValueError, match="flag, big are not neighbours"):
        field_bytes(Config, "flag", "big")


@given(
    st.permutations([(4, 1), (5, 1), (6, 2), (8, 4)]),
    st.lists(st.sampled_from([(4, 1), (5, 2), (8, 2), (9, 1)]), max_size=5),
)
def test_whatever_was_read_before_bytes_read_once_are_of_one_instant(pieces, before):
    """What went before is a guest that stopped half-way: after the wait nothing of it is left."""
    running = Running()
    for offset, size in before:
        running.read(offset, size)
    running.snapshots.elapse(HOLD)
    assert len({byte for offset, size in pieces for byte in running.read(offset, size)}) == 1

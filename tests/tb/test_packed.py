"""The driver side of a packed ring against a device played by hand."""

import random

import pytest
from cocotbext.virtio.function import DriverError
from cocotbext.virtio.memory import Arena, HostMemory
from cocotbext.virtio.packed import PackedQueue
from cocotbext.virtio.ring import Used
from cocotbext.virtio.variant import RingVariant
from hypothesis import given, settings
from hypothesis import strategies as st

NEXT, WRITE, INDIRECT, AVAIL, USED = 1, 2, 4, 1 << 7, 1 << 15
ENABLE, DISABLE, DESC = 0, 1, 2


def make(size=8, seed=0, **variant):
    memory = HostMemory([Arena(0x1000, bytearray(0x8000))], seed=seed)
    ring = PackedQueue(memory, 0, size, rng=random.Random(seed), variant=RingVariant(packed=True, **variant))
    return memory, ring


def fields(raw):
    return tuple(int.from_bytes(raw[a:b], "little") for a, b in ((0, 8), (8, 12), (12, 14), (14, 16)))


def descriptor(ring, number):
    return fields(ring.desc.read(16 * number, 16))


class Device:
    """Writes used descriptors as the standard says, knowing the chains' lengths from the test."""

    def __init__(self, ring):
        self.ring, self.place, self.wrap = ring, 0, 1

    def use(self, identity, descriptors, length, flags=WRITE):
        marks = AVAIL | USED if self.wrap else 0
        raw = length.to_bytes(4, "little") + identity.to_bytes(2, "little")
        raw += (marks | flags).to_bytes(2, "little")
        self.ring.desc.write(raw, 16 * self.place + 8)
        self.place += descriptors
        if self.place >= self.ring.size:
            self.place, self.wrap = self.place - self.ring.size, 1 - self.wrap


@pytest.mark.parametrize("size", [0, 32769])
def test_a_size_is_what_16_bits_and_a_bit_can_say(size):
    with pytest.raises(ValueError, match=f"size is 1 to 32768, not {size}"):
        make(size)


@pytest.mark.parametrize("seed", range(8))
def test_areas_are_aligned_and_exposed_as_each_side_uses_them(seed):
    memory, ring = make(5, seed=seed)
    places = [(area.address % align, area.size) for area, align in zip(ring.areas, (16, 4, 4), strict=True)]
    assert places == [(0, 80), (0, 4), (0, 4)]
    access = {(g.address, g.length): (g.readable, g.writable) for g in memory.grants}
    assert access == {
        (ring.areas[0].address, 80): (True, True),
        (ring.areas[1].address, 4): (True, False),
        (ring.areas[2].address, 4): (False, True),
    }


def test_a_chain_is_linked_in_the_order_of_the_ring_and_its_head_comes_last():
    _, ring = make()
    identity = ring.link([(0x1100, 16), (0x1200, 5)], [(0x1300, 7)])
    assert descriptor(ring, 0)[::3] == (0x1100, 0)
    address, length, _, flags = descriptor(ring, 1)
    assert (address, length, flags) == (0x1200, 5, NEXT | AVAIL)
    assert descriptor(ring, 2) == (0x1300, 7, identity, WRITE | AVAIL)
    assert ring.place == (3, 1)
    ring.publish()
    assert descriptor(ring, 0)[::3] == (0x1100, NEXT | AVAIL)


def test_the_second_round_has_the_flags_the_other_way():
    _, ring = make(4)
    device = Device(ring)
    first = ring.add_chain([(0x1100, 1)] * 3)
    device.use(first, 3, 0, 0)
    assert ring.get_used() == Used(first, 0)
    second = ring.add_chain([], [(0x1100, 1)] * 3)
    assert [descriptor(ring, n)[3] for n in (3, 0, 1)] == [
        NEXT | WRITE | AVAIL,
        NEXT | WRITE | USED,
        WRITE | USED,
    ]
    assert ring.place == (2, 0)
    device.use(second, 3, 2)
    assert ring.get_used() == Used(second, 2)
    assert (ring.next_used, ring.used_wrap, ring.free) == (2, False, 4)


def test_buffers_are_exposed_while_in_flight_only():
    memory, ring = make()
    identity = ring.add_chain([(0x1100, 16)], [(0x1300, 7)])
    assert memory.check(0x1100, 16, write=False) and memory.check(0x1300, 7, write=True)
    Device(ring).use(identity, 2, 7)
    assert ring.get_used() == Used(identity, 7)
    assert not memory.check(0x1100, 16, write=False)
    assert not memory.check(0x1300, 7, write=True)


def test_a_table_has_all_buffers_and_is_readable_while_in_flight():
    memory, ring = make(4, indirect=True)
    identity = ring.add_chain([(0x1100, 16)], [(0x1300, 7), (0x1400, 9)], direct=0)
    table, length, found, flags = descriptor(ring, 0)
    assert (length, found, flags & ~WRITE) == (48, identity, INDIRECT | AVAIL)
    entries = [fields(memory.read(table + 16 * n, 16)) for n in range(3)]
    assert entries == [(0x1100, 16, 0, 0), (0x1300, 7, 0, WRITE), (0x1400, 9, 0, WRITE)]
    assert memory.check(table, 48, write=False)
    Device(ring).use(identity, 1, 16)
    assert ring.get_used() == Used(identity, 16)
    assert not memory.check(table, 48, write=False)


def test_a_table_is_not_mixed_with_other_descriptors():
    _, ring = make(4, indirect=True)
    with pytest.raises(ValueError, match="either direct or one table"):
        ring.add_chain([(0x1100, 1)] * 3, direct=1)


def test_chains_come_back_out_of_order_at_the_place_behind_the_last():
    _, ring = make(8)
    device = Device(ring)
    long, short = ring.add_chain([(0x1100, 1)] * 3), ring.add_chain([], [(0x1200, 4)])
    assert ring.returned == 0
    device.use(short, 1, 4)
    assert (ring.has_used, ring.returned) == (True, 1)
    device.use(long, 3, 0, 0)
    assert ring.returned == 2
    assert [ring.get_used() for _ in range(3)] == [Used(short, 4), Used(long, 0), None]
    assert (ring.free, ring.next_used, ring.returned, ring.in_flight) == (8, 4, 2, 0)


def test_in_order_one_used_descriptor_stands_for_a_batch():
    """Those without one count as written completely, and all their descriptors are skipped."""
    _, ring = make(8, in_order=True)
    device = Device(ring)
    first, second = ring.add_chain([(0x1100, 1)], [(0x1200, 6)]), ring.add_chain([], [(0x1300, 4)])
    third = ring.add_chain([], [(0x1400, 2)])
    device.use(second, 3, 3)
    assert ring.returned == 2
    device.use(third, 1, 2)
    assert ring.returned == 3
    assert [ring.get_used() for _ in range(4)] == [Used(first, 6), Used(second, 3), Used(third, 2), None]


def test_there_are_only_so_many_descriptors():
    _, ring = make(3)
    ring.add_chain([], [(0x1300, 7)] * 2)
    with pytest.raises(DriverError, match="2 descriptors wanted, 1 left"):
        ring.add_chain([], [(0x1300, 7)] * 2)


def test_an_id_that_was_not_outstanding_is_noticed():
    _, ring = make()
    identity = ring.add_chain([], [(0x1300, 7)])
    Device(ring).use(identity ^ 1, 1, 7)
    assert ring.has_used
    with pytest.raises(DriverError, match=f"used id {identity ^ 1} was not outstanding"):
        ring.get_used()


def test_a_chain_returned_twice_is_noticed():
    _, ring = make()
    device = Device(ring)
    identity = ring.add_chain([], [(0x1300, 7)])
    ring.add_chain([], [(0x1310, 7)])
    device.use(identity, 1, 7)
    device.use(identity, 1, 7)
    ring.get_used()
    with pytest.raises(DriverError, match=f"used id {identity} was not outstanding"):
        ring.get_used()


def test_a_length_beyond_the_writable_bytes_is_noticed():
    _, ring = make()
    Device(ring).use(ring.add_chain([(0x1100, 16)], [(0x1300, 7)]), 2, 8)
    with pytest.raises(DriverError, match="used length 8 with 7 writable bytes"):
        ring.get_used()


def test_the_length_counts_only_with_the_write_flag():
    _, ring = make()
    identity = ring.add_chain([(0x1100, 16)], [(0x1300, 7)])
    Device(ring).use(identity, 2, 99, 0)
    assert ring.get_used() == Used(identity, 0)


def test_a_write_flag_without_a_byte_is_noticed():
    _, ring = make()
    Device(ring).use(ring.add_chain([], [(0x1300, 7)]), 1, 0)
    with pytest.raises(DriverError, match="says that something was written, and then 0 bytes"):
        ring.get_used()


@pytest.mark.parametrize("flags", [USED, 0, AVAIL | NEXT])
def test_flags_of_another_round_are_noticed(flags):
    _, ring = make()
    ring.add_chain([], [(0x1300, 7)])
    ring.desc.write((flags | WRITE).to_bytes(2, "little"), 14)
    assert ring.has_used
    with pytest.raises(DriverError, match="descriptor 0 has flags .*: neither its own nor used"):
        ring.get_used()


@pytest.mark.parametrize("flag", [NEXT, INDIRECT, 8, 1 << 14])
def test_unknown_flags_of_a_used_descriptor_are_noticed(flag):
    _, ring = make()
    Device(ring).use(ring.add_chain([], [(0x1300, 7)]), 1, 7, WRITE | flag)
    with pytest.raises(DriverError, match="used descriptor 0 has unknown flags"):
        ring.get_used()


@pytest.mark.parametrize("offset", [16, 28, 47])
def test_a_write_beside_the_used_descriptor_is_noticed(offset):
    _, ring = make()
    identity = ring.add_chain([], [(0x1300, 7)] * 3)
    ring.desc.write(b"\x77", offset)
    Device(ring).use(identity, 3, 7)
    with pytest.raises(
        DriverError, match=f"has changed descriptor {offset // 16}, which is not the used one"
    ):
        ring.get_used()


def test_a_change_where_nothing_is_available_is_noticed():
    _, ring = make()
    Device(ring).use(5, 1, 1)
    with pytest.raises(DriverError, match="used id 5 was not outstanding"):
        ring.get_used()


def test_a_batch_that_is_not_the_oldest_is_none_without_in_order():
    _, ring = make()
    device = Device(ring)
    first, second = ring.add_chain([], [(0x1300, 7)]), ring.add_chain([], [(0x1400, 7)])
    device.use(second, 2, 7)
    device.use(first, 1, 7)
    assert ring.get_used() == Used(second, 7)
    assert ring.get_used() is None


# -- event suppression -------------------------------------------------------------------------------


def suppress(ring, flags, place=0, wrap=0, reserved=0):
    ring.device_event.write((place | wrap << 15 | flags << 16 | reserved << 18).to_bytes(4, "little"))


def test_kicks_are_wanted_unless_the_device_says_otherwise():
    _, ring = make()
    assert ring.needs_kick()
    suppress(ring, DISABLE)
    ring.add_chain([], [(0x1300, 7)])
    assert not ring.needs_kick()
    suppress(ring, ENABLE)
    assert ring.needs_kick()


@pytest.mark.parametrize(
    ("added", "place", "wrap", "wanted"),
    [
        ((1,), 0, 1, True),
        ((1,), 1, 1, False),
        ((3,), 1, 1, True),
        ((3,), 2, 1, True),
        ((3,), 3, 1, False),
        ((3,), 0, 0, False),
        ((3, 1), 2, 1, False),
        ((3, 1), 3, 1, True),
        ((3, 3), 0, 0, True),
        ((3, 3), 1, 0, False),
        ((3, 3), 0, 1, False),
    ],
)
def test_a_kick_is_wanted_when_its_place_has_been_made_available(added, place, wrap, wanted):
    """In a ring of 5; of what is added only the last is looked at."""
    _, ring = make(5, event_idx=True)
    device, answer = Device(ring), None
    suppress(ring, DESC, place, wrap)
    for count in added:
        identity = ring.add_chain([(0x1100, 1)] * count)
        answer = ring.needs_kick()
        device.use(identity, count, 0, 0)
        ring.get_used()
    assert answer == wanted


def test_a_kick_is_wanted_once_for_all_that_came_since_the_last_look():
    _, ring = make(5, event_idx=True)
    device = Device(ring)
    suppress(ring, DESC, 1, 1)
    for _ in range(4):
        identity = ring.add_chain([(0x1100, 1)] * 3)
        device.use(identity, 3, 0, 0)
        ring.get_used()
    assert ring.needs_kick()
    assert not ring.needs_kick()


@pytest.mark.parametrize(
    ("flags", "place", "reserved", "event_idx", "message"),
    [
        (3, 0, 0, True, "event suppression has flags RESERVED"),
        (DESC, 0, 0, False, "event suppression has flags DESC"),
        (ENABLE, 0, 1, True, "event suppression has unknown bits 0x1"),
        (DESC, 8, 0, True, "wants to hear of descriptor 8 of 8"),
    ],
)
def test_what_a_device_must_not_say_is_noticed(flags, place, reserved, event_idx, message):
    _, ring = make(8, event_idx=event_idx)
    suppress(ring, flags, place, reserved=reserved)
    with pytest.raises(DriverError, match=message):
        ring.needs_kick()
    Device(ring).use(ring.add_chain([], [(0x1300, 7)]), 1, 7)
    with pytest.raises(DriverError, match=message):
        ring.get_used()


def event(ring):
    raw = int.from_bytes(ring.driver_event.read(), "little")
    return raw >> 16, raw & 0x7FFF, raw >> 15 & 1


def test_interrupts_are_enabled_and_disabled():
    _, ring = make()
    ring.want_interrupts(False)
    ring.add_chain([], [(0x1300, 7)])
    assert event(ring) == (DISABLE, 0, 0)
    ring.want_interrupts(True)
    assert event(ring)[0] == ENABLE


def test_interrupts_are_asked_for_at_the_next_used_place():
    _, ring = make(3, event_idx=True)
    device = Device(ring)
    for expected in ((DESC, 0, 1), (DESC, 2, 1), (DESC, 1, 0)):
        identity = ring.add_chain([], [(0x1300, 7)] * 2)
        assert event(ring) == expected
        device.use(identity, 2, 7)
        ring.get_used()
    ring.arm(after=2)
    assert event(ring) == (DESC, 2, 1)
    ring.want_interrupts(False)
    ring.add_chain([], [(0x1300, 7)])
    assert event(ring)[0] == DISABLE


def test_asking_for_an_interrupt_says_whether_it_is_too_late():
    _, ring = make(event_idx=True)
    identity = ring.add_chain([], [(0x1300, 7)])
    assert not ring.arm()
    Device(ring).use(identity, 1, 7)
    assert ring.arm()


def test_everything_is_taken_back_when_it_is_closed():
    memory, ring = make(8, indirect=True)
    before = [list(arena.free) for arena in memory.arenas]
    fresh = HostMemory([Arena(0x1000, bytearray(0x8000))])
    ring.add_chain([(0x1100, 1)], [(0x1200, 1)], direct=0)
    ring.close()
    assert memory.grants == [] and before != [arena.free for arena in memory.arenas]
    assert [arena.free for arena in memory.arenas] == [arena.free for arena in fresh.arenas]


@given(
    st.integers(1, 9), st.lists(st.integers(1, 3), min_size=1, max_size=60), st.booleans(), st.integers(0, 99)
)
@settings(deadline=None)
def test_whatever_the_order_every_chain_comes_back_once(size, lengths, in_order, seed):
    _, ring = make(size, seed, in_order=in_order)
    device, rng, waiting, back = Device(ring), random.Random(seed), [], []
    for length in (min(length, size) for length in lengths):
        while ring.free < length:
            position = rng.randrange(len(waiting))
            batch = waiting[: position + 1] if in_order else [waiting[position]]
            device.use(batch[-1][0], sum(count for _, count in batch), 0, 0)
            waiting = [entry for entry in waiting if entry not in batch]
            for identity, _ in batch:
                back.append(ring.get_used() == Used(identity, 0))
        waiting.append((ring.add_chain([(0x1100, 4)] * length), length))
    assert all(back)
    assert ring.in_flight == len(waiting)

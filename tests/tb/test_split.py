"""The driver side of a ring against a device played by hand."""

import random

import pytest
from cocotbext.virtio.backends.model import ModelHost, run
from cocotbext.virtio.driver import probe
from cocotbext.virtio.function import DriverError
from cocotbext.virtio.memory import Arena, HostMemory
from cocotbext.virtio.split import SplitQueue, Used
from cocotbext.virtio.variant import RingVariant, variants
from hypothesis import given, settings
from hypothesis import strategies as st
from virtio_models.entropy import EntropySource
from virtio_models.options import RingOptions
from virtio_models.rng import Rng

NEXT, WRITE, INDIRECT = 1, 2, 4


def make(size=8, seed=0, **variant):
    memory = HostMemory([Arena(0x1000, bytearray(0x4000))], seed=seed)
    return memory, SplitQueue(memory, 0, size, rng=random.Random(seed), variant=RingVariant(**variant))


def descriptor(queue, number):
    raw = queue.desc.read(16 * number, 16)
    return tuple(int.from_bytes(raw[a:b], "little") for a, b in ((0, 8), (8, 12), (12, 14), (14, 16)))


def play(queue, *elements):
    """What a device does: put used elements, then move the index."""
    index = queue.used_index
    for head, length in elements:
        raw = head.to_bytes(4, "little") + length.to_bytes(4, "little")
        queue.used.write(raw, 4 + 8 * (index % queue.size))
        index += 1
    queue.used.write((index % 2**16).to_bytes(2, "little"), 2)


@pytest.mark.parametrize("size", [0, 3, 65536])
def test_a_size_is_a_power_of_two(size):
    with pytest.raises(ValueError, match=f"size is a power of two up to 32768, not {size}"):
        make(size)


@pytest.mark.parametrize("seed", range(8))
def test_areas_are_aligned_and_exposed_one_way(seed):
    memory, queue = make(seed=seed)
    addresses = queue.desc.address, queue.avail.address, queue.used.address
    assert [address % align for address, align in zip(addresses, (16, 2, 4), strict=True)] == [0, 0, 0]
    access = {(g.address, g.length): (g.readable, g.writable) for g in memory.grants}
    assert access == {
        (queue.desc.address, 128): (True, False),
        (queue.avail.address, 22): (True, False),
        (queue.used.address, 70): (False, True),
    }


@pytest.mark.parametrize(
    ("size", "avail", "used", "total"), [(1, 16, 4096, 8192), (16, 256, 4096, 8192), (256, 4096, 8192, 12288)]
)
def test_legacy_areas_are_one_piece_of_pages(size, avail, used, total):
    """Descriptors, available ring, and the used ring on the next page.  [virtio 1.4 §2.7.2]"""
    memory = HostMemory([Arena(0x1800, bytearray(0x8000))])
    queue = SplitQueue(memory, 0, size, rng=random.Random(0), legacy=True)
    start = queue.desc.address
    assert start == 0x2000
    assert (queue.avail.address, queue.used.address) == (start + avail, start + used)
    assert memory.alloc(1, align=4096).address == start + total
    access = {(g.address, g.length): (g.readable, g.writable) for g in memory.grants}
    assert access == {
        (start, 16 * size): (True, False),
        (start + avail, 6 + 2 * size): (True, False),
        (start + used, 6 + 8 * size): (False, True),
    }


def test_legacy_areas_are_where_page_numbers_have_32_bits():
    memory = HostMemory([Arena((1 << 44) - 0x3000, bytearray(0x8000))])
    queues = [SplitQueue(memory, 0, 8, rng=random.Random(0), legacy=True)]
    assert queues[0].desc.address == (1 << 44) - 0x3000
    with pytest.raises(MemoryError):
        SplitQueue(memory, 1, 8, rng=random.Random(0), legacy=True)


def test_a_chain_is_linked_readable_part_first():
    _, queue = make()
    head = queue.add_chain([(0x1100, 16), (0x1200, 5)], [(0x1300, 7)])
    address, length, flags, second = descriptor(queue, head)
    assert (address, length, flags) == (0x1100, 16, NEXT)
    address, length, flags, third = descriptor(queue, second)
    assert (address, length, flags) == (0x1200, 5, NEXT)
    assert descriptor(queue, third) == (0x1300, 7, WRITE, 0)
    assert len({head, second, third}) == 3
    assert queue.avail.read(0, 6) == bytes([0, 0, 1, 0, head, 0])


def test_buffers_are_exposed_while_in_flight_only():
    memory, queue = make()
    head = queue.add_chain([(0x1100, 16)], [(0x1300, 7)])
    assert memory.check(0x1100, 16, write=False) and memory.check(0x1300, 7, write=True)
    play(queue, (head, 7))
    assert queue.get_used() == Used(head, 7)
    assert not memory.check(0x1100, 16, write=False)
    assert not memory.check(0x1300, 7, write=True)


def test_nothing_is_published_before_it_is_asked_for():
    _, queue = make()
    head = queue.link([], [(0x1300, 7)])
    assert queue.avail.read(0, 6) == bytes(6)
    queue.put_available(head)
    assert queue.avail.read(2, 4) == bytes([0, 0, head, 0])
    queue.publish()
    assert queue.avail.read(2, 2) == b"\x01\0"
    queue.publish(0x1FFFF)
    assert queue.avail.read(2, 2) == b"\xff\xff"


def test_there_are_only_so_many_descriptors():
    _, queue = make(4)
    queue.add_chain([], [(0x1300, 7)] * 3)
    with pytest.raises(DriverError, match="2 descriptors wanted, 1 left"):
        queue.add_chain([], [(0x1300, 7)] * 2)


def test_descriptors_come_back_with_their_chain():
    _, queue = make(4)
    for _ in range(3):
        heads = [queue.add_chain([(0x1100, 1)], [(0x1300, 7)]) for _ in range(2)]
        play(queue, *((head, 1) for head in reversed(heads)))
        assert [queue.get_used(), queue.get_used()] == [Used(heads[1], 1), Used(heads[0], 1)]
        assert queue.get_used() is None
        assert sorted(queue.unused) == [0, 1, 2, 3]


def test_the_interrupt_flag_is_in_the_available_ring():
    _, queue = make()
    queue.want_interrupts(False)
    assert queue.avail.read(0, 2) == b"\x01\0"
    queue.want_interrupts(True)
    assert queue.avail.read(0, 2) == b"\0\0"


def test_an_id_that_was_not_outstanding_is_noticed():
    _, queue = make()
    head = queue.add_chain([], [(0x1300, 7)])
    play(queue, ((head + 1) % 8, 7))
    with pytest.raises(DriverError, match=f"used id {(head + 1) % 8} was not outstanding"):
        queue.get_used()


def test_a_chain_returned_twice_is_noticed():
    _, queue = make()
    head = queue.add_chain([], [(0x1300, 7)])
    queue.add_chain([], [(0x1310, 7)])
    play(queue, (head, 7), (head, 7))
    queue.get_used()
    with pytest.raises(DriverError, match=f"used id {head} was not outstanding"):
        queue.get_used()


def test_a_length_beyond_the_writable_bytes_is_noticed():
    _, queue = make()
    head = queue.add_chain([(0x1100, 16)], [(0x1300, 7)])
    play(queue, (head, 8))
    with pytest.raises(DriverError, match="used length 8 with 7 writable bytes"):
        queue.get_used()


@pytest.mark.parametrize("ahead", [2, 9, 0xFFFF])
def test_an_index_too_far_ahead_is_noticed(ahead):
    _, queue = make()
    queue.add_chain([], [(0x1300, 7)])
    queue.used.write(ahead.to_bytes(2, "little"), 2)
    with pytest.raises(DriverError, match=f"used.idx is {ahead} ahead, with 1 chains outstanding"):
        queue.get_used()


def test_unknown_flags_are_noticed():
    _, queue = make()
    head = queue.add_chain([], [(0x1300, 7)])
    queue.used.write(b"\x02")
    play(queue, (head, 7))
    with pytest.raises(DriverError, match="used.flags has unknown bits 0x2"):
        queue.get_used()


@given(st.lists(st.integers(1, 3), min_size=1, max_size=40), st.integers(0, 99))
@settings(deadline=None)
def test_whatever_the_order_every_chain_comes_back_once(lengths, seed):
    _, queue = make(8, seed)
    rng, waiting, returned = random.Random(seed), [], []
    for length in lengths:
        while len(queue.unused) < length:
            head = waiting.pop(rng.randrange(len(waiting)))
            play(queue, (head, 0))
            returned.append(queue.get_used() == Used(head, 0))
        waiting.append(queue.add_chain([(0x1100, 4)] * length))
    assert all(returned)
    assert queue.in_flight == len(waiting)


def test_indices_wrap_at_16_bits_on_both_sides():
    async def go():
        host = ModelHost(Rng(EntropySource(1)), queue_size=4)
        device = await probe(host)
        await device.start(queue_size=4)
        queue, far = device.queues[0], 0xFFFD
        model = host.device.queues[0]
        model.next_avail = model.used_index = queue.next_avail = queue.next_used = far
        queue.publish()
        queue.used.write(far.to_bytes(2, "little"), 2)
        for _ in range(3):
            requests = [device.prepare(0, [], [9]) for _ in range(3)]
            await device.kick()
            await device.wait(*requests)
            assert all(request.used == 9 for request in requests)
        assert queue.used_index == (far + 9) % 2**16

    run(go())


# -- indirect tables, event index, in order ----------------------------------------------------------


def entries(memory, address, count):
    raw = [memory.read(address + 16 * n, 16) for n in range(count)]
    cuts = ((0, 8), (8, 12), (12, 14), (14, 16))
    return [tuple(int.from_bytes(entry[a:b], "little") for a, b in cuts) for entry in raw]


def follow(table):
    """What a device finds in an indirect table: ``(address, length, flags without NEXT)``."""
    number, found = 0, []
    while True:
        address, length, flags, following = table[number]
        found.append((address, length, flags & ~NEXT))
        if not flags & NEXT:
            return found
        number = following


@pytest.mark.parametrize("direct", [0, 1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_a_chain_ends_in_a_table(direct, seed):
    """The table may be linked in any order from its first entry, and is readable while in flight."""
    memory, queue = make(8, seed, indirect=True)
    buffers = [(0x1100, 16, 0), (0x1200, 5, 0), (0x1300, 7, WRITE), (0x1400, 9, WRITE)]
    head = queue.add_chain([b[:2] for b in buffers[:2]], [b[:2] for b in buffers[2:]], direct=direct)
    found, number = [], head
    for _ in range(direct):
        address, length, flags, number = descriptor(queue, number)
        assert flags & NEXT
        found.append((address, length, flags & ~NEXT))
    address, length, flags, following = descriptor(queue, number)
    assert (flags & ~WRITE, length, following) == (INDIRECT, 16 * (4 - direct), 0)
    assert found + follow(entries(memory, address, 4 - direct)) == buffers
    assert memory.check(address, length, write=False) and not memory.check(address, 1, write=True)
    assert queue.free == 8 - direct - 1
    play(queue, (head, 16))
    assert queue.get_used() == Used(head, 16)
    assert not memory.check(address, length, write=False)
    assert queue.free == 8


def test_in_order_descriptors_and_tables_are_used_from_the_first_on():
    memory, queue = make(4, indirect=True, in_order=True)
    for expected in ([0, 1, 2], [3, 0, 1], [2, 3, 0]):
        head = queue.add_chain([(0x1100, 4)] * 4, direct=2)
        numbers = [head, descriptor(queue, head)[3]]
        numbers.append(descriptor(queue, numbers[1])[3])
        assert numbers == expected
        table = entries(memory, descriptor(queue, numbers[2])[0], 2)
        assert [entry[3] for entry in table] == [1, 0]
        play(queue, (head, 0))
        queue.get_used()


def batch(queue, count, head, length):
    """One element, where that of the first chain would be, for several chains."""
    index = queue.used_index
    play(queue, (head, length))
    queue.used.write(((index + count) % 2**16).to_bytes(2, "little"), 2)


def test_in_order_one_used_element_stands_for_a_batch():
    """Those without one count as written completely.  [virtio 1.4 §2.7.9]"""
    _, queue = make(8, in_order=True)
    heads = [queue.add_chain([], [(0x1300, size)]) for size in (7, 5, 3, 2)]
    batch(queue, 3, heads[2], 1)
    assert queue.returned == 3
    batch(queue, 1, heads[3], 2)
    found = [queue.get_used() for _ in range(5)]
    assert found == [Used(heads[0], 7), Used(heads[1], 5), Used(heads[2], 1), Used(heads[3], 2), None]
    assert sorted(queue.unused) == list(range(8))


def test_in_order_another_order_is_noticed():
    """An element for the second chain counts for the first as well, which the index does not."""
    _, queue = make(8, in_order=True)
    queue.add_chain([], [(0x1300, 7)])
    second = queue.add_chain([], [(0x1300, 7)])
    play(queue, (second, 7))
    with pytest.raises(DriverError, match="used.idx is 1 ahead, with a batch of 2 chains"):
        queue.get_used()


def set_avail_event(queue, index):
    queue.used.write(index.to_bytes(2, "little"), 4 + 8 * queue.size)


def test_kicks_are_wanted_unless_the_flags_say_otherwise():
    _, queue = make()
    assert queue.needs_kick()
    queue.used.write(b"\1\0")
    queue.add_chain([(0x1100, 4)])
    assert not queue.needs_kick()
    queue.used.write(b"\0\0")
    assert queue.needs_kick()


@pytest.mark.parametrize(
    ("start", "added", "event", "wanted"),
    [
        (0, 1, 0, True),
        (0, 1, 1, False),
        (0, 3, 2, True),
        (0, 3, 3, False),
        (5, 2, 4, False),
        (5, 2, 5, True),
        (5, 2, 0x8005, False),
        (0xFFFE, 3, 0xFFFD, False),
        (0xFFFE, 3, 0xFFFF, True),
        (0xFFFE, 3, 0, True),
        (0xFFFE, 3, 1, False),
        (7, 0, 6, False),
    ],
)
def test_a_kick_is_wanted_when_its_entry_has_been_made_available(start, added, event, wanted):
    _, queue = make(event_idx=True)
    queue.next_avail = start
    queue.publish()
    queue.needs_kick()
    set_avail_event(queue, event)
    queue.used.write(b"\1\0")  # which means nothing here
    for _ in range(added):
        queue.add_chain([(0x1100, 4)])
    assert queue.needs_kick() == wanted
    assert not queue.needs_kick()


def used_event(queue):
    return int.from_bytes(queue.avail.read(4 + 2 * queue.size, 2), "little")


def test_interrupts_are_asked_for_at_the_next_used_entry():
    _, queue = make(event_idx=True)
    for count in range(3):
        head = queue.add_chain([], [(0x1300, 7)])
        assert (used_event(queue), queue.avail.read(0, 2)) == (count, b"\0\0")
        assert not queue.arm()
        play(queue, (head, 7))
        assert queue.arm()
        queue.get_used()
    queue.arm(after=4)
    assert used_event(queue) == 7
    queue.want_interrupts(False)
    queue.add_chain([], [(0x1300, 7)])
    assert (used_event(queue), queue.avail.read(0, 2)) == (2, b"\0\0")


@pytest.mark.parametrize(("event_idx", "flags"), [(True, 1), (False, 3)])
def test_flags_that_a_device_must_not_set_are_noticed(event_idx, flags):
    _, queue = make(event_idx=event_idx)
    head = queue.add_chain([], [(0x1300, 7)])
    queue.used.write(flags.to_bytes(2, "little"))
    play(queue, (head, 7))
    with pytest.raises(DriverError, match=f"used.flags has unknown bits 0x{flags}"):
        queue.get_used()


def test_an_event_index_that_was_not_negotiated_is_noticed():
    _, queue = make()
    set_avail_event(queue, 3)
    play(queue, (queue.add_chain([], [(0x1300, 7)]), 7))
    with pytest.raises(DriverError, match="avail_event is 3, without EVENT_IDX"):
        queue.get_used()


@pytest.mark.parametrize("variant", [v for v in variants() if not v.packed and v.event_idx], ids=str)
def test_event_indices_wrap_at_16_bits_on_both_sides(variant):
    """Every kick is asked about, and every interrupt waited for, across the end of the indices."""

    async def go():
        host = ModelHost(Rng(EntropySource(1)), queue_size=4, rings=RingOptions())
        device = await probe(host, variant=variant)
        await device.start(queue_size=4)
        queue, far = device.queues[0], 0xFFFA
        model = host.device.queues[0]
        model.next_avail = model.used_index = model._told = far
        queue.next_avail = queue.next_used = far
        queue.publish()
        queue.needs_kick()
        queue.used.write(far.to_bytes(2, "little"), 2)
        set_avail_event(queue, far)
        for count in (1, 3, 2, 4, 1, 2):
            before = host.interrupts(1)
            requests = [device.prepare(0, [], [9], direct=0 if variant.indirect else 1) for _ in range(count)]
            await device.kick()
            await device.wait_interrupt(1, before)
            await device.wait(*requests)
            await host.sleep(2000)
        assert queue.used_index == (far + 13) % 2**16

    run(go())

"""The device side of a ring against rings laid out by hand."""

import pytest
from helpers.ring_memory import Memory, drain
from virtio_models.ring import Chain, RingError, Segment
from virtio_models.split import SplitQueue
from virtio_spec.layout import Cause
from virtio_spec.virtio import Feature

DESC, AVAIL, USED, DATA, TABLE = 0x1000, 0x2000, 0x3000, 0x4000, 0x5000
NEXT, WRITE, INDIRECT = 1, 2, 4


def ring(descriptors, available, *, size=4, index=None, table=(), features=()):
    memory = Memory()
    places = [(DESC + 16 * number, fields) for number, fields in descriptors.items()]
    places += [(TABLE + 16 * number, fields) for number, fields in enumerate(table)]
    for place, (address, length, flags, following) in places:
        raw = address.to_bytes(8, "little") + length.to_bytes(4, "little")
        raw += flags.to_bytes(2, "little") + following.to_bytes(2, "little")
        memory.bytes[place : place + 16] = raw
    for position, head in enumerate(available):
        memory.bytes[AVAIL + 4 + 2 * position : AVAIL + 6 + 2 * position] = head.to_bytes(2, "little")
    index = len(available) if index is None else index
    memory.bytes[AVAIL + 2 : AVAIL + 4] = index.to_bytes(2, "little")
    bits = sum(1 << feature for feature in features) if features else 0
    return memory, SplitQueue(size, desc=DESC, driver=AVAIL, device=USED, features=bits)


def test_a_chain_is_followed_over_both_directions():
    memory, queue = ring(
        {2: (DATA, 16, NEXT, 0), 0: (DATA + 32, 4, NEXT, 3), 3: (DATA + 64, 8, WRITE, 9)}, [2]
    )
    memory.bytes[DATA : DATA + 16] = b"0123456789abcdef"
    memory.bytes[DATA + 32 : DATA + 36] = b"ghij"
    chain = queue.fetch(memory)
    assert chain == Chain(
        2, [Segment(DATA, 16), Segment(DATA + 32, 4)], [Segment(DATA + 64, 8)], id=2, descriptors=3
    )
    assert chain is not None and chain.room == 8
    assert queue.gather(memory, chain) == b"0123456789abcdefghij"
    assert queue.fetch(memory) is None


def test_data_goes_over_segments_and_stops_where_it_ends():
    memory, queue = ring({}, [])
    chain = Chain(0, [], [Segment(DATA, 3), Segment(DATA + 16, 4), Segment(DATA + 32, 4)])
    drain(queue.scatter(memory, chain, b"abcde"))
    assert memory.writes == [(DATA, b"abc"), (DATA + 16, b"de")]


def test_the_element_is_written_before_the_index():
    memory, queue = ring({}, [])
    queue.used_index = 5
    drain(queue.push(memory, [(Chain(3, id=3), 0x102)]))
    element = bytes.fromhex("0300000002010000")
    assert memory.writes == [(USED + 4 + 8 * (5 % 4), element), (USED + 2, b"\x06\x00")]


def test_indices_wrap_at_16_bits():
    memory, queue = ring({1: (DATA, 8, WRITE, 0)}, [0, 0, 0, 1], index=0)
    queue.next_avail = queue.used_index = 0xFFFF
    chain = queue.fetch(memory)
    assert chain is not None and chain.head == 1
    drain(queue.push(memory, [(chain, 8)]))
    assert (queue.next_avail, queue.used_index) == (0, 0)
    assert memory.writes == [(USED + 4 + 8 * 3, bytes.fromhex("0100000008000000")), (USED + 2, b"\0\0")]


def test_no_interrupt_is_read_when_asked():
    memory, queue = ring({}, [])
    assert queue.wants_interrupt(memory)
    memory.bytes[AVAIL] = 1
    assert not queue.wants_interrupt(memory)


@pytest.mark.parametrize(
    ("descriptors", "available", "index", "cause", "head", "descriptor"),
    [
        ({}, [0], 5, Cause.AVAIL_INDEX, 0, 0),
        ({}, [4], 1, Cause.HEAD_INDEX, 4, 0),
        ({1: (DATA, 8, NEXT, 4)}, [1], 1, Cause.NEXT_INDEX, 1, 1),
        ({1: (DATA, 8, NEXT, 1)}, [1], 1, Cause.CHAIN_LOOP, 1, 1),
        ({n: (DATA, 8, NEXT, (n + 1) % 4) for n in range(4)}, [0], 1, Cause.CHAIN_LOOP, 0, 0),
        ({2: (DATA, 8, NEXT, 3), 3: (DATA, 0, WRITE, 0)}, [2], 1, Cause.ZERO_LENGTH, 2, 3),
        ({2: (DATA, 8, NEXT | WRITE, 3), 3: (DATA, 8, 0, 0)}, [2], 1, Cause.READABLE_AFTER_WRITABLE, 2, 3),
        ({0: (DATA, 16, INDIRECT, 0)}, [0], 1, Cause.INDIRECT, 0, 0),
        (
            {0: (DATA, 0xFFFF_FFFF, NEXT, 1), 1: (DATA, 1, 0, 0)},
            [0],
            1,
            Cause.TOTAL_LENGTH,
            0,
            1,
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Cause) else "",
)
def test_a_broken_ring_is_refused(descriptors, available, index, cause, head, descriptor):
    memory, queue = ring(descriptors, available, index=index)
    with pytest.raises(RingError) as error:
        queue.fetch(memory)
    assert (error.value.cause, error.value.head, error.value.descriptor) == (cause, head, descriptor)


def test_what_is_just_within_the_limits_is_served():
    whole = {n: (DATA, 8, NEXT if n < 3 else 0, n + 1) for n in range(4)}
    memory, queue = ring(whole, [0], index=4)
    chain = queue.fetch(memory)
    assert chain is not None and len(chain.readable) == 4
    memory, queue = ring({0: (DATA, 0xFFFF_FFFE, NEXT, 1), 1: (DATA, 1, 0, 0)}, [0])
    assert queue.fetch(memory) is not None


# -- indirect tables -------------------------------------------------------------------------------------


INDIRECT_DESC = [Feature.INDIRECT_DESC]


@pytest.mark.parametrize("write", [0, WRITE])
def test_a_table_is_linked_as_descriptors_are(write):
    """SPLIT-DEV-07: WRITE on what points at the table is disregarded. Trap 15."""
    table = [(DATA, 4, NEXT, 2), (DATA + 32, 6, WRITE, 0), (DATA + 16, 5, NEXT | WRITE, 1)]
    memory, queue = ring(
        {3: (TABLE, 48, INDIRECT | write, 9)}, [3], table=table, features=INDIRECT_DESC, size=4
    )
    assert queue.fetch(memory) == Chain(
        3, [Segment(DATA, 4)], [Segment(DATA + 16, 5), Segment(DATA + 32, 6)], id=3, descriptors=1
    )


def test_a_direct_chain_may_end_in_a_table():
    """SPLIT-DEV-08. Trap 14."""
    direct = {2: (DATA, 4, NEXT, 1), 1: (DATA + 8, 3, NEXT | WRITE, 0), 0: (TABLE, 32, INDIRECT, 0)}
    table = [(DATA + 16, 2, NEXT | WRITE, 1), (DATA + 32, 1, WRITE, 0)]
    memory, queue = ring(direct, [2], table=table, features=INDIRECT_DESC)
    assert queue.fetch(memory) == Chain(
        2,
        [Segment(DATA, 4)],
        [Segment(DATA + 8, 3), Segment(DATA + 16, 2), Segment(DATA + 32, 1)],
        id=2,
        descriptors=3,
    )


def test_a_table_may_be_as_long_as_the_largest_queue():
    table = [(DATA, 1, NEXT, n + 1) for n in range(3)] + [(DATA, 1, 0, 0)]
    memory, queue = ring({0: (TABLE, 64, INDIRECT, 0)}, [0], table=table, features=INDIRECT_DESC)
    queue.size = 1
    chain = queue.fetch(memory)
    assert chain is not None and len(chain.readable) == 4


@pytest.mark.parametrize(
    ("descriptors", "table", "cause", "head", "descriptor"),
    [
        ({1: (TABLE, 0, INDIRECT, 0)}, [], Cause.INDIRECT_TABLE, 1, 1),
        ({1: (TABLE, 24, INDIRECT, 0)}, [], Cause.INDIRECT_TABLE, 1, 1),
        ({1: (TABLE, 80, INDIRECT, 0)}, [], Cause.INDIRECT_TABLE, 1, 1),
        ({1: (TABLE, 16, INDIRECT | NEXT, 0)}, [(DATA, 1, 0, 0)], Cause.INDIRECT_NESTED, 1, 1),
        (
            {1: (TABLE, 32, INDIRECT, 0)},
            [(DATA, 1, NEXT, 1), (TABLE, 16, INDIRECT, 0)],
            Cause.INDIRECT_NESTED,
            1,
            1,
        ),
        ({1: (TABLE, 16, INDIRECT, 0)}, [(DATA, 1, NEXT, 1)], Cause.NEXT_INDEX, 1, 0),
        ({1: (TABLE, 32, INDIRECT, 0)}, [(DATA, 1, NEXT, 0)], Cause.CHAIN_LOOP, 1, 0),
        ({1: (TABLE, 16, INDIRECT, 0)}, [(DATA, 0, 0, 0)], Cause.ZERO_LENGTH, 1, 0),
        (
            {1: (DATA, 4, WRITE | NEXT, 0), 0: (TABLE, 16, INDIRECT, 0)},
            [(DATA, 1, 0, 0)],
            Cause.READABLE_AFTER_WRITABLE,
            1,
            0,
        ),
        (
            {1: (DATA, 0xFFFF_FFFF, NEXT, 0), 0: (TABLE, 16, INDIRECT, 0)},
            [(DATA, 1, 0, 0)],
            Cause.TOTAL_LENGTH,
            1,
            0,
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Cause) else "",
)
def test_a_broken_table_is_refused(descriptors, table, cause, head, descriptor):
    """SPLIT-DRV-07, SPLIT-DRV-08, SPLIT-DRV-09."""
    memory, queue = ring(descriptors, [1], table=table, features=INDIRECT_DESC)
    with pytest.raises(RingError) as error:
        queue.fetch(memory)
    assert (error.value.cause, error.value.head, error.value.descriptor) == (cause, head, descriptor)


def test_there_are_no_more_descriptors_than_the_queue_has():
    chain = {0: (DATA, 8, NEXT, 1), 1: (DATA, 8, 0, 0), 2: (DATA, 8, NEXT, 3), 3: (DATA, 8, 0, 0)}
    memory, queue = ring(chain, [0, 2, 1])
    first = queue.fetch(memory)
    assert first is not None and queue.fetch(memory) is not None
    with pytest.raises(RingError, match="DESCRIPTOR_REUSE, head 1"):
        queue.fetch(memory)
    memory, queue = ring(chain, [0, 2, 1])
    first = queue.fetch(memory)
    assert first is not None and queue.fetch(memory) is not None
    drain(queue.push(memory, [(first, 0)]))
    assert queue.fetch(memory) is not None


# -- several at once, and notifications --------------------------------------------------------------------


def test_one_index_tells_of_several_chains():
    memory, queue = ring({}, [])
    queue.used_index = 3
    drain(queue.push(memory, [(Chain(2, id=2), 7), (Chain(0), 0)]))
    assert memory.writes == [
        (USED + 4 + 8 * 3, bytes.fromhex("0200000007000000")),
        (USED + 4, bytes(8)),
        (USED + 2, b"\x05\0"),
    ]


def test_the_last_element_can_stand_for_all():
    """RFB-DEV-05; it stands where the element of the first chain would."""
    memory, queue = ring({}, [])
    queue.used_index = 3
    drain(queue.push(memory, [(Chain(2, id=2), 7), (Chain(1, id=1), 5)], merged=True))
    assert memory.writes == [(USED + 4 + 8 * 3, bytes.fromhex("0100000005000000")), (USED + 2, b"\x05\0")]


@pytest.mark.parametrize(
    ("before", "count", "event", "wanted"),
    [
        (0, 1, 0, True),
        (0, 1, 1, False),
        (0, 1, 0xFFFF, False),
        (5, 3, 4, False),
        (5, 3, 5, True),
        (5, 3, 7, True),
        (5, 3, 8, False),
        (0xFFFE, 4, 0xFFFF, True),
        (0xFFFE, 4, 0, True),
        (0xFFFE, 4, 1, True),
        (0xFFFE, 4, 2, False),
        (0xFFFE, 4, 0xFFFD, False),
    ],
)
def test_used_event_decides_on_interrupts(before, count, event, wanted):
    """SPLIT-DEV-12, SPLIT-DEV-13, SPLIT-DEV-14. Trap 11."""
    memory, queue = ring({}, [], features=[Feature.EVENT_IDX])
    queue.used_index = before
    queue.wants_interrupt(memory)
    drain(queue.push(memory, [(Chain(0), 0)] * count))
    memory.bytes[AVAIL] = 1
    memory.bytes[AVAIL + 12 : AVAIL + 14] = event.to_bytes(2, "little")
    assert queue.wants_interrupt(memory) == wanted
    assert not queue.wants_interrupt(memory)


def test_without_event_index_used_event_is_not_looked_at():
    """SPLIT-DEV-09, SPLIT-DEV-11."""
    memory, queue = ring({}, [])
    memory.bytes[AVAIL + 12] = 5
    drain(queue.push(memory, [(Chain(0), 0)]))
    assert queue.wants_interrupt(memory)


def test_avail_event_is_the_next_entry_and_written_once():
    """SPLIT-DEV-21."""
    memory, queue = ring({1: (DATA, 8, 0, 0)}, [1], features=[Feature.EVENT_IDX])
    assert queue.arm(memory)
    assert not queue.arm(memory)
    assert queue.fetch(memory) is not None
    assert queue.arm(memory)
    event = USED + 4 + 8 * 4
    assert memory.writes == [(event, b"\0\0"), (event, b"\x01\0")]


def test_without_event_index_avail_event_is_not_written():
    memory, queue = ring({}, [])
    assert not queue.arm(memory)
    assert memory.writes == []

"""The device side of a ring against rings laid out by hand."""

import pytest
from virtio_models.ring import Chain, RingError, Segment
from virtio_models.split import SplitQueue
from virtio_spec.layout import Cause

DESC, AVAIL, USED, DATA = 0x1000, 0x2000, 0x3000, 0x4000
NEXT, WRITE, INDIRECT = 1, 2, 4


class Memory:
    def __init__(self):
        self.bytes = bytearray(0x8000)
        self.writes: list[tuple[int, bytes]] = []

    def read(self, address, length):
        return bytes(self.bytes[address : address + length])

    def write(self, address, data):
        self.bytes[address : address + len(data)] = data
        self.writes.append((address, bytes(data)))

    def interrupt(self, address, data):
        raise AssertionError("a ring sends no messages")


def ring(descriptors, available, *, size=4, index=None):
    memory = Memory()
    for number, (address, length, flags, following) in descriptors.items():
        raw = address.to_bytes(8, "little") + length.to_bytes(4, "little")
        raw += flags.to_bytes(2, "little") + following.to_bytes(2, "little")
        memory.bytes[DESC + 16 * number : DESC + 16 * number + 16] = raw
    for position, head in enumerate(available):
        memory.bytes[AVAIL + 4 + 2 * position : AVAIL + 6 + 2 * position] = head.to_bytes(2, "little")
    index = len(available) if index is None else index
    memory.bytes[AVAIL + 2 : AVAIL + 4] = index.to_bytes(2, "little")
    return memory, SplitQueue(size, desc=DESC, driver=AVAIL, device=USED)


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
    for _ in queue.scatter(memory, chain, b"abcde"):
        pass
    assert memory.writes == [(DATA, b"abc"), (DATA + 16, b"de")]


def test_the_element_is_written_before_the_index():
    memory, queue = ring({}, [])
    queue.used_index = 5
    for _ in queue.push(memory, [(Chain(3, id=3), 0x102)]):
        pass
    element = bytes.fromhex("0300000002010000")
    assert memory.writes == [(USED + 4 + 8 * (5 % 4), element), (USED + 2, b"\x06\x00")]


def test_indices_wrap_at_16_bits():
    memory, queue = ring({1: (DATA, 8, WRITE, 0)}, [0, 0, 0, 1], index=0)
    queue.next_avail = queue.used_index = 0xFFFF
    chain = queue.fetch(memory)
    assert chain is not None and chain.head == 1
    for _ in queue.push(memory, [(chain, 8)]):
        pass
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

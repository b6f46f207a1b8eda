"""The device side of a packed ring against rings laid out by hand.  [virtio 1.4 §2.8]"""

import random

import pytest
from helpers.ring_memory import Memory, drain
from virtio_models.packed import PackedQueue
from virtio_models.ring import Chain, RingError, Segment
from virtio_spec.layout import Cause
from virtio_spec.virtio import Feature

RING, DRIVER, DEVICE, DATA, TABLE = 0x1000, 0x2000, 0x2010, 0x4000, 0x5000
NEXT, WRITE, INDIRECT, AVAIL, USED = 1, 2, 4, 0x80, 0x8000
FIRST, SECOND = AVAIL, USED  # flags of what is available in the first round, and in the second


def descriptor(address, length, identity, flags):
    raw = address.to_bytes(8, "little") + length.to_bytes(4, "little")
    return raw + identity.to_bytes(2, "little") + flags.to_bytes(2, "little")


def ring(descriptors, *, size=3, features=0, table=()):
    memory = Memory()
    for place, fields in descriptors.items():
        memory.bytes[RING + 16 * place : RING + 16 * place + 16] = descriptor(*fields)
    for number, fields in enumerate(table):
        memory.bytes[TABLE + 16 * number : TABLE + 16 * number + 16] = descriptor(*fields)
    bits = sum(1 << feature for feature in features) if features else 0
    return memory, PackedQueue(size, desc=RING, driver=DRIVER, device=DEVICE, features=bits)


def used(queue, *chains, merged=False):
    """Writes of ``(identity, descriptors, written)``, in order."""
    memory = Memory()
    done = [(Chain(0, id=identity, descriptors=count), written) for identity, count, written in chains]
    queue.held += sum(count for _, count, _ in chains)
    drain(queue.push(memory, done, merged=merged))
    return memory.writes


def test_a_list_has_the_id_of_its_last_descriptor():
    """PACKED-DRV-P02, PACKED-DRV-P03."""
    memory, queue = ring({})
    memory.put(RING + 0x00, "0040000000000000 10000000 ffff 8100")  # readable, next
    memory.put(RING + 0x10, "2040000000000000 08000000 ffff 8300")  # writable, next
    memory.put(RING + 0x20, "4040000000000000 04000000 2a01 8200")  # writable
    chain = queue.fetch(memory)
    assert chain == Chain(
        0, [Segment(DATA, 16)], [Segment(DATA + 32, 8), Segment(DATA + 64, 4)], id=0x12A, descriptors=3
    )
    assert queue.fetch(memory) is None


def test_a_list_goes_round_the_end_of_the_ring():
    """PACKED-DRV-P01: the wrap counter is 0 behind the last descriptor. PACKED-DEV-P11: 3 is a size."""
    memory, queue = ring({2: (DATA, 8, 9, FIRST | NEXT), 0: (DATA + 8, 4, 5, SECOND | WRITE)})
    queue.next_avail = 2
    chain = queue.fetch(memory)
    assert chain == Chain(2, [Segment(DATA, 8)], [Segment(DATA + 8, 4)], id=5, descriptors=2)
    assert queue.fetch(memory) is None
    memory.bytes[RING + 16 : RING + 32] = descriptor(DATA, 1, 7, SECOND)
    chain = queue.fetch(memory)
    assert chain is not None and (chain.head, chain.id) == (1, 7)


@pytest.mark.parametrize(
    ("round", "flags", "available"),
    [
        (1, 0, False),
        (1, AVAIL, True),
        (1, USED, False),
        (1, AVAIL | USED, False),
        (2, 0, False),
        (2, AVAIL, False),
        (2, USED, True),
        (2, AVAIL | USED, False),
    ],
)
def test_both_flags_say_what_is_available(round, flags, available):
    """PACKED-DEV-06. Trap 28."""
    memory, queue = ring({1: (DATA, 8, 0, flags)})
    queue.next_avail = 1 if round == 1 else 4
    assert (queue.fetch(memory) is not None) == available


@pytest.mark.parametrize(
    ("table", "entries"),
    [
        ([(DATA, 8, 0, 0)], ([Segment(DATA, 8)], [])),
        (
            [(DATA, 8, 1, NEXT | AVAIL), (DATA + 8, 9, 2, INDIRECT), (DATA + 32, 5, 3, WRITE | USED)],
            ([Segment(DATA, 8), Segment(DATA + 8, 9)], [Segment(DATA + 32, 5)]),
        ),
    ],
)
@pytest.mark.parametrize("write", [0, WRITE])
def test_of_flags_in_an_indirect_table_only_write_counts(table, entries, write):
    """PACKED-DEV-P06; PACKED-DEV-P07: of what points at it, WRITE does not."""
    pointer = {0: (TABLE, 16 * len(table), 0x77, FIRST | INDIRECT | write)}
    memory, queue = ring(pointer, table=table, features=[Feature.INDIRECT_DESC])
    chain = queue.fetch(memory)
    assert chain == Chain(0, *entries, id=0x77, descriptors=1)


def test_an_indirect_table_may_be_as_long_as_the_largest_queue():
    table = [(DATA, 1, 0, 0)] * 4
    memory, queue = ring(
        {0: (TABLE, 64, 0, FIRST | INDIRECT)}, size=4, table=table, features=[Feature.INDIRECT_DESC]
    )
    queue.size = 1
    chain = queue.fetch(memory)
    assert chain is not None and len(chain.readable) == 4


FULL = {place: (DATA, 8, 0, FIRST | NEXT) for place in range(3)}


@pytest.mark.parametrize(
    ("descriptors", "cause", "head", "number"),
    [
        ({0: (DATA, 8, 0, FIRST | NEXT)}, Cause.CHAIN_INCOMPLETE, 0, 1),
        (
            {0: (DATA, 8, 0, FIRST | NEXT), 1: (DATA, 8, 0, SECOND)},
            Cause.CHAIN_INCOMPLETE,
            0,
            1,
        ),
        (FULL, Cause.CHAIN_LOOP, 0, 2),
        ({0: (DATA, 0, 0, FIRST)}, Cause.ZERO_LENGTH, 0, 0),
        (
            {0: (DATA, 8, 0, FIRST | NEXT | WRITE), 1: (DATA, 8, 0, FIRST)},
            Cause.READABLE_AFTER_WRITABLE,
            0,
            1,
        ),
        (
            {0: (DATA, 0xFFFF_FFFF, 0, FIRST | NEXT), 1: (DATA, 1, 0, FIRST)},
            Cause.TOTAL_LENGTH,
            0,
            1,
        ),
        ({0: (TABLE, 16, 0, FIRST | INDIRECT | NEXT)}, Cause.INDIRECT_NESTED, 0, 0),
        (
            {0: (DATA, 8, 0, FIRST | NEXT), 1: (TABLE, 16, 0, FIRST | INDIRECT)},
            Cause.INDIRECT_NESTED,
            0,
            1,
        ),
        ({0: (TABLE, 0, 0, FIRST | INDIRECT)}, Cause.INDIRECT_TABLE, 0, 0),
        ({0: (TABLE, 24, 0, FIRST | INDIRECT)}, Cause.INDIRECT_TABLE, 0, 0),
        ({0: (TABLE, 64, 0, FIRST | INDIRECT)}, Cause.INDIRECT_TABLE, 0, 0),
        ({0: (TABLE, 32, 0, FIRST | INDIRECT)}, Cause.ZERO_LENGTH, 0, 1),
    ],
    ids=lambda value: value.name if isinstance(value, Cause) else "",
)
def test_a_broken_ring_is_refused(descriptors, cause, head, number):
    memory, queue = ring(descriptors, table=[(DATA, 8, 0, 0)], features=[Feature.INDIRECT_DESC])
    with pytest.raises(RingError) as error:
        queue.fetch(memory)
    assert (error.value.cause, error.value.head, error.value.descriptor) == (cause, head, number)


def test_an_indirect_descriptor_has_to_be_negotiated():
    memory, queue = ring({0: (TABLE, 16, 0, FIRST | INDIRECT)}, table=[(DATA, 8, 0, 0)])
    with pytest.raises(RingError, match="INDIRECT, head 0, descriptor 0"):
        queue.fetch(memory)


def test_what_the_device_has_not_given_back_cannot_be_available_again():
    memory, queue = ring({place: (DATA, 8, place, FIRST) for place in range(3)})
    for _ in range(3):
        assert queue.fetch(memory) is not None
    memory.bytes[RING : RING + 16] = descriptor(DATA, 8, 3, SECOND)
    with pytest.raises(RingError, match="DESCRIPTOR_REUSE, head 0"):
        queue.fetch(memory)


def test_the_used_flags_are_written_last():
    """PACKED-DEV-07, PACKED-DEV-P02, PACKED-DEV-P03, PACKED-DEV-P04. Trap 28."""
    _, queue = ring({})
    assert used(queue, (0x12A, 1, 0x102)) == [
        (RING + 8, bytes.fromhex("02010000 2a01")),
        (RING + 14, bytes.fromhex("8280")),
    ]
    assert used(queue, (7, 1, 0)) == [
        (RING + 16 + 8, bytes.fromhex("00000000 0700")),
        (RING + 16 + 14, bytes.fromhex("8080")),
    ]


def test_the_list_is_skipped_and_the_wrap_counter_flips():
    """PACKED-DEV-P05, PACKED-DEV-P01."""
    _, queue = ring({})
    places = [(at, data) for at, data in used(queue, (1, 2, 0)) if len(data) == 2]
    places += [(at, data) for at, data in used(queue, (2, 2, 0)) if len(data) == 2]
    places += [(at, data) for at, data in used(queue, (3, 2, 5)) if len(data) == 2]
    places += [(at, data) for at, data in used(queue, (4, 1, 0)) if len(data) == 2]
    assert places == [
        (RING + 0x0E, b"\x80\x80"),
        (RING + 0x2E, b"\x80\x80"),
        (RING + 0x1E, b"\x02\x00"),
        (RING + 0x0E, b"\x80\x80"),
    ]


def test_of_several_lists_the_first_becomes_used_last():
    """PACKED-DEV-P09."""
    _, queue = ring({})
    queue.next_used = 2
    written = used(queue, (6, 1, 3), (5, 1, 0), (4, 1, 0))
    assert [at for at, data in written if len(data) == 2] == [RING + 0x1E, RING + 0x0E, RING + 0x2E]
    assert {at: data for at, data in written if len(data) == 2} == {
        RING + 0x2E: b"\x82\x80",
        RING + 0x0E: b"\0\0",
        RING + 0x1E: b"\0\0",
    }
    assert {at: data for at, data in written if len(data) == 6} == {
        RING + 0x28: bytes.fromhex("03000000 0600"),
        RING + 0x08: bytes.fromhex("00000000 0500"),
        RING + 0x18: bytes.fromhex("00000000 0400"),
    }


def test_the_last_id_can_stand_for_all():
    """PACKED-DEV-P08."""
    _, queue = ring({})
    assert used(queue, (6, 1, 3), (5, 1, 2), merged=True) == [
        (RING + 8, bytes.fromhex("02000000 0500")),
        (RING + 14, b"\x82\x80"),
    ]
    assert used(queue, (1, 1, 0))[0][0] == RING + 0x28


@pytest.mark.parametrize(
    ("event", "features", "wanted"),
    [
        ("0000 0000", [], True),
        ("0000 0100", [], False),
        ("0180 0000", [Feature.EVENT_IDX], True),
        ("0280 0100", [Feature.EVENT_IDX], False),
        ("0180 0200", [Feature.EVENT_IDX], False),  # the place before, used long ago
        ("0280 0200", [Feature.EVENT_IDX], True),  # the first place used
        ("0000 0200", [Feature.EVENT_IDX], True),  # the place that was skipped
        ("0100 0200", [Feature.EVENT_IDX], False),  # the place that comes next
        ("0200 0200", [Feature.EVENT_IDX], False),
        ("0080 0200", [Feature.EVENT_IDX], False),
        ("0100 0200", [], True),  # not negotiated, so it silences nothing
    ],
)
def test_the_drivers_event_suppression_decides_on_interrupts(event, features, wanted):
    """PACKED-DEV-P10: two descriptors are used, from the last place of the first round on."""
    memory, queue = ring({}, features=features)
    used(queue, (0, 2, 0))
    queue.wants_interrupt(memory)
    used(queue, (1, 2, 0))
    memory.put(DRIVER, event)
    assert queue.wants_interrupt(memory) == wanted


def test_an_event_is_one_interrupt():
    memory, queue = ring({}, features=[Feature.EVENT_IDX])
    memory.put(DRIVER, "0180 0200")
    found = []
    for _ in range(7):
        used(queue, (0, 1, 0))
        found.append(queue.wants_interrupt(memory))
    assert found == [False, True, False, False, False, False, False]


def test_the_device_asks_for_the_next_place_once():
    """PACKED-DEV-11."""
    memory, queue = ring({0: (DATA, 8, 0, FIRST)}, size=1, features=[Feature.EVENT_IDX])
    assert queue.arm(memory)
    assert not queue.arm(memory)
    assert queue.fetch(memory) is not None
    assert queue.arm(memory)
    assert memory.writes == [(DEVICE, bytes.fromhex("0080 0200")), (DEVICE, bytes.fromhex("0000 0200"))]


def test_without_event_index_nothing_is_suppressed():
    memory, queue = ring({})
    assert not queue.arm(memory)
    assert memory.writes == []


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_lists_of_any_length_go_round_for_long(size):
    """A driver of its own takes places again as soon as a chain is back, in any order."""
    rng = random.Random(size)
    memory, queue = ring({}, size=size)
    place, wrap, free = 0, True, size  # the driver's side
    look, look_wrap = 0, True
    lengths, device = {}, []
    for identity in range(300):
        count = rng.randint(1, size)
        while free < count or (device and rng.random() < 0.4):
            chain = device.pop(rng.randrange(len(device)))
            drain(queue.push(memory, [(chain, 0)]))
            raw = memory.read(RING + 16 * look, 16)
            assert int.from_bytes(raw[14:], "little") == (AVAIL | USED if look_wrap else 0)
            taken = lengths.pop(int.from_bytes(raw[12:14], "little"))
            free, look = free + taken, look + taken
            if look >= size:
                look, look_wrap = look - size, not look_wrap
        lengths[identity], free = count, free - count
        writes = []
        for number in range(count):
            more = NEXT if number < count - 1 else 0
            flags = (FIRST if wrap else SECOND) | more
            writes.append((RING + 16 * place, descriptor(DATA + number, 1, identity, flags)))
            place += 1
            if place == size:
                place, wrap = 0, not wrap
        for address, raw in reversed(writes):
            assert queue.fetch(memory) is None
            memory.bytes[address : address + 16] = raw
        chain = queue.fetch(memory)
        assert chain is not None and (chain.id, chain.descriptors) == (identity, count)
        assert [segment.address for segment in chain.readable] == [DATA + n for n in range(count)]
        device.append(chain)

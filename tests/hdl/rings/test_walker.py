import random
import struct
from collections import deque
from typing import Any

import pytest
from amaranth_virtio.rings.options import RingOptions
from amaranth_virtio.rings.walker import Walker
from helpers.ring import HostMemory
from helpers.simulation import design, simulate, stalled
from helpers.walk import INDIRECT, NEXT, WRITE, PackedQueue, SplitQueue, WalkBench, walk_split
from virtio_spec.layout import Cause

BUFFER = 0x5_0000_0000


def options(*names):
    return RingOptions(**{name: name in names for name in ("packed", "indirect", "event_idx", "in_order")})


def segments(rng, most):
    readable = rng.randint(0, most)
    writable = rng.randint(0 if readable else 1, max(most - readable, 0 if readable else 1))
    return [
        (rng.getrandbits(64), rng.randint(1, 5000), int(position >= readable))
        for position in range(readable + writable)
    ]


def split_source(queue, chain, **layout):
    def make(token):
        head = queue.offer(chain, **layout)
        return None if head is None else ([{"token": token, "head": head}], chain, head, 0)

    return make


def packed_source(queue, chain, identity, direct):
    def make(token):
        items = queue.offer(token, chain, identity=identity, direct=direct)
        skip = (direct or 0) + 1 if direct is not None and direct < len(chain) else len(chain)
        return None if items is None else (items, chain, identity, skip)

    return make


def run(bench, dut, done=None, *, settle=60, deadline=30_000):
    total = sum(map(len, bench.sources))
    done = done or (lambda bench: sum(bench.released) == total)

    async def test(ctx):
        await bench.run(ctx, done, settle=settle)

    simulate(dut, test, deadline=deadline)


@pytest.mark.parametrize(("width", "stall"), stalled(64, 128, 256))
def test_chains_of_any_framing_come_out_whole_and_in_ring_order(width, stall):
    """Traps 13, 14 and 15: SPLIT-DEV-01, SPLIT-DEV-08, SPLIT-DEV-07."""
    rng = random.Random(width + int(10 * stall))
    memory = HostMemory(seed=width)
    sizes = [16, 4, 2]
    queues = [SplitQueue(memory, size, rng) for size in sizes]
    dut = design(Walker, width=width, queues=3, queue_size=16, quota=4, options=options("indirect"))
    bench = WalkBench(dut, memory, queues, seed=width, stall=stall, latency=rng.choice((0, 30)))
    for queue, source in zip(queues, bench.sources, strict=True):
        for _ in range(4 if stall == 0.9 else 10):
            if rng.random() < 0.5:
                chain = segments(rng, min(queue.size, 6))
                layout = {}
            else:
                chain = segments(rng, 12)
                direct = rng.randint(0, min(queue.size - 1, len(chain) - 1, 3))
                layout = {"direct": direct, "spare": rng.randint(0, 2)}
            source.append(split_source(queue, chain, shuffled=rng.random() < 0.5, **layout))
    run(bench, dut)
    assert bench.errors == []


@pytest.mark.parametrize(("width", "stall"), stalled(64, 256))
def test_packed_chains_come_out_whole_and_in_ring_order(width, stall):
    """Trap 15 in its packed form: PACKED-DEV-P07; and PACKED-DEV-P06."""
    rng = random.Random(width + int(10 * stall))
    memory = HostMemory(seed=width)
    queues = [PackedQueue(memory, size, rng) for size in (16, 7, 3)]
    dut = design(Walker, width=width, queues=3, queue_size=16, quota=4, options=options("indirect", "packed"))
    bench = WalkBench(dut, memory, queues, seed=width, stall=stall, latency=20, packed=True)
    for queue, source in zip(queues, bench.sources, strict=True):
        for _ in range(4 if stall == 0.9 else 10):
            if rng.random() < 0.5:
                chain, direct = segments(rng, min(queue.size, 6)), None
            else:  # a table is alone in its chain: PACKED-DRV-15
                chain, direct = segments(rng, 12), 0
            source.append(packed_source(queue, chain, rng.getrandbits(16), direct))
    run(bench, dut)
    assert bench.errors == []


def hand_made(queue, head, *rows):
    """A broken chain from ``head`` on; each row is ``(index, address, length, flags, link)``."""

    def make(token):
        for row in rows:
            queue.put(queue.desc, *row)
        return [{"token": token, "head": head}], None, head, 0

    return make


def table(memory, *rows):
    address = memory.allocate(16 * max(len(rows), 1), align=16)
    for index, row in enumerate(rows):
        memory.write(address + 16 * index, struct.pack("<QIHH", *row))
    return address


def broken(memory, name):
    """Rows of a chain that begins at descriptor 5 of 8, and what is to be reported of it."""
    first = (5, BUFFER, 8, NEXT | WRITE, 6)
    plain = (BUFFER, 8, NEXT | WRITE, 1)

    def indirect(address, length, flags=INDIRECT):
        return [(5, address, length, flags, 6)]

    return {
        "empty": ([first, (6, BUFFER, 0, WRITE, 0)], Cause.ZERO_LENGTH, 6),
        "readable last": ([first, (6, BUFFER, 8, 0, 0)], Cause.READABLE_AFTER_WRITABLE, 6),
        "too long": (
            [(5, BUFFER, 0x8000_0000, NEXT | WRITE, 6), (6, BUFFER, 0x8000_0000, WRITE, 0)],
            Cause.TOTAL_LENGTH,
            6,
        ),
        "just outside": ([(5, BUFFER, 8, NEXT, 8)], Cause.NEXT_INDEX, 5),
        "far outside": ([(5, BUFFER, 8, NEXT, 0xFFFD)], Cause.NEXT_INDEX, 5),
        "loop": ([first, (6, BUFFER, 8, NEXT | WRITE, 5)], Cause.CHAIN_LOOP, 5),
        "loop of one": ([(5, BUFFER, 8, NEXT, 5)], Cause.CHAIN_LOOP, 5),
        "no entry": (indirect(BUFFER, 0), Cause.INDIRECT_TABLE, 5),
        "half an entry": (indirect(BUFFER, 24), Cause.INDIRECT_TABLE, 5),
        "too many entries": (indirect(BUFFER, 16 * 17), Cause.INDIRECT_TABLE, 5),
        "far too many entries": (indirect(BUFFER, 0xFFFF_FFF0), Cause.INDIRECT_TABLE, 5),
        "table out of line": (indirect(BUFFER + 8, 16), Cause.INDIRECT_TABLE, 5),
        "table and next": (indirect(BUFFER, 16, INDIRECT | NEXT), Cause.INDIRECT_NESTED, 5),
        "table in table": (
            indirect(table(memory, plain, (BUFFER, 16, INDIRECT, 0)), 32),
            Cause.INDIRECT_NESTED,
            1,
        ),
        "outside of the table": (
            indirect(table(memory, plain, (BUFFER, 8, NEXT | WRITE, 2)), 32),
            Cause.NEXT_INDEX,
            1,
        ),
        "loop in the table": (
            indirect(table(memory, plain, (BUFFER, 8, NEXT | WRITE, 0)), 32),
            Cause.CHAIN_LOOP,
            1,
        ),
        "empty in the table": (indirect(table(memory, (BUFFER, 0, 0, 0)), 16), Cause.ZERO_LENGTH, 0),
        "no such memory": ([(5, BUFFER, 8, NEXT, 1)], Cause.DMA_ERROR, 1),
        "no such table": (indirect(0xDEAD_0000, 16), Cause.DMA_ERROR, 0),
    }[name]


DAMAGE = [
    "empty",
    "readable last",
    "too long",
    "just outside",
    "far outside",
    "loop",
    "loop of one",
    "no entry",
    "half an entry",
    "too many entries",
    "far too many entries",
    "table out of line",
    "table and next",
    "table in table",
    "outside of the table",
    "loop in the table",
    "empty in the table",
    "no such memory",
    "no such table",
]


@pytest.mark.parametrize("name", DAMAGE)
def test_a_broken_chain_is_an_error_never_reaches_the_device_and_stops_the_walk(name):
    rng = random.Random(3)
    memory = HostMemory()
    queues = [SplitQueue(memory, 8, rng), SplitQueue(memory, 8, rng)]
    rows, cause, descriptor = broken(memory, name)
    unreadable = {queues[1].desc + 16, 0xDEAD_0000}
    dut = design(Walker, width=64, queues=2, queue_size=16, quota=8, options=options("indirect"))
    bench = WalkBench(dut, memory, queues, latency=5, fails=lambda address: address in unreadable)
    queues[1].free = deque([6, 7])
    bench.sources[0].extend(split_source(queues[0], segments(rng, 3)) for _ in range(2))
    bench.sources[1].append(split_source(queues[1], [(BUFFER, 4, 1)]))

    def late(token):
        # Not before the good ones were used.
        return hand_made(queues[1], 5, *rows)(token) if sum(bench.released) >= 3 else None

    bench.sources[1].append(late)
    bench.sources[0].append(
        lambda token: bench.errors and split_source(queues[0], [(BUFFER, 4, 1)])(token) or None
    )
    run(bench, dut, lambda bench: bench.errors)
    assert bench.errors == [(cause, 1, 5, descriptor)]
    assert len(bench.announced) == 3


def damage(rng, memory, base, entries):
    """Spoil one field of one descriptor."""
    at = base + 16 * rng.randrange(entries)
    address, length, flags, link = struct.unpack("<QIHH", memory.read(at, 16))
    match rng.randrange(6):
        case 0:
            length = rng.choice((0, 0xFFFF_FFFF, length + 1))
        case 1:
            flags ^= NEXT
        case 2:
            flags ^= WRITE
        case 3:
            flags ^= INDIRECT
        case 4:
            link = rng.choice((0, rng.randrange(entries), entries, rng.getrandbits(16)))
        case 5:
            flags, link = flags | NEXT, rng.randrange(entries)
    memory.write(at, struct.pack("<QIHH", address, length, flags, link))


@pytest.mark.parametrize("seed", range(24))
def test_damaged_rings_end_in_one_of_their_errors_and_nothing_wrong_is_announced(seed):
    rng = random.Random(seed)
    memory = HostMemory(seed=seed)
    queues = [SplitQueue(memory, 16, rng) for _ in range(2)]
    dut = design(
        Walker,
        width=rng.choice((64, 128, 256)),
        queues=2,
        queue_size=16,
        quota=4,
        options=options("indirect"),
    )
    bench = WalkBench(
        dut, memory, queues, seed=seed, latency=rng.choice((0, 25)), stall=rng.choice((0, 0.3)), stuck=[0, 1]
    )
    heads: list[list[int]] = [[], []]
    for queue, found in zip(queues, heads, strict=True):
        for _ in range(4):
            chain = segments(rng, 4)
            direct = rng.choice((None, rng.randint(0, len(chain) - 1)))
            found.append(queue.offer(chain, direct=direct, shuffled=rng.random() < 0.5))
        found[:] = [head for head in found if head is not None]
    for _ in range(rng.choice((0, 1, 1, 2))):
        queue = rng.choice(queues)
        head = rng.choice(heads[queues.index(queue)])
        last = queue.held[head][-1]
        address, length, flags, _ = struct.unpack("<QIHH", memory.read(queue.desc + 16 * last, 16))
        if flags & INDIRECT and rng.random() < 0.5:
            damage(rng, memory, address, length // 16)
        else:
            damage(rng, memory, queue.desc, queue.size)

    possible, right = set(), 0
    for number, (queue, found) in enumerate(zip(queues, heads, strict=True)):
        walked = [walk_split(memory, queue, head, 16) for head in found]
        for head, (chain, wrong, taken) in zip(found, walked, strict=True):
            possible |= {(Cause[cause], number, head, descriptor) for cause, descriptor in wrong}
            for other, (_, _, theirs) in zip(found, walked, strict=True):
                if other != head:
                    possible |= {(Cause.DESCRIPTOR_REUSE, number, head, each) for each in taken & theirs}
            right += not wrong

            def make(token, chain=chain, head=head, wrong=wrong):
                return [{"token": token, "head": head}], None if wrong else chain, head, 0

            bench.sources[number].append(make)
    if possible:
        run(bench, dut, lambda bench: bench.errors, settle=200)
        assert len(bench.errors) == 1 and bench.errors[0] in possible
    else:
        run(bench, dut, lambda bench: len(bench.announced) == right)
        assert bench.errors == []


@pytest.mark.parametrize("can", [False, True])
def test_an_indirect_descriptor_that_was_not_negotiated_is_an_error(can):
    memory = HostMemory()
    queue = SplitQueue(memory, 8, random.Random(0))
    dut = design(Walker, width=64, queues=1, queue_size=8, quota=2, options=options(*["indirect"] * can))
    bench = WalkBench(dut, memory, [queue], indirect=False)
    bench.sources[0].append(hand_made(queue, 3, (3, BUFFER, 8, NEXT, 6), (6, BUFFER, 16, INDIRECT, 0)))
    run(bench, dut, lambda bench: bench.errors)
    assert bench.errors == [(Cause.INDIRECT, 0, 3, 6)]
    assert bench.announced == []


def test_a_descriptor_that_is_still_with_the_device_is_not_taken_again():
    memory = HostMemory()
    queue = SplitQueue(memory, 8, random.Random(0))
    dut = design(Walker, width=64, queues=1, queue_size=8, quota=4, options=options("indirect"))
    bench = WalkBench(dut, memory, [queue], stuck=[0])
    bench.sources[0].append(split_source(queue, [(BUFFER, 8, 1)] * 3))  # 0, 1, 2
    bench.sources[0].append(hand_made(queue, 6, (6, BUFFER, 8, NEXT, 1)))
    run(bench, dut, lambda bench: bench.errors)
    assert bench.errors == [(Cause.DESCRIPTOR_REUSE, 0, 6, 1)]


def test_a_packed_chain_longer_than_the_ring_is_an_error():
    memory = HostMemory()
    queue = PackedQueue(memory, 3, random.Random(0))
    dut = design(Walker, width=64, queues=1, queue_size=8, quota=4, options=options("packed"))
    bench = WalkBench(dut, memory, [queue], packed=True)

    def make(token):
        item = {"token": token, "next": 1, "address": BUFFER, "length": 8}
        return [{**item, "index": (1 + n) % 3, "start": n == 0} for n in range(4)], None, 0, 0

    bench.sources[0].append(make)
    run(bench, dut, lambda bench: bench.errors)
    assert bench.errors == [(Cause.CHAIN_LOOP, 0, 1, 1)]


def test_a_chain_whose_bytes_cannot_be_read_is_never_done_and_others_are():
    rng = random.Random(5)
    memory = HostMemory()
    queues = [SplitQueue(memory, 8, rng), SplitQueue(memory, 8, rng)]
    dut = design(Walker, width=64, queues=2, queue_size=8, quota=4, options=options())
    bench = WalkBench(dut, memory, queues, faults=lambda token: token == 1)
    heads = []

    def noted(token):
        source = split_source(queues[0], [(BUFFER, 4, 0), (BUFFER, 4, 1)])
        made: Any = source(token)
        heads.append(made[2])
        return made

    bench.sources[0].extend([noted] * 2)
    bench.sources[1].extend(split_source(queues[1], [(BUFFER, 4, 0)]) for _ in range(2))
    run(bench, dut, lambda bench: bench.errors and sum(bench.released) == 3, settle=100)
    assert bench.errors == [(Cause.DMA_ERROR, 0, heads[1], 0)]
    assert bench.released == [1, 2]


@pytest.mark.parametrize("direct", [None, 0])
def test_a_queue_whose_chains_the_device_keeps_holds_up_no_other_queue(direct):
    """Neither for want of tokens nor of rows for indirect tables; it goes on when the device does."""
    rng = random.Random(6)
    memory = HostMemory()
    queues = [SplitQueue(memory, 16, rng) for _ in range(3)]
    dut = design(Walker, width=128, queues=3, queue_size=16, quota=4, options=options("indirect"))
    bench = WalkBench(dut, memory, queues, stuck=[1])
    chain = [(BUFFER, 8, n > 5) for n in range(12)]
    bench.sources[1].extend(
        split_source(queues[1], chain if direct == 0 else [(BUFFER, 8, 1)], direct=direct) for _ in range(6)
    )
    for queue in (0, 2):
        bench.sources[queue].extend(split_source(queues[queue], segments(rng, 3)) for _ in range(12))
    seen = []

    def done(bench):
        if bench.stuck and bench.released == [12, 0, 12]:
            seen.append(sum(token // 4 == 1 for token in bench.announced))
            bench.stuck.clear()
        return bench.released == [12, 6, 12]

    run(bench, dut, done)
    assert seen == [2 if direct == 0 else 4]


@pytest.mark.parametrize("after", range(3, 60, 9))
def test_a_retired_queue_is_emptied_while_others_go_on_and_may_come_back(after):
    """Trap 27: QRST-DEV-02."""
    rng = random.Random(after)
    memory = HostMemory()
    queues = [SplitQueue(memory, 16, rng) for _ in range(2)]
    dut = design(Walker, width=64, queues=2, queue_size=16, quota=8, options=options("indirect"))
    bench = WalkBench(dut, memory, queues, seed=after, latency=20, stall=0.3, stuck=[0])
    for queue in (0, 1):
        for _ in range(12):
            chain = segments(rng, 4)
            direct = rng.choice((None, 0)) if len(chain) > 1 else None
            bench.sources[queue].append(split_source(queues[queue], chain, direct=direct))
    again = []

    def done(bench):
        if bench.retire is None and not again and sum(bench.allocated) >= 1 and bench.cycle > 200 + after:
            bench.retire = 0
            bench.stuck.clear()
            bench.sources[0].clear()
            again.append(len(bench.announced))
        if bench.retire == 0 and bench.released[0] == bench.allocated[0]:
            bench.retire = None
            bench.order[0].clear()
            bench.dropped.clear()
            bench.sources[0].extend(split_source(queues[0], segments(rng, 3)) for _ in range(5))
            again.append(bench.allocated[0] + 5)
        return len(again) == 2 and bench.released == [again[1], 12]

    run(bench, dut, done)
    assert bench.errors == []


def test_no_read_and_no_announcement_begins_when_running_falls():
    rng = random.Random(1)
    for delay in (70, 80, 90, 100, 110):
        memory = HostMemory()
        queue = SplitQueue(memory, 8, rng)
        dut = design(Walker, width=64, queues=1, queue_size=8, quota=4, options=options())
        bench = WalkBench(dut, memory, [queue], latency=10)
        bench.sources[0].extend(split_source(queue, segments(rng, 2)) for _ in range(40))
        counts = []

        def done(bench, delay=delay, counts=counts):
            bench.running = bench.cycle < delay
            if bench.cycle >= delay + 3:
                counts.append((len(bench.reads), len(bench.announced)))
            return bench.cycle > delay + 3

        run(bench, dut, done, settle=60)
        assert counts[0][0] == counts[-1][0] and counts[0][1] + 1 >= counts[-1][1]


def rate(chain, *, width=128, direct=None):
    """Cycles per chain from the first to the last of a quota of announcements, and the reads they took."""
    memory = HostMemory()
    queue = SplitQueue(memory, 256, random.Random(0))
    dut = design(
        Walker, width=width, queues=1, queue_size=256, quota=64, options=options("indirect", "packed")
    )
    bench = WalkBench(dut, memory, [queue], latency=250, stuck=[0])
    bench.sources[0].extend(split_source(queue, chain, direct=direct) for _ in range(64))
    run(bench, dut, lambda bench: len(bench.announced) == 64 or bench.cycle > 4000, settle=0)
    assert len(bench.announced) == 64
    return (bench.announced_at[-1] - bench.announced_at[0]) / 63, len(bench.reads)


@pytest.mark.parametrize("writable", [0, 1])
def test_chains_of_one_descriptor_take_four_cycles_each_and_share_their_reads(writable):
    cycles, reads = rate([(BUFFER, 64, writable)], width=64)
    assert cycles <= 4.2 and reads <= 9


def test_chains_of_three_descriptors_take_eight_cycles_each():
    cycles, reads = rate([(BUFFER, 64, 0), (BUFFER, 64, 1), (BUFFER, 64, 1)])
    assert cycles <= 8.2 and reads <= 80


def test_indirect_tables_are_read_back_to_back():
    cycles, reads = rate([(BUFFER, 64, 0), (BUFFER, 64, 1)], direct=0)
    assert cycles <= 11 and reads <= 9 + 2 * 64


def test_a_queue_whose_chains_run_on_is_read_ahead():
    """Descriptors that follow each other, when the chain before had such ones."""
    memory = HostMemory()
    queue = SplitQueue(memory, 16, random.Random(0))
    dut = Walker(width=64, queues=1, queue_size=16, quota=2, options=options("indirect"))
    bench = WalkBench(dut, memory, [queue], latency=20)
    chain = [(BUFFER, 8, n > 0) for n in range(3)]
    bench.sources[0].extend(split_source(queue, chain) for _ in range(5))
    run(bench, dut, lambda bench: bench.released == [5])
    later = [address for address, _ in bench.reads if address >= queue.desc + 16 * 6]
    assert len(later) <= 4  # one after the other, it is nine

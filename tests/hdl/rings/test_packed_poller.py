import random
import struct

import pytest
from amaranth_virtio.rings.options import RingOptions
from amaranth_virtio.rings.poller import Poller
from helpers.poll_bench import PackedDriver, PollBench
from helpers.ring import HostMemory
from helpers.simulation import STALLS, design
from virtio_spec.layout import Cause

PACKED = RingOptions()


def bench_of(sizes, *, width=64, quota=4, queue_size=128, offsets=(), **options):
    memory = HostMemory(seed=1)
    offsets = offsets or [0] * len(sizes)
    drivers = [PackedDriver(memory, size, offset=offset) for size, offset in zip(sizes, offsets, strict=True)]
    dut = design(Poller, width=width, queues=len(sizes), queue_size=queue_size, quota=quota, options=PACKED)
    return PollBench(dut, memory, drivers, packed=True, **options)


def everything_seen(bench):
    return all(items == driver.added for items, driver in zip(bench.items, bench.drivers, strict=True))


def add(bench, queue, *lengths):
    """Make chains available, and kick if that is due."""
    driver = bench.drivers[queue]
    for length in lengths:
        driver.add(length, bench.rng)
    if driver.kick_due(bench.event_idx):
        bench.kicks.append(queue)


async def pause(ctx, cycles):
    for _ in range(cycles):
        await ctx.tick()


@pytest.mark.parametrize("event_idx", [False, True])
@pytest.mark.parametrize(("width", "stall"), [(64, 0.0), (128, 0.5), (256, 0.0), (64, 0.9), (256, 0.5)])
def test_chains_come_in_ring_order_through_many_turns_of_the_rings(width, stall, event_idx):
    """PACKED-DEV-01, PACKED-DEV-06, PACKED-DEV-P11, Trap 28: sizes need not be powers of two."""
    assert stall in STALLS
    bench = bench_of(
        [13, 32, 3],
        width=width,
        stall=stall,
        quota=8,
        event_idx=event_idx,
        hold=lambda queue: 5 * queue,
        offsets=[48, 0, 112],
    )
    rng = random.Random(width)

    async def test(ctx):
        for _ in range(5 if stall > 0.5 else 12):
            for queue, driver in enumerate(bench.drivers):
                lengths, left = [], driver.size
                while left and rng.random() < 0.9:
                    lengths.append(min(left, rng.choice((1, 1, 1, 2, 3, 9))))
                    left -= lengths[-1]
                add(bench, queue, *lengths)
            await bench.until(ctx, lambda: everything_seen(bench))

    bench.run(test)
    assert bench.errors == []


def test_blocks_are_read_aligned_and_never_around_the_end():
    bench = bench_of([21], width=128, quota=64, offsets=[48])
    (driver,) = bench.drivers

    async def test(ctx):
        add(bench, 0, *[1] * 21)
        await bench.until(ctx, lambda: everything_seen(bench))
        await pause(ctx, 40)

    bench.run(test)
    reads = [((address - driver.desc) // 16, length // 16) for _, address, length in bench.requests]
    # The ring starts at the fourth descriptor of a block.
    assert {(0, 5), (5, 8), (13, 8)} <= set(reads) <= {(0, 5), (5, 8), (13, 8)}


def test_a_kick_becomes_a_read_in_three_cycles_and_that_an_item():
    bench = bench_of([16, 16], width=128, latency=20)

    async def test(ctx):
        await pause(ctx, 6)
        add(bench, 1, 1)
        await bench.until(ctx, lambda: everything_seen(bench))
        await pause(ctx, 80)

    bench.run(test)
    (kick,) = bench.kicked
    assert [(cycle - kick, address, length) for cycle, address, length in bench.requests] == [
        (3, bench.drivers[1].desc, 128)
    ]
    assert bench.out[0][0] - kick == 3 + 20 + 3


def test_a_queue_without_news_arms_once_and_looks_once_more():
    """PACKED-DEV-P10: offset and wrap counter of the next descriptor, written before the last look."""
    bench = bench_of([8], event_idx=True, quota=16)
    (driver,) = bench.drivers

    async def test(ctx):
        await pause(ctx, 4)
        for lengths in ((1, 2), (3,), (2, 1)):
            add(bench, 0, *lengths)
            await bench.until(ctx, lambda: everything_seen(bench))
            await pause(ctx, 100)
            event = struct.pack("<HH", driver.position | driver.wrap << 15, 2)
            assert bench.arms[-1][1:] == (driver.device, event)
            assert bench.requests[-1][0] > bench.arms[-1][0]
        # Kicks for nothing [Trap 16: SPLIT-DEV-22] cost a read, and no write.
        before = len(bench.requests)
        bench.kicks.extend([0, 0, 0, 7, 65535])
        await pause(ctx, 100)
        assert before < len(bench.requests) <= before + 2

    bench.run(test)
    assert len(bench.arms) == 3


@pytest.mark.parametrize("event_idx", [False, True])
@pytest.mark.parametrize("latency", [2, 5])
def test_no_chain_stays_unseen_without_a_kick_whenever_the_driver_adds_and_looks(latency, event_idx):
    """PACKED-DEV-06: a driver adds, and looks whether to kick, at every cycle of a poll."""
    bench = bench_of([10], quota=16, latency=latency, event_idx=event_idx)
    (driver,) = bench.drivers

    async def test(ctx):
        rng, unkicked = random.Random(latency), 0
        await pause(ctx, 4)
        for distance in range(5 * latency + 40):
            add(bench, 0, rng.choice((1, 1, 3)))
            await pause(ctx, distance)
            driver.add(rng.choice((1, 2)), rng)
            await pause(ctx, rng.choice((1, 1, 2, 5, 2 * latency)))
            due = driver.kick_due(event_idx)
            await pause(ctx, rng.choice((1, 2, 3, 9)))
            if due:
                bench.kicks.append(0)
            unkicked += not due
            await bench.until(ctx, lambda: everything_seen(bench), cycles=8 * latency + 100)
            if distance % 2:  # start from a poller that sleeps, or from one that does not yet
                await pause(ctx, 4 * latency + 40)
        assert bool(unkicked) == event_idx

    bench.run(test, deadline=30_000)
    assert bench.errors == []


def test_a_queue_comes_back_whenever_its_block_ends():
    """Blocks of one descriptor, at any latency, so that one ends in each cycle of a visit to its queue."""
    bench = bench_of([1, 1, 1], width=256, quota=16)

    async def test(ctx):
        await pause(ctx, 4)
        for gaps in ((1, 1), (1, 2), (2, 1), (3, 3)):
            for latency in range(14):
                bench.latency = latency
                for queue, gap in zip((2, 0, 1), (*gaps, 0), strict=True):
                    add(bench, queue, 1)
                    await pause(ctx, gap)
                await bench.until(ctx, lambda: everything_seen(bench), cycles=100)
                await pause(ctx, 30 + 2 * latency)

    bench.run(test, deadline=30_000)


@pytest.mark.parametrize("quota", [1, 4, 16])
def test_no_more_than_the_quota_is_in_flight_and_others_go_on(quota):
    bench = bench_of([32, 32], quota=quota, hold=lambda queue: None if queue == 0 else 3)

    async def test(ctx):
        add(bench, 0, *[1] * 20, 3, 3)
        add(bench, 1, *[1] * 32)
        await bench.until(ctx, lambda: len(bench.items[1]) == 32)
        add(bench, 1, *[1] * 32)
        await bench.until(ctx, lambda: len(bench.items[1]) == 64)
        assert len(bench.items[0]) == quota
        sequence = 0
        while len(bench.items[0]) < 26:
            seen = len(bench.items[0])
            while len(bench.items[0]) == seen:
                if bench.in_flight[0]:
                    bench.release(bench.token(0, sequence))
                    sequence += 1
                await pause(ctx, bench.rng.choice((1, 2, 3, 60)))

    bench.run(test, deadline=20_000)
    assert everything_seen(bench)
    assert bench.most_in_flight[0] == quota


def rate(bench, *, skip):
    """Cycles per descriptor, without the first ``skip``."""
    cycles = [cycle for cycle, *_ in bench.out[skip:]]
    return (cycles[-1] - cycles[0]) / (len(cycles) - 1)


@pytest.mark.parametrize("width", [64, 256])
def test_one_queue_alone_reads_ahead_and_hides_250_cycles(width):
    bench = bench_of([256], width=width, queue_size=256, quota=128, latency=250)
    (driver,) = bench.drivers

    async def test(ctx):
        while len(bench.items[0]) < 600:
            while len(driver.added) - len(bench.items[0]) < 256:
                driver.add(1, bench.rng)
            if driver.kick_due(False):
                bench.kicks.append(0)
            await pause(ctx, 4)

    bench.run(test)
    assert bench.items[0] == driver.added[: len(bench.items[0])]
    assert rate(bench, skip=200) <= 3


def test_many_queues_share_the_rate():
    bench = bench_of([16] * 32, width=256, queue_size=16, quota=16, latency=250)

    async def test(ctx):
        for queue in range(32):
            add(bench, queue, *[1] * 16)
        await bench.until(ctx, lambda: everything_seen(bench))

    bench.run(test)
    assert rate(bench, skip=64) <= 2.5


@pytest.mark.parametrize("cut", [1, 2, 4, 7])
@pytest.mark.parametrize("late", [False, True])
def test_a_chain_whose_rest_is_not_there_is_read_once_more_and_then_an_error(cut, late):
    """A read may see the head and not yet what the driver wrote before it, as its bytes come in any order."""
    bench = bench_of([16], width=128)
    (driver,) = bench.drivers

    async def test(ctx):
        await pause(ctx, 4)
        publish = driver.chain(8, bench.rng)
        place = driver.desc + 16 * cut + 14
        rest = bench.memory.read(place, 2)
        bench.memory.write(place, b"\0\0")
        publish()
        bench.kicks.append(0)
        await bench.until(ctx, lambda: len(bench.items[0]) == cut)
        if late:
            bench.memory.write(place, rest)
            await bench.until(ctx, lambda: everything_seen(bench))
            await pause(ctx, 60)
        else:
            await bench.until(ctx, lambda: bench.errors)
            await pause(ctx, 60)

    bench.run(test)
    assert bench.errors == ([] if late else [(Cause.CHAIN_INCOMPLETE, 0, 0)])
    assert late or len(bench.requests) == 2


def test_a_chain_around_the_whole_ring_that_goes_on_is_a_loop():
    bench = bench_of([6])
    (driver,) = bench.drivers

    async def test(ctx):
        add(bench, 0, 1, 1)
        await bench.until(ctx, lambda: everything_seen(bench))
        publish = driver.chain(6, bench.rng)
        last = driver.desc + 16 * 1
        # The last one goes on as well, and the first one looks available in the next turn.
        (flags,) = struct.unpack("<H", bench.memory.read(last + 14, 2))
        bench.memory.write(last + 14, struct.pack("<H", flags | 1))
        publish()
        bench.kicks.append(0)
        await bench.until(ctx, lambda: len(bench.items[0]) == 8)
        bench.memory.write(driver.desc + 16 * 2 + 14, struct.pack("<H", 1 << 15 | 1))
        await bench.until(ctx, lambda: bench.errors)

    bench.run(test)
    assert bench.errors == [(Cause.CHAIN_LOOP, 0, 0)]


def test_a_failed_read_is_reported_and_ends_all_polling():
    bench = bench_of([8, 8], fails=lambda address: True)

    async def test(ctx):
        await pause(ctx, 4)
        add(bench, 1, 1)
        await bench.until(ctx, lambda: bench.errors)
        requests = len(bench.requests)
        add(bench, 0, 1)
        await pause(ctx, 60)
        assert len(bench.requests) == requests

    bench.run(test)
    assert bench.errors == [(Cause.DMA_ERROR, 1, 0)]


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_queue_is_forgotten_at_any_time_while_another_goes_on(stall):
    """Trap 27: QRST-DEV-02: it starts again, with the tokens that follow, when all its chains left.

    The last one of those is whole, wherever its descriptors were being read.
    """
    bench = bench_of([32, 32], quota=8, latency=12, stall=stall, hold=lambda queue: 4 if queue else None)
    dut = bench.dut

    async def test(ctx):
        rng = random.Random(7)
        for moment in (0, 2, 4, 9, 17, 20, 25, 33, 60, 100):
            bench.drivers[0] = PackedDriver(bench.memory, 32)
            bench.contexts[0] = bench.drivers[0].context
            bench.items[0].clear()
            add(bench, 0, *[1] * rng.choice((1, 3, 20)), 12)
            if moment % 2:
                add(bench, 1, *[1] * 8)
            await pause(ctx, moment)
            if bench.in_flight[0]:  # somewhere, or while the queue is parked
                bench.release_next(0)
            await bench.retire(ctx, 0)
            bench.contexts[0] = {}
            seen, reads = len(bench.items[0]), len(bench.requests)
            assert bench.items[0] == bench.drivers[0].added[:seen]
            assert not (seen and bench.items[0][-1]["next"])
            bench.kicks.append(0)
            await pause(ctx, 40)
            assert len(bench.items[0]) == seen and ctx.get(dut.forgotten)
            first = bench.drivers[0].desc
            assert not any(first <= address < first + 512 for _, address, _ in bench.requests[reads:])
            ctx.set(dut.retire, 0)
            await bench.until(ctx, lambda: bench.items[1] == bench.drivers[1].added)

    bench.run(test, deadline=20_000)
    assert bench.errors == []

import random
import struct

import pytest
from amaranth_virtio.rings.options import RingOptions
from amaranth_virtio.rings.poller import Poller
from helpers.poll_bench import PollBench, SplitDriver
from helpers.ring import HostMemory
from helpers.simulation import STALLS, design
from virtio_spec.layout import Cause

SPLIT = RingOptions(packed=False)
WITHOUT_EVENTS = RingOptions(packed=False, event_idx=False)


def bench_of(sizes, *, width=64, quota=4, queue_size=128, start=0, offsets=(), ring_options=SPLIT, **options):
    memory = HostMemory(seed=1)
    offsets = offsets or [0] * len(sizes)
    drivers = [
        SplitDriver(memory, size, start=start, offset=offset)
        for size, offset in zip(sizes, offsets, strict=True)
    ]
    dut = design(
        Poller, width=width, queues=len(sizes), queue_size=queue_size, quota=quota, options=ring_options
    )
    return PollBench(dut, memory, drivers, **options)


def everything_seen(bench):
    return all(heads == driver.added for heads, driver in zip(bench.heads, bench.drivers, strict=True))


def add(bench, queue, count, *, kick=True):
    """Make ``count`` heads available, and kick if that is due."""
    driver = bench.drivers[queue]
    for _ in range(count):
        driver.add(bench.rng.randrange(driver.size))
    due = driver.kick_due(bench.event_idx)
    if due and kick:
        bench.kicks.append(queue)
    return due


async def pause(ctx, cycles):
    for _ in range(cycles):
        await ctx.tick()


@pytest.mark.parametrize("event_idx", [False, True])
@pytest.mark.parametrize(("width", "stall"), [(64, 0.0), (128, 0.5), (256, 0.0), (64, 0.9), (256, 0.5)])
def test_heads_come_in_ring_order_through_many_turns_of_the_rings(width, stall, event_idx):
    """SPLIT-DEV-P01, Trap 16: one kick announces many entries."""
    assert stall in STALLS
    bench = bench_of([8, 4, 2], width=width, stall=stall, event_idx=event_idx, hold=lambda queue: 5 * queue)
    rng = random.Random(width)

    async def test(ctx):
        for _ in range(4 if stall > 0.5 else 8):
            for queue, driver in enumerate(bench.drivers):
                add(bench, queue, rng.randint(0, driver.size))
            await bench.until(ctx, lambda: everything_seen(bench))

    bench.run(test)
    assert bench.errors == []


@pytest.mark.parametrize(("width", "offset"), [(64, 0), (128, 58), (256, 126)])
def test_entries_are_read_in_aligned_blocks_and_never_around_the_end(width, offset):
    bench = bench_of([64], width=width, quota=128, offsets=[offset])
    (driver,) = bench.drivers

    async def test(ctx):
        add(bench, 0, 40)
        await bench.until(ctx, lambda: everything_seen(bench))
        add(bench, 0, 64)
        await bench.until(ctx, lambda: everything_seen(bench))

    bench.run(test)
    reads = [(address, length) for _, address, length in bench.requests if address != driver.driver + 2]
    ring = driver.driver + 4
    expected = []
    for first, last in ((0, 40), (40, 64), (64, 104)):
        block = []
        for index in range(first, last):
            address = ring + 2 * (index % 64)
            if block and address // 128 != block[0] // 128:
                expected.append((block[0], 2 * len(block)))
                block = []
            block.append(address)
        expected.append((block[0], 2 * len(block)))
    assert reads == expected  # the bench checks that no request leaves its block


def test_the_ring_index_wraps_at_16_bits():
    """SPLIT-DEV-P01."""
    start = 65530
    bench = bench_of([4], start=start, event_idx=True)

    async def test(ctx):
        await ctx.tick().repeat(4)  # the memories were cleared
        ctx.set(bench.dut.split.progress.data[0], {"next": start})
        ctx.set(bench.dut.split.known.data[0], {"index": start})
        for count in (3, 4, 1, 4):
            add(bench, 0, count)
            await bench.until(ctx, lambda: everything_seen(bench))

    bench.run(test)
    assert bench.errors == []


def test_a_kick_becomes_a_read_of_the_index_in_three_cycles_and_that_one_of_the_entry():
    bench = bench_of([8, 8], latency=20)

    async def test(ctx):
        await ctx.tick().repeat(6)
        add(bench, 1, 1)
        await bench.until(ctx, lambda: everything_seen(bench))
        await ctx.tick().repeat(60)

    bench.run(test)
    (kick,) = bench.kicked
    driver = bench.drivers[1]
    index = (driver.driver + 2, 2)
    assert [(cycle - kick, address, length) for cycle, address, length in bench.requests] == [
        (3, *index),
        (3 + 20 + 7, driver.driver + 4, 2),
        # The index again, while the entry is under way; after that nothing is new.
        (3 + 20 + 7 + 3, *index),
    ]
    assert bench.out[0][0] - kick == 3 + 20 + 7 + 20 + 1


def test_a_queue_without_news_arms_once_and_looks_once_more():
    """SPLIT-DEV-20: ``avail_event`` is behind the last entry, and written before the index is read last."""
    bench = bench_of([8], event_idx=True)
    (driver,) = bench.drivers

    async def test(ctx):
        await ctx.tick().repeat(4)
        for count in (3, 2):
            assert add(bench, 0, count)
            await bench.until(ctx, lambda: everything_seen(bench))
            await ctx.tick().repeat(100)
            assert bench.arms[-1][1:] == (driver.device + 4 + 8 * 8, struct.pack("<H", driver.index))
            assert bench.requests[-1][0] > bench.arms[-1][0]
        # Kicks for nothing [Trap 16: SPLIT-DEV-22] cost a read, and no write.
        before = len(bench.requests)
        bench.kicks.extend([0, 0, 0, 7, 65535])
        await ctx.tick().repeat(100)
        assert before < len(bench.requests) <= before + 2

    bench.run(test)
    assert len(bench.arms) == 2


@pytest.mark.parametrize("event_idx", [False, True])
@pytest.mark.parametrize("latency", [2, 6])
def test_no_chain_stays_unseen_without_a_kick_whenever_the_driver_adds_and_looks(latency, event_idx):
    """SPLIT-DEV-18, SPLIT-DEV-20: a driver adds, and looks whether to kick, at every cycle of a poll.

    Between adding, looking and the kick's arrival any time may pass.
    """
    bench = bench_of(
        [16], latency=latency, event_idx=event_idx, ring_options=SPLIT if event_idx else WITHOUT_EVENTS
    )

    async def test(ctx):
        rng, unkicked = random.Random(latency), 0
        await ctx.tick().repeat(4)
        for distance in range(5 * latency + 24):
            add(bench, 0, 1)
            await pause(ctx, distance)
            bench.drivers[0].add(3)
            await ctx.tick().repeat(rng.choice((1, 1, 2, 5, 2 * latency)))
            due = bench.drivers[0].kick_due(event_idx)
            await ctx.tick().repeat(rng.choice((1, 2, 3, 9)))
            if due:
                bench.kicks.append(0)
            unkicked += not due
            await bench.until(ctx, lambda: everything_seen(bench), cycles=8 * latency + 60)
            if distance % 2:  # start from a poller that sleeps, or from one that does not yet
                await ctx.tick().repeat(4 * latency + 20)
        assert bool(unkicked) == event_idx

    bench.run(test, deadline=20_000)


def test_kicks_at_every_cycle_of_a_poll_are_seen():
    """A kick is due for each chain: none is lost in the moment in which the queue is laid to sleep."""
    bench = bench_of([16], latency=4, ring_options=WITHOUT_EVENTS)

    async def test(ctx):
        await ctx.tick().repeat(4)
        for distance in range(40):
            add(bench, 0, 1)
            await pause(ctx, distance)
            add(bench, 0, 1)
            await bench.until(ctx, lambda: everything_seen(bench), cycles=60)
            await pause(ctx, distance % 3)

    bench.run(test)


@pytest.mark.parametrize("quota", [1, 4, 16])
def test_no_more_than_the_quota_is_in_flight_and_others_go_on(quota):
    """A queue whose device keeps all its chains does not hold up the other one."""
    bench = bench_of([32, 32], quota=quota, hold=lambda queue: None if queue == 0 else 3)

    async def test(ctx):
        add(bench, 0, 32)
        add(bench, 1, 32)
        await bench.until(ctx, lambda: len(bench.heads[1]) == 32)
        add(bench, 1, 32)
        await bench.until(ctx, lambda: len(bench.heads[1]) == 64)
        assert len(bench.heads[0]) == quota
        sequence = 0
        while len(bench.heads[0]) < 32:
            seen = len(bench.heads[0])
            while len(bench.heads[0]) == seen:
                if bench.in_flight[0]:
                    bench.release(bench.token(0, sequence))
                    sequence += 1
                await ctx.tick().repeat(bench.rng.choice((1, 2, 3, 40)))

    bench.run(test, deadline=20_000)
    assert everything_seen(bench)
    assert bench.most_in_flight[0] == quota


def rate(bench, *, skip):
    """Cycles per chain, without the first ``skip`` chains."""
    cycles = [cycle for cycle, *_ in bench.out[skip:]]
    return (cycles[-1] - cycles[0]) / (len(cycles) - 1)


@pytest.mark.parametrize(("quota", "limit"), [(64, 4.2), (128, 2.25)])
def test_one_queue_alone_is_polled_as_fast_as_its_tokens_come_back_over_250_cycles(quota, limit):
    bench = bench_of([256], queue_size=256, quota=quota, latency=250)

    async def test(ctx):
        while len(bench.heads[0]) < 700:
            (driver,) = bench.drivers
            while len(driver.added) - len(bench.heads[0]) < 256:
                driver.add(len(driver.added) % 256)
            if driver.kick_due(False):
                bench.kicks.append(0)
            await ctx.tick().repeat(4)

    bench.run(test)
    assert bench.heads[0] == bench.drivers[0].added[: len(bench.heads[0])]
    assert rate(bench, skip=200) <= limit
    entries = [length for _, address, length in bench.requests if address != bench.drivers[0].driver + 2]
    assert sum(entries[10:]) / len(entries[10:]) >= 2 * 5  # read in batches


def test_many_queues_share_the_rate():
    bench = bench_of([16] * 64, queue_size=16, quota=16, latency=250)

    async def test(ctx):
        for queue in range(64):
            add(bench, queue, 16)
        await bench.until(ctx, lambda: everything_seen(bench))

    bench.run(test)
    assert rate(bench, skip=64) <= 1.6


@pytest.mark.parametrize(
    ("break_it", "error"),
    [
        (lambda bench: add(bench, 1, 9), (Cause.AVAIL_INDEX, 1, 0)),
        (lambda bench: bench.drivers[1].add(8), (Cause.HEAD_INDEX, 1, 8)),
        (lambda bench: bench.drivers[1].add(0xFFFF), (Cause.HEAD_INDEX, 1, 0xFFFF)),
        (lambda bench: setattr(bench, "fails", lambda address: True), (Cause.DMA_ERROR, 1, 0)),
    ],
)
def test_a_broken_ring_is_reported_once_and_ends_all_polling(break_it, error):
    bench = bench_of([8, 8])

    async def test(ctx):
        add(bench, 1, 2)
        await bench.until(ctx, lambda: everything_seen(bench))
        await ctx.tick().repeat(40)
        break_it(bench)
        bench.kicks.append(1)
        await bench.until(ctx, lambda: bench.errors)
        requests = len(bench.requests)
        add(bench, 0, 1)
        bench.kicks.append(1)
        await ctx.tick().repeat(60)
        assert len(bench.requests) == requests

    bench.run(test)
    assert bench.errors == [error]
    assert len(bench.heads[1]) == 2


def test_a_failed_read_of_an_entry_is_reported():
    bench = bench_of([8])
    bench.fails = lambda address: address == bench.drivers[0].driver + 4

    async def test(ctx):
        add(bench, 0, 1)
        await bench.until(ctx, lambda: bench.errors)

    bench.run(test)
    assert bench.errors == [(Cause.DMA_ERROR, 0, 0)]
    assert bench.heads == [[]]


def test_a_kick_while_memories_are_cleared_or_before_running_is_not_lost():
    bench = bench_of([4] * 9)
    for queue in (0, 7, 8):
        add(bench, queue, 1)

    async def test(ctx):
        await ctx.tick().repeat(5)
        add(bench, 3, 2)
        await ctx.tick().repeat(3)
        ctx.set(bench.dut.running, 0)
        add(bench, 4, 2)
        await ctx.tick().repeat(60)
        requests = len(bench.requests)
        await ctx.tick().repeat(60)
        assert len(bench.requests) == requests and not bench.heads[4]
        ctx.set(bench.dut.running, 1)
        await bench.until(ctx, lambda: everything_seen(bench))

    bench.run(test)


def test_a_kick_for_a_queue_that_is_not_enabled_is_dropped():
    bench = bench_of([4, 4])
    bench.contexts[0] = {**bench.contexts[0], "enable": 0}

    async def test(ctx):
        add(bench, 0, 1)
        add(bench, 1, 1)
        await bench.until(ctx, lambda: len(bench.heads[1]) == 1)
        await ctx.tick().repeat(60)
        assert not bench.heads[0]
        bench.contexts[0] = bench.drivers[0].context
        bench.kicks.append(0)
        await bench.until(ctx, lambda: everything_seen(bench))

    bench.run(test)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_queue_is_forgotten_at_any_time_while_another_goes_on(stall):
    """Trap 27: QRST-DEV-02: it starts again from 0, with the tokens that follow, when all its chains left."""
    bench = bench_of([32, 32], quota=8, latency=12, stall=stall, hold=lambda queue: 4 if queue else None)
    dut = bench.dut

    async def test(ctx):
        rng = random.Random(7)
        for moment in (0, 2, 4, 9, 17, 20, 25, 33, 60, 100):
            bench.drivers[0] = SplitDriver(bench.memory, 32)
            bench.contexts[0] = bench.drivers[0].context
            bench.heads[0].clear()
            add(bench, 0, rng.choice((1, 3, 20)))
            if moment % 2:
                add(bench, 1, 8)
            await pause(ctx, moment)
            if bench.in_flight[0]:  # somewhere, or while the queue is parked
                bench.release_next(0)
            await bench.retire(ctx, 0)
            bench.contexts[0] = {}
            seen, reads = len(bench.heads[0]), len(bench.requests)
            assert bench.heads[0] == bench.drivers[0].added[:seen]
            bench.kicks.append(0)
            await ctx.tick().repeat(40)
            assert len(bench.heads[0]) == seen and ctx.get(dut.forgotten)
            first = bench.drivers[0].driver
            assert not any(first <= address < first + 70 for _, address, _ in bench.requests[reads:])
            ctx.set(dut.retire, 0)
            await bench.until(ctx, lambda: bench.heads[1] == bench.drivers[1].added)

    bench.run(test, deadline=20_000)
    assert bench.errors == []

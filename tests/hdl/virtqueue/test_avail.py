import random

import pytest
from amaranth_virtio.virtqueue.avail import AvailFetcher
from helpers.ring import HostMemory, ReadServer, SplitRing, serve_contexts, taken
from helpers.simulation import STALLS, send, simulate
from virtio_spec.layout import Cause


class Bench:
    """An AvailFetcher between rings in memory and a list of heads."""

    def __init__(self, *, sizes, width=64, stall=0.0, seed=1, fails=lambda address: False):
        self.memory = HostMemory(seed=seed)
        self.rings = [SplitRing(self.memory, size, seed=seed) for size in sizes]
        self.contexts = [ring.context for ring in self.rings]
        self.dut = AvailFetcher(width=width, queues=len(sizes))
        self.server = ReadServer(
            self.memory, self.dut.read, self.dut.data, width=width, stall=stall, seed=seed, fails=fails
        )
        self.stall, self.rng = stall, random.Random(seed)
        self.heads, self.errors = [], []

    async def collect(self, ctx):
        while True:
            while self.rng.random() < self.stall:
                await ctx.tick()
            ctx.set(self.dut.head.ready, 1)
            head = await taken(ctx, self.dut.head)
            ctx.set(self.dut.head.ready, 0)
            self.heads.append((head.queue, head.head))

    async def watch(self, ctx):
        while True:
            error = await taken(ctx, self.dut.error)
            self.errors.append((Cause(error.cause), error.queue, error.head))

    async def kick(self, ctx, *queues):
        await send(ctx, self.dut.kick, queues)

    async def until(self, ctx, condition):
        while not condition():
            await ctx.tick()

    def run(self, test, **options):
        async def bench(ctx):
            ctx.set(self.dut.running, 1)
            await test(ctx)

        simulate(
            self.dut,
            bench,
            background=[
                serve_contexts(self.dut.lookup, self.contexts),
                *self.server.benches,
                self.collect,
                self.watch,
            ],
            **options,
        )


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("width", [64, 128, 256])
def test_heads_come_in_ring_order_through_many_turns_of_the_ring(width, stall):
    """SPLIT-DEV-P01, Trap 16: one kick announces many entries."""
    bench = Bench(sizes=[8], width=width, stall=stall)
    (ring,) = bench.rings
    expected = []

    async def test(ctx):
        for count in (1, 8, 3, 7, 8, 5):
            for _ in range(count):
                head = bench.rng.randrange(8)
                ring.put_avail(head)
                expected.append((0, head))
            ring.publish()
            await bench.kick(ctx, 0)
            await bench.until(ctx, lambda: len(bench.heads) >= len(expected))

    bench.run(test)
    assert bench.heads == expected
    assert bench.errors == []


def test_a_long_ring_is_read_64_bytes_at_a_time_and_never_around_its_end():
    bench = Bench(sizes=[128], width=256)
    (ring,) = bench.rings

    async def test(ctx):
        for total in (100, 200):
            while ring.avail_idx < total:
                ring.put_avail(ring.avail_idx % 128)
            ring.publish()
            await bench.kick(ctx, 0)
            await bench.until(ctx, lambda: len(bench.heads) >= ring.avail_idx)

    bench.run(test)
    assert bench.heads == [(0, index % 128) for index in range(200)]
    reads = [(address, length) for address, length in bench.server.requests if address != ring.driver + 2]
    end = ring.driver + 4 + 2 * 128
    assert all(length <= 64 and address + length <= end for address, length in reads)
    assert len(reads) == 8  # 0-31, -63, -95, -99, then 100-127, around to 0-31, -63, -71


@pytest.mark.parametrize("start", [65535, 65534, 65530])
def test_the_ring_index_wraps_at_16_bits(start):
    """SPLIT-DEV-P01."""
    bench = Bench(sizes=[4])
    ring = bench.rings[0] = SplitRing(bench.memory, 4, start=start)
    bench.contexts[0] = ring.context

    async def test(ctx):
        await ctx.tick().repeat(4)  # the indices were cleared
        ctx.set(bench.dut.next_avail.data[0], start)
        for turn in range(4):
            for head in (turn, 3 - turn, 1):
                ring.put_avail(head)
            ring.publish()
            await bench.kick(ctx, 0)
            await bench.until(ctx, lambda: len(bench.heads) >= 3 * turn + 3)  # noqa: B023  awaited here

    bench.run(test)
    assert bench.heads == [(0, head) for turn in range(4) for head in (turn, 3 - turn, 1)]


def test_kicked_queues_take_turns():
    """A queue with much to do does not keep the others waiting longer than one batch."""
    bench = Bench(sizes=[128, 128, 4])

    async def test(ctx):
        for queue, count in ((0, 128), (1, 128), (2, 4)):
            for _ in range(count):
                bench.rings[queue].put_avail(queue)
            bench.rings[queue].publish()
        await bench.kick(ctx, 0, 1, 2)
        await bench.until(ctx, lambda: len(bench.heads) >= 260)

    bench.run(test)
    order = [queue for queue, _ in bench.heads]
    assert order == [0] * 32 + [1] * 32 + [2] * 4 + ([0] * 32 + [1] * 32) * 3


def test_spurious_kicks_are_harmless():
    """Trap 16: SPLIT-DEV-22."""
    bench = Bench(sizes=[4, 4])

    async def test(ctx):
        await bench.kick(ctx, 0, 1, 0, 0, 1, 7, 65535)
        await ctx.tick().repeat(60)
        assert bench.heads == []
        bench.rings[1].put_avail(3)
        bench.rings[1].publish()
        await bench.kick(ctx, 0, 1, 1, 1)
        await bench.until(ctx, lambda: bench.heads)
        await ctx.tick().repeat(60)

    bench.run(test)
    assert bench.heads == [(1, 3)]
    assert bench.errors == []


def test_a_kick_in_any_cycle_of_the_work_on_an_earlier_one_is_not_lost():
    """Trap 16: SPLIT-DEV-22."""
    for delay in range(1, 25):
        bench = Bench(sizes=[4])
        (ring,) = bench.rings

        async def test(ctx, bench=bench, ring=ring, delay=delay):
            ring.put_avail(1)
            ring.publish()
            await bench.kick(ctx, 0)
            await ctx.tick().repeat(delay)
            ring.put_avail(2)
            ring.publish()
            await bench.kick(ctx, 0)
            await bench.until(ctx, lambda: len(bench.heads) >= 2)

        bench.run(test, deadline=200)
        assert bench.heads == [(0, 1), (0, 2)]


def test_nothing_is_read_before_the_device_runs_and_earlier_kicks_are_remembered():
    """STATUS-DEV-01."""
    bench = Bench(sizes=[4])

    async def test(ctx):
        ctx.set(bench.dut.running, 0)
        bench.rings[0].put_avail(2)
        bench.rings[0].publish()
        await bench.kick(ctx, 0)
        await ctx.tick().repeat(50)
        assert bench.server.requests == []
        ctx.set(bench.dut.running, 1)
        await bench.until(ctx, lambda: bench.heads)

    bench.run(test)
    assert bench.heads == [(0, 2)]


def test_no_read_is_started_after_running_fell():
    for delay in range(1, 20):
        bench = Bench(sizes=[4])
        reads = []

        async def test(ctx, bench=bench, delay=delay, reads=reads):
            bench.rings[0].publish(4)
            await bench.kick(ctx, 0)
            await ctx.tick().repeat(delay)
            ctx.set(bench.dut.running, 0)
            offered = ctx.get(bench.dut.read.valid)
            await ctx.tick()
            reads.append(len(bench.server.requests) + offered)
            await ctx.tick().repeat(40)

        bench.run(test)
        assert len(bench.server.requests) == reads[0]


def test_a_queue_that_is_not_enabled_is_not_read():
    bench = Bench(sizes=[4, 4])
    bench.contexts[0] = bench.contexts[0] | {"enable": 0}

    async def test(ctx):
        for ring in bench.rings:
            ring.put_avail(1)
            ring.publish()
        await bench.kick(ctx, 0, 1)
        await bench.until(ctx, lambda: bench.heads)
        await ctx.tick().repeat(50)

    bench.run(test)
    assert bench.heads == [(1, 1)]
    assert all(address >= bench.rings[1].driver for address, _ in bench.server.requests)


@pytest.mark.parametrize(("ahead", "legal"), [(4, True), (5, False), (65535, False)])
def test_an_index_further_ahead_than_the_queue_is_long_is_an_error(ahead, legal):
    bench = Bench(sizes=[8, 4])

    async def test(ctx):
        bench.rings[1].publish(ahead)
        await bench.kick(ctx, 1)
        await bench.until(ctx, lambda: bench.errors or len(bench.heads) == 4)
        bench.rings[0].publish(1)
        await bench.kick(ctx, 0)
        await ctx.tick().repeat(60)

    bench.run(test)
    if legal:
        assert bench.errors == [] and bench.heads == [(1, 0)] * 4 + [(0, 0)]
    else:
        assert bench.errors == [(Cause.AVAIL_INDEX, 1, 0)] and bench.heads == []


@pytest.mark.parametrize("size", [2, 4])
def test_a_head_outside_the_table_is_an_error_and_nothing_after_it_is_used(size):
    bench = Bench(sizes=[8, size])

    async def test(ctx):
        for head in (size - 1, size):
            bench.rings[1].put_avail(head)
        bench.rings[1].publish()
        await bench.kick(ctx, 1)
        await bench.until(ctx, lambda: bench.errors)
        bench.rings[0].publish(1)
        await bench.kick(ctx, 0)
        await ctx.tick().repeat(60)

    bench.run(test)
    assert bench.errors == [(Cause.HEAD_INDEX, 1, size)]
    assert bench.heads == [(1, size - 1)]


@pytest.mark.parametrize("offset", [2, 4])
def test_a_failed_read_is_an_error(offset):
    bench = Bench(sizes=[4])
    bench.server.fails = lambda address: address == bench.rings[0].driver + offset

    async def test(ctx):
        bench.rings[0].publish(1)
        await bench.kick(ctx, 0)
        await bench.until(ctx, lambda: bench.errors)
        await ctx.tick().repeat(20)

    bench.run(test)
    assert bench.errors == [(Cause.DMA_ERROR, 0, 0)]
    assert bench.heads == []

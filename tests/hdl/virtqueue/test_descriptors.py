import random

import pytest
from amaranth_virtio.virtqueue.descriptors import DescriptorFetcher
from helpers.ring import INDIRECT, NEXT, WRITE, HostMemory, ReadServer, SplitRing, serve_contexts, taken
from helpers.simulation import STALLS, send, simulate
from virtio_spec.layout import Cause

BUFFER = 0x5_0000_0000


class Bench:
    """A DescriptorFetcher between descriptor tables in memory and lists of what comes out."""

    def __init__(self, *, sizes, width=64, stall=0.0, seed=1, fails=lambda address: False):
        self.memory = HostMemory(seed=seed)
        self.rings = [SplitRing(self.memory, size, seed=seed) for size in sizes]
        self.dut = DescriptorFetcher(width=width)
        self.server = ReadServer(
            self.memory, self.dut.read, self.dut.data, width=width, stall=stall, seed=seed, fails=fails
        )
        self.stall, self.rng = stall, random.Random(seed)
        self.chains, self.jobs, self.errors = [], [], []
        self.segments, self.records = {}, {}

    def collector(self, source, store):
        async def collect(ctx):
            while True:
                while self.rng.random() < self.stall:
                    await ctx.tick()
                ctx.set(source.ready, 1)
                store(await taken(ctx, source))
                ctx.set(source.ready, 0)

        return collect

    async def watch_segments(self, ctx):
        while True:
            item = await taken(ctx, self.dut.segment)
            segment = (item.segment.address, item.segment.length)
            self.segments[item.token, item.writable, item.index] = segment

    async def watch_records(self, ctx):
        while True:
            item = await taken(ctx, self.dut.record)
            self.records[item.token] = (
                item.record.queue,
                item.record.head,
                item.readable,
                item.writable,
            )

    async def watch_errors(self, ctx):
        while True:
            error = await taken(ctx, self.dut.error)
            self.errors.append((Cause(error.cause), error.queue, error.head, error.descriptor))

    async def fetch(self, ctx, *heads, token=0):
        slots = [(token + position) % 256 for position in range(len(heads))]

        async def offer_slots():
            for slot, (queue, head) in zip(slots, heads, strict=True):
                ctx.set(self.dut.slot.payload, slot)
                ctx.set(self.dut.slot.valid, 1)
                await send(
                    ctx, self.dut.head, [{"queue": queue, "head": head}], stall=self.stall, rng=self.rng
                )
                ctx.set(self.dut.slot.valid, 0)

        await offer_slots()

    def run(self, test, **options):
        async def bench(ctx):
            ctx.set(self.dut.running, 1)
            await test(ctx)

        dut = self.dut
        simulate(
            dut,
            bench,
            background=[
                serve_contexts(dut.lookup, [ring.context for ring in self.rings]),
                *self.server.benches,
                self.collector(
                    dut.chain, lambda c: self.chains.append((c.token, c.queue, c.readable, c.writable))
                ),
                self.collector(dut.job, lambda j: self.jobs.append((j.token, j.segments))),
                self.watch_segments,
                self.watch_records,
                self.watch_errors,
            ],
            **options,
        )

    def run_chain(self, head, *, queue=0):
        """One chain to its end, good or bad, and on for a while."""

        async def test(ctx):
            await self.fetch(ctx, (queue, head))
            while not (self.chains or self.errors):
                await ctx.tick()
            await ctx.tick().repeat(40)

        self.run(test)


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("width", [64, 128, 256])
def test_chains_of_any_framing_come_out_whole(width, stall):
    """Trap 13: SPLIT-DEV-01."""
    bench = Bench(sizes=[16, 4, 2], width=width, stall=stall, seed=width)
    rng = random.Random(width)
    heads, described = [], []
    for queue, ring in enumerate(bench.rings):
        room = ring.size
        while room:
            readable = rng.randint(0, min(room, 6))
            writable = rng.randint(0 if readable else 1, min(room, 6) - readable or (0 if readable else 1))
            segments = [
                (rng.getrandbits(64), rng.randint(1, 5000), position >= readable)
                for position in range(readable + writable)
            ]
            room -= len(segments)
            heads.append((queue, ring.chain(segments)))
            described.append(segments)

    async def test(ctx):
        await bench.fetch(ctx, *heads)
        while len(bench.chains) < len(heads):
            await ctx.tick()
        await ctx.tick().repeat(30)

    bench.run(test)
    assert bench.errors == []
    expected_jobs = []
    for token, ((queue, head), segments) in enumerate(zip(heads, described, strict=True)):
        sides = {side: [(a, n) for a, n, writable in segments if writable == side] for side in (False, True)}
        totals = {side: sum(length for _, length in sides[side]) for side in sides}
        assert bench.chains[token] == (token, queue, totals[False], totals[True])
        assert bench.records[token] == (queue, head, len(sides[False]), len(sides[True]))
        for side in sides:
            assert [bench.segments[token, side, i] for i in range(len(sides[side]))] == sides[side]
        if sides[False]:
            expected_jobs.append((token, len(sides[False])))
    assert bench.jobs == expected_jobs
    assert len(bench.server.requests) == sum(map(len, described))


@pytest.mark.parametrize("size", [2, 4])
def test_a_chain_may_be_as_long_as_the_queue(size):
    bench = Bench(sizes=[size])
    head = bench.rings[0].chain([(BUFFER + index, 1, True) for index in range(size)])
    bench.run_chain(head)
    assert bench.errors == []
    assert bench.chains == [(0, 0, 0, size)]


def test_a_chain_longer_than_the_queue_is_a_loop():
    bench = Bench(sizes=[4])
    (ring,) = bench.rings
    for index in range(4):
        ring.put_descriptor(index, BUFFER, 8, NEXT, (index + 1) % 4)
    bench.run_chain(2)
    assert bench.errors == [(Cause.CHAIN_LOOP, 0, 2, 1)]
    assert bench.chains == [] and len(bench.server.requests) == 4


@pytest.mark.parametrize("link", [4, 0xFFFF])
def test_a_next_index_outside_the_table_is_never_followed(link):
    bench = Bench(sizes=[8, 4])
    ring = bench.rings[1]
    ring.put_descriptor(3, BUFFER, 8, NEXT, 1)
    ring.put_descriptor(1, BUFFER, 8, NEXT | WRITE, link)
    bench.run_chain(3, queue=1)
    assert bench.errors == [(Cause.NEXT_INDEX, 1, 3, 1)]
    assert bench.chains == [] and len(bench.server.requests) == 2


@pytest.mark.parametrize(
    ("cause", "second"),
    [
        (Cause.ZERO_LENGTH, (0, WRITE)),
        (Cause.READABLE_AFTER_WRITABLE, (8, 0)),
        (Cause.INDIRECT, (16, INDIRECT)),
        (Cause.INDIRECT, (16, INDIRECT | WRITE)),
    ],
)
def test_a_bad_descriptor_is_an_error_and_its_chain_never_reaches_the_device(cause, second):
    bench = Bench(sizes=[8])
    (ring,) = bench.rings
    ring.put_descriptor(5, BUFFER, 8, NEXT | WRITE, 6)
    ring.put_descriptor(6, BUFFER, *second, 0)
    bench.run_chain(5)
    assert bench.errors == [(cause, 0, 5, 6)]
    assert bench.chains == [] and bench.jobs == []


@pytest.mark.parametrize("flags", [0, WRITE])
@pytest.mark.parametrize(("last", "legal"), [(1, True), (2, False)])
def test_a_direction_of_more_than_2_to_the_32_less_1_bytes_is_an_error(flags, last, legal):
    bench = Bench(sizes=[8])
    (ring,) = bench.rings
    ring.put_descriptor(0, BUFFER, 0x8000_0000, NEXT | flags, 1)
    ring.put_descriptor(1, BUFFER, 0x7FFF_FFFE, NEXT | flags, 2)
    ring.put_descriptor(2, BUFFER, last, flags, 0)
    bench.run_chain(0)
    if legal:
        total = (0, 0xFFFF_FFFF) if flags else (0xFFFF_FFFF, 0)
        assert bench.chains == [(0, 0, *total)] and bench.errors == []
    else:
        assert bench.errors == [(Cause.TOTAL_LENGTH, 0, 0, 2)] and bench.chains == []


def test_reserved_flag_bits_are_ignored():
    bench = Bench(sizes=[8])
    bench.rings[0].put_descriptor(0, BUFFER, 8, 0xFFF8 | WRITE, 0xFFFF)
    bench.run_chain(0)
    assert bench.chains == [(0, 0, 0, 8)] and bench.errors == []


def test_a_failed_read_is_an_error_and_nothing_follows_until_reset():
    bench = Bench(sizes=[8])
    (ring,) = bench.rings
    good, bad = ring.chain([(BUFFER, 8, True)]), ring.chain([(BUFFER, 8, True)] * 2)
    link = bad
    while link == bad:  # the address of the second descriptor
        link = int.from_bytes(ring.memory.read(ring.desc + 16 * bad + 14, 2), "little")
    bench.server.fails = lambda address: address == ring.desc + 16 * link

    async def test(ctx):
        await bench.fetch(ctx, (0, good), (0, bad))
        while not bench.errors:
            await ctx.tick()
        ctx.set(bench.dut.head.payload, {"queue": 0, "head": good})
        ctx.set(bench.dut.head.valid, 1)
        ctx.set(bench.dut.slot.valid, 1)
        await ctx.tick().repeat(40)

    bench.run(test)
    assert bench.errors == [(Cause.DMA_ERROR, 0, bad, link)]
    assert bench.chains == [(0, 0, 0, 8)]
    assert len(bench.server.requests) == 3


def test_a_chain_under_way_is_not_announced_when_running_falls():
    for delay in range(1, 20):
        bench = Bench(sizes=[8])
        (ring,) = bench.rings
        head = ring.chain([(BUFFER, 8, False), (BUFFER, 8, True)])
        seen = []

        async def test(ctx, bench=bench, head=head, delay=delay, seen=seen):
            await bench.fetch(ctx, (0, head))
            await ctx.tick().repeat(delay)
            ctx.set(bench.dut.running, 0)
            offered = ctx.get(bench.dut.chain.valid)
            await ctx.tick()
            seen.extend([offered or len(bench.chains), len(bench.server.requests)])
            await ctx.tick().repeat(40)

        bench.run(test)
        announced, reads = seen
        assert len(bench.chains) == announced
        assert len(bench.server.requests) <= reads + 1  # one may have been offered already

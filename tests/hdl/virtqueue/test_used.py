import random
import struct

import pytest
from amaranth_virtio.virtqueue.used import UsedWriter
from helpers.ring import HostMemory, ReadServer, SplitRing, serve_contexts, taken
from helpers.simulation import STALLS, send, simulate
from virtio_spec.layout import Cause

NO_INTERRUPT = 1


class Bench:
    """A UsedWriter between completed chains and rings in memory."""

    def __init__(self, *, sizes, width=64, slots=4, stall=0.0, seed=1, start=0):
        self.memory = HostMemory(seed=seed)
        self.rings = [SplitRing(self.memory, size, seed=seed, start=start) for size in sizes]
        self.dut = UsedWriter(width=width, queues=len(sizes), slots=slots)
        self.server = ReadServer(
            self.memory, self.dut.read, self.dut.data, width=width, stall=stall, seed=seed
        )
        self.stall, self.rng = stall, random.Random(seed)
        self.origins = {}
        # What happened, in order: ("write", address, bytes), ("release", token), ("interrupt", queue).
        self.events, self.errors = [], []

    async def serve_origins(self, ctx):
        while True:
            *_, token = await ctx.tick().sample(self.dut.chain.token)
            queue, head = self.origins.get(token, (0, 0xDEAD))
            ctx.set(self.dut.chain.record, {"queue": queue, "head": head})

    async def take_writes(self, ctx):
        while True:
            while self.rng.random() < self.stall:
                await ctx.tick()
            ctx.set(self.dut.write.ready, 1)
            write = await taken(ctx, self.dut.write)
            ctx.set(self.dut.write.ready, 0)
            content = write.data.to_bytes(8, "little")[: write.length]
            self.memory.write(write.address, content)
            self.events.append(("write", write.address, content))

    async def take_interrupts(self, ctx):
        while True:
            while self.rng.random() < self.stall:
                await ctx.tick()
            ctx.set(self.dut.interrupt.ready, 1)
            queue = await taken(ctx, self.dut.interrupt)
            ctx.set(self.dut.interrupt.ready, 0)
            self.events.append(("interrupt", queue))

    async def take_releases(self, ctx):
        while True:
            token = await taken(ctx, self.dut.release)
            self.events.append(("release", token))
            # Another chain has it at once.
            self.origins[token] = (len(self.rings) - 1, 0xBEEF)

    async def take_errors(self, ctx):
        while True:
            error = await taken(ctx, self.dut.error)
            self.errors.append((Cause(error.cause), error.queue))

    def of(self, kind):
        return [event[1:] for event in self.events if event[0] == kind]

    async def complete(self, ctx, *chains):
        for token, queue, head, written in chains:
            self.origins[token] = (queue, head)
            await send(
                ctx, self.dut.done, [{"token": token, "written": written}], stall=self.stall, rng=self.rng
            )
            while ("release", token) not in self.events:
                await ctx.tick()
            self.events.append(("done", token))

    def run(self, test, **options):
        simulate(
            self.dut,
            test,
            background=[
                serve_contexts(self.dut.lookup, [ring.context for ring in self.rings]),
                *self.server.benches,
                self.serve_origins,
                self.take_writes,
                self.take_interrupts,
                self.take_releases,
                self.take_errors,
            ],
            **options,
        )


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("width", [64, 128, 256])
def test_the_element_is_written_before_the_index_and_both_before_the_interrupt(width, stall):
    """Traps 1 and 17: SPLIT-DEV-15, SPLIT-DEV-16, SPLIT-DEV-P01 to P03."""
    bench = Bench(sizes=[4, 2], width=width, stall=stall)
    rng = random.Random(width)
    chains = [
        (rng.randrange(4), rng.randrange(2), rng.randrange(2), rng.choice([0, 1, 4096, 0xFFFF_FFFF]))
        for _ in range(12)
    ]

    async def test(ctx):
        for chain in chains:
            await bench.complete(ctx, chain)
            while len(bench.of("interrupt")) < len(bench.of("done")):
                await ctx.tick()
            del bench.events[bench.events.index(("release", chain[0]))]

    bench.run(test)
    counts = [0, 0]
    events = [event for event in bench.events if event[0] != "done"]
    for _, queue, head, written in chains:
        ring = bench.rings[queue]
        slot = ring.device + 4 + 8 * (counts[queue] % ring.size)
        counts[queue] += 1
        assert events[:3] == [
            ("write", slot, struct.pack("<II", head, written)),
            ("write", ring.device + 2, struct.pack("<H", counts[queue])),
            ("interrupt", queue),
        ]
        del events[:3]
    assert events == []


def test_the_used_index_wraps_at_16_bits():
    """SPLIT-DEV-P01."""
    bench = Bench(sizes=[4], start=65533)
    (ring,) = bench.rings

    async def test(ctx):
        await ctx.tick().repeat(4)  # the indices were cleared
        ctx.set(bench.dut.used_idx.data[0], 65533)
        for token in range(4):
            await bench.complete(ctx, (token, 0, token, 7))

    bench.run(test)
    indices = [struct.unpack("<H", content)[0] for _, content in bench.of("write")[1::2]]
    slots = [(address - ring.device - 4) // 8 for address, _ in bench.of("write")[::2]]
    assert indices == [65534, 65535, 0, 1]
    assert slots == [1, 2, 3, 0]


def test_the_flags_are_read_after_the_index_was_written_each_time():
    """Trap 12: SPLIT-DEV-11."""
    bench = Bench(sizes=[4, 4])

    async def test(ctx):
        for token, (queue, flags) in enumerate([(0, 0), (0, NO_INTERRUPT), (0, 0), (1, 0xFFFE)]):
            bench.rings[queue].set_flags(NO_INTERRUPT)
            bench.origins[token] = (queue, token)
            await send(ctx, bench.dut.done, [{"token": token, "written": 1}])
            while ("release", token) not in bench.events:
                # The driver changes its mind up to the moment at which it could see used.idx.
                bench.rings[queue].set_flags(flags)
                await ctx.tick()
                if len(bench.of("write")) < 2 * token + 2:
                    assert len(bench.server.requests) == token
            await ctx.tick().repeat(40)

    bench.run(test)
    assert bench.of("interrupt") == [(0,), (0,), (1,)]
    assert [length for _, length in bench.server.requests] == [2] * 4


def test_no_interrupt_is_sent_when_the_driver_wants_none():
    bench = Bench(sizes=[4])

    async def test(ctx):
        bench.rings[0].set_flags(NO_INTERRUPT)
        for token in range(4):
            await bench.complete(ctx, (token, 0, token, 0))
        await ctx.tick().repeat(30)

    bench.run(test)
    assert len(bench.of("write")) == 8
    assert bench.of("interrupt") == []


def test_a_broken_chain_is_not_shown_to_the_driver():
    bench = Bench(sizes=[4])

    async def test(ctx):
        await send(ctx, bench.dut.broken, [2])
        bench.origins[2] = (0, 2)
        await send(ctx, bench.dut.done, [{"token": 2, "written": 5}])
        await ctx.tick().repeat(40)
        assert bench.events == []
        await bench.complete(ctx, (3, 0, 1, 9))
        await ctx.tick().repeat(40)

    bench.run(test)
    (ring,) = bench.rings
    assert bench.of("write") == [
        (ring.device + 4, struct.pack("<II", 1, 9)),
        (ring.device + 2, struct.pack("<H", 1)),
    ]


def test_flags_that_cannot_be_read_are_an_error_and_no_interrupt():
    bench = Bench(sizes=[4, 4])
    bench.server.fails = lambda address: True

    async def test(ctx):
        await bench.complete(ctx, (0, 1, 2, 3))
        await ctx.tick().repeat(40)

    bench.run(test)
    assert bench.errors == [(Cause.DMA_ERROR, 1)]
    assert bench.of("interrupt") == []

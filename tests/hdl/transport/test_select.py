"""Both register front ends of a transitional device, in front of a device core in plain Python."""

import random
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth_virtio.transport.legacy import LegacyTransport
from amaranth_virtio.transport.modern import ModernTransport
from amaranth_virtio.transport.select import TransportSelect
from helpers.bar import Bar
from helpers.core_stub import CoreStub
from helpers.simulation import STALLS, simulate

QUEUES = 3
SIDES = ("legacy", "modern")
STATUS = {"legacy": 18, "modern": 20}
SELECT = {"legacy": 14, "modern": 22}
ISR = {"legacy": 19, "modern": 0x1000}
CONFIG = {"legacy": 24, "modern": 0x2000}  # MSI-X is enabled
# Lower half of the address of the selected queue, on legacy in pages
ADDRESS = {"legacy": 8, "modern": 32}
CONFIG_BYTES = bytes(range(0x81, 0x91))

# Writes that choose: offset, size, value
CHOOSING = {
    "legacy": [(4, 4, 0), (8, 4, 5), (8, 4, 0), (14, 2, 0), (16, 2, 1), (18, 1, 1), (18, 1, 0x80), (20, 2, 1)]
    + [(22, 2, 0), (24, 1, 0), (24, 4, 7), (16, 4, 0x0000_0001)],
    "modern": [
        (0, 4, 0),
        (8, 4, 1),
        (12, 4, 0),
        (12, 1, 1),
        (16, 2, 0),
        (20, 1, 1),
        (20, 1, 0x80),
        (22, 2, 0),
    ]
    + [(22, 1, 0), (24, 2, 1), (26, 2, 0), (28, 2, 1), (32, 4, 0), (36, 2, 0), (48, 1, 9), (52, 4, 0)]
    + [(0x2000, 1, 0), (0x2004, 4, 7), (0x3000, 2, 0), (0x3008, 1, 0), (20, 4, 0x0001_0000)],
}
# Writes that do nothing, or only reset, and so do not choose
IDLE = {
    "legacy": [(0, 4, 1), (4, 2, 1), (4, 1, 1), (8, 2, 1), (12, 2, 1), (14, 1, 1), (17, 1, 1), (18, 1, 0)]
    + [(18, 2, 0x0100), (19, 1, 1), (20, 1, 1), (23, 1, 1), (0xF0, 4, 1)],
    "modern": [(4, 4, 1), (18, 2, 1), (20, 1, 0), (20, 2, 0x0100), (21, 1, 1), (30, 2, 1), (56, 4, 1)]
    + [(64, 4, 1), (0x800, 4, 1), (0x1000, 4, 1)],
}


def other(side: str) -> str:
    return "legacy" if side == "modern" else "modern"


class Dut:
    def __init__(self):
        self.select: Any = TransportSelect()
        self.legacy: Any = LegacyTransport(queues=QUEUES, queue_size=64)
        self.modern: Any = ModernTransport(queues=QUEUES)
        self.core: Any = self.select.core
        self.module = Module()
        self.module.submodules.select = self.select
        self.module.submodules.legacy = self.legacy
        self.module.submodules.modern = self.modern
        wiring.connect(self.module, self.legacy.core, self.select.legacy)
        wiring.connect(self.module, self.modern.core, self.select.modern)
        self.stub = CoreStub(self.core, queues=QUEUES, config=CONFIG_BYTES)
        for queue in range(QUEUES):
            self.stub.set_registers(queue, vector=10 + queue, enable=1, desc=(queue + 1) * 0x1000)

    def run(self, *benches: Any) -> None:
        """Run benches that take (ctx, bars, dut); ``bars`` by side."""

        def bound(bench: Any) -> Any:
            async def run(ctx: Any) -> None:
                ctx.set(self.legacy.msix_enable, 1)
                ctx.set(self.core.isr, 3)
                ctx.set(self.core.status, 0x0F)
                await ctx.tick()
                bars = {"legacy": Bar(ctx, self.legacy.bus, bar=0), "modern": Bar(ctx, self.modern.bus)}
                await bench(ctx, bars, self)

            run.__qualname__ = bench.__qualname__
            return run

        simulate(
            self.module,
            *map(bound, benches),
            background=[self.stub.run, self.stub.answer_config],
            deadline=50_000,
        )

    async def clear(self, ctx: Any) -> None:
        """End a reset."""
        ctx.set(self.core.clear, 1)
        await ctx.tick()
        ctx.set(self.core.clear, 0)


@pytest.mark.parametrize("side", SIDES)
def test_the_first_write_chooses_and_already_goes_by_its_own_rules(side):
    """Trap 25: FEAT-LEG-DEV-01.  FEAT-LEG-DEV-03."""

    async def bench(ctx, bars, dut):
        for offset, size, value in CHOOSING[side]:
            await bars[side].write(offset, size, value)
            first = await dut.stub.take(ctx)
            assert ("write",) in first, hex(offset)
            assert dut.stub.legacy.pop() == (side == "legacy"), hex(offset)
            for written in CHOOSING[other(side)] + IDLE[other(side)]:
                await bars[other(side)].write(*written)
            # Nothing but a status of 0, also that beside a selector or a notification
            assert set(await dut.stub.take(ctx)) == {("status", 0)}, hex(offset)
            await bars[side].write(SELECT[side], 2, 1)
            assert await dut.stub.take(ctx) == [("write",)]
            assert await bars[side].read(SELECT[side], 2) == 1
            assert await bars[other(side)].read(SELECT[other(side)], 2) == 0
            assert ctx.get(dut.core.legacy) == (side == "legacy")
            await dut.clear(ctx)

    Dut().run(bench)


@pytest.mark.parametrize("side", SIDES)
def test_reads_and_writes_without_effect_do_not_choose(side):
    """FEAT-LEG-DEV-01."""

    async def bench(ctx, bars, dut):
        for offset, size, value in IDLE[side]:
            await bars[side].write(offset, size, value)
            await bars[side].write_enabled(offset & ~3, 0, 0xFFFF_FFFF)
        for offset in (*range(0, 64, 4), ISR[side] & ~3, CONFIG[side]):
            await bars[side].read(offset, 4)
        await dut.stub.take(ctx)
        assert set(dut.stub.legacy) == {0}
        # The other one can still choose.
        await bars[other(side)].write(STATUS[other(side)], 1, 1)
        assert await dut.stub.take(ctx) == [("status", 1), ("write",)]
        await bars[side].write(STATUS[side], 1, 1)
        assert await dut.stub.take(ctx) == []

    Dut().run(bench)


@pytest.mark.parametrize("first", SIDES)
def test_after_a_reset_the_driver_may_change_its_mind(first):
    """Trap 25: the choice does not outlive a reset, whichever side asked for it."""

    async def bench(ctx, bars, dut):
        side = first
        for resets_through in (first, other(first), other(first), first):
            await bars[side].write(STATUS[side], 1, 1)
            await bars[other(side)].write(STATUS[other(side)], 1, 2)
            assert await dut.stub.take(ctx) == [("status", 1), ("write",)]
            assert ctx.get(dut.core.legacy) == (side == "legacy")
            await bars[resets_through].write(STATUS[resets_through], 1, 0)
            assert await dut.stub.take(ctx) == [("status", 0)]
            # Until the reset has ended the choice stands.
            await bars[other(side)].write(STATUS[other(side)], 1, 2)
            assert await dut.stub.take(ctx) == []
            assert ctx.get(dut.core.legacy) == (side == "legacy")
            await dut.clear(ctx)
            side = other(side)

    Dut().run(bench)


@pytest.mark.parametrize("side", SIDES)
def test_reads_work_on_the_side_that_is_not_in_use(side):
    async def bench(ctx, bars, dut):
        await bars[other(side)].write(STATUS[other(side)], 1, 1)
        await dut.stub.take(ctx)
        bar = bars[side]
        assert await bar.read(STATUS[side], 1) == (0x07 if side == "legacy" else 0x0F)
        assert await bar.read(ISR[side], 1) == 3
        assert await bar.read(CONFIG[side] + 6, 2) == 0x8887
        assert await bar.read(ADDRESS[side], 4) == (1 if side == "legacy" else 0x1000)
        expected = [("isr read",), ("config read", 1, 0b1100)]
        if side == "modern":
            assert await bar.read(21, 1) == 0
            expected.append(("generation read",))
        assert await dut.stub.take(ctx) == expected
        assert set(dut.stub.legacy) == {side == "modern"}, "rules of the side that reads"

    Dut().run(bench)


@pytest.mark.parametrize("seed", range(20))
def test_of_two_first_writes_at_once_one_is_taken(seed):
    rng = random.Random(seed)
    delays = {side: rng.randrange(4) for side in SIDES}

    def writer(side: str) -> Any:
        async def bench(ctx, bars, dut):
            await ctx.tick().repeat(4 + delays[side])
            await bars[side].write(STATUS[side], 1, 1 if side == "legacy" else 2)

        return bench

    async def check(ctx, bars, dut):
        await ctx.tick().repeat(20)
        first = "legacy" if delays["legacy"] <= delays["modern"] else "modern"
        assert await dut.stub.take(ctx) == [("status", 1 if first == "legacy" else 2), ("write",)]
        assert dut.stub.legacy == [first == "legacy"]

    Dut().run(writer("legacy"), writer("modern"), check)


@pytest.mark.parametrize("in_use", SIDES)
@pytest.mark.parametrize("stall", STALLS)
def test_reads_of_both_sides_at_once_each_get_their_own_queue(stall, in_use):
    def reader(side: str) -> Any:
        async def bench(ctx, bars, dut):
            rng = random.Random(side)
            if side != in_use:
                await ctx.tick().repeat(5)
            for _ in range(30):
                queue = rng.randrange(QUEUES)
                await bars[side].write(SELECT[side], 2, queue)
                if side != in_use:
                    queue = 0  # ignored
                for what in rng.choices(("address", "vector", "config"), k=4):
                    while rng.random() < stall:
                        await ctx.tick()
                    if what == "address":
                        page = await bars[side].read(ADDRESS[side], 4) // (1 if side == "legacy" else 0x1000)
                        assert page == queue + 1
                    elif what == "vector":
                        assert await bars[side].read(22 if side == "legacy" else 26, 2) == 10 + queue
                    else:
                        at = rng.randrange(16)
                        assert await bars[side].read(CONFIG[side] + at, 1) == CONFIG_BYTES[at]

        return bench

    Dut().run(reader("legacy"), reader("modern"))


@pytest.mark.parametrize("side", SIDES)
def test_a_side_without_pause_does_not_keep_the_other_from_its_access(side):
    done = []

    async def hog(ctx, bars, dut):
        request = bars[side].bus.request
        ctx.set(request.p, {"address": STATUS[side] & ~3, "byte_enable": 15, "write": 1})
        ctx.set(request.valid, 1)
        while not done:
            await ctx.tick()

    async def bench(ctx, bars, dut):
        await ctx.tick().repeat(8)
        for distance in range(12):
            await ctx.tick().repeat(1 + distance)
            waited = 0
            ctx.set(bars[other(side)].bus.request.valid, 1)
            while not ctx.get(bars[other(side)].bus.request.ready):
                await ctx.tick()
                waited += 1
            await ctx.tick()
            ctx.set(bars[other(side)].bus.request.valid, 0)
            assert waited <= 4
        done.append(True)

    Dut().run(hog, bench)

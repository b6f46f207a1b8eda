"""Device core behind both interfaces of a transitional device, and behind the legacy one alone."""

import random
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth_virtio.core import DeviceCore
from amaranth_virtio.devices.interface import DeviceTable
from amaranth_virtio.transport.legacy import LegacyTransport
from amaranth_virtio.transport.modern import ModernTransport
from amaranth_virtio.transport.select import TransportSelect
from helpers.bar import Bar
from helpers.simulation import design, simulate
from virtio_spec.virtio import DeviceType
from virtio_spec.virtio_pci import Interface

QUEUES, MAX_SIZE, VECTORS = 3, 256, 4
OFFERED = 0b101001  # bit 5 needs bit 3
ANY_LAYOUT, VERSION_1 = 1 << 27, 1 << 32
STATUS = {"legacy": 18, "modern": 20}
SIDES = ("legacy", "modern")
CONFIG = 0x1122_3344_5566_7788


class Dut:
    def __init__(self, interface: Interface = Interface.TRANSITIONAL, *, queues: int = QUEUES):
        table = DeviceTable(
            device_type=DeviceType.BLOCK,
            class_code=0x010000,
            features=OFFERED,
            requires={5: (3,)},
            queues=queues,
            config=data.StructLayout({"a": 64, "b": 32}),
            writable=("b",),
        )
        self.core: Any = DeviceCore(table=table, interface=interface, queue_size=MAX_SIZE, vectors=VECTORS)
        self.legacy: Any = LegacyTransport(queues=queues, queue_size=MAX_SIZE)
        self.module = Module()
        self.module.submodules.core = self.core
        self.module.submodules.legacy = self.legacy
        self.buses = {"legacy": self.legacy.bus}
        if interface is Interface.LEGACY:
            wiring.connect(self.module, self.legacy.core, self.core.transport)
            return
        modern: Any = ModernTransport(queues=queues)
        select: Any = TransportSelect()
        self.module.submodules.modern = modern
        self.module.submodules.select = select
        wiring.connect(self.module, self.legacy.core, select.legacy)
        wiring.connect(self.module, modern.core, select.modern)
        wiring.connect(self.module, select.core, self.core.transport)
        self.buses["modern"] = modern.bus

    def run(self, *benches: Any, msix: bool = False, background: Any = ()) -> None:
        """Run benches that take (ctx, bars, core); ``bars`` by side."""

        def bound(bench: Any) -> Any:
            async def run(ctx: Any) -> None:
                ctx.set(self.core.idle, 1)
                ctx.set(self.core.vector.ready, 1)
                ctx.set(self.core.msix_enable, msix)
                ctx.set(self.legacy.msix_enable, msix)
                ctx.set(self.core.config.a, CONFIG)
                await bench(ctx, {side: Bar(ctx, bus) for side, bus in self.buses.items()}, self.core)

            run.__qualname__ = bench.__qualname__
            return run

        simulate(self.module, *map(bound, benches), background=list(map(bound, background)))


async def start_legacy(bars: Any, features: int = 0) -> None:
    bar = bars["legacy"]
    await bar.write(18, 1, 1)
    await bar.write(18, 1, 3)
    await bar.write(4, 4, features)
    await bar.write(18, 1, 7)


async def start_modern(bars: Any, features: int = VERSION_1, *, status: int = 0x0F) -> None:
    bar = bars["modern"]
    await bar.write(20, 1, 1)
    await bar.write(20, 1, 3)
    for word in range(2):
        await bar.write(8, 4, word)
        await bar.write(12, 4, features >> 32 * word & 0xFFFF_FFFF)
    await bar.write(20, 1, 0x0B)
    await bar.write(20, 1, status)


async def reset(bars: Any, side: str) -> None:
    await bars[side].write(STATUS[side], 1, 0)
    while await bars[side].read(STATUS[side], 1):
        pass


async def offered(bars: Any) -> int:
    """What the modern side offers, with no interface chosen before or after."""
    await bars["modern"].write(0, 4, 1)
    high = await bars["modern"].read(4, 4)
    await reset(bars, "modern")
    return await bars["modern"].read(4, 4) | high << 32


def test_each_interface_has_its_own_features():
    """Trap 25: PCI-LEG-DEV-07, FEAT-LEG-DEV-01.  RFB-LEG-DEV-03."""

    async def bench(ctx, bars, core):
        assert await offered(bars) == OFFERED | VERSION_1
        assert await bars["legacy"].read(0, 4) == OFFERED | ANY_LAYOUT
        await start_legacy(bars, ANY_LAYOUT | 0b101011)
        assert await bars["legacy"].read(4, 4) == ANY_LAYOUT | 0b101001
        assert ctx.get(core.features) == ANY_LAYOUT | 0b101001
        await reset(bars, "legacy")
        # Bit 5 without its prerequisite; and the high half of the core's word from a modern driver
        await start_modern(bars, VERSION_1 | 1)
        assert ctx.get(core.features) == VERSION_1 | 1
        await reset(bars, "modern")
        await start_legacy(bars, 0b100001)
        assert ctx.get(core.features) == 1
        assert ctx.get(core.legacy) == 1

    design(Dut).run(bench)


@pytest.mark.parametrize("through", SIDES)
@pytest.mark.parametrize("first", SIDES)
def test_a_reset_lets_the_driver_change_its_mind(first, through):
    """Trap 25, with the reset asked for through either side, and nothing left of the other's rules."""

    async def bench(ctx, bars, core):
        for side in (first, "legacy" if first == "modern" else "modern"):
            assert ctx.get(core.legacy) == 0
            assert ctx.get(core.features) == 0
            if side == "legacy":
                await bars["modern"].write(20, 1, 0)
                await start_legacy(bars, 1)
                await start_modern(bars)  # all of it ignored
                assert await bars["legacy"].read(18, 1) == 7
                assert await bars["modern"].read(20, 1) == 7
                assert (ctx.get(core.legacy), ctx.get(core.features)) == (1, 1)
            else:
                await bars["legacy"].write(18, 1, 0)
                await start_modern(bars)
                await start_legacy(bars, 1)
                await bars["legacy"].write(18, 1, 0x80)
                assert await bars["legacy"].read(18, 1) == 7
                assert await bars["modern"].read(20, 1) == 0x0F
                assert (ctx.get(core.legacy), ctx.get(core.features)) == (0, VERSION_1)
            assert ctx.get(core.running) == 1
            await reset(bars, through)
            assert [await bars[other].read(STATUS[other], 1) for other in SIDES] == [0, 0]

    design(Dut).run(bench)


def test_a_function_reset_lets_the_driver_change_its_mind():
    async def bench(ctx, bars, core):
        await start_legacy(bars)
        ctx.set(core.function_reset, 1)
        await ctx.tick().until(core.function_reset_done)
        ctx.set(core.function_reset, 0)
        await start_modern(bars)
        assert await bars["modern"].read(20, 1) == 0x0F
        assert ctx.get(core.legacy) == 0

    design(Dut).run(bench)


@pytest.mark.parametrize("writes", SIDES)
@pytest.mark.parametrize("through", SIDES)
def test_a_write_right_after_a_needless_reset_is_not_lost(through, writes):
    async def bench(ctx, bars, core):
        await bars[through].write(STATUS[through], 1, 0)
        await bars[writes].write(STATUS[writes], 1, 1)
        assert await bars[writes].read(STATUS[writes], 1) == 1
        assert ctx.get(core.legacy) == (writes == "legacy")

    design(Dut).run(bench)


def test_features_ok_does_not_exist_on_the_legacy_interface():
    async def bench(ctx, bars, core):
        await bars["legacy"].write(18, 1, 8)
        assert await bars["legacy"].read(18, 1) == 0
        await start_modern(bars)
        assert await bars["modern"].read(20, 1) == 0  # that write has chosen
        await bars["legacy"].write(18, 1, 0x0F)
        assert await bars["legacy"].read(18, 1) == 7
        assert await bars["modern"].read(20, 1) == 7

    design(Dut).run(bench)


@pytest.mark.parametrize("interface", [Interface.TRANSITIONAL, Interface.LEGACY])
def test_a_legacy_queue_is_used_before_driver_ok_until_its_address_is_zero(interface):
    """INIT-LEG-DEV-02, SPLIT-LEG-DEV-01, PCI-LEG-DEV-P04, PCI-LEG-DEV-P05."""
    kicks = []

    async def bench(ctx, bars, core):
        bar = bars["legacy"]
        for queue in range(QUEUES):
            await bar.write(14, 2, queue)
            assert (await bar.read(12, 2), await bar.read(8, 4)) == (MAX_SIZE, 0)
        await bar.write(14, 2, 1)
        await bar.write(8, 4, 0)  # not in use: no reset
        assert ctx.get(core.reset) == 0
        assert await bar.read(14, 2) == 1
        await bar.write(8, 4, 0xFFFF_FFFF)
        await bar.write(8, 4, 5)
        assert await bar.read(8, 4) == 0xFFFF_FFFF
        ctx.set(core.lookup[0].queue, 1)
        await ctx.tick()
        context = core.lookup[0].context
        assert ctx.get(context.enable) == 1
        assert ctx.get(context.size) == MAX_SIZE
        found = [ctx.get(context[name]) for name in ("desc", "driver", "device")]
        assert found == [0xFFF_FFFF_F000, 0x1000_0000_0000, 0x1000_0000_1000]
        await bar.write(16, 2, 1)
        await bar.write(16, 2, QUEUES)
        assert await bar.read(16, 2) == 0
        assert kicks == [1]
        await bar.write(8, 4, 0)
        await ctx.tick()
        assert ctx.get(core.reset) == 1
        while ctx.get(core.reset):
            await ctx.tick()
        assert await bar.read(14, 2) == 0
        await bar.write(14, 2, 1)
        assert (await bar.read(12, 2), await bar.read(8, 4)) == (MAX_SIZE, 0)

    async def monitor(ctx, bars, core):
        async for _, _, valid, queue in ctx.tick().sample(core.kick.valid, core.kick.p):
            if valid:
                kicks.append(queue)

    design(Dut, interface=interface).run(bench, background=[monitor])


def test_a_modern_queue_is_not_reset_by_a_legacy_address_of_zero():
    async def bench(ctx, bars, core):
        await start_modern(bars)
        await bars["modern"].write(24, 2, 16)
        await bars["modern"].write(32, 4, 0x7000)
        await bars["modern"].write(28, 2, 1)
        assert await bars["legacy"].read(8, 4) == 7
        assert await bars["legacy"].read(12, 2) == MAX_SIZE
        await bars["legacy"].write(8, 4, 0)
        await ctx.tick()
        assert ctx.get(core.reset) == 0
        assert await bars["legacy"].read(8, 4) == 7

    design(Dut).run(bench)


def test_a_legacy_vector_reads_back_only_if_the_function_has_it():
    """Trap 18: MSIX-DEV-06, MSIX-DEV-09.  Trap 19: MSIX-DEV-07."""

    async def bench(ctx, bars, core):
        bar = bars["legacy"]
        for offset in (20, 22):
            assert await bar.read(offset, 2) == 0xFFFF
            for vector in (0, 3, 4, 2, 0x0102, 1, 0xFFFF, 3):
                await bar.write(offset, 2, vector)
                assert await bar.read(offset, 2) == (vector if vector < VECTORS else 0xFFFF)
        await bar.write(14, 2, 1)
        assert await bar.read(20, 4) == 0xFFFF_0003
        await bar.write(20, 4, 0x0002_0001)
        await bar.write(8, 4, 9)
        await bar.write(22, 2, 0)  # also while the queue is in use
        assert await bar.read(20, 4) == 0x0000_0001
        await reset(bars, "legacy")
        assert await bar.read(20, 4) == 0xFFFF_FFFF

    design(Dut).run(bench, msix=True)


@pytest.mark.parametrize("low_side", SIDES)
def test_a_value_read_through_both_interfaces_is_of_one_instant(low_side):
    """Trap 24: PCI-LEG-DEV-05."""

    async def bench(ctx, bars, core):
        at = {"legacy": 20, "modern": 0x2000}
        high_side = "legacy" if low_side == "modern" else "modern"
        assert await bars[low_side].read(at[low_side], 4) == CONFIG & 0xFFFF_FFFF
        ctx.set(core.config.a, 0)
        assert await bars[high_side].read(at[high_side] + 4, 4) == CONFIG >> 32
        ctx.set(core.config.a, CONFIG)
        assert await bars["legacy"].read(20, 2) == 0x7788
        ctx.set(core.config.a, 0)
        await bars["modern"].read(21, 1)  # the generation
        assert await bars["legacy"].read(24, 4) == 0

    design(Dut).run(bench)


def test_the_configuration_is_written_through_the_interface_in_use():
    """INIT-LEG-DEV-01: before any negotiation."""
    writes = []

    async def bench(ctx, bars, core):
        await bars["legacy"].write(20, 4, 1)  # of a read-only field, but it chooses
        await bars["modern"].write(0x2008, 4, 2)
        await bars["legacy"].write(28, 4, 0x0403_0201)
        await bars["legacy"].write(30, 1, 5)
        await reset(bars, "legacy")
        await bars["modern"].write(0x2009, 1, 6)
        await bars["legacy"].write(28, 4, 7)
        await ctx.tick().repeat(2)
        assert writes == [(0xF00, 0x0403_0201), (0x400, 0x0005_0000), (0x200, 0x0600)]

    async def monitor(ctx, bars, core):
        async for _, _, enable, value in ctx.tick().sample(
            core.config_write.enable, core.config_write.data.b
        ):
            if enable:
                kept = sum(0xFF << 8 * lane for lane in range(4) if enable >> 8 + lane & 1)
                writes.append((enable, value & kept))

    design(Dut).run(bench, background=[monitor])


def test_both_sides_read_at_once_each_their_own_queue():
    def reader(side: str) -> Any:
        async def bench(ctx, bars, core):
            rng = random.Random(side)
            if side == "modern":
                await start_modern(bars)
                for queue in range(QUEUES):
                    await bars["modern"].write(22, 2, queue)
                    await bars["modern"].write(32, 4, 0x1000 * (queue + 1))
                    await bars["modern"].write(28, 2, 1)
            else:
                while await bars["legacy"].read(18, 1) != 7 or await bars["legacy"].read(8, 4) == 0:
                    pass
            for _ in range(60):
                if side == "modern":
                    queue = rng.randrange(QUEUES)
                    await bars["modern"].write(22, 2, queue)
                    assert await bars["modern"].read(32, 4) == 0x1000 * (queue + 1)
                else:
                    assert await bars["legacy"].read(8, 4) == 1
                if rng.random() < 0.5:
                    await ctx.tick()

        return bench

    design(Dut).run(reader("modern"), reader("legacy"))


def test_a_legacy_device_without_queues_has_all_other_registers():
    async def bench(ctx, bars, core):
        bar = bars["legacy"]
        assert await bar.read(0, 4) == OFFERED | ANY_LAYOUT
        for queue in (0, 1):
            await bar.write(14, 2, queue)
            assert await bar.read(12, 4) == queue << 16
            await bar.write(8, 4, 1)
            assert await bar.read(8, 4) == 0
        await start_legacy(bars, 1)
        assert (await bar.read(18, 1), ctx.get(core.driver_ok)) == (7, 1)
        assert await bar.read(20, 4) == CONFIG & 0xFFFF_FFFF
        assert await bar.read(0xF0, 4) == int.from_bytes(b"VIDE", "little")
        await reset(bars, "legacy")
        assert (await bar.read(4, 4), await bar.read(14, 2)) == (0, 0)

    design(Dut, interface=Interface.LEGACY, queues=0).run(bench)

"""Resets of single queues, behind the modern transport's registers.  [virtio 1.4 §2.6.1, §4.1.4.3]

Offsets and values are those of the standard's tables, as literal numbers.
"""

from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth_virtio.core import DeviceCore
from amaranth_virtio.devices.interface import DeviceTable
from amaranth_virtio.transport.modern import ModernTransport
from helpers.bar import Bar
from helpers.simulation import simulate
from virtio_spec.virtio import DeviceType

STATUS, QUEUE_SELECT, QUEUE_SIZE, QUEUE_VECTOR, QUEUE_ENABLE, QUEUE_DESC, QUEUE_RESET = (
    20,
    22,
    24,
    26,
    28,
    32,
    58,
)
DRIVER_FEATURE_SELECT, DRIVER_FEATURE = 8, 12
RING_RESET = 1 << 40
VERSION_1 = 1 << 32
MAX_SIZE = 64


def run(*benches: Any, queues: int = 3, accepted: int = VERSION_1 | RING_RESET) -> None:
    """The first bench takes (ctx, bar, core), when all queues are enabled; the others (ctx, core)."""
    table = DeviceTable(device_type=DeviceType.BLOCK, class_code=0, features=0, queues=queues)
    m = Module()
    m.submodules.core = core = DeviceCore(
        table=table, queue_size=MAX_SIZE, vectors=4, ring_features=RING_RESET
    )
    m.submodules.transport = transport = ModernTransport(queues=queues)
    wiring.connect(m, transport.core, core.transport)

    async def driver(ctx):
        bar = Bar(ctx, transport.bus)
        ctx.set(core.idle, 1)
        await bar.write(STATUS, 1, 3)
        for select in range(2):
            await bar.write(DRIVER_FEATURE_SELECT, 4, select)
            await bar.write(DRIVER_FEATURE, 4, accepted >> 32 * select & 0xFFFF_FFFF)
        await bar.write(STATUS, 1, 11)
        for queue in range(queues):
            await enable(bar, queue, size=16)
        await bar.write(STATUS, 1, 15)
        await benches[0](ctx, bar, core)

    def bound(bench: Any) -> Any:
        async def run(ctx):
            await bench(ctx, core)

        return run

    simulate(m, driver, background=[bound(bench) for bench in benches[1:]])


async def enable(bar: Bar, queue: int, *, size: int) -> None:
    await bar.write(QUEUE_SELECT, 2, queue)
    await bar.write(QUEUE_SIZE, 2, size)
    await bar.write(QUEUE_VECTOR, 2, 2)
    await bar.write(QUEUE_DESC, 4, 0x1000 * (queue + 1))
    await bar.write(QUEUE_ENABLE, 2, 1)


async def image(bar: Bar, queue: int) -> list[int]:
    """Size, vector, enable, low half of the descriptor area, reset."""
    await bar.write(QUEUE_SELECT, 2, queue)
    at = ((QUEUE_SIZE, 2), (QUEUE_VECTOR, 2), (QUEUE_ENABLE, 2), (QUEUE_DESC, 4), (QUEUE_RESET, 2))
    return [await bar.read(offset, size) for offset, size in at]


def test_a_queue_is_in_reset_until_nothing_of_it_is_left():
    """PCI-CC-DEV-09, PCI-CC-DEV-11 to -13, QRST-DEV-02."""

    async def bench(ctx, bar, core):
        assert (await image(bar, 1))[4] == 0
        await bar.write(QUEUE_RESET, 2, 1)
        for _ in range(10):
            assert await bar.read(QUEUE_RESET, 2) == 1
            assert ctx.get(core.retire) and ctx.get(core.retire_queue) == 1
        ctx.set(core.retired, 1)
        await ctx.tick().repeat(3)
        ctx.set(core.retired, 0)
        assert not ctx.get(core.retire)
        assert await image(bar, 1) == [MAX_SIZE, 0xFFFF, 0, 0, 0]
        for other in (0, 2):
            assert await image(bar, other) == [16, 2, 1, 0x1000 * (other + 1), 0]

    run(bench)


def test_a_queue_that_was_reset_can_be_set_up_anew_with_another_size():
    """QRST-DEV-03, PCI-CC-DEV-10."""

    async def bench(ctx, bar, core):
        ctx.set(core.retired, 1)
        for size in (4, 32):
            await bar.write(QUEUE_SELECT, 2, 2)
            await bar.write(QUEUE_RESET, 2, 1)
            while await bar.read(QUEUE_RESET, 2):
                pass
            assert await bar.read(QUEUE_ENABLE, 2) == 0
            await enable(bar, 2, size=size)
            assert await image(bar, 2) == [size, 2, 1, 0x3000, 0]

    run(bench)


@pytest.mark.parametrize("value", [0, 2, 0x101])
def test_only_one_resets_a_queue(value):
    async def bench(ctx, bar, core):
        ctx.set(core.retired, 1)
        await bar.write(QUEUE_SELECT, 2, 0)
        await bar.write(QUEUE_RESET, 2, value)
        await ctx.tick().repeat(10)
        assert await image(bar, 0) == [16, 2, 1, 0x1000, 0]

    run(bench)


def test_without_the_feature_there_is_no_such_register():
    async def bench(ctx, bar, core):
        ctx.set(core.retired, 1)
        await bar.write(QUEUE_SELECT, 2, 0)
        await bar.write(QUEUE_RESET, 2, 1)
        await ctx.tick().repeat(10)
        assert await image(bar, 0) == [16, 2, 1, 0x1000, 0]

    run(bench, accepted=VERSION_1)


def test_a_queue_that_is_not_enabled_or_does_not_exist_is_not_reset():
    async def bench(ctx, bar, core):
        ctx.set(core.retired, 1)
        await bar.write(QUEUE_SELECT, 2, 1)
        await bar.write(QUEUE_RESET, 2, 1)
        while await bar.read(QUEUE_RESET, 2):
            pass
        ctx.set(core.retired, 0)
        for queue in (1, 3, 0x8000):
            await bar.write(QUEUE_SELECT, 2, queue)
            await bar.write(QUEUE_SIZE, 2, 8)
            await bar.write(QUEUE_RESET, 2, 1)
            await ctx.tick().repeat(5)
            assert not ctx.get(core.retire)
            assert await bar.read(QUEUE_RESET, 2) == 0

    run(bench)


def test_all_queues_can_be_in_reset_at_once():
    async def bench(ctx, bar, core):
        for queue in (2, 0, 1, 0):  # the last one changes nothing
            await bar.write(QUEUE_SELECT, 2, queue)
            await bar.write(QUEUE_RESET, 2, 1)
        seen = []
        for _ in range(3):
            for queue in range(3):
                assert (await image(bar, queue))[4] == (queue not in seen)
            seen.append(ctx.get(core.retire_queue))
            ctx.set(core.retired, 1)
            await ctx.tick().until(~core.retire)
            ctx.set(core.retired, 0)
        assert seen == [2, 0, 1]
        await ctx.tick().repeat(5)
        assert not ctx.get(core.retire)

    run(bench)


@pytest.mark.parametrize("distance", range(1, 13))
def test_a_write_and_the_end_of_a_reset_do_not_meet(distance):
    """The end of queue 0's reset at any cycle around a write to queue 1's context."""

    async def bench(ctx, bar, core):
        await bar.write(QUEUE_SELECT, 2, 0)
        await bar.write(QUEUE_RESET, 2, 1)
        await bar.write(QUEUE_SELECT, 2, 1)
        await bar.write(QUEUE_VECTOR, 2, 3)
        assert await image(bar, 1) == [16, 3, 1, 0x2000, 0]
        assert await image(bar, 0) == [MAX_SIZE, 0xFFFF, 0, 0, 0]

    async def engine(ctx, core):
        await ctx.tick().until(core.retire)
        await ctx.tick().repeat(distance)
        ctx.set(core.retired, 1)

    run(bench, engine)


def test_a_reset_of_the_device_makes_those_of_queues_superfluous():
    async def bench(ctx, bar, core):
        for queue in (1, 2):
            await bar.write(QUEUE_SELECT, 2, queue)
            await bar.write(QUEUE_RESET, 2, 1)
        await bar.write(STATUS, 1, 0)
        while await bar.read(STATUS, 1):
            pass
        assert not ctx.get(core.retire)
        for queue in range(3):
            assert await image(bar, queue) == [MAX_SIZE, 0xFFFF, 0, 0, 0]
        await ctx.tick().repeat(5)
        assert not ctx.get(core.retire)

    run(bench)

"""When the engine is reset because the reset of a queue would not end."""

from typing import Any

from amaranth_virtio.rings.abandon import Abandonment
from helpers.simulation import design, simulate


async def ticks(ctx: Any, dut: Any, count: int) -> list[int]:
    """Let quarters of a time-out pass; queues for which an error was reported."""
    reported = []
    for _ in range(count):
        for tick in (0, 0, 1):
            ctx.set(dut.tick, tick)
            *_, valid, queue = await ctx.tick().sample(dut.error.valid, dut.error.payload.queue)
            if valid:
                reported.append(queue)
    ctx.set(dut.tick, 0)
    return reported


async def later(ctx: Any, dut: Any) -> tuple[int, int]:
    """``reset_engine`` and ``ended`` two cycles later."""
    await ctx.tick().repeat(2)
    return ctx.get(dut.reset_engine), ctx.get(dut.ended)


def test_the_reset_of_the_device_is_that_of_the_engine_at_once() -> None:
    dut = design(Abandonment)

    async def bench(ctx: Any) -> None:
        for reset in (1, 0):
            ctx.set(dut.reset, reset)
            assert ctx.get(dut.reset_engine) == reset

    simulate(dut, bench)


def test_with_the_bus_and_without_errors_a_queue_has_all_time_that_it_takes() -> None:
    dut = design(Abandonment)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.master, 1)
        ctx.set(dut.retire, 1)
        assert await ticks(ctx, dut, 12) == []
        assert await later(ctx, dut) == (0, 0)
        ctx.set(dut.retired, 1)
        assert await later(ctx, dut) == (0, 1)

    simulate(dut, bench)


def test_without_the_bus_a_queue_has_a_time_out_and_then_all_are_given_up() -> None:
    dut = design(Abandonment)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.retire, 1)
        ctx.set(dut.retire_queue, 5)
        assert await ticks(ctx, dut, 4) == []
        ctx.set(dut.master, 1)  # the bus comes back: the time begins anew
        assert await ticks(ctx, dut, 3) == []
        ctx.set(dut.master, 0)
        assert await ticks(ctx, dut, 4) == []
        assert await later(ctx, dut) == (0, 0)
        assert await ticks(ctx, dut, 3) == [5]
        assert await later(ctx, dut) == (1, 0)
        ctx.set(dut.master, 1)
        ctx.set(dut.idle, 1)
        assert await later(ctx, dut) == (1, 1)

    simulate(dut, bench)


def test_after_an_error_the_next_queue_that_is_reset_ends_all() -> None:
    dut = design(Abandonment)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.master, 1)
        ctx.set(dut.failed, 1)
        await ctx.tick()
        ctx.set(dut.failed, 0)
        assert await later(ctx, dut) == (0, 0)
        ctx.set(dut.retire, 1)
        assert await later(ctx, dut) == (1, 0)
        ctx.set(dut.idle, 1)
        assert await later(ctx, dut) == (1, 1)
        ctx.set(dut.retire, 0)
        assert await ticks(ctx, dut, 8) == []
        assert await later(ctx, dut) == (1, 1)

    simulate(dut, bench)


def test_the_reset_of_the_device_ends_it() -> None:
    dut = design(Abandonment)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.retire, 1)
        ctx.set(dut.failed, 1)
        await ctx.tick()
        ctx.set(dut.failed, 0)
        await later(ctx, dut)
        ctx.set(dut.retire, 0)
        ctx.set(dut.reset, 1)
        await ctx.tick()
        ctx.set(dut.reset, 0)
        assert await later(ctx, dut) == (0, 0)
        ctx.set(dut.retire, 1)
        ctx.set(dut.master, 1)
        assert await later(ctx, dut) == (0, 0)

    simulate(dut, bench)

import pytest
from amaranth_virtio.devices.countdown import Countdown
from helpers.simulation import simulate

LIMIT = 9


async def cycles_until_expired(ctx, dut) -> int:
    """Cycles from the one before this; at most 20."""
    count = 1
    while not ctx.get(dut.expired) and count < 20:
        await ctx.tick()
        count += 1
    return count


async def start(ctx, dut, cycles: int) -> None:
    ctx.set(dut.start, 1)
    ctx.set(dut.cycles, cycles)
    await ctx.tick()
    ctx.set(dut.start, 0)


@pytest.mark.parametrize("limit", [1, 2, LIMIT])
def test_it_expires_after_as_many_cycles_as_it_was_given_and_stays_so(limit):
    dut = Countdown(limit=limit)

    async def bench(ctx):
        for cycles in range(1, limit + 1):
            await start(ctx, dut, cycles)
            assert await cycles_until_expired(ctx, dut) == cycles
            await ctx.tick().repeat(3)
            assert ctx.get(dut.expired)

    simulate(dut, bench)


def test_it_does_not_expire_before_it_was_started_nor_after_it_was_stopped():
    dut = Countdown(limit=LIMIT)

    async def bench(ctx):
        assert await cycles_until_expired(ctx, dut) == 20
        for wait in (1, 3, 15):
            await start(ctx, dut, LIMIT)
            await ctx.tick().repeat(wait)
            ctx.set(dut.stop, 1)
            await ctx.tick()
            ctx.set(dut.stop, 0)
            assert await cycles_until_expired(ctx, dut) == 20

    simulate(dut, bench)


@pytest.mark.parametrize("stop", [0, 1])
def test_a_start_begins_anew_also_beside_a_stop(stop):
    dut = Countdown(limit=LIMIT)

    async def bench(ctx):
        await start(ctx, dut, LIMIT)
        await ctx.tick().repeat(3)
        ctx.set(dut.stop, stop)
        await start(ctx, dut, LIMIT - 2)
        ctx.set(dut.stop, 0)
        assert await cycles_until_expired(ctx, dut) == LIMIT - 2

    simulate(dut, bench)


def test_no_cycles_are_no_limit():
    with pytest.raises(ValueError) as caught:
        Countdown(limit=0)
    assert str(caught.value) == "limit must be 1 or more cycles, not 0"

import random

import pytest
from amaranth_virtio.virtqueue.slots import SlotPool
from helpers.simulation import receive, send, simulate


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_a_token_has_one_holder_at_a_time_and_none_is_lost(slots):
    dut = SlotPool(slots=slots)
    rng = random.Random(slots)

    async def test(ctx):
        held = []
        for _ in range(5):
            while len(held) < slots:
                held.append(await receive(ctx, dut.free))
                assert held[-1] < slots and held.count(held[-1]) == 1
            await ctx.tick().repeat(5)
            assert ctx.get(dut.free.valid) == 0
            rng.shuffle(held)
            kept = rng.randrange(slots)
            await send(ctx, dut.release, held[kept:])
            del held[kept:]

    simulate(dut, test)


def test_a_used_chain_keeps_its_token_while_its_segments_are_needed():
    dut = SlotPool(slots=2)

    async def test(ctx):
        first, second = await receive(ctx, dut.free), await receive(ctx, dut.free)
        await send(ctx, dut.reading, [first])
        await send(ctx, dut.release, [first])
        await ctx.tick().repeat(5)
        assert ctx.get(dut.free.valid) == 0
        await send(ctx, dut.release, [second])
        assert await receive(ctx, dut.free) == second
        await send(ctx, dut.read, [first])
        assert await receive(ctx, dut.free) == first

    simulate(dut, test)

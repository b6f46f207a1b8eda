import random

import pytest
from amaranth_virtio.rings.room import Room, wake_batch
from helpers.simulation import simulate


def test_a_quarter_of_the_tokens_but_at_most_eight_come_back_before_a_queue_is_woken():
    assert {quota: wake_batch(quota) for quota in (1, 2, 4, 16, 32, 128)} == {
        1: 1,
        2: 1,
        4: 1,
        16: 4,
        32: 8,
        128: 8,
    }


@pytest.mark.parametrize("quota", [1, 4, 8])
def test_releases_are_counted_per_queue_in_any_succession(quota):
    dut = Room(queues=3, quota=quota)
    rng = random.Random(quota)
    counts = [0, 0, 0]

    async def test(ctx):
        for _ in range(100):
            queue = rng.randrange(3)
            ctx.set(dut.released.payload, queue * quota + counts[queue] % quota)
            ctx.set(dut.released.valid, 1)
            counts[queue] += 1
            await ctx.tick()
            if rng.random() < 0.3:
                ctx.set(dut.released.valid, 0)
                await ctx.tick().repeat(2)
                for queue in range(3):
                    ctx.set(dut.select, queue)
                    await ctx.tick()
                    assert ctx.get(dut.count) == counts[queue] % (2 * quota)

    simulate(dut, test)


@pytest.mark.parametrize("offset", range(-3, 4))
@pytest.mark.parametrize("quota", [1, 4])
def test_a_queue_is_woken_exactly_once_whenever_the_awaited_token_comes(quota, offset):
    """Parked around the cycle of the release: either it is seen that parking is forbidden, or it is woken."""
    dut = Room(queues=2, quota=quota)
    woken = []

    async def device(ctx):
        await ctx.tick().repeat(10 + offset)
        ctx.set(dut.released.payload, quota)  # queue 1, sequence 0
        ctx.set(dut.released.valid, 1)
        await ctx.tick()
        ctx.set(dut.released.valid, 0)

    async def watch(ctx):
        async for *_, valid, queue in ctx.tick().sample(dut.woken.valid, dut.woken.payload):
            if valid:
                woken.append(queue)

    async def test(ctx):
        ctx.set(dut.select, 1)
        await ctx.tick().repeat(10)
        full = ctx.get(dut.count) == 0
        if full and not ctx.get(dut.changing):
            ctx.set(dut.park, 1)
            ctx.set(dut.at, 0)
            await ctx.tick()
            ctx.set(dut.park, 0)
            await ctx.tick().repeat(8)
            assert woken == [1]
        else:
            await ctx.tick().repeat(8)
            assert woken == []
        assert not ctx.get(dut.parked)
        assert ctx.get(dut.count) == 1

    simulate(dut, test, device, background=[watch])


def test_other_tokens_do_not_wake_and_a_cleared_queue_is_not_parked():
    dut = Room(queues=2, quota=8)
    woken = []

    async def watch(ctx):
        async for *_, valid in ctx.tick().sample(dut.woken.valid):
            woken.append(valid)

    async def test(ctx):
        ctx.set(dut.select, 1)
        await ctx.tick().repeat(2)
        ctx.set(dut.park, 1)
        ctx.set(dut.at, 5)
        await ctx.tick()
        ctx.set(dut.park, 0)
        await ctx.tick()
        assert ctx.get(dut.parked)
        for token in (0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12):
            ctx.set(dut.released.payload, token)
            ctx.set(dut.released.valid, 1)
            await ctx.tick()
        ctx.set(dut.released.valid, 0)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.parked) and not any(woken)
        assert ctx.get(dut.count) == 5
        ctx.set(dut.clear, 1)
        ctx.set(dut.clear_queue, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        await ctx.tick().repeat(2)
        assert not ctx.get(dut.parked)
        assert ctx.get(dut.count) == 0

    simulate(dut, test, background=[watch])

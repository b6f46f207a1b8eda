import random

import pytest
from amaranth_virtio.virtqueue.kicks import KickQueue
from helpers.simulation import receive, send, simulate


@pytest.mark.parametrize("queues", [1, 2, 5])
def test_every_queue_kicked_in_successive_cycles_comes_out_once_in_order(queues):
    """Trap 16: SPLIT-DEV-22."""
    dut = KickQueue(queues=queues)
    order = random.Random(queues).sample(range(queues), queues)

    async def test(ctx):
        for _ in range(3):
            await send(ctx, dut.kick, [*order, *order, queues, 65535])
            assert [await receive(ctx, dut.queue) for _ in order] == order
            await ctx.tick().repeat(5)
            assert ctx.get(dut.queue.valid) == 0

    simulate(dut, test)


def test_a_kick_in_the_cycle_in_which_its_queue_leaves_is_covered_by_it_and_a_later_one_is_not():
    for delay in range(1, 4):
        dut = KickQueue(queues=2)

        async def test(ctx, dut=dut, delay=delay):
            await send(ctx, dut.kick, [1])
            await ctx.tick().repeat(5)
            ctx.set(dut.queue.ready, 1)
            for cycle in range(1, 4):
                ctx.set(dut.kick.payload, 1)
                ctx.set(dut.kick.valid, cycle == delay)
                await ctx.tick()
                ctx.set(dut.queue.ready, 0)
            ctx.set(dut.kick.valid, 0)
            await ctx.tick().repeat(5)
            assert ctx.get(dut.queue.valid) == (delay > 1)

        simulate(dut, test)


def test_a_queue_with_more_to_do_goes_behind_those_waiting():
    dut = KickQueue(queues=3)

    async def test(ctx):
        await send(ctx, dut.kick, [2, 0])
        assert await receive(ctx, dut.queue) == 2
        await send(ctx, dut.again, [2])
        await send(ctx, dut.kick, [1, 2])
        assert [await receive(ctx, dut.queue) for _ in range(3)] == [0, 2, 1]

    simulate(dut, test)

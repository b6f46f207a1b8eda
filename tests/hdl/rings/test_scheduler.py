import random

import pytest
from amaranth_virtio.rings.scheduler import Scheduler
from helpers.simulation import simulate


async def ready(ctx, dut, queues):
    """Clear the memories, as the poller does after a reset."""
    ctx.set(dut.sweep, 1)
    ctx.set(dut.clear, 1)
    for queue in range(queues):
        ctx.set(dut.clear_queue, queue)
        await ctx.tick()
    ctx.set(dut.sweep, 0)
    ctx.set(dut.clear, 0)


async def kick(ctx, dut, *queues):
    for queue in queues:
        ctx.set(dut.kick.payload, queue)
        ctx.set(dut.kick.valid, 1)
        await ctx.tick()
    ctx.set(dut.kick.valid, 0)


async def visit(ctx, dut):
    """Take the queue on offer; stop in the cycle in which its marks are shown."""
    assert ctx.get(dut.offered)
    queue = ctx.get(dut.queue)
    ctx.set(dut.select, queue)
    ctx.set(dut.take, 1)
    await ctx.tick()
    ctx.set(dut.take, 0)
    return queue


async def decide(ctx, dut, **strobes):
    for name in strobes:
        ctx.set(getattr(dut, name), 1)
    await ctx.tick()
    for name in strobes:
        ctx.set(getattr(dut, name), 0)


@pytest.mark.parametrize("queues", [1, 2, 5, 16])
def test_every_kicked_queue_comes_out_once_in_the_order_of_the_kicks(queues):
    """Trap 16: SPLIT-DEV-22: also if it is kicked again, or one is kicked that does not exist."""
    dut = Scheduler(queues=queues)
    order = random.Random(queues).sample(range(queues), queues)

    async def test(ctx):
        await ready(ctx, dut, queues)
        for _ in range(3):
            await kick(ctx, dut, *order, *order, queues, 65535)
            seen = []
            for _ in range(queues):
                for _ in range(3):
                    if not ctx.get(dut.offered):
                        await ctx.tick()
                seen.append(await visit(ctx, dut))
                assert ctx.get(dut.kicked) and not ctx.get(dut.asleep)
                await decide(ctx, dut, serve=1)
                assert not ctx.get(dut.kicked)
                await decide(ctx, dut, sleep=1)
                assert ctx.get(dut.asleep)
            assert seen == order
            await ctx.tick().repeat(4)
            assert not ctx.get(dut.offered)

    simulate(dut, test)


def test_a_kicked_queue_is_on_offer_in_the_next_cycle():
    dut = Scheduler(queues=4)

    async def test(ctx):
        await ready(ctx, dut, 4)
        await kick(ctx, dut, 3)
        assert ctx.get(dut.offered) and ctx.get(dut.queue) == 3

    simulate(dut, test)


@pytest.mark.parametrize("distance", range(7))
@pytest.mark.parametrize("queues", [1, 3])
def test_a_kick_in_any_cycle_around_the_decision_to_sleep_is_kept(queues, distance):
    """Whoever reads ring and marks, and sleeps if no kick shows, is woken by every later one."""
    dut = Scheduler(queues=queues)
    last = queues - 1

    async def driver(ctx):
        await ctx.tick().repeat(queues + 4 + distance)
        await kick(ctx, dut, last)

    async def test(ctx):
        await ready(ctx, dut, queues)
        await kick(ctx, dut, last)
        await visit(ctx, dut)
        served = slept = False
        late = False  # a kick showed after the first decision
        for cycle in range(14):
            if slept:
                if ctx.get(dut.offered):
                    await visit(ctx, dut)
                    slept = False
                    continue
            elif ctx.get(dut.kicked):
                late = late or served
                await decide(ctx, dut, serve=1)
                served = True
                continue
            elif cycle > 3:
                await decide(ctx, dut, sleep=1)
                slept = True
                continue
            await ctx.tick()
        assert slept and served
        # The first kick was covered by the first decision; so was the second, if it came until then.
        assert late or distance == 0

    simulate(dut, test, driver)


def test_those_that_come_back_line_up_behind_each_other_and_behind_kicked_ones():
    dut = Scheduler(queues=4)

    async def test(ctx):
        await ready(ctx, dut, 4)
        await kick(ctx, dut, 0, 1)
        assert await visit(ctx, dut) == 0
        await ctx.tick()
        assert await visit(ctx, dut) == 1
        # Both at once: ``woken`` cannot wait, ``again`` can.
        ctx.set(dut.woken.payload, 1)
        ctx.set(dut.woken.valid, 1)
        ctx.set(dut.again.payload, 0)
        ctx.set(dut.again.valid, 1)
        assert not ctx.get(dut.again.ready)
        await ctx.tick()
        ctx.set(dut.woken.valid, 0)
        assert ctx.get(dut.again.ready)
        await ctx.tick()
        ctx.set(dut.again.valid, 0)
        await kick(ctx, dut, 2)
        await ctx.tick().repeat(2)
        order = []
        for _ in range(3):
            order.append(await visit(ctx, dut))
            await ctx.tick().repeat(3)
        assert order == [2, 1, 0]
        assert not ctx.get(dut.offered)

    simulate(dut, test)


def test_a_kick_while_memories_are_cleared_lines_up_all_queues():
    dut = Scheduler(queues=3)

    async def test(ctx):
        ctx.set(dut.kick.payload, 2)
        ctx.set(dut.kick.valid, 1)
        await ready(ctx, dut, 3)
        ctx.set(dut.kick.valid, 0)
        await ctx.tick().repeat(8)
        seen = set()
        for _ in range(3):
            seen.add(await visit(ctx, dut))
            await ctx.tick().repeat(3)
        assert seen == {0, 1, 2}
        assert not ctx.get(dut.offered)

    simulate(dut, test)

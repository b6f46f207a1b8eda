import random

import pytest
from amaranth_virtio.rings.sequencer import Sequencer
from helpers.simulation import STALLS, receive, send, simulate, steady


def token(queue, sequence, quota):
    return queue * quota + sequence % quota


def shuffled(rng, *, queues, quota, chains):
    """Tokens of ``chains`` chains per queue; never more than ``quota`` of a queue under way."""
    given = [0] * queues
    open_ = [[] for _ in range(queues)]
    low = [0] * queues  # oldest that was not sent
    sent = [set() for _ in range(queues)]
    order = []
    while len(order) < queues * chains:
        queue = rng.randrange(queues)
        while given[queue] < min(low[queue] + quota, chains):
            open_[queue].append(given[queue])
            given[queue] += 1
        if open_[queue]:
            sequence = open_[queue].pop(rng.randrange(len(open_[queue])))
            order.append((queue, sequence))
            sent[queue].add(sequence)
            while low[queue] in sent[queue]:
                low[queue] += 1
    return order


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize(("queues", "quota"), [(1, 1), (1, 4), (3, 2), (5, 16)])
def test_tokens_leave_in_the_order_of_their_queue_and_as_early_as_that_allows(queues, quota, stall):
    rng = random.Random(queues + quota)
    order = shuffled(rng, queues=queues, quota=quota, chains=4 * quota + 1)
    dut = Sequencer(queues=queues, quota=quota)
    out, expected, nexts, came = [], [], [0] * queues, set()
    for queue, sequence in order:
        came.add((queue, sequence))
        while (queue, nexts[queue]) in came:
            expected.append(token(queue, nexts[queue], quota))
            nexts[queue] += 1

    async def source(ctx):
        for queue, sequence in order:
            await send(ctx, dut.i, [token(queue, sequence, quota)], stall=stall, rng=rng)

    async def sink(ctx):
        while len(out) < len(order):
            out.append(await receive(ctx, dut.o, stall=stall, rng=rng))

    simulate(dut, source, sink, background=[steady(dut.o)], deadline=20_000)
    assert out == expected


def test_tokens_in_order_take_three_cycles_each():
    dut = Sequencer(queues=2, quota=8)

    async def source(ctx):
        await send(ctx, dut.i, [sequence % 8 for sequence in range(40)])

    async def sink(ctx):
        ctx.set(dut.o.ready, 1)
        await ctx.tick().until(dut.o.valid)
        cycles = 0
        for _ in range(39):
            *_, valid = await ctx.tick().sample(dut.o.valid)
            cycles += 1
            while not valid:
                *_, valid = await ctx.tick().sample(dut.o.valid)
                cycles += 1
        assert cycles == 3 * 39

    simulate(dut, source, sink)


def test_too_many_tokens_are_refused():
    message = "64 queues with a quota of 128 need more than 4096 tokens"
    with pytest.raises(ValueError, match=f"^{message}$"):
        Sequencer(queues=64, quota=128)


@pytest.mark.parametrize("stall", STALLS)
def test_a_queue_whose_token_is_refused_rests_until_it_is_woken_and_holds_up_no_other(stall):
    queues, quota = 3, 4
    rng = random.Random(7)
    order = shuffled(rng, queues=queues, quota=quota, chains=17)
    dut = Sequencer(queues=queues, quota=quota, refusal=True)
    given, resting, waking = [], [], []

    async def source(ctx):
        for queue, sequence in order:
            while sequence >= quota + sum(payload // quota == queue for payload in given):
                await ctx.tick()
            await send(ctx, dut.i, [token(queue, sequence, quota)], stall=stall, rng=rng)

    async def sink(ctx):
        while len(given) < len(order):
            refuse = rng.random() < 0.4
            ctx.set(dut.refuse, refuse)
            ctx.set(dut.o.ready, rng.random() >= stall)
            _, _, valid, ready, payload = await ctx.tick().sample(dut.o.valid, dut.o.ready, dut.o.payload)
            if valid and ready:
                if refuse:
                    assert payload not in resting
                    resting.append(payload)
                else:
                    given.append(payload)
            if resting and rng.random() < 0.1:
                for payload in resting[:]:
                    resting.remove(payload)
                    ctx.set(dut.o.ready, 0)
                    await ctx.tick().repeat(2)
                    assert ctx.get(dut.waiting)
                    waking.append(payload // quota)

    async def waker(ctx):
        while True:
            if waking:
                ctx.set(dut.wake.payload, waking.pop(0))
                ctx.set(dut.wake.valid, 1)
                await ctx.tick().until(dut.wake.ready)
                ctx.set(dut.wake.valid, 0)
            else:
                await ctx.tick()

    # A refused token's queue only comes back when woken, so everything was given out just once, in order.
    simulate(dut, source, sink, background=[waker], deadline=20_000)
    for queue in range(queues):
        expected = [token(queue, sequence, quota) for sequence in range(17)]
        assert [payload for payload in given if payload // quota == queue] == expected

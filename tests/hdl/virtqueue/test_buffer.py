import random

import pytest
from amaranth_virtio.virtqueue.buffer import StreamBuffer
from amaranth_virtio.virtqueue.layout import Head
from helpers.simulation import STALLS, receive, send, simulate


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_what_goes_in_comes_out_in_order(depth, stall):
    dut = StreamBuffer(shape=Head, depth=depth)
    rng = random.Random(depth)
    payloads = [{"queue": rng.getrandbits(16), "head": number} for number in range(20)]
    seen = []

    async def give(ctx):
        await send(ctx, dut.i, payloads, stall=stall, rng=rng)

    async def take(ctx):
        for _ in payloads:
            head = await receive(ctx, dut.o, stall=stall, rng=rng)
            seen.append({"queue": head.queue, "head": head.head})

    simulate(dut, give, take)
    assert seen == payloads


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_writer_that_keeps_to_the_depth_never_waits(depth):
    dut = StreamBuffer(shape=8, depth=depth)
    rng = random.Random(depth)

    async def test(ctx):
        inside = 0
        for _ in range(200):
            give, take = inside < depth and rng.random() < 0.7, rng.random() < 0.5
            ctx.set(dut.i.valid, give)
            ctx.set(dut.o.ready, take)
            *_, ready, leaving = await ctx.tick().sample(dut.i.ready, dut.o.valid)
            assert ready or not give
            inside += give - (take and leaving)

    simulate(dut, test)

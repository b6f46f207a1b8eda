import random

import pytest
from amaranth_virtio.virtqueue.readable import ReadableMover
from helpers.simulation import STALLS, receive, send, simulate


@pytest.mark.parametrize("stall", STALLS)
def test_each_segment_is_requested_once_in_order_and_the_last_says_so(stall):
    dut = ReadableMover()
    rng = random.Random(3)
    chains = [
        (token, [(rng.getrandbits(64), rng.randint(1, 2**32 - 1)) for _ in range(count)])
        for token, count in ((3, 1), (0, 4), (255, 2), (3, 3))
    ]
    requested = []

    async def give(ctx):
        jobs = [{"token": token, "segments": len(segments)} for token, segments in chains]
        await send(ctx, dut.job, jobs, stall=stall, rng=rng)

    async def take(ctx):
        for _ in range(sum(len(segments) for _, segments in chains)):
            request = await receive(ctx, dut.read, stall=stall, rng=rng)
            context = request.context
            requested.append((context.token, request.address, request.length, context.last))

    async def store(ctx):
        # A chain's token is used again only after the chain: here, after its last request.
        while True:
            *_, token, index = await ctx.tick().sample(dut.lookup.select.token, dut.lookup.select.index)
            done = sum(last for *_, last in requested)
            segments = chains[min(done, len(chains) - 1)][1]
            found = segments[index] if index < len(segments) else (0, 0)
            ctx.set(dut.lookup.segment, {"address": found[0], "length": found[1]})
            ctx.set(dut.lookup.exists, index < len(segments))

    simulate(dut, give, take, background=[store])
    assert requested == [
        (token, *segment, index + 1 == len(segments))
        for token, segments in chains
        for index, segment in enumerate(segments)
    ]

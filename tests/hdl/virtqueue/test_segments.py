import random

import pytest
from amaranth_virtio.virtqueue.segments import SegmentStore
from helpers.simulation import send, simulate


@pytest.mark.parametrize(("queue_size", "slots"), [(2, 1), (8, 3)])
def test_each_chain_keeps_its_own_segments_in_both_directions(queue_size, slots):
    dut = SegmentStore(queue_size=queue_size, slots=slots)
    rng = random.Random(queue_size)

    async def check(ctx, token, record, sides):
        for port in dut.records:
            ctx.set(port.token, token)
        for index in (*range(queue_size + 1), 0xFFFF):
            for port in (dut.readable, dut.writable):
                ctx.set(port.select, {"token": token, "index": index})
            await ctx.tick()
            for port, segments in zip((dut.readable, dut.writable), sides, strict=True):
                assert ctx.get(port.exists) == (index < len(segments))
                if index < len(segments):
                    segment = ctx.get(port.segment)
                    assert (segment.address, segment.length) == segments[index]
        for port in dut.records:
            stored = ctx.get(port.record)
            assert (stored.queue, stored.head) == record

    async def test(ctx):
        for _ in range(4):
            chains = {}
            for token in range(slots):
                readable = rng.randint(0, queue_size)
                lengths = readable, rng.randint(0 if readable else 1, queue_size - readable)
                sides = [[(rng.getrandbits(64), rng.getrandbits(32)) for _ in range(n)] for n in lengths]
                chains[token] = (rng.getrandbits(16), rng.getrandbits(16)), sides
            for token, (record, sides) in chains.items():
                for writable, segments in enumerate(sides):
                    for index, (address, length) in enumerate(segments):
                        segment = {"address": address, "length": length}
                        item = {"token": token, "index": index, "writable": writable, "segment": segment}
                        await send(ctx, dut.segment, [item])
                origin = {"queue": record[0], "head": record[1]}
                item = {
                    "token": token,
                    "record": origin,
                    "readable": len(sides[0]),
                    "writable": len(sides[1]),
                }
                await send(ctx, dut.chain, [item])
            for token, chain in chains.items():
                await check(ctx, token, *chain)

    simulate(dut, test)

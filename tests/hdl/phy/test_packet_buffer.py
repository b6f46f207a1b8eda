import random
from typing import Any

import pytest
from amaranth_virtio.phy.packet_buffer import PacketBuffer
from helpers.simulation import STALLS, receive, simulate, steady


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("depth", (8, 32))
def test_committed_packets_come_out_and_others_do_not(depth, stall):
    dut = PacketBuffer(shape=16, depth=depth)
    rng = random.Random(depth)
    packets = [
        ([rng.getrandbits(16) for _ in range(rng.randrange(1, depth + 1))], rng.random() < 0.6)
        for _ in range(40)
    ]
    expected = [word for words, good in packets for word in words if good]

    async def source(ctx: Any) -> None:
        for words, good in packets:
            for number, word in enumerate(words):
                while rng.random() < stall:
                    await ctx.tick()
                ctx.set(dut.i.payload, word)
                ctx.set(dut.restart, number == 0)
                ctx.set(dut.commit, good and number == len(words) - 1)
                ctx.set(dut.i.valid, 1)
                await ctx.tick().until(dut.i.ready)
                ctx.set(dut.i.valid, 0)

    async def sink(ctx: Any) -> None:
        mine = random.Random(1)
        for word in expected:
            assert await receive(ctx, dut.o, stall=stall, rng=mine) == word
        await ctx.tick().repeat(5)
        assert not ctx.get(dut.o.valid)

    simulate(dut, source, sink, background=[steady(dut.o)])


def test_nothing_comes_out_before_the_commit():
    dut = PacketBuffer(shape=8, depth=8)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.restart, 1)
        for word in range(6):
            ctx.set(dut.i.payload, word)
            ctx.set(dut.commit, word == 5)
            assert not ctx.get(dut.o.valid)
            await ctx.tick()
            ctx.set(dut.restart, 0)
        ctx.set(dut.i.valid, 0)
        await ctx.tick()
        for word in range(6):
            assert ctx.get(dut.o.valid)
            assert ctx.get(dut.o.payload) == word
            await ctx.tick()
        assert not ctx.get(dut.o.valid)

    simulate(dut, bench)


@pytest.mark.parametrize("depth", (0, 1, 12))
def test_a_depth_that_is_no_power_of_two_is_refused(depth):
    with pytest.raises(ValueError, match=f"^depth must be a power of two from 2 on, not {depth}$"):
        PacketBuffer(shape=8, depth=depth)

import random
from typing import Any

import pytest
from amaranth_virtio.skid import Skid
from helpers.simulation import STALLS, receive, send, simulate, steady


@pytest.mark.parametrize("stall", STALLS)
def test_payloads_come_out_once_and_in_order(stall):
    dut = Skid(shape=16)
    words = [random.Random(1).getrandbits(16) for _ in range(60)]

    async def source(ctx: Any) -> None:
        await send(ctx, dut.i, words, stall=stall, rng=random.Random(2))

    async def sink(ctx: Any) -> None:
        rng = random.Random(3)
        assert [await receive(ctx, dut.o, stall=stall, rng=rng) for _ in words] == words
        await ctx.tick().repeat(3)
        assert not ctx.get(dut.o.valid)

    simulate(dut, source, sink, background=[steady(dut.o)])


def test_what_is_taken_passes_in_its_cycle_and_who_takes_is_heard_in_the_next():
    dut = Skid(shape=8)

    async def bench(ctx: Any) -> None:
        for word in range(3):
            ctx.set(dut.i.payload, word)
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.o.ready, 1)
            *_, ready, valid, payload = await ctx.tick().sample(dut.i.ready, dut.o.valid, dut.o.payload)
            assert (ready, valid, payload) == (1, 1, word)
        for number, word in enumerate((3, 4)):
            ctx.set(dut.i.payload, word)
            ctx.set(dut.o.ready, 0)
            *_, ready, valid, payload = await ctx.tick().sample(dut.i.ready, dut.o.valid, dut.o.payload)
            assert (ready, valid, payload) == (number == 0, 1, 3)
        ctx.set(dut.o.ready, 1)
        for ready, payload in ((0, 3), (1, 4)):
            assert (ctx.get(dut.i.ready), ctx.get(dut.o.payload)) == (ready, payload)
            await ctx.tick()

    simulate(dut, bench)

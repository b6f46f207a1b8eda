"""Interrupt messages on the link."""

import random
from typing import Any

import pytest
from amaranth_virtio.pcie.messages import MessageWriter
from helpers.simulation import STALLS, receive, send, simulate, steady
from helpers.tlp import from_tlp_beats, memory_write

HERE = 0x2A00


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("width", (64, 256))
def test_a_message_is_one_write_of_a_dword_and_is_taken_when_that_leaves(width, stall):
    """MSIX-DEV-P01: below 4 GiB with a header of 3 dwords, above with 4."""
    dut = MessageWriter(width=width)
    rng = random.Random(width)
    messages = [
        (
            rng.choice((0xFEE0_0000, 0x1_0000_0000, 0xFFFF_FFFF_FFFF_F000)) + 4 * rng.randrange(64),
            rng.getrandbits(32),
        )
        for _ in range(20)
    ]
    packets, taken = [], []

    async def source(ctx: Any) -> None:
        ctx.set(dut.requester_id, HERE)
        payloads = [{"address": address, "data": data} for address, data in messages]
        await send(ctx, dut.i, payloads, stall=stall, rng=random.Random(1))

    async def sink(ctx: Any) -> None:
        while len(packets) < len(messages):
            beat = await receive(ctx, dut.o, stall=stall, rng=rng)
            packets.extend(from_tlp_beats([beat], width))

    async def watch(ctx: Any) -> None:
        async for _, _, message, packet in ctx.tick().sample(
            dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
        ):
            taken.append((message, packet))

    simulate(dut, source, sink, background=[steady(dut.o), watch])
    assert packets == [
        memory_write(address, [data], requester=HERE, first_be=0xF, last_be=0, tag=0)
        for address, data in messages
    ]
    assert all(message == packet for message, packet in taken)


def test_a_message_is_on_offer_one_cycle_after_it_came():
    dut = MessageWriter(width=64)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.i.valid, 1)
        assert not (await ctx.tick().sample(dut.o.valid))[2]
        assert (await ctx.tick().sample(dut.o.valid))[2]

    simulate(dut, bench)

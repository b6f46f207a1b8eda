"""Assert_INTA and Deassert_INTA messages.  [PCIe base 5.0 §2.2.8.1]"""

import random
from typing import Any

import pytest
from amaranth_virtio.pcie.intx import Intx
from helpers.simulation import receive, simulate, stalled, steady
from helpers.tlp import from_tlp_beats, message

ASSERT, DEASSERT = 0x20, 0x24
REQUESTER = 0x1A58


def messages(*codes: int, requester: int = REQUESTER) -> list[list[int]]:
    """The packets with ``codes``: no data, routed to the receiver at the link's other end."""
    return [message(code, requester=requester, routing=0b100) for code in codes]


@pytest.mark.parametrize("width", (64, 128, 256, 512))
def test_each_change_of_the_level_is_one_message_in_the_next_cycle(width):
    dut = Intx(width=width)
    beats: list[Any] = []

    async def bench(ctx: Any) -> None:
        ctx.set(dut.requester_id, REQUESTER)
        ctx.set(dut.o.ready, 1)
        for level in (1, 0, 1, 0):
            await ctx.tick().repeat(3)
            assert not ctx.get(dut.o.valid)
            assert ctx.get(dut.idle)
            ctx.set(dut.level, level)
            assert not ctx.get(dut.idle)
            await ctx.tick()
            assert ctx.get(dut.o.valid)
            assert not ctx.get(dut.idle)
            beats.append(ctx.get(dut.o.payload))

    simulate(dut, bench)
    assert from_tlp_beats(beats, width) == messages(ASSERT, DEASSERT, ASSERT, DEASSERT)


def test_a_level_that_drops_while_assert_waits_leaves_it_as_it_is_and_is_told_afterwards():
    dut = Intx(width=64)
    beats: list[Any] = []

    async def bench(ctx: Any) -> None:
        ctx.set(dut.requester_id, REQUESTER)
        ctx.set(dut.level, 1)
        await ctx.tick()
        ctx.set(dut.level, 0)
        ctx.set(dut.requester_id, 0)
        await ctx.tick().repeat(7)
        assert not ctx.get(dut.idle)
        ctx.set(dut.requester_id, REQUESTER)
        beats.extend([await receive(ctx, dut.o), await receive(ctx, dut.o)])
        await ctx.tick()
        assert ctx.get(dut.idle)

    simulate(dut, bench, background=[steady(dut.o)])
    assert from_tlp_beats(beats, 64) == messages(ASSERT, DEASSERT)


def test_a_level_that_is_back_before_the_message_left_needs_no_other():
    dut = Intx(width=64)
    beats: list[Any] = []

    async def bench(ctx: Any) -> None:
        ctx.set(dut.requester_id, REQUESTER)
        for final in (1, 0):
            for level in (final, 1 - final, final):
                ctx.set(dut.level, level)
                await ctx.tick()
            beats.append(await receive(ctx, dut.o))
            await ctx.tick().repeat(4)
            assert not ctx.get(dut.o.valid)
            assert ctx.get(dut.idle)

    simulate(dut, bench, background=[steady(dut.o)])
    assert from_tlp_beats(beats, 64) == messages(ASSERT, DEASSERT)


def test_nothing_is_sent_while_the_level_stays_low():
    dut = Intx(width=64)

    async def bench(ctx: Any) -> None:
        for _ in range(10):
            assert ctx.get(dut.idle)
            assert not ctx.get(dut.o.valid)
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize(("width", "stall"), stalled(64, 128, 256))
def test_messages_alternate_and_end_at_the_level_however_it_moves(width, stall):
    dut = Intx(width=width)
    beats: list[Any] = []

    async def level(ctx: Any) -> None:
        rng = random.Random(f"{width} {stall}")
        ctx.set(dut.requester_id, REQUESTER)
        for turn in range(120):
            ctx.set(dut.level, rng.randrange(2))
            await ctx.tick().repeat(rng.choice((1, 1, 2, 5)))
            if turn % 10 == 0:
                await ctx.tick().until(dut.idle)
                assert len(beats) % 2 == ctx.get(dut.level), "what was taken says what the level is"
        ctx.set(dut.level, 0)
        await ctx.tick().until(dut.idle)

    async def sink(ctx: Any) -> None:
        rng = random.Random(9)
        while True:
            ctx.set(dut.o.ready, rng.random() >= stall)
            *_, valid, ready, payload = await ctx.tick().sample(dut.o.valid, dut.o.ready, dut.o.payload)
            if valid and ready:
                beats.append(payload)

    simulate(dut, level, background=[sink, steady(dut.o)])
    assert from_tlp_beats(beats, width) == messages(*[ASSERT, DEASSERT] * (len(beats) // 2))
    assert len(beats) >= 10


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"^width must be one of 64, 128, 256, 512, not 32$"):
        Intx(width=32)

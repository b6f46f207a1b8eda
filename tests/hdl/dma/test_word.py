"""Single words into host memory."""

import random
from typing import Any

import pytest
from amaranth_virtio.dma.word import WordWriter
from helpers.dma import REQUESTER, WriteHost
from helpers.simulation import design, send, simulate, stalled

WIDTHS = (64, 128, 256)
SETTINGS = {
    "requester_id": REQUESTER,
    "bus_master": 1,
    "max_payload": 0,
    "max_read_request": 0,
    "extended_tag": 0,
}


@pytest.mark.parametrize(("width", "stall"), stalled(*WIDTHS, 512))
def test_every_length_at_every_address_is_written_exactly(width: int, stall: float) -> None:
    """Around page boundaries, one of them that of 4 GiB, where the header's format changes."""
    rng = random.Random(width)
    dut = design(WordWriter, width=width)
    host = WriteHost(width, limit=128, stall=stall)
    places = [(offset, length) for offset in range(-9, 5) for length in range(1, 9)]
    requests = []
    for number, (offset, length) in enumerate(rng.sample(places, len(places) if stall < 0.9 else 20)):
        page = 0x1_0000_0000 if number == 0 else 0x7_0000 + number * 0x1000
        requests.append({"address": page + offset, "length": length, "data": rng.getrandbits(64)})
    written: dict[int, int] = {}
    for request in requests:
        for number in range(request["length"]):
            written[request["address"] + number] = request["data"] >> 8 * number & 0xFF

    async def client(ctx: Any) -> None:
        ctx.set(dut.settings, SETTINGS)
        for request in requests:
            ctx.set(dut.request.payload, request)
            ctx.set(dut.request.valid, 1)
            sampled = ctx.tick().sample(dut.o.valid & dut.o.ready & dut.o.payload.last)
            (accepted,) = await sampled.until(dut.request.ready)
            assert accepted, "taken means written"
            ctx.set(dut.request.valid, 0)

    async def writes(ctx: Any) -> None:
        await host.take_writes(ctx, dut.o)

    simulate(dut, client, background=[writes])
    assert host.memory == written


def test_without_bus_mastering_a_word_waits_and_a_flush_drops_it() -> None:
    """Trap 6: RESET-DEV-02. What waited for bus mastering must not come out after a reset."""
    dut = design(WordWriter, width=64)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.settings, SETTINGS | {"bus_master": 0})
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.request.payload, {"address": 0x1004, "length": 4, "data": 5})
        ctx.set(dut.request.valid, 1)
        for _ in range(10):
            _, _, valid, taken = await ctx.tick().sample(dut.o.valid, dut.request.ready)
            assert not valid and not taken
        ctx.set(dut.flush, 1)
        assert ctx.get(dut.request.ready)
        await ctx.tick()
        ctx.set(dut.request.valid, 0)
        ctx.set(dut.flush, 0)
        ctx.set(dut.settings, SETTINGS)
        for _ in range(10):
            assert not (await ctx.tick().sample(dut.o.valid))[2]

    simulate(dut, bench)


def test_a_started_tlp_is_sent_through_a_flush() -> None:
    dut = design(WordWriter, width=64)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.settings, SETTINGS)
        ctx.set(dut.request.payload, {"address": 0x1001, "length": 8, "data": 5})
        ctx.set(dut.request.valid, 1)
        await ctx.tick().until(dut.o.valid)
        ctx.set(dut.flush, 1)
        ctx.set(dut.settings, SETTINGS | {"bus_master": 0})
        for _ in range(5):
            _, _, valid, taken = await ctx.tick().sample(dut.o.valid, dut.request.ready)
            assert valid and not taken
        ctx.set(dut.o.ready, 1)
        for taken, last in ((0, 0), (1, 1)):
            sampled = await ctx.tick().sample(dut.o.valid, dut.request.ready, dut.o.payload.last)
            assert sampled[2:] == (1, taken, last)
        ctx.set(dut.request.valid, 0)
        assert ctx.get(dut.idle)

    simulate(dut, bench)


def test_a_flush_between_the_two_tlps_of_a_word_leaves_the_next_word_whole() -> None:
    dut = design(WordWriter, width=64)
    host = WriteHost(64, limit=128)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.settings, SETTINGS)
        ctx.set(dut.request.payload, {"address": 0x1FFE, "length": 4, "data": 0x44332211})
        ctx.set(dut.request.valid, 1)
        await ctx.tick().until(dut.o.valid & dut.o.ready)
        ctx.set(dut.flush, 1)
        await ctx.tick().until(dut.request.ready)
        ctx.set(dut.request.valid, 0)
        ctx.set(dut.flush, 0)
        await send(ctx, dut.request, [{"address": 0x4FFF, "length": 2, "data": 0x6655}])

    async def writes(ctx: Any) -> None:
        await host.take_writes(ctx, dut.o)

    simulate(dut, bench, background=[writes])
    assert host.memory == {0x1FFE: 0x11, 0x1FFF: 0x22, 0x4FFF: 0x55, 0x5000: 0x66}


def test_a_wrong_width_is_named() -> None:
    with pytest.raises(ValueError, match=r"width must be one of 64, 128, 256, 512, not 32"):
        WordWriter(width=32)

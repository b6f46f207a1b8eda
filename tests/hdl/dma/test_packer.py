"""Reads of scattered segments become bytes without gaps."""

import random
from typing import Any

import pytest
from amaranth_virtio.dma.packer import Packer
from helpers.simulation import design, receive, send, simulate, stalled

WIDTHS = (64, 128, 256)


def beats(
    width: int, lane: int, raw: bytes, token: int, last: bool, error: bool = False
) -> list[dict[str, Any]]:
    """One read of ``raw`` from an address in byte lane ``lane``; with ``error`` it fails behind it."""
    lanes = width // 8
    result = []
    position = 0
    while position < len(raw):
        count = min(lanes - lane, len(raw) - position)
        piece = raw[position : position + count]
        position += count
        result.append(
            {
                "data": int.from_bytes(
                    bytes([0xEE] * lane) + piece + bytes([0xEE] * (lanes - lane - count)), "little"
                ),
                "start": lane,
                "count": count,
                "last": position == len(raw) and not error,
                "error": 0,
                "context": {"token": token, "last": last},
            }
        )
        lane = 0
    if error:
        result.append(
            {
                "last": 1,
                "error": 1,
                "data": 0,
                "start": 3,
                "count": 2,
                "context": {"token": token, "last": last},
            }
        )
    return result


async def chain(ctx: Any, dut: Packer, **options: Any) -> tuple[int, bytes, bool]:
    gathered = b""
    lanes = dut.width // 8
    while True:
        beat = await receive(ctx, dut.o, **options)
        assert beat.last or beat.count == lanes
        assert beat.error or beat.count
        gathered += int(beat.data).to_bytes(lanes, "little")[: beat.count]
        if beat.last:
            assert not beat.error or beat.count == 0
            return int(beat.token), gathered, bool(beat.error)


@pytest.mark.parametrize(("width", "stall"), stalled(*WIDTHS, 512))
def test_segments_of_any_alignment_are_joined(width: int, stall: float) -> None:
    """Trap 13: SPLIT-DEV-01. Descriptors may split a request anywhere."""
    rng = random.Random(width)
    lanes = width // 8
    expected = []
    offered = []
    for token in range(20 if stall < 0.9 else 6):
        segments = [
            rng.randbytes(rng.choice([1, 2, lanes - 1, lanes, 3 * lanes + 1]))
            for _ in range(rng.randint(1, 5))
        ]
        expected.append((token, b"".join(segments), False))
        for number, raw in enumerate(segments):
            offered += beats(width, rng.randrange(lanes), raw, token, number == len(segments) - 1)
    dut = design(Packer, width=width)
    results = []

    async def source(ctx: Any) -> None:
        await send(ctx, dut.i, offered, stall=stall, rng=random.Random(1))

    async def sink(ctx: Any) -> None:
        pauses = random.Random(2)
        for _ in expected:
            results.append(await chain(ctx, dut, stall=stall, rng=pauses))

    simulate(dut, source, sink)
    assert results == expected


@pytest.mark.parametrize("before", [0, 5, 8, 16])
def test_an_error_ends_its_chain_and_the_rest_of_the_chain_is_swallowed(before: int) -> None:
    """Whole rows before the error may be seen; the last beat says error and has no bytes."""
    raw = bytes(range(1, 17))
    offered = [
        *beats(64, 1, raw[:before], 1, False, error=True),
        *beats(64, 0, raw, 1, False),
        *beats(64, 3, raw, 1, False, error=True),
        *beats(64, 5, raw, 1, True),
        *beats(64, 5, raw, 2, True, error=True),
        *beats(64, 6, raw, 3, True),
    ]
    dut = design(Packer, width=64)

    async def source(ctx: Any) -> None:
        await send(ctx, dut.i, offered)

    async def sink(ctx: Any) -> None:
        assert await chain(ctx, dut) == (1, raw[: before // 8 * 8], True)
        assert await chain(ctx, dut) == (2, raw, True)
        assert await chain(ctx, dut) == (3, raw, False)

    simulate(dut, source, sink)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_long_segment_moves_at_one_beat_per_cycle(width: int) -> None:
    lanes = width // 8
    dut = design(Packer, width=width)
    raw = bytes(range(256)) * 4
    offered = beats(width, 3, raw, 0, True)
    cycles = []

    async def source(ctx: Any) -> None:
        await send(ctx, dut.i, offered)

    async def sink(ctx: Any) -> None:
        ctx.set(dut.o.ready, 1)
        cycle = 0
        while True:
            _, _, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            cycle += 1
            if valid:
                cycles.append(cycle)
                if payload.last:
                    return

    simulate(dut, source, sink)
    assert cycles == list(range(cycles[0], cycles[0] + len(raw) // lanes))


def test_a_flush_forgets_a_chain_that_was_begun() -> None:
    raw = bytes(range(30))
    dut = design(Packer, width=64)

    async def bench(ctx: Any) -> None:
        await send(ctx, dut.i, beats(64, 2, raw, 1, False))
        await ctx.tick().until(dut.o.valid)
        ctx.set(dut.flush, 1)
        assert not ctx.get(dut.o.valid) and ctx.get(dut.i.ready)
        await ctx.tick()
        ctx.set(dut.flush, 0)
        await send(ctx, dut.i, beats(64, 0, raw[:8], 2, True))
        assert await chain(ctx, dut) == (2, raw[:8], False)

    simulate(dut, bench)


def test_a_wrong_width_is_named() -> None:
    with pytest.raises(ValueError, match=r"width must be one of 64, 128, 256, 512, not 32"):
        Packer(width=32)

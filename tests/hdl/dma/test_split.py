"""Requests are cut where no TLP may cross."""

import random
from typing import Any

import pytest
from amaranth_virtio.dma.split import Splitter
from helpers.simulation import STALLS, receive, send, simulate


def parts(address: int, length: int, size: int) -> list[tuple[int, int, int]]:
    """(address, address of the last byte, last)."""
    end = address + length
    starts = [address, *range((address // size + 1) * size, end, size)]
    return [(start, stop - 1, stop == end) for start, stop in zip(starts, [*starts[1:], end], strict=True)]


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize(
    ("max_bytes", "setting", "size"),
    [(128, 0, 128), (256, 5, 256), (4096, 1, 256), (4096, 5, 4096), (4096, 7, 4096)],
)
def test_parts_cover_the_request_and_end_at_boundaries(
    max_bytes: int, setting: int, size: int, stall: float
) -> None:
    """Setting 7 is reserved, and must not lead across 4 KiB."""
    rng = random.Random(size)
    dut = Splitter(max_bytes=max_bytes, context=8)
    requests = [
        (base + rng.randrange(-size, size), rng.choice([1, 2, size - 1, size, size + 1, 3 * size]))
        for base in (0x1_0000, 0x1_0000_0000, 0xFFFF_FFFF_0000_0000)
        for _ in range(6)
    ]

    async def source(ctx: Any) -> None:
        ctx.set(dut.size, setting)
        payloads = [{"address": a, "length": n, "context": i} for i, (a, n) in enumerate(requests)]
        await send(ctx, dut.i, payloads, stall=stall, rng=rng)

    async def sink(ctx: Any) -> None:
        pauses = random.Random(1)
        for number, (address, length) in enumerate(requests):
            for start, last, ends in parts(address, length, size):
                part = await receive(ctx, dut.o, stall=stall, rng=pauses)
                assert (part.address, part.final, part.last) == (start, last & 0xFFF, ends)
                assert part.context == number

    simulate(dut, source, sink)


def test_a_cut_ends_a_request_of_any_length() -> None:
    dut = Splitter(max_bytes=128, context=8)

    async def source(ctx: Any) -> None:
        await send(
            ctx,
            dut.i,
            [
                {"address": 0x1000, "length": 0xFFFF_FFFF, "context": 1},
                {"address": 0x2000, "length": 5, "context": 2},
            ],
        )

    async def sink(ctx: Any) -> None:
        assert not (await receive(ctx, dut.o)).last
        ctx.set(dut.cut, 1)
        while not (part := await receive(ctx, dut.o)).last:
            assert part.address < 0x1180
        ctx.set(dut.cut, 0)
        part = await receive(ctx, dut.o)
        assert (part.address, part.last, part.context) == (0x2000, 1, 2)

    simulate(dut, source, sink)


def test_a_flush_drops_the_request_inside_and_those_that_come() -> None:
    dut = Splitter(max_bytes=128, context=8)

    async def bench(ctx: Any) -> None:
        await send(ctx, dut.i, [{"address": 0x1000, "length": 5000, "context": 1}])
        await ctx.tick().until(dut.o.valid)
        assert ctx.get(dut.busy)
        ctx.set(dut.flush, 1)
        await send(ctx, dut.i, [{"address": 0x2000, "length": 5000, "context": 2}] * 3)
        ctx.set(dut.flush, 0)
        assert not ctx.get(dut.busy)
        await send(ctx, dut.i, [{"address": 0x3001, "length": 3, "context": 3}])
        part = await receive(ctx, dut.o)
        assert (part.address, part.final, part.last, part.context) == (0x3001, 3, 1, 3)

    simulate(dut, bench)


@pytest.mark.parametrize("value", [0, 64, 200, 8192])
def test_a_limit_that_no_tlp_has_is_named(value: int) -> None:
    with pytest.raises(ValueError, match=f"max_bytes must be a power of two from 128 to 4096, not {value}"):
        Splitter(max_bytes=value, context=8)

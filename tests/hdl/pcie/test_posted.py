import random
from types import SimpleNamespace
from typing import Any

import pytest
from amaranth_virtio.pcie.bars import Bar
from amaranth_virtio.pcie.posted import PostedWriter
from helpers.registers import Access, Target
from helpers.simulation import STALLS, design, send, simulate, stalled, steady
from helpers.tlp import memory_write, tlp_beats

BARS = (Bar(1, 4096), Bar(4, 16384, wide=True, prefetchable=True), Bar(0, 128), Bar(2, 256, io=True))
BASES = (0xFE000000, 0x12_4000_0000, 0xFD000080, 0xC100)


def run(
    packets: list[list[int]],
    *,
    width: int = 64,
    stall: float = 0.0,
    memory_enable: int = 1,
    d0: int = 1,
) -> SimpleNamespace:
    """Send ``packets``; what arrived on the bus and what was said."""
    dut = design(PostedWriter, width=width, bars=BARS)
    target = Target(stall=stall, seed=3)
    result = SimpleNamespace(log=target.log, unsupported=0, poisoned=0)

    async def source(ctx: Any) -> None:
        ctx.set(dut.decode, {"memory_enable": memory_enable, "io_enable": 1, "base": BASES})
        ctx.set(dut.d0, d0)
        beats = [beat for packet in packets for beat in tlp_beats(packet, width)]
        await send(ctx, dut.i, beats, stall=stall, rng=random.Random(1))
        await ctx.tick().until(~dut.busy)
        await ctx.tick()

    async def watch(ctx: Any) -> None:
        async for *_, unsupported, poisoned in ctx.tick().sample(dut.unsupported, dut.poisoned):
            result.unsupported += unsupported
            result.poisoned += poisoned

    simulate(
        dut,
        source,
        background=[watch, target.serve(dut.bus), steady(dut.bus.request)],
        deadline=30_000,
    )
    return result


def expected(bar: int, offset: int, payload: list[int], enables: list[int]) -> list[Access]:
    """A write, dword by dword; disabled bytes do not count."""
    masks = [sum(0xFF << 8 * byte for byte in range(4) if be >> byte & 1) for be in enables]
    return [
        Access(bar, offset + 4 * at, True, be, word & mask)
        for at, (word, be, mask) in enumerate(zip(payload, enables, masks, strict=True))
    ]


@pytest.mark.parametrize(("width", "stall"), stalled(64, 128, 256, 512))
def test_writes_of_any_length_reach_the_bus_in_order(width, stall):
    rng = random.Random(width)
    packets, accesses = [], []
    for length in (*range(1, 20), 33, 64, 128):
        payload = [rng.getrandbits(32) for _ in range(length)]
        number, bar, size = rng.choice(((0, 1, 4096), (1, 4, 16384)))
        offset = 4 * rng.randrange(size // 4 - length + 1)
        first = rng.randrange(16) if length == 1 else rng.randrange(1, 16)
        last = 0 if length == 1 else rng.randrange(1, 16)
        packets.append(memory_write(BASES[number] + offset, payload, first_be=first, last_be=last))
        enables = [first] + [0xF] * (length - 2) + ([last] if length > 1 else [])
        accesses += expected(bar, offset, payload, enables)
    result = run(packets, width=width, stall=stall)
    assert result.log == accesses
    assert (result.unsupported, result.poisoned) == (0, 0)


@pytest.mark.parametrize("width", (64, 256))
def test_a_dword_is_written_in_every_cycle(width):
    dut = design(PostedWriter, width=width, bars=BARS)
    lengths = (1, 1, 2, 5, 1, 8, 9)
    packets = [memory_write(BASES[0], [0] * length) for length in lengths]

    async def source(ctx: Any) -> None:
        ctx.set(dut.decode, {"memory_enable": 1, "base": BASES})
        ctx.set(dut.bus.request.ready, 1)
        await send(ctx, dut.i, [beat for packet in packets for beat in tlp_beats(packet, width)])

    async def watch(ctx: Any) -> None:
        await ctx.tick().until(dut.bus.request.valid)
        for _ in range(sum(lengths) - 1):
            assert ctx.get(dut.bus.request.valid)
            await ctx.tick()

    simulate(dut, source, watch)


GOOD = memory_write(BASES[0] + 8, [7])
ELSEWHERE = {
    "below a BAR": memory_write(BASES[0] - 4, [1, 2, 3]),
    "behind a BAR": memory_write(BASES[0] + 4096, [1, 2, 3]),
    "at a 32-bit BAR's address above 4 GiB": memory_write(1 << 32 | BASES[0], [1]),
    "at the low half of a 64-bit BAR's address": memory_write(BASES[1] & 0xFFFFFFFF, [1]),
    "at an I/O BAR's address": memory_write(BASES[3], [1]),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_write_outside_the_bars_is_unsupported(name):
    result = run([GOOD, ELSEWHERE[name], GOOD])
    assert result.log == expected(1, 8, [7], [0xF]) * 2
    assert (result.unsupported, result.poisoned) == (1, 0)


@pytest.mark.parametrize("closed", [{"memory_enable": 0}, {"d0": 0}], ids=["memory space off", "D3hot"])
def test_a_write_to_closed_memory_space_is_unsupported(closed):
    result = run([GOOD, memory_write(BASES[1], list(range(9)))], **closed)
    assert result.log == []
    assert (result.unsupported, result.poisoned) == (2, 0)


@pytest.mark.parametrize("width", (64, 128, 256))
@pytest.mark.parametrize("start", (0x00, 0x70, 0x7C))
def test_a_write_past_the_end_of_its_bar_stops_there(start, width):
    payload = list(range(100, 140))
    result = run([memory_write(BASES[2] + start, payload), GOOD], width=width)
    inside = (128 - start) // 4
    assert result.log == expected(0, start, payload[:inside], [0xF] * inside) + expected(1, 8, [7], [0xF])
    assert result.unsupported == 1


def test_a_write_up_to_the_end_of_its_bar_is_supported():
    result = run([memory_write(BASES[2], list(range(32)))])
    assert len(result.log) == 32
    assert result.unsupported == 0


@pytest.mark.parametrize("length", (1, 9))
def test_a_poisoned_write_is_dropped(length):
    result = run([GOOD, memory_write(BASES[0], [1] * length, ep=True), GOOD])
    assert result.log == expected(1, 8, [7], [0xF]) * 2
    assert (result.unsupported, result.poisoned) == (0, 1)


def test_a_poisoned_write_that_nobody_wants_is_unsupported():
    """The standard reports the most severe error of a packet only; §6.2.3.2.3 has the order."""
    result = run([memory_write(BASES[0] - 4, [1], ep=True)])
    assert (result.unsupported, result.poisoned) == (1, 0)


@pytest.mark.parametrize("stall", STALLS)
def test_all_that_was_taken_is_written_when_busy_is_low(stall):
    dut = design(PostedWriter, width=128, bars=BARS)
    target = Target(stall=stall, seed=3)
    packets = [memory_write(BASES[0], list(range(length))) for length in (1, 4, 5, 1, 1, 12)]
    beats = [beat for packet in packets for beat in tlp_beats(packet, 128)]
    taken = written = quiet = 0

    async def source(ctx: Any) -> None:
        ctx.set(dut.decode, {"memory_enable": 1, "base": BASES})
        await send(ctx, dut.i, beats)
        await ctx.tick().until(~dut.busy)
        await ctx.tick()
        assert quiet >= len(beats), "a reader gets its turn once per beat"

    async def watch(ctx: Any) -> None:
        nonlocal taken, written, quiet
        bus = dut.bus.request
        watched = (dut.busy, dut.i.valid & dut.i.ready, dut.i.p.enable, bus.valid & bus.ready)
        async for *_, busy, accepted, enable, done in ctx.tick().sample(*watched):
            written += done
            if not busy:
                quiet += 1
                assert written == taken
            taken += int(enable).bit_count() if accepted else 0

    simulate(dut, source, background=[target.serve(dut.bus), watch])


def test_a_write_before_d0_is_left_does_not_depend_on_what_follows():
    """Decoded when it arrived: the configuration access that closes memory space came later."""
    dut = design(PostedWriter, width=64, bars=BARS)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.decode, {"memory_enable": 1, "base": BASES})
        await send(ctx, dut.i, tlp_beats(GOOD, 64))
        ctx.set(dut.decode, {"memory_enable": 0, "base": [0] * len(BARS)})
        await ctx.tick()
        assert ctx.get(dut.bus.request.valid)
        assert ctx.get(dut.bus.request.p.address) == 8

    simulate(dut, bench)

import random
from typing import Any

import pytest
from amaranth_virtio.phy.raw import RawReceiver, RawTransmitter
from amaranth_virtio.tlp import WIDTHS
from helpers.simulation import design, receive, send, simulate, stalled, steady
from helpers.tlp import (
    completion,
    from_raw_beats,
    from_tlp_beats,
    header_dwords,
    memory_read,
    memory_write,
    message,
    raw_beats,
    tlp_beats,
)

DIGEST = 1 << 15  # TD in dword 0


def packets(rng: random.Random, lengths: Any = range(41)) -> list[list[int]]:
    """Every header size with and without payload, in random order."""
    result: list[list[int]] = []
    for length in lengths:
        payload = [rng.getrandbits(32) for _ in range(length)]
        result += [
            completion(payload, tag=rng.getrandbits(8), requester=rng.getrandbits(16)),
            message(rng.getrandbits(8), payload, requester=rng.getrandbits(16)),
        ]
        if length:
            result.append(memory_write(rng.getrandbits(40), payload, wide=True))
            result.append(memory_read(rng.getrandbits(30), length))
    rng.shuffle(result)
    return result


def lengths(stall: float) -> range:
    """Payloads in dwords: with any pattern of stalls once all of them, else those up to the widest beat."""
    return range(41) if stall == 0.5 else range(18)


async def collect(ctx: Any, sink: Any, count: int, stall: float, rng: random.Random) -> list[Any]:
    """Take beats until ``count`` packets have ended."""
    beats: list[Any] = []
    while count:
        beats.append(await receive(ctx, sink, stall=stall, rng=rng))
        count -= beats[-1].last
    return beats


def feed(source: Any, beats: list[Any], stall: float, seed: int) -> Any:
    async def bench(ctx: Any) -> None:
        await send(ctx, source, beats, stall=stall, rng=random.Random(seed))

    return bench


def received(
    dut: Any, raw: list[Any], good: int, *, stall: float = 0.0, limit: int | None = None
) -> tuple[list[list[int]], int]:
    """What comes out of a receiver for raw beats, and how often it said malformed."""
    strobes = 0
    beats: list[Any] = []

    async def sink(ctx: Any) -> None:
        if limit is not None:
            ctx.set(dut.limit, limit)
        beats.extend(await collect(ctx, dut.o, good, stall, random.Random(2)))
        await ctx.tick().repeat(20)
        assert not ctx.get(dut.o.valid), "nothing follows the good packets"

    async def watch(ctx: Any) -> None:
        nonlocal strobes
        async for *_, malformed in ctx.tick().sample(dut.malformed):
            strobes += malformed

    simulate(dut, feed(dut.i, raw, stall, 1), sink, background=[watch, steady(dut.o)], deadline=40_000)
    return from_tlp_beats(beats, dut.width), strobes


@pytest.mark.parametrize(("width", "stall"), stalled(*WIDTHS))
def test_packets_of_all_sizes_reach_the_internal_form(width, stall):
    sent = packets(random.Random(width), lengths(stall))
    raw = [beat for packet in sent for beat in raw_beats(packet, width)]
    got, malformed = received(RawReceiver(width=width), raw, len(sent), stall=stall)
    assert got == sent
    assert malformed == 0


@pytest.mark.parametrize(("width", "stall"), stalled(*WIDTHS))
def test_packets_of_all_sizes_reach_the_raw_form(width, stall):
    sent = packets(random.Random(width + 1), lengths(stall))
    dut = design(RawTransmitter, width=width)
    beats: list[Any] = []

    async def sink(ctx: Any) -> None:
        beats.extend(await collect(ctx, dut.o, len(sent), stall, random.Random(2)))

    simulate(
        dut, feed(dut.i, [b for p in sent for b in tlp_beats(p, width)], stall, 1), sink, deadline=40_000
    )
    assert from_raw_beats(beats, width) == sent


@pytest.mark.parametrize("width", WIDTHS)
def test_the_receiver_takes_a_beat_in_every_cycle(width):
    sent = packets(random.Random(3), (0, 1, 2, 5, 8, 13, 128, 128, 128))
    raw = [beat for packet in sent for beat in raw_beats(packet, width)]
    dut = design(RawReceiver, width=width)

    async def source(ctx: Any) -> None:
        for beat in raw:
            ctx.set(dut.i.payload, beat)
            ctx.set(dut.i.valid, 1)
            assert ctx.get(dut.i.ready)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)

    async def sink(ctx: Any) -> None:
        ctx.set(dut.o.ready, 1)
        ended = 0
        while ended < len(sent):
            *_, last = await ctx.tick().sample(dut.o.payload.last).until(dut.o.valid)
            ended += last

    simulate(dut, source, sink)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_transmitter_gives_a_beat_in_every_cycle(width):
    sent = packets(random.Random(4), (0, 1, 2, 5, 8, 13))
    dut = design(RawTransmitter, width=width)

    async def sink(ctx: Any) -> None:
        ctx.set(dut.o.ready, 1)
        await ctx.tick().until(dut.o.valid)
        for _ in range(sum(len(raw_beats(packet, width)) for packet in sent) - 1):
            assert ctx.get(dut.o.valid)
            await ctx.tick()

    simulate(dut, feed(dut.i, [b for p in sent for b in tlp_beats(p, width)], 0, 0), sink)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_packet_leaves_the_receiver_without_a_gap(width):
    packet = memory_write(0x1000, list(range(40)))
    dut = design(RawReceiver, width=width)

    async def sink(ctx: Any) -> None:
        ctx.set(dut.o.ready, 1)
        await ctx.tick().until(dut.o.valid)
        for _ in range(len(tlp_beats(packet, width)) - 1):
            assert ctx.get(dut.o.valid)
            await ctx.tick()

    simulate(dut, feed(dut.i, raw_beats(packet, width), 0.8, 5), sink)


def good_neighbours(bad: list[dict[str, Any]], width: int) -> list[dict[str, Any]]:
    """Beats of ``bad`` between two good packets."""
    return [*raw_beats(memory_write(0, [1, 2, 3]), width), *bad, *raw_beats(completion([4]), width)]


WRITE = memory_write(0x1000, list(range(20)))


@pytest.mark.parametrize("width", (64, 256))
@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(WRITE[:-1], id="one dword short"),
        pytest.param([*WRITE, 0], id="one dword long"),
        pytest.param(WRITE + list(range(400)), id="far too long"),
        pytest.param([WRITE[0] | DIGEST, *WRITE[1:]], id="digest announced and absent"),
        pytest.param(memory_read(0x1000) + [0], id="read with payload"),
        pytest.param(memory_read(0x1000)[:2], id="header cut off"),
        pytest.param([0x80000000, *WRITE], id="prefix"),
        pytest.param([WRITE[0] | 7 << 29, *WRITE[1:]], id="undefined format"),
        pytest.param(memory_write(0x1000, [0] * 129), id="more than the largest payload"),
        pytest.param([0x40000000, 0xFF, 0x1000, *range(1023)], id="length 0 is 1024"),
    ],
)
def test_a_malformed_packet_is_dropped_whole(packet, width):
    raw = good_neighbours(raw_beats(packet, width), width)
    got, malformed = received(RawReceiver(width=width), raw, 2)
    assert got == [memory_write(0, [1, 2, 3]), completion([4])]
    assert malformed == 1


@pytest.mark.parametrize("width", WIDTHS)
def test_a_digest_is_dropped(width):
    sent = [packet for length in range(1, 10) for packet in (
        memory_write(0x1000, list(range(length))),
        memory_write(0x1000, list(range(length)), wide=True),
        memory_read(0x1000, length),
    )]  # fmt: skip
    marked = [[packet[0] | DIGEST, *packet[1:]] for packet in sent]
    raw = [beat for packet in marked for beat in raw_beats([*packet, 0xDEADBEEF], width)]
    got, malformed = received(RawReceiver(width=width), raw, len(sent))
    assert got == marked
    assert malformed == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_a_packet_without_end_is_forgotten_when_the_next_begins(width):
    cut = raw_beats(memory_write(0x1000, list(range(60))), width)[:-1]
    raw = good_neighbours(cut * 5, width)
    got, malformed = received(RawReceiver(width=width), raw, 2)
    assert got == [memory_write(0, [1, 2, 3]), completion([4])]
    assert malformed == 0


def test_beats_outside_a_packet_are_dropped():
    stray = [{"data": 0, "enable": 3, "first": 0, "last": last} for last in (0, 0, 1)]
    got, malformed = received(RawReceiver(width=64), good_neighbours(stray, 64), 2)
    assert got == [memory_write(0, [1, 2, 3]), completion([4])]
    assert malformed == 0


def test_the_largest_payload_fits():
    packet = memory_write(0x1000, list(range(1024)), wide=True)
    assert header_dwords(packet) == 4
    got, _ = received(RawReceiver(width=128, max_payload=4096), raw_beats(packet, 128) * 2, 2)
    assert got == [packet] * 2


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_a_payload_beyond_the_set_limit_is_malformed(limit):
    largest = memory_write(0x1000, list(range(32 << limit)))
    longer = memory_write(0x1000, list(range((32 << limit) + 1)))
    dut = design(RawReceiver, width=64, max_payload=512)
    raw = [beat for packet in (memory_read(0), longer, largest, longer) for beat in raw_beats(packet, 64)]
    got, malformed = received(dut, raw, 2, limit=limit)
    assert got == [memory_read(0), largest]
    assert malformed == 2


def test_a_width_that_is_not_offered_is_refused():
    with pytest.raises(ValueError, match=r"^width must be one of 64, 128, 256, 512, not 32$"):
        RawReceiver(width=32)
    with pytest.raises(ValueError, match=r"^width must be one of 64, 128, 256, 512, not 96$"):
        RawTransmitter(width=96)


def test_a_payload_size_that_pcie_does_not_have_is_refused():
    message = r"^max_payload must be one of 128, 256, 512, 1024, 2048, 4096, not 100$"
    with pytest.raises(ValueError, match=message):
        RawReceiver(width=64, max_payload=100)

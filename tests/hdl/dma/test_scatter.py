"""A device's bytes over the segments of its chains."""

import random
from typing import Any

import pytest
from amaranth_virtio.dma.scatter import ScatterWriter
from helpers.dma import REQUESTER, WriteHost
from helpers.simulation import design, receive, send, simulate, stalled

WIDTHS = (64, 128, 256)
SETTINGS = {
    "requester_id": REQUESTER,
    "bus_master": 1,
    "max_payload": 0,
    "max_read_request": 0,
    "extended_tag": 0,
}
Segments = list[tuple[int, int]]


def cut(
    rng: random.Random, width: int, raw: bytes, token: int, *, full: bool = False
) -> list[dict[str, Any]]:
    """``raw`` in beats of any size, or of full size."""
    lanes = width // 8
    result = []
    while True:
        count = min(len(raw), lanes if full else rng.choice([0, 1, 3, lanes - 1, lanes, lanes]))
        piece, raw = raw[:count], raw[count:]
        last = not raw and (full or rng.random() < 0.6)
        junk = bytes([0xEE]) * (lanes - count)
        result.append(
            {"data": int.from_bytes(piece + junk, "little"), "count": count, "last": last, "token": token}
        )
        if last:
            return result


def expected(segments: Segments, raw: bytes) -> tuple[dict[int, int], list[int]]:
    """Memory, and the addresses in order."""
    addresses = [address + offset for address, length in segments for offset in range(length)]
    memory = dict(zip(addresses, raw, strict=False))
    return memory, list(memory)


class Rig:
    """A writer with its chains' segments, the host, and what came out of ``done``."""

    def __init__(self, width: int, *, max_payload: int = 128, limit: int = 128, stall: float = 0.0):
        self.dut = design(ScatterWriter, width=width, max_payload=max_payload)
        self.host = WriteHost(width, limit=limit, stall=stall)
        self.segments: dict[int, Segments] = {}
        self.done: list[tuple[int, int, int]] = []  # token, written, bytes in memory at that time
        self.stall = stall

    async def lookup(self, ctx: Any) -> None:
        """Segments of one chain after the other, a few cycles after they are asked for."""
        dut, rng = self.dut, random.Random(11)
        sampled = (dut.begin.valid, dut.begin.payload, dut.segment.ready, dut.end, dut.flush)
        while True:
            ctx.set(dut.begin.ready, 1)
            _, _, begins, token, *_, flushing = await ctx.tick().sample(*sampled)
            ctx.set(dut.begin.ready, 0)
            if not begins or flushing:
                continue
            segments = [*self.segments.get(token, [])]
            ended = False
            while not ended:
                for _ in range(rng.choice([1, 2, 5])):
                    ended = ended or any((await ctx.tick().sample(dut.end, dut.flush))[2:])
                if ended:
                    break
                address, length = segments.pop(0) if segments else (0xBAD, 0xBAD)
                exists = length != 0xBAD
                segment = {"address": address, "length": length}
                ctx.set(dut.segment.payload, {"segment": segment, "exists": exists})
                ctx.set(dut.segment.valid, 1)
                taken = False
                while not taken and not ended:
                    *_, taken, end, flushing = await ctx.tick().sample(*sampled)
                    ended = bool(end or flushing)
                    assert not taken or exists, "nothing behind the last one"
                ctx.set(dut.segment.valid, 0)

    async def lookup_ahead(self, ctx: Any) -> None:
        """The same, for up to 3 chains that were begun; the first one's segments are there at once."""
        dut, begun = self.dut, []
        while True:
            ctx.set(dut.begin.ready, len(begun) < 3)
            address, length = begun[0][0] if begun and begun[0] else (0xBAD, 0xBAD)
            payload = {"segment": {"address": address, "length": length}, "exists": length != 0xBAD}
            ctx.set(dut.segment.payload, payload)
            ctx.set(dut.segment.valid, len(begun) > 0)
            sampled = (dut.begin.valid, dut.begin.ready, dut.begin.payload, dut.segment.ready, dut.end)
            _, _, begins, ready, token, taken, end = await ctx.tick().sample(*sampled)
            if taken and begun:
                assert begun[0], "nothing behind the last one"
                begun[0].pop(0)
            if end:
                begun.pop(0)
            if begins and ready:
                begun.append([*self.segments.get(token, [])])

    async def writes(self, ctx: Any) -> None:
        await self.host.take_writes(ctx, self.dut.o)

    async def take_done(self, ctx: Any, count: int) -> None:
        rng = random.Random(9)
        for _ in range(count):
            done = await receive(ctx, self.dut.done, stall=self.stall, rng=rng)
            self.done.append((int(done.token), int(done.written), len(self.host.memory)))

    def run(self, beats: list[dict[str, Any]], chains: int, *, ahead: bool = False, **settings: int) -> None:
        async def client(ctx: Any) -> None:
            ctx.set(self.dut.settings, SETTINGS | settings)
            await send(ctx, self.dut.i, beats, stall=self.stall, rng=random.Random(3))

        async def done(ctx: Any) -> None:
            await self.take_done(ctx, chains)
            await ctx.tick().repeat(5)
            assert ctx.get(self.dut.idle)

        lookup = self.lookup_ahead if ahead else self.lookup
        simulate(self.dut, client, done, background=[lookup, self.writes], deadline=20_000)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize(("width", "stall"), stalled(*WIDTHS, 512))
def test_bytes_land_in_the_segments_in_order(width: int, stall: float, ahead: bool) -> None:
    """Traps 13 and 17: SPLIT-DEV-01, SPLIT-DEV-P03. Any framing of the chain, any framing of the bytes."""
    rng = random.Random(width)
    rig = Rig(width, stall=stall)
    beats, memory, order, done = [], {}, [], []
    base = 0x1_0000_0000 - 0x2000
    for token in range(12 if stall < 0.9 else 5):
        segments = []
        for _ in range(rng.randint(0, 5)):
            base += rng.randrange(1, 300)
            segments.append((base, rng.choice([1, 2, 3, 5, 64, 127, 200, 700 if stall < 0.9 else 100])))
            base += segments[-1][1]
        rig.segments[token] = segments
        total = sum(length for _, length in segments)
        raw = rng.randbytes(rng.choice([total, total, total + 9, total // 2, 0]))
        beats += cut(rng, width, raw, token)
        chain_memory, chain_order = expected(segments, raw)
        memory |= chain_memory
        order += chain_order
        done.append((token, min(total, len(raw)), len(memory)))
    rig.run(beats, len(done), ahead=ahead)
    assert rig.host.memory == memory
    assert rig.host.log == order
    assert [entry[:2] for entry in rig.done] == [entry[:2] for entry in done]
    # Each chain is in memory when it is reported; the next ones may have begun.
    assert all(seen[2] >= least[2] for seen, least in zip(rig.done, done, strict=True))


@pytest.mark.parametrize(
    ("max_payload", "setting", "size"), [(512, 0, 128), (256, 1, 256), (256, 5, 256), (4096, 5, 4096)]
)
def test_a_write_is_split_at_multiples_of_the_smaller_limit(
    max_payload: int, setting: int, size: int
) -> None:
    rig = Rig(256, max_payload=max_payload, limit=size)
    address, length = 0x1F55, 5000
    rig.segments[7] = [(address, length)]
    rig.run(cut(random.Random(0), 256, bytes(length), 7, full=True), 1, max_payload=setting)
    starts = [address, *range((address // size + 1) * size, address + length, size)]
    assert [write.bytes[0] for write in rig.host.writes] == starts
    assert rig.done == [(7, length, length)]


@pytest.mark.parametrize("width", WIDTHS)
def test_full_beats_into_an_aligned_segment_move_one_per_cycle(width: int) -> None:
    """4 KiB: the packets leave without a gap between them."""
    rig = Rig(width)
    rig.segments[0] = [(0x4000, 4096)]
    rng = random.Random(0)
    raw = rng.randbytes(4096)
    cycles = []

    async def watch(ctx: Any) -> None:
        cycle = 0
        async for _, _, valid, ready in ctx.tick().sample(rig.dut.o.valid, rig.dut.o.ready):
            cycle += 1
            if valid and ready:
                cycles.append(cycle)

    async def client(ctx: Any) -> None:
        ctx.set(rig.dut.settings, SETTINGS)
        await send(ctx, rig.dut.i, cut(rng, width, raw, 0, full=True))

    async def done(ctx: Any) -> None:
        await rig.take_done(ctx, 1)

    simulate(rig.dut, client, done, background=[rig.lookup, rig.writes, watch])
    beats = 4096 * 8 // width
    assert cycles == list(range(cycles[0], cycles[0] + beats))
    assert rig.host.memory == expected(rig.segments[0], raw)[0]


def test_an_unaligned_segment_costs_one_cycle_more_per_tlp() -> None:
    rig = Rig(128)
    rig.segments[0] = [(0x4005, 2048)]
    rng = random.Random(0)
    raw = rng.randbytes(2048)
    spent = []

    async def client(ctx: Any) -> None:
        ctx.set(rig.dut.settings, SETTINGS)
        cycle = 0
        for beat in cut(rng, 128, raw, 0, full=True):
            ctx.set(rig.dut.i.payload, beat)
            ctx.set(rig.dut.i.valid, 1)
            while True:
                cycle += 1
                if (await ctx.tick().sample(rig.dut.i.ready))[2]:
                    break
        ctx.set(rig.dut.i.valid, 0)
        spent.append(cycle)

    async def done(ctx: Any) -> None:
        await rig.take_done(ctx, 1)

    simulate(rig.dut, client, done, background=[rig.lookup, rig.writes])
    # 128 beats, 16 boundaries inside, and the first segment's look-up.
    assert spent[0] <= 128 + 16 + 6


def test_short_chains_follow_each_other_in_three_cycles_more_than_their_beats() -> None:
    """Those of a network device: 12 bytes of header and 64 of frame in 3 beats of 32 bytes."""
    rig = Rig(256)
    rig.segments = {token: [(0x1000 * token + 0x1000, 2048)] for token in range(8)}
    raw = bytes(range(76))
    ends: list[int] = []

    async def watch(ctx: Any) -> None:
        cycle = 0
        async for *_, end in ctx.tick().sample(rig.dut.end):
            cycle += 1
            if end:
                ends.append(cycle)

    async def client(ctx: Any) -> None:
        ctx.set(rig.dut.settings, SETTINGS)
        beats = [beat for token in rig.segments for beat in cut(random.Random(0), 256, raw, token, full=True)]
        await send(ctx, rig.dut.i, beats)

    async def done(ctx: Any) -> None:
        await rig.take_done(ctx, len(rig.segments))

    simulate(rig.dut, client, done, background=[rig.lookup_ahead, rig.writes, watch])
    assert {later - end for end, later in zip(ends, ends[1:], strict=False)} == {6}
    assert [entry[:2] for entry in rig.done] == [(token, 76) for token in rig.segments]


def test_a_slow_device_never_holds_the_link() -> None:
    """Nothing is offered while the device pauses inside a TLP; the host asserts that packets do not pause."""
    rig = Rig(64)
    rig.segments[1] = [(0x100, 64)]

    async def client(ctx: Any) -> None:
        ctx.set(rig.dut.settings, SETTINGS)
        for number in range(8):
            for _ in range(20):
                assert not (await ctx.tick().sample(rig.dut.o.valid))[2]
            await send(ctx, rig.dut.i, [{"data": number, "count": 8, "last": number == 7, "token": 1}])

    async def done(ctx: Any) -> None:
        await rig.take_done(ctx, 1)

    simulate(rig.dut, client, done, background=[rig.lookup, rig.writes])
    assert rig.done == [(1, 64, 64)] and len(rig.host.writes) == 1


def test_without_bus_mastering_no_write_starts() -> None:
    rig = Rig(64)
    rig.segments[1] = [(0x100, 300)]

    async def client(ctx: Any) -> None:
        ctx.set(rig.dut.settings, SETTINGS | {"bus_master": 0})
        await send(ctx, rig.dut.i, cut(random.Random(0), 64, bytes(150), 1, full=True))
        for _ in range(50):
            _, _, valid, done = await ctx.tick().sample(rig.dut.o.valid, rig.dut.done.valid)
            assert not valid and not done
        ctx.set(rig.dut.settings, SETTINGS)

    async def done(ctx: Any) -> None:
        await rig.take_done(ctx, 1)

    simulate(rig.dut, client, done, background=[rig.lookup, rig.writes])
    assert rig.done == [(1, 150, 150)]


@pytest.mark.parametrize("before", [3, 17, 40, 90])
def test_a_flush_ends_the_started_tlp_and_drops_the_rest(before: int) -> None:
    """Trap 6: RESET-DEV-02. The chain of before is gone, the one behind the flush is whole."""
    rig = Rig(64, stall=0.5)
    rig.segments = {1: [(0x103, 2000)], 2: [(0x8001, 100)]}
    rng = random.Random(before)
    old, new = rng.randbytes(2000), rng.randbytes(100)
    behind: list[int] = []

    async def client(ctx: Any) -> None:
        ctx.set(rig.dut.settings, SETTINGS)
        beats = cut(rng, 64, old, 1, full=True)
        await send(ctx, rig.dut.i, beats[:before])
        ctx.set(rig.dut.flush, 1)
        for beat in beats[before : before + 5]:
            ctx.set(rig.dut.i.payload, beat)
            ctx.set(rig.dut.i.valid, 1)
            assert (await ctx.tick().sample(rig.dut.i.ready))[2], "taken and dropped"
        ctx.set(rig.dut.i.valid, 0)
        for _ in range(200):
            _, _, idle, done = await ctx.tick().sample(rig.dut.idle, rig.dut.done.valid)
            assert not done
            if idle:
                break
        assert idle
        count = len(rig.host.writes)
        await ctx.tick().repeat(50)
        assert len(rig.host.writes) == count, "idle means that nothing follows"
        behind.append(count)
        ctx.set(rig.dut.flush, 0)
        await send(ctx, rig.dut.i, cut(rng, 64, new, 2))

    async def done(ctx: Any) -> None:
        await rig.take_done(ctx, 1)

    simulate(rig.dut, client, done, background=[rig.lookup, rig.writes])
    assert [entry[:2] for entry in rig.done] == [(2, 100)]
    memory, _ = expected(rig.segments[2], new)
    for write in rig.host.writes[behind[0] :]:
        assert set(write.bytes) <= set(memory)
    assert {a: b for a, b in rig.host.memory.items() if a >= 0x8000} == memory
    assert {a: b for a, b in rig.host.memory.items() if a < 0x8000}.items() <= expected(rig.segments[1], old)[
        0
    ].items()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 48}, r"width must be one of 64, 128, 256, 512, not 48"),
        ({"max_payload": 64}, "max_bytes must be a power of two from 128 to 4096, not 64"),
    ],
)
def test_wrong_arguments_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScatterWriter(**({"width": 64, "max_payload": 128} | changes))

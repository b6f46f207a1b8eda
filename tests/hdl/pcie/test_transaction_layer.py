"""Receiver, router, posted and non-posted units and the register bus together."""

import random
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth_virtio.pcie.bars import Bar
from amaranth_virtio.pcie.non_posted import NonPosted
from amaranth_virtio.pcie.posted import PostedWriter
from amaranth_virtio.pcie.register_bus import RegisterArbiter
from amaranth_virtio.pcie.router import Router
from amaranth_virtio.phy.raw import RawReceiver, RawTransmitter
from amaranth_virtio.registers import RegisterBus
from amaranth_virtio.tlp import RawSignature, TlpSignature
from helpers.registers import Access, Target, default_word
from helpers.simulation import design, receive, send, simulate, stalled, steady
from helpers.tlp import (
    completion,
    from_raw_beats,
    from_tlp_beats,
    io,
    memory_read,
    memory_write,
    parse,
    raw_beats,
)

BARS = (Bar(4, 16384, wide=True), Bar(0, 256, io=True))
BASE, IO = 0x2_0000_0000, 0xC100


class TransactionLayer(wiring.Component):
    """The receive side of the endpoint, up to the register bus."""

    def __init__(self, *, width: int, depth: int = 32):
        self.width = width
        self.depth = depth
        super().__init__(
            {
                "i": In(RawSignature(width)),
                "o": Out(RawSignature(width)),
                "completion": Out(TlpSignature(width)),
                "bus": Out(RegisterBus),
                "io_hold": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.receiver = receiver = RawReceiver(width=self.width)
        m.submodules.router = router = Router(width=self.width)
        m.submodules.posted = posted = PostedWriter(width=self.width, bars=BARS)
        m.submodules.non_posted = non_posted = NonPosted(width=self.width, bars=BARS, depth=self.depth)
        m.submodules.arbiter = arbiter = RegisterArbiter(masters=2)
        m.submodules.transmitter = transmitter = RawTransmitter(width=self.width)
        wiring.connect(m, wiring.flipped(self.i), receiver.i)
        wiring.connect(m, receiver.o, router.i)
        wiring.connect(m, router.posted, posted.i)
        wiring.connect(m, router.non_posted, non_posted.i)
        wiring.connect(m, router.completion, wiring.flipped(self.completion))
        wiring.connect(m, non_posted.o, transmitter.i)
        wiring.connect(m, transmitter.o, wiring.flipped(self.o))
        wiring.connect(m, posted.bus, arbiter.i[0])
        wiring.connect(m, non_posted.bus, arbiter.i[1])
        wiring.connect(m, arbiter.o, wiring.flipped(self.bus))
        for unit in (posted, non_posted):
            m.d.comb += [
                unit.decode.memory_enable.eq(1),
                unit.decode.io_enable.eq(1),
                unit.decode.base[0].eq(BASE),
                unit.decode.base[1].eq(IO),
            ]
        m.d.comb += [non_posted.writes_busy.eq(posted.busy), non_posted.io_hold.eq(self.io_hold)]
        return m


def beats_of(packets: list[list[int]], width: int) -> list[dict[str, Any]]:
    return [beat for packet in packets for beat in raw_beats(packet, width)]


async def packets_from(ctx: Any, sink: Any, count: int, stall: float = 0.0) -> list[Any]:
    rng = random.Random(8)
    beats: list[Any] = []
    while count:
        beats.append(await receive(ctx, sink, stall=stall, rng=rng))
        count -= beats[-1].last
    return beats


@pytest.mark.parametrize(("width", "stall"), stalled(64, 128, 256))
def test_a_read_sees_every_write_before_it(width, stall):
    """Trap 22: PCI-LAY-DEV-01. Halves of wider accesses are accesses like any other, in order."""
    rng = random.Random(width)
    words: dict[int, int] = {}
    packets, expected = [], []
    for tag in range(60):
        offset = 4 * rng.randrange(16)
        length = rng.randrange(1, 5)
        if rng.random() < 0.5:
            payload = [rng.getrandbits(32) for _ in range(length)]
            words |= {offset + 4 * at: word for at, word in enumerate(payload)}
            packets.append(memory_write(BASE + offset, payload))
        else:
            packets.append(memory_read(BASE + offset, length, tag=tag))
            dwords = [words.get(at, default_word(4, at)) for at in range(offset, offset + 4 * length, 4)]
            cut = min(length, (128 - offset) // 4)
            expected += [(tag, part) for part in (dwords[:cut], dwords[cut:]) if part]
    # A write behind a read may pass it, so a write waits until the reads before it are completed.
    groups: list[list[list[int]]] = []
    for packet in packets:
        is_write = bool(packet[0] >> 30)
        if not groups or (is_write and not groups[-1][-1][0] >> 30):
            groups.append([])
        groups[-1].append(packet)
    dut = design(TransactionLayer, width=width)
    target = Target(stall=stall, delay=lambda: rng.randrange(4))
    got: list[tuple[int, list[int]]] = []

    async def bench(ctx: Any) -> None:
        for group in groups:
            await send(ctx, dut.i, beats_of(group, width), stall=stall, rng=rng)
            tags = [parse(packet).tag for packet in group if not packet[0] >> 30]
            for _ in [tag for tag, _ in expected if tag in tags]:
                (packet,) = from_raw_beats(await packets_from(ctx, dut.o, 1, stall), width)
                got.append((parse(packet).tag, parse(packet).payload))

    simulate(dut, bench, background=[target.serve(dut.bus), steady(dut.o)], deadline=40_000)
    assert got == expected


@pytest.mark.parametrize("width", (64, 256))
def test_a_read_is_not_starved_by_a_stream_of_writes(width):
    dut = design(TransactionLayer, width=width)
    target = Target()
    writes = [memory_write(BASE + 0x100, [number] * 8) for number in range(30)]
    packets = [memory_write(BASE, [5]), memory_read(BASE), *writes]

    async def source(ctx: Any) -> None:
        await send(ctx, dut.i, beats_of(packets, width))

    async def sink(ctx: Any) -> None:
        (packet,) = from_raw_beats(await packets_from(ctx, dut.o, 1), width)
        assert parse(packet).payload == [5]
        assert len(target.writes) < 8 * len(writes) // 2, "long before the writes end"

    simulate(dut, source, sink, background=[target.serve(dut.bus)])


@pytest.mark.parametrize("width", (64, 128, 256))
def test_a_slow_read_does_not_block_a_write_behind_it(width):
    dut = design(TransactionLayer, width=width)
    target = Target(delay=200)

    async def bench(ctx: Any) -> None:
        await send(ctx, dut.i, beats_of([memory_read(BASE + 64), memory_write(BASE, [1, 2, 3])], width))
        await ctx.tick().repeat(30)
        assert [access.data for access in target.writes] == [1, 2, 3]
        assert not ctx.get(dut.o.valid)
        (packet,) = from_raw_beats(await packets_from(ctx, dut.o, 1), width)
        assert parse(packet).payload == [default_word(4, 64)]

    simulate(dut, bench, background=[target.serve(dut.bus)])


@pytest.mark.parametrize("width", (64, 256))
def test_completions_and_writes_pass_as_many_waiting_reads_as_there_are_credits(width):
    """And while nobody takes completions of ours: else two such ends wait for each other."""
    depth = 8
    dut = design(TransactionLayer, width=width, depth=depth)
    target = Target(delay=100)
    reads = [memory_read(BASE + 4 * number, tag=number) for number in range(depth)]

    async def bench(ctx: Any) -> None:
        behind = [memory_write(BASE, [9]), completion([1, 2, 3], tag=99)]
        await send(ctx, dut.i, beats_of(reads + behind, width))
        (packet,) = from_tlp_beats(await packets_from(ctx, dut.completion, 1), width)
        assert packet == completion([1, 2, 3], tag=99)
        await ctx.tick().repeat(5)
        assert len(target.writes) == 1
        assert len(target.reads) == 1
        found = from_raw_beats(await packets_from(ctx, dut.o, depth), width)
        assert [parse(packet).tag for packet in found] == list(range(depth))

    simulate(dut, bench, background=[target.serve(dut.bus)])


@pytest.mark.parametrize("width", (64, 256))
def test_completions_and_writes_pass_as_many_held_io_requests_as_there_are_credits(width):
    depth = 8
    dut = design(TransactionLayer, width=width, depth=depth)
    target = Target()
    held = [io(IO, 1), *(io(IO + 4 * number, tag=number) for number in range(1, depth))]

    async def bench(ctx: Any) -> None:
        ctx.set(dut.io_hold, 1)
        behind = [memory_write(BASE, [9]), completion([1, 2, 3], tag=99)]
        await send(ctx, dut.i, beats_of(held + behind, width))
        (packet,) = from_tlp_beats(await packets_from(ctx, dut.completion, 1), width)
        assert packet == completion([1, 2, 3], tag=99)
        await ctx.tick().repeat(5)
        assert target.log == [Access(4, 0, True, 0xF, 9)]
        assert not ctx.get(dut.o.valid)
        ctx.set(dut.io_hold, 0)
        found = from_raw_beats(await packets_from(ctx, dut.o, depth), width)
        assert [parse(packet).tag for packet in found] == list(range(depth))

    simulate(dut, bench, background=[target.serve(dut.bus)])


@pytest.mark.parametrize(("width", "stall"), stalled(64, 128, 256))
def test_an_io_request_sees_every_write_before_it_and_every_io_write_too(width, stall):
    dut = design(TransactionLayer, width=width)
    target = Target(stall=stall)
    writes = [memory_write(BASE + 4, [1, 2, 3]), io(IO + 8, 4), memory_write(BASE, [5]), io(IO + 8)]

    async def bench(ctx: Any) -> None:
        await send(ctx, dut.i, beats_of(writes, width), stall=stall)
        (_, packet) = from_raw_beats(await packets_from(ctx, dut.o, 2, stall), width)
        assert parse(packet).payload == [4]
        order = [(access.bar, access.data if access.write else None) for access in target.log]
        assert [data for bar, data in order if bar == 4] == [1, 2, 3, 5]
        assert order.index((0, 4)) > order.index((4, 3)), "the I/O write behind the first memory write"
        assert order[-1] == (0, None), "the I/O read behind all"

    simulate(dut, bench, background=[target.serve(dut.bus), steady(dut.bus.request), steady(dut.o)])


def test_a_malformed_write_has_no_effect():
    dut = design(TransactionLayer, width=64)
    target = Target()
    short = memory_write(BASE, [1, 2, 3, 4])[:-1]

    async def bench(ctx: Any) -> None:
        await send(ctx, dut.i, beats_of([short, memory_read(BASE, 3)], 64))
        (packet,) = from_raw_beats(await packets_from(ctx, dut.o, 1), 64)
        assert parse(packet).payload == [default_word(4, at) for at in (0, 4, 8)]
        assert target.writes == []

    simulate(dut, bench, background=[target.serve(dut.bus)])

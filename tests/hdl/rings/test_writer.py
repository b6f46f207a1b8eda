"""Ring writes on the link."""

import random
from typing import Any

import pytest
from amaranth_virtio.rings.writer import RingWriter
from helpers.dma import REQUESTER, WriteHost
from helpers.simulation import send, simulate, stalled, steady

SETTINGS = {
    "requester_id": REQUESTER,
    "bus_master": 1,
    "max_payload": 0,
    "max_read_request": 0,
    "extended_tag": 0,
}


def beats_of(address: int, content: bytes) -> list[dict[str, int]]:
    """The beats of one write."""
    return [
        {
            "address": address,
            "data": int.from_bytes(content[at : at + 8], "little"),
            "count": len(content[at : at + 8]),
            "last": at + 8 >= len(content),
        }
        for at in range(0, len(content), 8)
    ]


def stored(writes: list[tuple[int, bytes]]) -> dict[int, int]:
    """What host memory holds then."""
    return {address + at: byte for address, content in writes for at, byte in enumerate(content)}


@pytest.mark.parametrize(("width", "stall"), stalled(64, 128, 256, 512))
def test_each_write_becomes_one_memory_write_of_just_its_bytes(width: int, stall: float) -> None:
    """Whole dwords of any number, and halves of dwords; the host checks each packet."""
    rng = random.Random(width)
    dut = RingWriter(width=width)
    host = WriteHost(width, limit=128, stall=stall)
    shapes = [(2, 0), (2, 2), *((size, 4 * lane) for size in range(4, 68, 4) for lane in range(16))]
    rng.shuffle(shapes)
    count = len(shapes) // 4 if stall < 0.9 else 12
    writes: list[list[tuple[int, bytes]]] = [[], []]
    for number, (size, offset) in enumerate([(64, 0), (2, 2), (2, 0), *shapes[:count]]):
        page = (0x7_0000 + number * 0x1000) << 12 * (number % 2)
        writes[size <= 4 and number % 3 == 0].append((page + offset, rng.randbytes(size)))

    async def client(ctx: Any, number: int) -> None:
        i, o = dut.i[number], dut.o
        for write in writes[number]:
            *before, last = beats_of(*write)
            await send(ctx, i, before, stall=stall, rng=rng)
            while rng.random() < stall:
                await ctx.tick()
            ctx.set(i.payload, last)
            ctx.set(i.valid, 1)
            sampled = ctx.tick().sample(o.valid & o.ready & o.payload.last)
            (accepted,) = await sampled.until(i.ready)
            assert accepted, "taken means written"
            ctx.set(i.valid, 0)

    async def first(ctx: Any) -> None:
        ctx.set(dut.settings, SETTINGS)
        await client(ctx, 0)

    async def second(ctx: Any) -> None:
        await client(ctx, 1)

    async def take(ctx: Any) -> None:
        await host.take_writes(ctx, dut.o)

    simulate(dut, first, second, background=[take, steady(dut.o)])
    assert host.memory == stored(writes[0] + writes[1])
    assert len(host.writes) == len(writes[0]) + len(writes[1])


def test_two_clients_that_always_have_something_take_turns() -> None:
    dut = RingWriter(width=64)
    host = WriteHost(64, limit=128)

    async def client(ctx: Any, number: int) -> None:
        for index in range(10):
            write = (0x1_0000 * (number + 1) + 4 * index, bytes([number + 1] * 4))
            ctx.set(dut.i[number].payload, beats_of(*write)[0])
            ctx.set(dut.i[number].valid, 1)
            await ctx.tick().until(dut.i[number].ready)
        ctx.set(dut.i[number].valid, 0)

    async def first(ctx: Any) -> None:
        ctx.set(dut.settings, SETTINGS)
        await client(ctx, 0)

    async def second(ctx: Any) -> None:
        await client(ctx, 1)

    async def take(ctx: Any) -> None:
        await host.take_writes(ctx, dut.o)

    simulate(dut, first, second, background=[take])
    order = [write.address >> 16 for write in host.writes]
    assert order in ([1, 2] * 10, [2, 1] * 10)


def test_a_write_of_one_beat_takes_two_cycles() -> None:
    dut = RingWriter(width=64, inputs=1)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.settings, SETTINGS)
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i[0].payload, beats_of(0x1000, bytes(8))[0])
        ctx.set(dut.i[0].valid, 1)
        for taken in [0, 1] * 5:
            sampled = await ctx.tick().sample(dut.i[0].ready, dut.o.valid)
            assert sampled[2:] == (taken, taken)

    simulate(dut, bench)


def test_without_bus_mastering_a_write_waits_and_a_flush_drops_it() -> None:
    """Trap 6: RESET-DEV-02. What waited for bus mastering must not come out after a reset."""
    dut = RingWriter(width=64)
    host = WriteHost(64, limit=128)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.settings, SETTINGS | {"bus_master": 0})
        beats = beats_of(0x1004, bytes(range(24)))
        await send(ctx, dut.i[0], beats[:2])
        ctx.set(dut.i[0].payload, beats[2])
        ctx.set(dut.i[0].valid, 1)
        for _ in range(10):
            *_, valid, taken, idle = await ctx.tick().sample(dut.o.valid, dut.i[0].ready, dut.idle)
            assert not valid and not taken and idle
        ctx.set(dut.flush, 1)
        await ctx.tick().until(dut.i[0].ready)
        ctx.set(dut.i[0].valid, 0)
        ctx.set(dut.settings, SETTINGS)
        await ctx.tick()
        ctx.set(dut.flush, 0)
        # Nothing of it is in the next one.
        await send(ctx, dut.i[0], beats_of(0x2000, bytes(range(100, 116))))

    async def take(ctx: Any) -> None:
        await host.take_writes(ctx, dut.o)

    simulate(dut, bench, background=[take])
    assert host.memory == stored([(0x2000, bytes(range(100, 116)))])


def test_a_flush_forgets_what_was_gathered() -> None:
    dut = RingWriter(width=64)
    host = WriteHost(64, limit=128)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.settings, SETTINGS)
        await send(ctx, dut.i[0], beats_of(0x1004, bytes(24))[:2])
        ctx.set(dut.flush, 1)
        await ctx.tick()
        ctx.set(dut.flush, 0)
        await send(ctx, dut.i[1], beats_of(0x3000, b"next"))
        await send(ctx, dut.i[0], beats_of(0x2000, bytes(range(8))))

    async def take(ctx: Any) -> None:
        await host.take_writes(ctx, dut.o)

    simulate(dut, bench, background=[take])
    assert host.memory == stored([(0x2000, bytes(range(8))), (0x3000, b"next")])


def test_a_started_tlp_is_sent_through_a_flush() -> None:
    dut = RingWriter(width=64)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.settings, SETTINGS)
        beats = beats_of(0x1000, bytes(16))
        await send(ctx, dut.i[0], beats[:1])
        ctx.set(dut.i[0].payload, beats[1])
        ctx.set(dut.i[0].valid, 1)
        await ctx.tick().until(dut.o.valid)
        ctx.set(dut.flush, 1)
        ctx.set(dut.settings, SETTINGS | {"bus_master": 0})
        for _ in range(5):
            *_, valid, taken, idle = await ctx.tick().sample(dut.o.valid, dut.i[0].ready, dut.idle)
            assert valid and not taken and not idle
        ctx.set(dut.o.ready, 1)
        for taken, last in ((0, 0), (1, 1)):
            sampled = await ctx.tick().sample(dut.o.valid, dut.i[0].ready, dut.o.payload.last)
            assert sampled[2:] == (1, taken, last)
        ctx.set(dut.i[0].valid, 0)
        assert ctx.get(dut.idle)

    simulate(dut, bench)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"^width must be one of 64, 128, 256, 512, not 32$"):
        RingWriter(width=32)
    with pytest.raises(ValueError, match=r"^inputs must be 1 or 2, not 3$"):
        RingWriter(width=64, inputs=3)

import random
from typing import Any

import pytest
from amaranth_virtio.pcie.register_bus import RegisterArbiter, RegisterDecoder, RegisterPipe
from helpers.registers import Access, Target, default_word
from helpers.simulation import STALLS, send, simulate, steady

REGIONS = ((1, 0x000, 0x100), (1, 0x800, 0x20), (4, 0x0000, 0x1000), (4, 0x2000, 4))


def request(bar: int, address: int, value: int | None = None, byte_enable: int = 0xF) -> dict[str, int]:
    return {
        "bar": bar,
        "address": address,
        "write": value is not None,
        "byte_enable": byte_enable,
        "data": value or 0,
    }


async def access(
    ctx: Any,
    bus: Any,
    bar: int,
    address: int,
    value: int | None = None,
    *,
    stall: float = 0.0,
    rng: random.Random | None = None,
) -> int | None:
    """Write ``value``, or read and return what is read."""
    await send(ctx, bus.request, [request(bar, address, value)], stall=stall, rng=rng)
    if value is not None:
        return None
    (word,) = await ctx.tick().sample(bus.response.payload).until(bus.response.valid)
    return int(word)


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("masters", (1, 2, 3))
def test_each_master_gets_its_own_responses(masters, stall):
    dut = RegisterArbiter(masters=masters)
    rng = random.Random(5)
    target = Target(stall=stall, delay=lambda: rng.randrange(6))

    def master(number: int) -> Any:
        async def bench(ctx: Any) -> None:
            rng = random.Random(number)
            words: dict[int, int] = {}
            for _ in range(25):
                address = 4 * rng.randrange(4)
                if rng.random() < 0.5:
                    words[address] = rng.getrandbits(32)
                    await access(ctx, dut.i[number], number, address, words[address], stall=stall, rng=rng)
                else:
                    expected = words.get(address, default_word(number, address))
                    assert await access(ctx, dut.i[number], number, address, stall=stall, rng=rng) == expected

        return bench

    simulate(dut, *map(master, range(masters)), background=[target.serve(dut.o), steady(dut.o.request)])
    assert len(target.log) == 25 * masters


def test_writes_pass_while_a_read_waits_and_other_reads_do_not():
    dut = RegisterArbiter(masters=3)
    target = Target(delay=30)

    async def reader(ctx: Any) -> None:
        assert await access(ctx, dut.i[0], 0, 0) == default_word(0, 0)
        assert len(target.writes) == 5, "the writes were done while the read waited"

    async def writer(ctx: Any) -> None:
        await ctx.tick().repeat(3)
        for number in range(5):
            await access(ctx, dut.i[1], 1, 4, number)
        assert target.reads == [Access(0, 0, False, 0xF, 0)]

    async def other(ctx: Any) -> None:
        await ctx.tick().repeat(3)
        assert await access(ctx, dut.i[2], 2, 8) == default_word(2, 8)

    simulate(dut, reader, writer, other, background=[target.serve(dut.o)])
    assert [access.address for access in target.reads] == [0, 8]


def test_a_master_may_write_while_its_own_read_waits():
    dut = RegisterArbiter(masters=2)
    target = Target(delay=20)

    async def bench(ctx: Any) -> None:
        await send(ctx, dut.i[0].request, [request(0, 0), request(0, 4, 7)])
        await ctx.tick()
        assert len(target.writes) == 1
        assert not ctx.get(dut.i[0].response.valid)

    simulate(dut, bench, background=[target.serve(dut.o)])


def test_masters_that_always_ask_take_turns():
    dut = RegisterArbiter(masters=3)
    order = []

    async def bench(ctx: Any) -> None:
        for number in range(3):
            ctx.set(dut.i[number].request.payload, request(number, 0, 1))
            ctx.set(dut.i[number].request.valid, 1)
        ctx.set(dut.o.request.ready, 1)
        for _ in range(9):
            *_, payload = await ctx.tick().sample(dut.o.request.payload)
            order.append(int(payload.bar))

    simulate(dut, bench)
    assert order == order[:3] * 3
    assert sorted(order[:3]) == [0, 1, 2]


@pytest.mark.parametrize("stall", STALLS)
def test_each_access_reaches_the_region_it_lies_in(stall):
    dut = RegisterDecoder(regions=REGIONS)
    rng = random.Random(6)
    targets = [Target(stall=stall, delay=lambda: rng.randrange(4), seed=n) for n in range(len(REGIONS))]
    expected: list[list[tuple[int, int]]] = [[] for _ in REGIONS]

    async def bench(ctx: Any) -> None:
        for bar, start, size in REGIONS:
            for address in (start, start + size - 4, start + size, start - 4):
                if address not in range(1 << 16):
                    continue
                owner = next(
                    (n for n, (b, s, size) in enumerate(REGIONS) if b == bar and s <= address < s + size),
                    None,
                )
                value = rng.getrandbits(32)
                await access(ctx, dut.i, bar, address, value)
                word = await access(ctx, dut.i, bar, address)
                assert word == (0 if owner is None else value)
                if owner is not None:
                    expected[owner] += [(bar, address)] * 2
        assert await access(ctx, dut.i, 2, 0) == 0, "another BAR with the same offset"

    background = [target.serve(port) for target, port in zip(targets, dut.o, strict=True)]
    simulate(dut, bench, background=background)
    assert [[(a.bar, a.address) for a in target.log] for target in targets] == expected


def test_byte_enables_and_data_reach_the_target_unchanged():
    dut = RegisterDecoder(regions=REGIONS)
    target = Target()

    async def bench(ctx: Any) -> None:
        await send(ctx, dut.i.request, [request(1, 0x10, 0x11223344, be) for be in range(16)])

    simulate(dut, bench, background=[target.serve(dut.o[0])])
    assert [access.byte_enable for access in target.log] == list(range(16))
    assert target.log[0b0101].data == 0x00220044


def test_a_slow_read_in_one_target_does_not_hold_up_writes_to_any():
    dut = RegisterDecoder(regions=REGIONS)
    targets = [Target(delay=40), Target(), Target(), Target()]

    async def bench(ctx: Any) -> None:
        await send(ctx, dut.i.request, [request(1, 0)])
        writes = [request(bar, start, 5) for bar, start, _ in REGIONS] + [request(5, 0, 5)]
        await send(ctx, dut.i.request, writes)
        assert [len(target.writes) for target in targets] == [1, 1, 1, 1]
        assert not ctx.get(dut.i.response.valid)
        (word,) = await ctx.tick().sample(dut.i.response.payload).until(dut.i.response.valid)
        assert word == default_word(1, 0)

    background = [target.serve(port) for target, port in zip(targets, dut.o, strict=True)]
    simulate(dut, bench, background=background)


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ([], "a register decoder has at least one region"),
        ([(6, 0, 4)], r"Region\(bar=6, start=0, size=4\) lies in no BAR from 0 to 5"),
        (
            [(0, 0, 12)],
            r"Region\(bar=0, start=0, size=12\) has a size that is no power of two from 4 to 65536",
        ),
        ([(0, 8, 16)], r"Region\(bar=0, start=8, size=16\) is not naturally aligned in 64 KiB"),
        (
            [(0, 0, 64), (0, 32, 32)],
            r"Region\(bar=0, start=0, size=64\) and Region\(bar=0, start=32, size=32\) overlap",
        ),
    ],
)
def test_bad_regions_are_refused(regions, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        RegisterDecoder(regions=regions)


def test_an_arbiter_without_masters_is_refused():
    with pytest.raises(ValueError, match=r"^a register bus has at least one master, not 0$"):
        RegisterArbiter(masters=0)


@pytest.mark.parametrize("stall", STALLS)
def test_a_pipe_passes_accesses_on_in_order_a_cycle_later(stall):
    dut = RegisterPipe()
    rng = random.Random(7)
    target = Target(stall=stall, delay=lambda: rng.randrange(3))
    accesses = [
        (4 * rng.randrange(4), rng.getrandbits(32) if rng.random() < 0.5 else None) for _ in range(40)
    ]

    async def bench(ctx: Any) -> None:
        words: dict[int, int] = {}
        for address, value in accesses:
            expected = words.get(address, default_word(2, address))
            read = await access(ctx, dut.i, 2, address, value, stall=stall, rng=rng)
            if value is None:
                assert read == expected
            else:
                words[address] = value
        await ctx.tick().until(~dut.o.request.valid)

    simulate(dut, bench, background=[target.serve(dut.o), steady(dut.o.request)])
    assert [(entry.address, entry.data if entry.write else None) for entry in target.log] == accesses


def test_a_pipe_takes_an_access_in_2_cycles_whether_its_target_is_ready_or_not():
    dut = RegisterPipe()

    async def bench(ctx: Any) -> None:
        ctx.set(dut.i.request.valid, 1)
        for target_ready in (1, 1, 1, 0):
            ctx.set(dut.o.request.ready, target_ready)
            for step in (0, 1):
                *_, taken, offered = await ctx.tick().sample(dut.i.request.ready, dut.o.request.valid)
                assert (taken, offered) == (step == 0, step == 1)

    simulate(dut, bench)

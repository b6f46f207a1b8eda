import random
from typing import Any

import pytest
from amaranth_virtio.pcie.arbiter import PacketArbiter
from amaranth_virtio.tlp import tlp_layout
from helpers.simulation import STALLS, design, receive, send, simulate, steady
from helpers.tlp import completion, from_tlp_beats, memory_write, parse, tlp_beats


def arbiter(*, width: int, inputs: int) -> Any:
    return PacketArbiter(shape=tlp_layout(width), inputs=inputs)


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("inputs", (1, 2, 3))
@pytest.mark.parametrize("width", (64, 256))
def test_packets_arrive_whole_and_in_the_order_of_their_input(width, inputs, stall):
    dut = design(arbiter, width=width, inputs=inputs)
    rng = random.Random(1)
    sent = [
        [memory_write(0, [rng.getrandbits(32) for _ in range(rng.randrange(1, 12))], tag=n) for _ in range(8)]
        for n in range(inputs)
    ]
    beats: list[Any] = []

    def source(number: int) -> Any:
        async def bench(ctx: Any) -> None:
            mine = [beat for packet in sent[number] for beat in tlp_beats(packet, width)]
            await send(ctx, dut.i[number], mine, stall=stall, rng=random.Random(number))

        return bench

    async def sink(ctx: Any) -> None:
        rng = random.Random(7)
        left = 8 * inputs
        while left:
            beats.append(await receive(ctx, dut.o, stall=stall, rng=rng))
            left -= beats[-1].last

    simulate(dut, *map(source, range(inputs)), sink, background=[steady(dut.o)])
    got = from_tlp_beats(beats, width)
    assert [[packet for packet in got if parse(packet).tag == n] for n in range(inputs)] == sent


def test_inputs_that_always_have_a_packet_take_turns():
    dut = design(arbiter, width=64, inputs=3)
    order = []

    async def bench(ctx: Any) -> None:
        for number in range(3):
            ctx.set(dut.i[number].payload, tlp_beats(completion(tag=number), 64)[0])
            ctx.set(dut.i[number].valid, 1)
        ctx.set(dut.o.ready, 1)
        for _ in range(9):
            *_, payload = await ctx.tick().sample(dut.o.payload)
            order.append(int(payload.header.completion.tag))

    simulate(dut, bench)
    assert order == order[:3] * 3
    assert sorted(order[:3]) == [0, 1, 2]


def test_a_beat_is_acknowledged_in_the_cycle_in_which_the_output_takes_it():
    """What was accepted is in order behind everything accepted before: nothing is buffered."""
    dut = design(arbiter, width=64, inputs=2)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.i[1].payload, tlp_beats(completion(tag=5), 64)[0])
        ctx.set(dut.i[1].valid, 1)
        await ctx.tick()  # for the grant
        assert ctx.get(dut.o.valid)
        assert ctx.get(dut.o.p.header.completion.tag) == 5
        assert not ctx.get(dut.i[1].ready)
        ctx.set(dut.o.ready, 1)
        assert ctx.get(dut.i[1].ready)
        assert not ctx.get(dut.i[0].ready)

    simulate(dut, bench)


@pytest.mark.parametrize("busy", ((1,), (0, 2), (0, 1, 2)))
def test_packets_of_one_beat_follow_each_other_without_a_gap(busy):
    dut = design(arbiter, width=64, inputs=3)

    async def bench(ctx: Any) -> None:
        for number in busy:
            ctx.set(dut.i[number].payload, tlp_beats(completion(tag=number), 64)[0])
            ctx.set(dut.i[number].valid, 1)
        ctx.set(dut.o.ready, 1)
        await ctx.tick()
        for _ in range(9):
            assert ctx.get(dut.o.valid)
            await ctx.tick()

    simulate(dut, bench)


def test_an_input_that_pauses_inside_a_packet_keeps_the_grant():
    dut = design(arbiter, width=64, inputs=2)
    long = tlp_beats(memory_write(0, [1, 2, 3, 4], tag=1), 64)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.o.ready, 1)
        await send(ctx, dut.i[0], long[:1])
        ctx.set(dut.i[1].payload, tlp_beats(completion(), 64)[0])
        ctx.set(dut.i[1].valid, 1)
        for _ in range(3):
            assert not ctx.get(dut.o.valid)
            await ctx.tick()
        await send(ctx, dut.i[0], long[1:])
        assert ctx.get(dut.i[1].ready)

    simulate(dut, bench)


def test_an_arbiter_without_inputs_is_refused():
    with pytest.raises(ValueError, match=r"^an arbiter has at least one input, not 0$"):
        arbiter(width=64, inputs=0)

from typing import Any

import pytest
from amaranth_virtio.pcie.capabilities import Capability, link
from amaranth_virtio.pcie.config_registers import Access, ConfigRegisters, Field
from helpers.config import config_read, config_write
from helpers.simulation import simulate

FIELDS = (
    Field(offset=0x02, bit=3, width=4, access=Access.RW1C, live="events", output="seen"),
    Field(offset=0x01, width=8, access=Access.RW, init=0x5A, output="level"),
    Field(offset=0x04, width=3, live="count"),
    Field(offset=0x04, bit=30, width=2, access=Access.RW, init=1, legal=(1, 2), output="mode"),
    Field(offset=0x0B, width=8, access=Access.STROBE, output="command"),
    Field(offset=0x10, width=32, access=Access.RW, kept=True, output="sticky"),
)


def test_a_strobe_lasts_one_cycle_reads_zero_and_shows_the_bits_written():
    dut = ConfigRegisters(fields=FIELDS)
    seen: list[int] = []

    async def monitor(ctx: Any) -> None:
        async for _, _, command in ctx.tick().sample(dut.output.command):
            if command:
                seen.append(command)

    async def bench(ctx: Any) -> None:
        await config_write(ctx, dut.bus, 0x0B, 0xA5, 1)
        await config_write(ctx, dut.bus, 0x08, 0xFFFFFFFF, byte_enable=0b0111)
        assert await config_read(ctx, dut.bus, 0x08) == 0
        await config_write(ctx, dut.bus, 0x08, 0x3C00_0000)
        await ctx.tick().repeat(3)
        assert seen == [0xA5, 0x3C]

    simulate(dut, bench, background=[monitor])


def test_a_bit_set_in_the_cycle_of_its_clearing_stays_set():
    dut = ConfigRegisters(fields=FIELDS)

    async def bench(ctx: Any) -> None:
        for events, left in ((0b0000, 0b0000), (0b0001, 0b0001), (0b1000, 0b1000)):
            ctx.set(dut.live.events, 0b1001)
            await ctx.tick()
            ctx.set(dut.live.events, 0)
            # The write shows its effect with the response, two cycles later: this is the cycle before.
            request = {"register": 0, "write": 1, "byte_enable": 0b0100, "data": 0x78 << 16}
            ctx.set(dut.bus.request.payload, request)
            ctx.set(dut.bus.request.valid, 1)
            await ctx.tick()
            ctx.set(dut.bus.request.valid, 0)
            assert ctx.get(dut.output.seen) == 0b1001
            ctx.set(dut.live.events, events)
            await ctx.tick()
            ctx.set(dut.live.events, 0)
            assert ctx.get(dut.bus.response.valid)
            assert ctx.get(dut.output.seen) == left
            await config_write(ctx, dut.bus, 0, 0xFF << 16, byte_enable=0b0100)

    simulate(dut, bench)


def test_a_value_that_is_not_legal_is_discarded():
    dut = ConfigRegisters(fields=FIELDS)

    async def bench(ctx: Any) -> None:
        for value, left in ((3, 1), (2, 2), (0, 2), (1, 1)):
            await config_write(ctx, dut.bus, 0x07, value << 6, 1)
            assert ctx.get(dut.output.mode) == left

    simulate(dut, bench)


def test_requests_in_successive_cycles_are_all_answered_in_order():
    dut = ConfigRegisters(fields=FIELDS)
    answers: list[int] = []

    async def monitor(ctx: Any) -> None:
        async for _, _, valid, payload in ctx.tick().sample(dut.bus.response.valid, dut.bus.response.payload):
            if valid:
                answers.append(payload)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.live.count, 5)
        ctx.set(dut.bus.request.valid, 1)
        for register, write, value in ((4, 1, 0x1234), (4, 0, 0), (1, 0, 0), (0, 0, 0), (9, 0, 0), (4, 0, 0)):
            request = {"register": register, "write": write, "byte_enable": 15, "data": value}
            ctx.set(dut.bus.request.payload, request)
            await ctx.tick()
        ctx.set(dut.bus.request.valid, 0)
        await ctx.tick().repeat(4)
        assert answers[1:] == [0x1234, 0x4000_0005, 0x5A00, 0, 0x1234]

    simulate(dut, bench, background=[monitor])


def test_a_reset_spares_what_is_kept():
    dut = ConfigRegisters(fields=FIELDS)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.live.events, 0xF)
        await ctx.tick()
        ctx.set(dut.live.events, 0)
        await config_write(ctx, dut.bus, 0x01, 0xFF, 1)
        await config_write(ctx, dut.bus, 0x10, 0xDEADBEEF)
        ctx.set(dut.reset, 1)
        await ctx.tick()
        ctx.set(dut.reset, 0)
        output = dut.output
        assert (ctx.get(output.level), ctx.get(output.seen), ctx.get(output.sticky)) == (0x5A, 0, 0xDEADBEEF)

    simulate(dut, bench)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"offset": 2, "width": 17}, "the field at 0x2, bit 0, does not lie inside one dword"),
        ({"offset": 0, "width": 0}, "the field at 0x0, bit 0, does not lie inside one dword"),
        ({"offset": 0, "width": 2, "init": 4}, "the initial value 0x4 does not fit into 2 bits"),
        ({"offset": 0, "width": 1, "access": Access.RW, "live": "x"}, "a field that is rw has no live input"),
        ({"offset": 0, "width": 1, "legal": (1,)}, "a field that is ro has no list of legal values"),
    ],
)
def test_an_impossible_field_is_refused(arguments, message):
    with pytest.raises(ValueError) as error:
        Field(**arguments)
    assert str(error.value) == message


def test_fields_that_overlap_are_refused():
    with pytest.raises(ValueError, match="two fields overlap in the dword at 0x8"):
        ConfigRegisters(fields=[Field(offset=0x08, width=9), Field(offset=0x09, width=8)])


def test_capabilities_must_fit_below_the_extended_space():
    half = Capability(id=1, size=0x60, fields=())
    pointer, fields = link([half, half])
    assert pointer == 0x40
    assert {(field.offset, field.init) for field in fields} == {(0x40, 1), (0x41, 0xA0), (0xA0, 1), (0xA1, 0)}
    with pytest.raises(ValueError, match="the capabilities end at 0x104, beyond configuration space"):
        link([half, half, Capability(id=1, size=3, fields=())])


def test_a_capability_has_its_fields_behind_its_pointer_and_inside_its_length():
    for field in (Field(offset=1, width=8), Field(offset=8, width=1)):
        with pytest.raises(ValueError, match="outside capability 0x9"):
            Capability(id=9, size=8, fields=(field,))

import random
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
from amaranth_virtio.pcie.bars import Bar
from amaranth_virtio.pcie.non_posted import NonPosted
from helpers.registers import Access, Target, default_word
from helpers.simulation import design, receive, send, simulate, stalled, steady
from helpers.tlp import (
    atomic,
    config,
    from_tlp_beats,
    io,
    memory_read,
    parse,
    tlp_beats,
)

BARS = (Bar(1, 4096), Bar(4, 16384, wide=True, prefetchable=True), Bar(0, 256, io=True))
BASES = (0xFE000000, 0x12_4000_0000, 0xC100)
IO = BASES[2]
OPEN = {"memory_enable": 1, "io_enable": 1, "base": BASES}
SUCCESS, UNSUPPORTED, RETRY = 0, 1, 2


def run(
    packets: list[list[int]],
    completions: int,
    *,
    width: int = 64,
    stall: float = 0.0,
    registers: Target | None = None,
    space: Target | None = None,
    settings: dict[str, Any] | None = None,
    memory_enable: int = 1,
    io_enable: int = 1,
) -> SimpleNamespace:
    """Send ``packets``, take ``completions`` packets; what came and what was said meanwhile."""
    dut = design(NonPosted, width=width, bars=BARS)
    registers = registers or Target(stall=stall, seed=3)
    space = space or Target(stall=stall, seed=4)
    beats: list[Any] = []
    result = SimpleNamespace(registers=registers, space=space, unsupported=0, poisoned=0, completer=0)

    async def source(ctx: Any) -> None:
        ctx.set(dut.decode, {"memory_enable": memory_enable, "io_enable": io_enable, "base": BASES})
        for name, value in (settings or {}).items():
            ctx.set(getattr(dut, name), value)
        all_beats = [beat for packet in packets for beat in tlp_beats(packet, width)]
        await send(ctx, dut.i, all_beats, stall=stall, rng=random.Random(1))

    async def sink(ctx: Any) -> None:
        rng = random.Random(2)
        left = completions
        while left:
            beats.append(await receive(ctx, dut.o, stall=stall, rng=rng))
            left -= beats[-1].last
        await ctx.tick().repeat(30)
        assert not ctx.get(dut.o.valid), "no more completions than expected"
        result.completer = ctx.get(dut.completer_id)

    async def watch(ctx: Any) -> None:
        async for *_, unsupported, poisoned in ctx.tick().sample(dut.unsupported, dut.poisoned):
            result.unsupported += unsupported
            result.poisoned += poisoned

    simulate(
        dut,
        source,
        sink,
        background=[
            watch,
            registers.serve(dut.bus),
            space.serve(dut.config, answer_writes=True),
            *map(steady, (dut.o, dut.bus.request, dut.config.request)),
        ],
        deadline=60_000,
    )
    result.completions = [parse(packet) for packet in from_tlp_beats(beats, width)]
    return result


def enabled_bytes(read: SimpleNamespace) -> list[int]:
    """Byte addresses that a read asks for; the standard counts the zero-length read as one byte."""
    enables = [0xF] * read.length
    enables[-1] = read.last_be
    enables[0] = read.first_be
    found = [
        read.address + 4 * at + byte for at, be in enumerate(enables) for byte in range(4) if be >> byte & 1
    ]
    return found or [read.address]


def expected_reads(packet: list[int], bar: int, base: int) -> list[SimpleNamespace]:
    """Completions with data as §2.3.1.1 asks for, when every multiple of 128 bytes ends one."""
    read = parse(packet)
    read.length = read.length or 1024
    first, last = enabled_bytes(read)[0], enabled_bytes(read)[-1]
    words = [read.address + 4 * at for at in range(read.length)]
    result = []
    for block in sorted({address // 128 for address in words}):
        mine = [address for address in words if address // 128 == block]
        start = max(first, block * 128)
        result.append(
            SimpleNamespace(
                payload=[default_word(bar, address - base) for address in mine],
                length=len(mine),
                byte_count=last - start + 1,
                lower_address=start % 128,
                tag=read.tag,
                requester=read.requester,
                tc=read.tc,
                attr=read.attr & 3,  # IDO is not ours to set: IDO Completion Enable is 0
            )
        )
    return result


def check_reads(found: list[SimpleNamespace], expected: list[SimpleNamespace]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.fmt, one.type, one.status, one.ep, one.td, one.th, one.at) == (2, 0b01010, 0, 0, 0, 0, 0)
        assert one.byte_count_modified == 0
        assert {name: getattr(one, name) for name in vars(other)} == vars(other)


# First DW BE, then what the standard's tables say for one dword: Byte Count and Lower Address[1:0].
ONE_DWORD = {
    0b0000: (1, 0),
    0b0001: (1, 0),
    0b0010: (1, 1),
    0b0011: (2, 0),
    0b0100: (1, 2),
    0b0101: (3, 0),
    0b0110: (2, 1),
    0b0111: (3, 0),
    0b1000: (1, 3),
    0b1001: (4, 0),
    0b1010: (3, 1),
    0b1011: (4, 0),
    0b1100: (2, 2),
    0b1101: (4, 0),
    0b1110: (3, 1),
    0b1111: (4, 0),
}


def test_byte_count_and_lower_address_of_one_dword_are_those_of_the_standards_table():
    result = run([memory_read(BASES[0] + 0x54, 1, first_be=be) for be in ONE_DWORD], 16)
    found = {
        be: (tlp.byte_count, tlp.lower_address - 0x54)
        for be, tlp in zip(ONE_DWORD, result.completions, strict=True)
    }
    assert found == ONE_DWORD
    assert [access.byte_enable for access in result.registers.log] == list(ONE_DWORD)


def test_byte_count_and_lower_address_of_two_dwords_follow_from_the_enabled_bytes():
    enables = list(product(range(1, 16), range(1, 16)))
    packets = [memory_read(BASES[1] + 0x18, 2, first_be=first, last_be=last) for first, last in enables]
    result = run(packets, len(packets))
    check_reads(result.completions, [e for p in packets for e in expected_reads(p, 4, BASES[1])])
    assert [access.byte_enable for access in result.registers.log] == [be for pair in enables for be in pair]


@pytest.mark.parametrize(("width", "stall"), stalled(64, 128, 256, 512))
def test_reads_of_any_length_are_split_at_128_bytes(width, stall):
    rng = random.Random(width)
    lengths = (1, 2, 3, 31, 32, 33, 70) if stall == 0.9 else (*range(1, 40, 3), 31, 32, 33, 64, 65, 200)
    packets = []
    for length in lengths:
        packets.append(
            memory_read(
                BASES[1] + 0x2000 + 4 * rng.randrange(1025 - length),
                length,
                first_be=rng.choice((0b1111, 0b1110, 0b1100, 0b1000)),
                last_be=0 if length == 1 else rng.choice((0b1111, 0b0111, 0b0011, 0b0001)),
                tag=rng.getrandbits(10),
                requester=rng.getrandbits(16),
                tc=rng.randrange(8),
                attr=rng.randrange(8),
            )
        )
    expected = [one for packet in packets for one in expected_reads(packet, 4, BASES[1])]
    result = run(packets, len(expected), width=width, stall=stall)
    check_reads(result.completions, expected)


def test_a_read_of_1024_dwords_is_served():
    packet = memory_read(BASES[1] + 0x1000, 1024)
    result = run([packet], 32, width=256)
    check_reads(result.completions, expected_reads(packet, 4, BASES[1]))
    assert result.completions[0].byte_count == 4096


def test_a_read_of_zero_bytes_returns_one_dword_without_side_effects():
    result = run([memory_read(BASES[0] + 0x10, 1, first_be=0)], 1)
    (tlp,) = result.completions
    assert (tlp.status, len(tlp.payload), tlp.byte_count, tlp.lower_address) == (SUCCESS, 1, 1, 0x10)
    assert [access.byte_enable for access in result.registers.log] == [0]


REFUSED = {
    "locked read": memory_read(BASES[0], 1, locked=True),
    "I/O read below its BAR": io(IO - 4),
    "I/O write below its BAR": io(IO - 4, 5),
    "I/O read behind its BAR": io(IO + 256),
    "I/O write behind its BAR": io(IO + 256, 5),
    "I/O read at a memory BAR's address": io(BASES[0]),
    "I/O write at a memory BAR's address": io(BASES[0], 5),
    "poisoned I/O write that nobody wants": io(IO + 256, 5, ep=True),
    "memory read at an I/O BAR's address": memory_read(IO),
    "configuration read of another function": config(0, target=0x0101),
    "configuration write of another function": config(0, 1, target=0x0107),
    "configuration read of type 1": config(0, kind=1),
    "configuration write of type 1": config(0, 1, kind=1),
    "fetch and add": atomic(0b01100, BASES[0], [1]),
    "swap": atomic(0b01101, BASES[1], [1, 2]),
    "compare and swap": atomic(0b01110, BASES[0], [1, 2, 3, 4]),
    "deferrable write": atomic(0b11011, BASES[0], [1]),
    "read below a BAR": memory_read(BASES[0] - 4),
    "read behind a BAR": memory_read(BASES[0] + 4096),
    "read at a 32-bit BAR's address above 4 GiB": memory_read(1 << 32 | BASES[0]),
    "read at the low half of a 64-bit BAR's address": memory_read(BASES[1] & 0xFFFFFFFF),
}
BYTE_COUNT = {"swap": 8, "compare and swap": 8}  # the operand's size; 4 by default  [§2.2.9]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_supported_is_answered_so(name):
    packet = [*REFUSED[name]]
    packet[0] |= 5 << 20 | 1 << 18 | 1 << 12  # traffic class 5, IDO and No Snoop
    packet[1] |= 0xABCD << 16 | 0x77 << 8
    result = run([config(1, 0, target=0x2A18), packet, config(3)], 3)
    _, tlp, alive = result.completions
    assert (tlp.fmt, tlp.type) == (0, 0b01011 if name == "locked read" else 0b01010)
    assert (tlp.status, tlp.length, tlp.tc, tlp.attr) == (UNSUPPORTED, 0, 5, 1)
    assert (tlp.requester, tlp.tag, tlp.completer) == (0xABCD, 0x77, 0x2A18)
    assert tlp.byte_count == BYTE_COUNT.get(name, 4)
    assert (result.unsupported, result.poisoned) == (1, 0)
    assert result.registers.log == []
    assert len(result.space.log) == 2
    assert alive.status == SUCCESS


def test_a_read_that_runs_past_the_end_of_its_bar_is_unsupported():
    small = NonPosted(width=64, bars=[Bar(0, 128)])
    beats: list[Any] = []

    async def bench(ctx: Any) -> None:
        ctx.set(small.decode, {"memory_enable": 1, "base": [0x1000]})
        await send(
            ctx, small.i, tlp_beats(memory_read(0x107C, 2), 64) + tlp_beats(memory_read(0x107C, 1), 64)
        )

    async def sink(ctx: Any) -> None:
        beats.extend([await receive(ctx, small.o), await receive(ctx, small.o)])

    target = Target()
    simulate(small, bench, sink, background=[target.serve(small.bus)])
    assert [parse(packet).status for packet in from_tlp_beats(beats, 64)] == [UNSUPPORTED, SUCCESS]
    assert [access.address for access in target.log] == [0x7C]


@pytest.mark.parametrize(
    "state", [{"memory_enable": 0}, {"settings": {"d0": 0}}], ids=["memory space off", "D3hot"]
)
def test_only_configuration_space_answers_while_memory_space_is_closed(state):
    result = run([memory_read(BASES[0]), config(0), config(1, 2)], 3, **state)
    assert [tlp.status for tlp in result.completions] == [UNSUPPORTED, SUCCESS, SUCCESS]
    assert result.registers.log == []


def test_configuration_is_read_and_written():
    result = run([config(0x3FF, 0x12345678, first_be=0b0110), config(0x3FF), config(0, first_be=1)], 3)
    write, read, other = result.completions
    assert (write.fmt, write.status, write.byte_count, write.lower_address) == (0, SUCCESS, 4, 0)
    before = default_word(0, 0x3FF)
    assert read.payload == [before & 0xFF0000FF | 0x00345600]
    assert (read.fmt, read.status, read.byte_count, read.lower_address) == (2, SUCCESS, 4, 0)
    assert other.payload == [default_word(0, 0)]
    assert [(a.address, a.write, a.byte_enable) for a in result.space.log] == [
        (0x3FF, True, 0b0110),
        (0x3FF, False, 0xF),
        (0, False, 1),
    ]


@pytest.mark.parametrize(("width", "stall"), stalled(64, 128, 256))
def test_io_requests_reach_the_bus_with_any_byte_enables(width, stall):
    """Byte Count is 4 and Lower Address 0 whatever is read; a write has no data.  [§2.2.9, §2.3.1.1]"""
    rng = random.Random(width)
    packets, accesses, expected = [], [], []
    words: dict[int, int] = {}
    for be in (0b1111, *range(16)):
        offset, value = rng.choice((0, 0x14, 0x7C, 0x80, 0xFC)), rng.getrandbits(32)
        fields = {"first_be": be, "tag": rng.getrandbits(8), "requester": rng.getrandbits(16)}
        mask = sum(0xFF << 8 * byte for byte in range(4) if be >> byte & 1)
        words[offset] = words.get(offset, default_word(0, offset)) & ~mask | value & mask
        packets += [io(IO + offset, value, **fields), io(IO + offset, **fields)]
        accesses += [Access(0, offset, True, be, value & mask), Access(0, offset, False, be, 0)]
        expected += [(fields["tag"], fields["requester"], payload) for payload in ([], [words[offset]])]
    result = run(packets, len(packets), width=width, stall=stall)
    assert result.registers.log == accesses
    assert [(tlp.tag, tlp.requester, tlp.payload) for tlp in result.completions] == expected
    for tlp in result.completions:
        assert (tlp.fmt, tlp.type, tlp.length) == (2 * len(tlp.payload), 0b01010, len(tlp.payload))
        assert (tlp.status, tlp.byte_count, tlp.lower_address, tlp.ep, tlp.td) == (SUCCESS, 4, 0, 0, 0)
    assert (result.unsupported, result.poisoned) == (0, 0)


@pytest.mark.parametrize(
    "state",
    [{"io_enable": 0}, {"settings": {"d0": 0}}, {"settings": {"function_reset": 1}}],
    ids=["I/O space off", "D3hot", "function reset"],
)
def test_io_requests_are_refused_while_io_space_is_closed(state):
    result = run([io(IO, 1), io(IO)], 2, **state)
    assert [(tlp.status, tlp.payload) for tlp in result.completions] == [(UNSUPPORTED, [])] * 2
    assert result.registers.log == []
    assert (result.unsupported, result.poisoned) == (2, 0)


def test_memory_space_and_io_space_open_and_close_apart():
    packets = [io(IO), memory_read(BASES[0])]
    only_io = run(packets, 2, memory_enable=0)
    assert [tlp.status for tlp in only_io.completions] == [SUCCESS, UNSUPPORTED]
    only_memory = run(packets, 2, io_enable=0)
    assert [tlp.status for tlp in only_memory.completions] == [UNSUPPORTED, SUCCESS]


def test_a_poisoned_io_write_has_no_effect():
    result = run([io(IO, 5, ep=True), io(IO, 6)], 2)
    assert [tlp.status for tlp in result.completions] == [UNSUPPORTED, SUCCESS]
    assert (result.poisoned, result.unsupported) == (1, 0)
    assert result.registers.log == [Access(0, 0, True, 0xF, 6)]


def test_an_io_write_is_answered_when_the_bus_has_taken_it():
    dut = design(NonPosted, width=64, bars=BARS)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.decode, OPEN)
        ctx.set(dut.o.ready, 1)
        await send(ctx, dut.i, tlp_beats(io(IO, 5), 64))
        await ctx.tick().until(dut.bus.request.valid)
        for _ in range(12):
            assert not ctx.get(dut.o.valid)
            await ctx.tick()
        ctx.set(dut.bus.request.ready, 1)
        await ctx.tick()
        assert not ctx.get(dut.bus.request.valid)
        assert ctx.get(dut.o.valid)

    simulate(dut, bench, background=[steady(dut.bus.request)])


def test_io_requests_and_what_is_behind_them_wait_while_they_are_held():
    dut = design(NonPosted, width=64, bars=BARS)
    registers, space = Target(), Target()
    before = [memory_read(BASES[0]), config(0), io(IO + 256)]  # the last one goes nowhere
    behind = [io(IO + 8, 7), io(IO + 8), memory_read(BASES[0] + 4), config(1)]

    async def bench(ctx: Any) -> None:
        ctx.set(dut.decode, OPEN)
        ctx.set(dut.io_hold, 1)
        await send(ctx, dut.i, [beat for packet in before + behind for beat in tlp_beats(packet, 64)])
        for _ in before:
            await receive(ctx, dut.o)
        await ctx.tick().repeat(30)
        assert (len(registers.log), len(space.log)) == (1, 1)
        assert not ctx.get(dut.o.valid)
        ctx.set(dut.io_hold, 0)
        beats = [await receive(ctx, dut.o) for _ in behind]
        tlps = [parse(packet) for packet in from_tlp_beats(beats, 64)]
        values = [[], [7], [default_word(1, 4)], [default_word(0, 1)]]
        assert [(tlp.status, tlp.payload) for tlp in tlps] == [(SUCCESS, value) for value in values]

    simulate(dut, bench, background=[registers.serve(dut.bus), space.serve(dut.config, answer_writes=True)])


def test_a_hold_that_begins_four_cycles_after_a_write_holds_the_request_behind_it():
    """A reset that the write asked for has time to show up."""
    dut = design(NonPosted, width=64, bars=BARS)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.decode, OPEN)
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.bus.request.ready, 1)
        await send(ctx, dut.i, [*tlp_beats(io(IO, 0), 64), *tlp_beats(io(IO), 64)])
        await ctx.tick().until(dut.bus.request.valid & dut.bus.request.ready)
        await ctx.tick().repeat(3)
        ctx.set(dut.io_hold, 1)
        for _ in range(20):
            assert not ctx.get(dut.bus.request.valid)
            await ctx.tick()
        ctx.set(dut.io_hold, 0)
        await ctx.tick()
        assert ctx.get(dut.bus.request.valid)
        assert not ctx.get(dut.bus.request.p.write)

    simulate(dut, bench)


def test_the_completer_id_is_captured_by_configuration_writes_and_by_nothing_else():
    packets = [
        config(0, target=0x1100),
        config(1, 0, target=0x2208),
        config(0, target=0x3310),
        config(1, 0, target=0x4411),  # function 1
        config(1, 0, target=0x5500, kind=1),
        config(1, 0, target=0x6600, ep=True),
        memory_read(BASES[0]),
    ]
    result = run(packets, 7)
    assert [tlp.completer for tlp in result.completions] == [0, *[0x2208] * 6]
    assert result.completer == 0x2208


def test_a_poisoned_configuration_write_has_no_effect():
    result = run([config(1, 5, ep=True)], 1)
    assert [tlp.status for tlp in result.completions] == [UNSUPPORTED]
    assert (result.poisoned, result.unsupported) == (1, 0)
    assert result.space.log == []


def test_the_poison_bit_of_a_read_means_nothing():
    """There is no payload that it could speak of.  [PCIe base 5.0 §2.7.2]"""
    result = run([config(1, ep=True), memory_read(BASES[0], ep=True), io(IO, ep=True)], 3)
    assert [tlp.status for tlp in result.completions] == [SUCCESS] * 3
    assert (result.poisoned, result.unsupported) == (0, 0)


def test_requests_during_a_function_reset_are_put_off_or_refused():
    packets = [config(0), config(1, 5), memory_read(BASES[0]), config(0, target=1)]
    result = run(packets, 4, settings={"function_reset": 1})
    assert [tlp.status for tlp in result.completions] == [RETRY, RETRY, UNSUPPORTED, UNSUPPORTED]
    assert all(tlp.payload == [] for tlp in result.completions)
    assert result.space.log == result.registers.log == []


@pytest.mark.parametrize("depth", (2, 8, 32))
def test_as_many_requests_as_the_depth_are_taken_while_none_is_executed(depth):
    """Else completions and posted requests would wait behind a non-posted one."""
    dut = design(NonPosted, width=64, bars=BARS, depth=depth)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.writes_busy, 1)
        await ctx.tick().repeat(3)
        # Of several beats each; the last one's end must not stick either.
        for _ in range(depth):
            for beat in tlp_beats(atomic(0b01110, 0, [1, 2, 3, 4]), 64):
                ctx.set(dut.i.payload, beat)
                ctx.set(dut.i.valid, 1)
                assert ctx.get(dut.i.ready)
                await ctx.tick()
        ctx.set(dut.i.payload, tlp_beats(memory_read(0), 64)[0])
        assert not ctx.get(dut.i.ready)

    simulate(dut, bench)


def test_a_request_waits_until_the_writes_before_it_are_done():
    dut = design(NonPosted, width=64, bars=BARS)
    registers, space = Target(), Target()

    async def bench(ctx: Any) -> None:
        ctx.set(dut.decode, OPEN)
        for packet, target in ((memory_read(BASES[0]), registers), (config(0), space)):
            ctx.set(dut.writes_busy, 1)
            await send(ctx, dut.i, tlp_beats(packet, 64))
            await ctx.tick().repeat(20)
            assert target.log == []
            # One cycle is enough: later writes may keep the unit busy for ever.
            ctx.set(dut.writes_busy, 0)
            await ctx.tick()
            ctx.set(dut.writes_busy, 1)
            await receive(ctx, dut.o)
            assert len(target.log) == 1

    simulate(dut, bench, background=[registers.serve(dut.bus), space.serve(dut.config, answer_writes=True)])


def test_a_completion_starts_only_when_all_its_payload_is_there():
    dut = design(NonPosted, width=64, bars=BARS)
    registers = Target(delay=7)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.decode, OPEN)
        await send(ctx, dut.i, tlp_beats(memory_read(BASES[0], 20), 64))
        ctx.set(dut.o.ready, 1)
        await ctx.tick().until(dut.o.valid)
        assert len(registers.log) == 20
        for _ in range(9):
            assert ctx.get(dut.o.valid)
            await ctx.tick()

    simulate(dut, bench, background=[registers.serve(dut.bus)])


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"^width must be one of 64, 128, 256, 512, not 16$"):
        NonPosted(width=16, bars=BARS)
    with pytest.raises(ValueError, match=r"^depth must be a power of two from 2 to 1024, not 1$"):
        NonPosted(width=64, bars=BARS, depth=1)

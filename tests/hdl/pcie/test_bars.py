import itertools
import random

import pytest
from amaranth.hdl import ClockDomain, Module
from amaranth_virtio.pcie.bars import Bar, BarDecoder, check_bars
from helpers.simulation import simulate


def clocked(dut: BarDecoder) -> Module:
    """The simulation counts time in clock cycles, which a combinational component does not have."""
    m = Module()
    m.domains.sync = ClockDomain()
    m.submodules.dut = dut
    return m


# BAR 3, in I/O space, lies where BAR 1 lies in memory space.
BARS = (
    Bar(0, 128),
    Bar(1, 4096),
    Bar(2, 256, io=True),
    Bar(3, 4, io=True),
    Bar(4, 1 << 16, wide=True, prefetchable=True),
)
BASES = (0x00000080, 0xFFFFF000, 0x0000C000, 0xFFFFF000, 0xFFFF_FFFF_FFFF_0000)
WIDE = (Bar(0, 128, wide=True), Bar(2, 1 << 14, wide=True), Bar(4, 32, io=True))
WIDE_BASES = (0x00000080, 0x1_0000_4000, 0x1_0000_4000)


@pytest.mark.parametrize(("bars", "bases"), [(BARS, BASES), (WIDE, WIDE_BASES)])
def test_an_address_is_found_in_its_bar_of_its_space_and_nowhere_else(bars, bases):
    dut = BarDecoder(bars=bars)
    rng = random.Random(1)
    # Where the BARs are, bits that do not count in their bases left out.
    homes = [base if bar.wide else base & 0xFFFF_FFFF for bar, base in zip(bars, bases, strict=True)]
    addresses = [rng.getrandbits(64) for _ in range(20)] + [0]
    for bar, home in zip(bars, homes, strict=True):
        addresses += [1 << 32 | home, home, home + bar.size - 1]
        addresses += [(home - 1) % 2**64, (home + bar.size) % 2**64]
        addresses += [home + rng.randrange(bar.size) for _ in range(4)]
        addresses += [home ^ 1 << bit for bit in range(64)]
    hits = set()

    async def bench(ctx):
        for memory_enable, io_enable in ((1, 1), (1, 0), (0, 1), (0, 0)):
            ctx.set(dut.settings, {"memory_enable": memory_enable, "io_enable": io_enable, "base": bases})
            for address, io in itertools.product(addresses, (0, 1)):
                if io and address >= 1 << 32:
                    continue
                ctx.set(dut.address, address)
                ctx.set(dut.io, io)
                enabled = io_enable if io else memory_enable
                found = [
                    (bar.index, address - home, bar.size - 1)
                    for bar, home in zip(bars, homes, strict=True)
                    if enabled and bar.io == io and home <= address < home + bar.size
                ]
                assert ctx.get(dut.hit) == len(found)
                if found:
                    assert [ctx.get(dut.bar), ctx.get(dut.offset), ctx.get(dut.limit)] == list(*found)
                    hits.add(found[0][0])
        assert hits == {bar.index for bar in bars}

    simulate(clocked(dut), bench)


def test_address_bits_below_a_bars_size_do_not_count_in_its_base():
    dut = BarDecoder(bars=[Bar(1, 4096)])

    async def bench(ctx):
        ctx.set(dut.settings, {"memory_enable": 1, "base": [0xABCD_0000_1000_0FFF]})
        ctx.set(dut.address, 0x10000004)
        assert ctx.get(dut.hit)
        assert ctx.get(dut.offset) == 4

    simulate(clocked(dut), bench)


MEMORY_SIZE = "the size of a BAR in memory space is a power of two from 128 to 65536, not {}"
IO_SIZE = "the size of a BAR in I/O space is a power of two from 4 to 256, not {}"
IO_KIND = "a BAR in I/O space is neither 64 bits wide nor prefetchable"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"index": 6, "size": 128}, "a BAR has an index from 0 to 5, not 6"),
        ({"index": 5, "size": 128, "wide": True}, "a 64-bit BAR takes two registers, so it cannot be BAR 5"),
        ({"index": 0, "size": 64}, MEMORY_SIZE.format(64)),
        ({"index": 0, "size": 3000}, MEMORY_SIZE.format(3000)),
        ({"index": 0, "size": 1 << 17}, MEMORY_SIZE.format(131072)),
        ({"index": 0, "size": 2, "io": True}, IO_SIZE.format(2)),
        ({"index": 0, "size": 96, "io": True}, IO_SIZE.format(96)),
        ({"index": 0, "size": 512, "io": True}, IO_SIZE.format(512)),
        ({"index": 0, "size": 256, "io": True, "wide": True}, IO_KIND),
        ({"index": 0, "size": 256, "io": True, "prefetchable": True}, IO_KIND),
    ],
)
def test_a_bar_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Bar(**arguments)


def test_a_register_used_by_two_bars_is_refused():
    with pytest.raises(ValueError, match=r"^BAR 5 is used twice$"):
        check_bars([Bar(4, 4096, wide=True), Bar(5, 4096)])

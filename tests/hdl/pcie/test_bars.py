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


BARS = (Bar(0, 128), Bar(1, 4096), Bar(2, 1 << 16, wide=True), Bar(4, 16384, wide=True, prefetchable=True))
BASES = (0x00000080, 0xFFFFF000, 0xFFFF_FFFF_FFFF_0000, 0x1_0000_4000)


def test_an_address_is_found_in_its_bar_and_nowhere_else():
    dut = BarDecoder(bars=BARS)
    rng = random.Random(1)
    addresses = [rng.getrandbits(64) for _ in range(20)] + [0, 1 << 32 | BASES[0], 1 << 32 | BASES[1]]
    for bar, base in zip(BARS, BASES, strict=True):
        addresses += [base, base + bar.size - 1, (base - 1) % 2**64, (base + bar.size) % 2**64]
        addresses += [base + rng.randrange(bar.size) for _ in range(4)]
        addresses += [base ^ 1 << bit for bit in range(64)]

    async def bench(ctx):
        for enable in (1, 0):
            ctx.set(dut.settings, {"memory_enable": enable, "base": BASES})
            for address in addresses:
                ctx.set(dut.address, address)
                found = [
                    (bar.index, address - base, bar.size - 1)
                    for bar, base in zip(BARS, BASES, strict=True)
                    if enable and base <= address < base + bar.size
                ]
                assert ctx.get(dut.hit) == len(found)
                if found:
                    assert [ctx.get(dut.bar), ctx.get(dut.offset), ctx.get(dut.limit)] == list(*found)

    simulate(clocked(dut), bench)


def test_address_bits_below_a_bars_size_do_not_count_in_its_base():
    dut = BarDecoder(bars=[Bar(1, 4096)])

    async def bench(ctx):
        ctx.set(dut.settings, {"memory_enable": 1, "base": [0xABCD_0000_1000_0FFF]})
        ctx.set(dut.address, 0x10000004)
        assert ctx.get(dut.hit)
        assert ctx.get(dut.offset) == 4

    simulate(clocked(dut), bench)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"index": 6, "size": 128}, "a BAR has an index from 0 to 5, not 6"),
        ({"index": 5, "size": 128, "wide": True}, "a 64-bit BAR takes two registers, so it cannot be BAR 5"),
        ({"index": 0, "size": 64}, "a BAR's size is a power of two from 128 to 65536, not 64"),
        ({"index": 0, "size": 3000}, "a BAR's size is a power of two from 128 to 65536, not 3000"),
        ({"index": 0, "size": 1 << 17}, "a BAR's size is a power of two from 128 to 65536, not 131072"),
    ],
)
def test_a_bar_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Bar(**arguments)


def test_a_register_used_by_two_bars_is_refused():
    with pytest.raises(ValueError, match=r"^BAR 5 is used twice$"):
        check_bars([Bar(4, 4096, wide=True), Bar(5, 4096)])

"""Base address registers: what a function has, and which one an address belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Bar", "BarDecoder", "BarSettings", "check_bars"]


@dataclass(frozen=True)
class Bar:
    """A base address register, for memory or I/O space.  [PCIe base 5.0 §7.5.1.2.1]

    Parameters
    ----------
    index
        Number of the BAR, 0 to 5; a wide one also takes the next.
    size
        Bytes: a power of two from 128 (the least a memory BAR may ask for) to 64 KiB (what the
        register bus addresses); in I/O space from 4 to 256.
    io
        In I/O space, where addresses have 32 bits.
    wide
        64-bit address.
    prefetchable
        Reads have no side effects, and writes may be merged.
    """

    index: int
    size: int
    io: bool = False
    wide: bool = False
    prefetchable: bool = False

    def __post_init__(self) -> None:
        if self.index not in range(6):
            raise ValueError(f"a BAR has an index from 0 to 5, not {self.index!r}")
        if self.io and (self.wide or self.prefetchable):
            raise ValueError("a BAR in I/O space is neither 64 bits wide nor prefetchable")
        if self.wide and self.index == 5:
            raise ValueError("a 64-bit BAR takes two registers, so it cannot be BAR 5")
        # Powers of two in bytes: the register bus addresses 64 KiB.
        least, most, space = (2, 8, "I/O") if self.io else (7, 16, "memory")
        if self.size not in (1 << n for n in range(least, most + 1)):
            limits = f"from {1 << least} to {1 << most}, not {self.size!r}"
            raise ValueError(f"the size of a BAR in {space} space is a power of two {limits}")


def check_bars(bars: Sequence[Bar]) -> tuple[Bar, ...]:
    """Return ``bars`` as a tuple; registers claimed twice are a ``ValueError``."""
    claimed: set[int] = set()
    for bar in bars:
        registers = {bar.index, bar.index + 1} if bar.wide else {bar.index}
        if claimed & registers:
            raise ValueError(f"BAR {min(claimed & registers)} is used twice")
        claimed |= registers
    return tuple(bars)


def BarSettings(bars: Sequence[Bar]) -> data.StructLayout:
    """What configuration space says about the BARs.

    ``memory_enable``, ``io_enable``
        Memory Space Enable and I/O Space Enable of the command register.
    ``base``
        Base address of each BAR, in the order of ``bars``; bits below the BAR's size do not count,
        and neither do bits 63:32 of a 32-bit BAR.
    """
    return data.StructLayout({"memory_enable": 1, "io_enable": 1, "base": data.ArrayLayout(64, len(bars))})


class BarDecoder(wiring.Component):
    """Find the BAR that an address belongs to; combinational.

    Parameters
    ----------
    bars : sequence of :class:`Bar`
        The function's BARs.

    Members
    -------
    settings : :py:`In(BarSettings(bars))`
        Where they are.
    address : :py:`In(64)`
        Byte address of a request; bits 63:32 of an I/O request are zero.
    io : :py:`In(1)`
        It is an I/O request, else a memory request.
    hit : :py:`Out(1)`
        The address lies in a BAR of the request's space, which is enabled; the other outputs hold only
        then.
    bar : :py:`Out(3)`
        Index of that BAR.
    offset : :py:`Out(16)`
        Byte offset inside it.
    limit : :py:`Out(16)`
        Offset of its last byte.
    """

    def __init__(self, *, bars: Sequence[Bar]):
        self.bars = check_bars(bars)
        super().__init__(
            {
                "settings": In(BarSettings(self.bars)),
                "address": In(64),
                "io": In(1),
                "hit": Out(1),
                "bar": Out(3),
                "offset": Out(16),
                "limit": Out(16),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # What does not depend on the BAR needs no hit: the outputs hold only with one.
        reach: list[Any] = [Const(0)] * 16  # by bit of an offset: the address is in a BAR that has this bit
        number = Const(0, 3)
        hits = []
        for bar, base in zip(self.bars, self.settings.base, strict=True):
            low = bar.size.bit_length() - 1
            match = self.address[low:32] == base[low:32]
            # A 32-bit BAR sits below 4 GiB: the same low bits further up are another address.
            upper = self.address[32:] == (base[32:] if bar.wide else 0)
            space = self.io & self.settings.io_enable if bar.io else ~self.io & self.settings.memory_enable
            hit = Signal(name=f"hit_{bar.index}")
            m.d.comb += hit.eq(space & match & upper)
            hits.append(hit)
            number = number | Mux(hit, bar.index, 0)
            for bit in range(low):
                reach[bit] = reach[bit] | hit
        least = min((bar.size.bit_length() - 1 for bar in self.bars), default=0)
        reach[:least] = [Const(1)] * least
        m.d.comb += [
            self.hit.eq(Cat(hits).any()),
            self.bar.eq(number),
            self.limit.eq(Cat(reach)),
            self.offset.eq(self.address[:16] & Cat(reach)),
        ]
        return m

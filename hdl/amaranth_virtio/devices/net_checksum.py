"""Internet checksums."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .net_layout import frame_row_layout, row_bits

__all__ = ["Checksum"]


class Checksum(wiring.Component):
    """Sum up frames from a position on.  [RFC 1071]

    One row per cycle. Reset is that of the clock domain.

    Parameters
    ----------
    width : :class:`int`
        Of a row in bits.
    mtu : :class:`int`
        What longer frames come to is not defined.

    Members
    -------
    i : :py:`In(stream of frame_row_layout(width), always_ready)`
    start : :py:`In(16)`
        First byte of the frame that counts; held while the frame is on ``i``.
    o : :py:`Out(stream of 16, always_ready)`
        The checksum, 4 cycles behind the frame's last row. Its lower byte is the one that goes to an even
        position in the frame, if it goes to an even distance from ``start``; else it is the other one.
    """

    i: Any
    start: Any
    o: Any

    def __init__(self, *, width: int, mtu: int):
        self.width = width
        self.mtu = mtu
        super().__init__(
            {
                "i": In(stream.Signature(frame_row_layout(width), always_ready=True)),
                "start": In(16),
                "o": Out(stream.Signature(16, always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the mask and a tree of adders with a register behind each of its three levels."""
        m = Module()
        lanes = self.width // 8
        row = self.i.payload
        inside, outside = ceil_log2(lanes), row_bits(self.width, self.mtu)
        number = Signal(outside)  # of the row
        begun, here = Signal(), Signal()  # ``start`` lies before the row, in it
        m.d.comb += here.eq(self.start[inside:] == number)
        with m.If(self.i.valid):
            m.d.sync += [
                number.eq(Mux(row.last, 0, number + 1)),
                begun.eq((begun | here) & ~row.last),
            ]
        masked = Signal(self.width)
        for lane in range(lanes):
            # ``start`` lies at or before the last lane in any case.
            behind = self.start[:inside] <= lane if lane < lanes - 1 else 1
            counts = (begun | (here & behind)) & (~row.last | (row.count > lane))
            m.d.comb += masked.word_select(lane, 8).eq(row.data.word_select(lane, 8) & counts.replicate(8))

        # The order of bytes does not matter as long as it is one; words are little-endian.
        valid, last = Signal(3), Signal(3)
        m.d.sync += [
            valid.eq(Cat(self.i.valid, valid[:2])),
            last.eq(Cat(self.i.valid & row.last, last[:2])),
        ]
        values = [masked[at : at + 16] for at in range(0, self.width, 16)]
        for level, size in enumerate((2, 4)):
            sums = []
            for at in range(0, len(values), size):
                total = sum(values[at : at + size])
                value = Signal(16 + (1, 3)[level], name=f"level{level}_{at}")
                m.d.sync += value.eq(total)
                sums.append(value)
            values = sums
        total = Signal(16 + outside + inside)
        fresh = Signal(init=1)
        with m.If(valid[1]):
            m.d.sync += [
                total.eq(Mux(fresh, 0, total) + sum(values)),
                fresh.eq(last[1]),
            ]
        folded, again = Signal(17), Signal(16)
        ended = Signal()
        m.d.sync += [folded.eq(total[:16] + total[16:]), ended.eq(last[2])]
        # 0 and 0xFFFF are the same number; in UDP the former says that there is no checksum.
        m.d.comb += [
            again.eq(folded[:16] + folded[16]),
            self.o.payload.eq(~again | again.all().replicate(16)),
            self.o.valid.eq(ended),
        ]
        return m

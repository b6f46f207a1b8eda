"""Received frames into chains."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..chain import writable_layout
from .net_layout import part_layout

__all__ = ["FrameWriter"]


class FrameWriter(wiring.Component):
    """Divide rows among the chains that they go to.  [virtio 1.4 §5.1.6.4]

    One row per cycle, and one cycle more per chain. Where a frame goes on in another chain from within a
    row, the row's rest goes there byte by byte; drivers whose buffers are whole cache lines avoid that. Reset
    is that of the clock domain.

    Parameters
    ----------
    width : :class:`int`
        Of a row in bits.
    mtu : :class:`int`

    Members
    -------
    part : :py:`In(stream of part_layout(mtu))`
    i : :py:`In(stream of width)`
        Rows; each frame begins with a new one.
    o : :py:`Out(stream of writable_layout(width))`
    """

    part: Any
    i: Any
    o: Any

    def __init__(self, *, width: int, mtu: int):
        self.width = width
        self.mtu = mtu
        super().__init__(
            {
                "part": In(stream.Signature(part_layout(mtu))),
                "i": In(stream.Signature(width)),
                "o": Out(stream.Signature(writable_layout(width))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the counter of bytes, and the position within the row."""
        m = Module()
        lanes = self.width // 8
        part, out = self.part.payload, self.o.payload
        open_, more, none = Signal(), Signal(), Signal()
        left = Signal.like(part.count)  # bytes of the part
        lane = Signal(ceil_log2(lanes))  # of the row's next byte
        split = Signal()  # it is not the first one
        several, moves = Signal(), Signal()
        m.d.comb += [
            several.eq(left > lanes),
            self.o.valid.eq(open_ & (self.i.valid | none)),
            out.data.eq(self.i.payload),
            out.more.eq(more & out.last),
            moves.eq(self.o.valid & self.o.ready),
            self.part.ready.eq(~open_ | (moves & out.last)),
        ]
        with m.If(split):
            m.d.comb += [
                out.data[:8].eq(self.i.payload.word_select(lane, 8)),
                out.count.eq(left != 0),
                out.last.eq(left[1:] == 0),
                self.i.ready.eq(moves & (lane.all() | (out.last & ~more)) & ~none),
            ]
        with m.Else():
            m.d.comb += [
                out.count.eq(Mux(several, lanes, left)),
                out.last.eq(~several),
                # All of the row is used, or the frame has no more.
                self.i.ready.eq(moves & (several | ~more | (left == lanes)) & ~none),
            ]
        with m.If(moves):
            m.d.sync += left.eq(left - out.count)
            with m.If(self.i.ready):
                m.d.sync += [lane.eq(0), split.eq(0)]
            with m.Elif(~none):
                m.d.sync += [lane.eq(lane + out.count), split.eq(1)]
        with m.If(self.part.ready):
            m.d.sync += [
                open_.eq(self.part.valid),
                left.eq(part.count),
                none.eq(part.count == 0),
                more.eq(part.more),
                out.token.eq(part.token),
            ]
        return m

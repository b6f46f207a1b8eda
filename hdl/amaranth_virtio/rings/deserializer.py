"""Descriptors out of the data of table reads."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..dma.layout import read_data_layout
from ..tlp import check_width
from .walk_layout import TableContext

__all__ = ["Deserializer", "raw_layout"]

DESCRIPTOR_BITS = 128

# One descriptor as it stands in memory; ``position`` in its read, ``more`` of which follow; ``error`` instead
# of a descriptor.
raw_layout = data.StructLayout(
    {"descriptor": DESCRIPTOR_BITS, "position": 3, "more": 1, "error": 1, "context": TableContext}
)


class Deserializer(wiring.Component):
    """Cut the data of reads of whole, aligned descriptors into descriptors.

    Passes them on in the cycle in which their last byte comes; one per beat, or per two with 64 bits.

    Parameters
    ----------
    width : :class:`int`
        Width of ``data`` in bits.

    Members
    -------
    i : :py:`In(stream of read_data_layout(width, TableContext))`
    o : :py:`Out(stream of raw_layout)`
        Combinational from ``i``.
    """

    def __init__(self, *, width: int):
        self.width = check_width(width)
        super().__init__(
            {
                "i": In(stream.Signature(read_data_layout(width, TableContext))),
                "o": Out(stream.Signature(raw_layout)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the half that waits, or the choice of a part."""
        m = Module()
        beat, out = self.i.payload, self.o.payload
        position = Signal(3)
        m.d.comb += [
            out.position.eq(position),
            out.error.eq(beat.error),
            out.context.eq(beat.context),
        ]
        passes = Signal()
        m.d.comb += passes.eq(self.o.valid & self.o.ready)
        with m.If(passes):
            m.d.sync += position.eq(Mux(out.more, position + 1, 0))

        if self.width < DESCRIPTOR_BITS:
            low, high = Signal(self.width), Signal()
            m.d.comb += [
                out.descriptor.eq(Cat(low, beat.data)),
                out.more.eq(~beat.last),
                self.o.valid.eq(self.i.valid & (high | beat.error)),
                self.i.ready.eq(self.o.ready | ~(high | beat.error)),
            ]
            with m.If(self.i.valid & self.i.ready):
                m.d.sync += high.eq(~high & ~beat.last)
                with m.If(~high):
                    m.d.sync += low.eq(beat.data)
            return m

        parts = self.width // DESCRIPTOR_BITS
        m.d.comb += self.o.valid.eq(self.i.valid)
        if parts == 1:
            m.d.comb += [
                out.descriptor.eq(beat.data),
                out.more.eq(~beat.last),
                self.i.ready.eq(self.o.ready),
            ]
            return m
        within, following = Signal(ceil_log2(parts)), Signal(ceil_log2(parts))  # ``following`` one that went
        inside, final = Signal(), Signal()
        m.d.comb += [
            within.eq(Mux(inside, following, beat.start[4:])),
            # A beat that is not the read's last one is full up to its end.
            final.eq((within == (beat.start[4:] + beat.count[4:] - 1)[: len(within)]) | beat.error),
            out.descriptor.eq(Array(beat.data.word_select(n, DESCRIPTOR_BITS) for n in range(parts))[within]),
            out.more.eq(~(beat.last & final)),
            self.i.ready.eq(self.o.ready & final),
        ]
        with m.If(passes):
            m.d.sync += [inside.eq(~final), following.eq(within + 1)]
        return m

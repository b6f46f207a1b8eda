"""The readable bytes of a chain out of the reads of its segments."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..chain import TOKEN, readable_layout
from ..tlp import check_width
from .align import Aligner
from .layout import ChainContext, read_data_layout

__all__ = ["Packer"]


class Packer(wiring.Component):
    """Join the requests of a chain, whose bytes lie where memory has them, to bytes without gaps.

    A chain is one request per readable segment, the last of them with ``context.last``. One beat per
    cycle, and one more at the end of a chain whose last beat fills a row and begins another. Three
    cycles from beat to beat.

    A request that failed ends the chain with a beat of ``last``, ``error`` and ``count`` 0; bytes that did
    not fill a beat yet are lost with it. The rest of the chain, up to the end of the request with
    ``context.last``, is swallowed here: so a client that goes on after an error issues all
    requests of a chain in any case.

    Parameters
    ----------
    width : :class:`int`

    Members
    -------
    i : :py:`In(stream of read_data_layout(width, ChainContext))`
    o : :py:`Out(stream of readable_layout(width))`
    flush : :py:`In(1)`
        While high, everything inside and everything that arrives is dropped; a waiting beat is withdrawn.
    """

    def __init__(self, *, width: int):
        self.width = check_width(width)
        super().__init__(
            {
                "i": In(stream.Signature(read_data_layout(width, ChainContext))),
                "o": Out(stream.Signature(readable_layout(width))),
                "flush": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the packer: an aligner whose groups are chains."""
        m = Module()
        # The token, and above it whether the chain ended with an error.
        m.submodules.aligner = aligner = Aligner(width=self.width, context=TOKEN.width + 1)
        beat = self.i.payload
        fresh = Signal(init=1)  # the next beat begins a chain
        swallowing = Signal()
        ends = Signal()
        take = Signal()
        m.d.comb += [
            ends.eq(beat.last & beat.context.last),
            aligner.flush.eq(self.flush),
            aligner.i.valid.eq(self.i.valid & ~swallowing & ~self.flush),
            aligner.i.payload.data.eq(beat.data),
            aligner.i.payload.start.eq(beat.start),
            aligner.i.payload.count.eq(beat.count),
            # An error takes the place of what is kept: an empty group of its own.
            aligner.i.payload.first.eq(fresh | beat.error),
            aligner.i.payload.last.eq(ends | beat.error),
            aligner.i.payload.context.eq(beat.context.token | (beat.error << TOKEN.width)),
            self.i.ready.eq(aligner.i.ready | swallowing | self.flush),
            take.eq(self.i.valid & self.i.ready),
        ]
        with m.If(beat.error):
            m.d.comb += aligner.i.payload.count.eq(0)
        with m.If(take):
            m.d.sync += [fresh.eq(ends | beat.error), swallowing.eq((swallowing | beat.error) & ~ends)]
        with m.If(self.flush):
            m.d.sync += [fresh.eq(1), swallowing.eq(0)]
        row = aligner.o.payload
        m.d.comb += [
            aligner.o.ready.eq(self.o.ready),
            self.o.valid.eq(aligner.o.valid & ~self.flush),
            self.o.payload.data.eq(row.data),
            self.o.payload.count.eq(row.count),
            self.o.payload.last.eq(row.last),
            self.o.payload.token.eq(row.context[: TOKEN.width]),
            self.o.payload.error.eq(row.context[TOKEN.width] & row.last),
        ]
        return m

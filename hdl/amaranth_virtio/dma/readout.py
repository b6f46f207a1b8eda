"""Stream complete slots out in order."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .layout import read_data_layout

__all__ = ["ReadOut", "extent_layout"]

#: Beats that are read ahead: one is taken, one comes, and one is for the cycle until its room is known.
AHEAD = 3


def extent_layout(width: int, rows: int, context: Any) -> data.StructLayout:
    """Where a slot's bytes lie.

    ``first_row``, ``start``
        Row and byte lane of the first one.
    ``last_row``, ``final``
        Row and byte lane of the last one.
    ``last``
        The slot ends its request.
    """
    lanes = width // 8
    return data.StructLayout(
        {
            "first_row": ceil_log2(rows),
            "start": ceil_log2(lanes),
            "last_row": ceil_log2(rows),
            "final": ceil_log2(lanes),
            "last": 1,
            "context": context,
        }
    )


class ReadOut(wiring.Component):
    """Turn slots into beats of a request; one beat per cycle, also from one slot to the next.

    The first failed slot of a request becomes a beat with ``error``, and what follows of the request
    is discarded.

    Parameters
    ----------
    width, rows : :class:`int`
    context : shape

    Members
    -------
    done, failed, extent : :py:`In`
        Whether all of the oldest slot has come, whether with an error, and what is in it.
    free : :py:`Out(1)`
        It is no longer needed; the next cycle shows the next one.
    read_row, read_enable, data
        To the slot memory, at the oldest slot.
    dropped : :py:`In(1)`
        Nothing more will come of the request that is being discarded.
    discarding : :py:`Out(1)`
    flush : :py:`In(1)`
        Slots are taken and discarded, nothing comes out.
    busy : :py:`Out(1)`
    o : :py:`Out(stream of read_data_layout(width, context))`
    """

    def __init__(self, *, width: int, rows: int, context: Any):
        self.width = width
        self.rows = rows
        self.context = context
        super().__init__(
            {
                "done": In(1),
                "failed": In(1),
                "extent": In(extent_layout(width, rows, context)),
                "free": Out(1),
                "read_row": Out(ceil_log2(rows)),
                "read_enable": Out(1),
                "data": In(width),
                "dropped": In(1),
                "discarding": Out(1),
                "flush": In(1),
                "busy": Out(1),
                "o": Out(stream.Signature(read_data_layout(width, context))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the stage that walks over a slot's rows, and a small FIFO for what comes of the memory.

        Nothing but its input stands behind the block RAM, whose outputs come late; and a row is read if there
        is room for it, whoever takes another one in this cycle.
        """
        m = Module()
        lanes = self.width // 8
        extent = self.extent
        begun, row = Signal(), Signal(ceil_log2(self.rows))  # the slot's first row was read; the next one
        at = Signal.like(row)
        start = Signal(ceil_log2(lanes))  # of this row
        final_row = Signal()
        reads, leaves = Signal(), Signal()

        valid = Signal()  # the memory shows a row
        shown = Signal(read_data_layout(self.width, self.context))  # all but the data
        m.submodules.beats = beats = Memory(shape=shown.shape(), depth=AHEAD + 1, init=[])
        put, get = beats.write_port(), beats.read_port(domain="comb")
        held = Signal(range(AHEAD + 1))  # beats, with the one that comes
        m.d.comb += [
            at.eq(Mux(begun, row, extent.first_row)),
            start.eq(Mux(begun, 0, extent.start)),
            final_row.eq(at == extent.last_row),
            self.read_row.eq(at),
            self.read_enable.eq(reads),
            put.data.eq(shown),
            put.data.data.eq(self.data),
            put.en.eq(valid),
            self.o.valid.eq((get.addr != put.addr) & ~self.flush),
            self.o.payload.eq(get.data),
            leaves.eq(self.o.valid & self.o.ready),
            self.busy.eq(held != 0),
        ]
        m.d.sync += [
            valid.eq(reads),
            put.addr.eq(put.addr + valid),
            get.addr.eq(get.addr + leaves),
            held.eq(held + reads - leaves),
        ]
        with m.If(self.done):
            with m.If(self.flush | self.discarding):
                m.d.comb += self.free.eq(1)
                with m.If(extent.last):
                    m.d.sync += self.discarding.eq(0)
            with m.Elif(held != AHEAD):
                m.d.comb += [reads.eq(1), self.free.eq(self.failed | final_row)]
                m.d.sync += [
                    shown.start.eq(start),
                    shown.count.eq(Mux(final_row, extent.final + 1, lanes) - start),
                    shown.last.eq(self.failed | (final_row & extent.last)),
                    shown.error.eq(self.failed),
                    shown.context.eq(extent.context),
                    row.eq(at + 1),
                    begun.eq(1),
                ]
                with m.If(self.failed):
                    m.d.sync += self.discarding.eq(~extent.last)
        with m.If(self.free):
            m.d.sync += begun.eq(0)
        with m.If(self.dropped):
            m.d.sync += self.discarding.eq(0)
        with m.If(self.flush):
            m.d.sync += [valid.eq(0), put.addr.eq(get.addr), held.eq(0), self.discarding.eq(0)]
        return m

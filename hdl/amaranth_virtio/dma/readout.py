"""Stream complete slots out in order."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .layout import read_data_layout
from .slots import slot_shape

__all__ = ["ReadOut", "extent_layout"]


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
    width, tags, rows : :class:`int`
    context : shape

    Members
    -------
    slot, done, failed, extent : :py:`In`
        The oldest slot, whether all of it has come, whether with an error, and what is in it.
    take : :py:`Out(1)`
        It was taken; the next cycle shows the next one.
    free : :py:`Out(1)`
        The slot that was taken first is no longer needed.
    read_slot, read_row, read_enable, data
        To the slot memory.
    dropped : :py:`In(1)`
        Nothing more will come of the request that is being discarded.
    discarding : :py:`Out(1)`
    flush : :py:`In(1)`
        Slots are taken and discarded, nothing comes out.
    busy : :py:`Out(1)`
    o : :py:`Out(stream of read_data_layout(width, context))`
    """

    def __init__(self, *, width: int, tags: int, rows: int, context: Any):
        self.width = width
        self.tags = tags
        self.rows = rows
        self.context = context
        super().__init__(
            {
                "slot": In(slot_shape(tags)),
                "done": In(1),
                "failed": In(1),
                "extent": In(extent_layout(width, rows, context)),
                "take": Out(1),
                "free": Out(1),
                "read_slot": Out(slot_shape(tags)),
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
        """Build the stage that walks over a slot's rows and the one that shows what was read."""
        m = Module()
        lanes = self.width // 8
        active = Signal()
        failed = Signal()
        extent = Signal(extent_layout(self.width, self.rows, self.context))
        slot = Signal(slot_shape(self.tags))
        row = Signal(ceil_log2(self.rows))
        start = Signal(ceil_log2(lanes))  # of this row

        valid = Signal()
        shown = Signal(read_data_layout(self.width, self.context))  # all but the data
        advance = Signal()
        final_row = Signal()
        m.d.comb += [
            advance.eq(~valid | self.o.ready),
            final_row.eq(row == extent.last_row),
            self.read_slot.eq(slot),
            self.read_row.eq(row),
            self.read_enable.eq(advance),
            self.o.valid.eq(valid & ~self.flush),
            self.o.payload.eq(shown),
            self.o.payload.data.eq(self.data),
            self.busy.eq(active | valid),
        ]

        with m.If(advance):
            m.d.sync += valid.eq(0)
        with m.If(active):
            with m.If(self.flush | self.discarding):
                m.d.comb += self.free.eq(1)
                with m.If(extent.last):
                    m.d.sync += self.discarding.eq(0)
            with m.Elif(advance):
                m.d.comb += self.free.eq(failed | final_row)
                m.d.sync += [
                    valid.eq(1),
                    shown.start.eq(start),
                    shown.count.eq(Mux(final_row, extent.final + 1, lanes) - start),
                    shown.last.eq(failed | (final_row & extent.last)),
                    shown.error.eq(failed),
                    shown.context.eq(extent.context),
                    row.eq(row + 1),
                    start.eq(0),
                ]
                with m.If(failed):
                    m.d.sync += self.discarding.eq(~extent.last)
        with m.If(self.free):
            m.d.sync += active.eq(0)
        m.d.comb += self.take.eq(self.done & (~active | self.free))
        with m.If(self.take):
            m.d.sync += [
                active.eq(1),
                failed.eq(self.failed),
                extent.eq(self.extent),
                slot.eq(self.slot),
                row.eq(self.extent.first_row),
                start.eq(self.extent.start),
            ]
        with m.If(self.dropped):
            m.d.sync += self.discarding.eq(0)
        with m.If(self.flush):
            m.d.sync += [valid.eq(0), self.discarding.eq(0)]
        return m

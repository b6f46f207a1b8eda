"""Put pieces of bytes together without gaps."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["Aligner", "piece_layout", "row_layout"]


def piece_layout(width: int, context: Any) -> data.StructLayout:
    """``count`` (0 to ``width/8``) bytes from byte lane ``start`` on, modulo the number of lanes.

    ``first``
        First piece of a group; its first byte goes to lane ``origin`` of the group's first row.
    ``last``
        Last piece of a group; its ``context`` is the group's.
    """
    lanes = width // 8
    return data.StructLayout(
        {
            "data": width,
            "start": ceil_log2(lanes),
            "count": ceil_log2(lanes + 1),
            "first": 1,
            "origin": ceil_log2(lanes),
            "last": 1,
            "context": context,
        }
    )


def row_layout(width: int, context: Any) -> data.StructLayout:
    """A row of a group's bytes; every row is full but the ``last``.

    ``count``
        Lanes in use, those before the origin included; 0 only in a group's ``last`` row.
    """
    return data.StructLayout(
        {"data": width, "count": ceil_log2(width // 8 + 1), "last": 1, "context": context}
    )


class Aligner(wiring.Component):
    """Make rows without gaps out of groups of pieces.

    One piece per cycle; a group whose last piece fills one row and begins another takes one more
    cycle. Three cycles from a piece to its row. Where a group ends exactly at a row's end with a
    piece of its own, that row is its last; where it ends with an empty piece behind a full row, a row
    with ``count`` 0 is.

    Parameters
    ----------
    width : :class:`int`
        Of a row in bits.
    context : shape

    Members
    -------
    i : :py:`In(stream of piece_layout(width, context))`
    o : :py:`Out(stream of row_layout(width, context))`
    flush : :py:`In(1)`
        While high, what is inside is dropped.
    busy : :py:`Out(1)`
        A piece or row is inside. Bytes of a group that is not closed do not count.
    """

    def __init__(self, *, width: int, context: Any):
        self.width = width
        self.context = context
        super().__init__(
            {
                "i": In(stream.Signature(piece_layout(width, context))),
                "o": Out(stream.Signature(row_layout(width, context))),
                "flush": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build three stages: where to rotate to, rotate, merge."""
        m = Module()
        lanes = self.width // 8
        step = data.StructLayout(
            {
                "data": self.width,
                "lane": ceil_log2(lanes),  # of the first byte
                "end": ceil_log2(2 * lanes),  # lane behind the last byte
                "last": 1,
                "context": self.context,
            }
        )

        # Plan: the lane follows from all pieces before.
        lane = Signal(ceil_log2(lanes))
        here = Signal(ceil_log2(lanes))
        planned = Signal(step)
        planned_valid = Signal()
        turn = Signal(ceil_log2(lanes))  # lanes to rotate left
        piece = self.i.payload
        m.d.comb += here.eq(Mux(piece.first, piece.origin, lane))

        # Rotate.
        rotated = Signal(step)
        rotated_valid = Signal()
        rotated_ready = Signal()
        levels = planned.data
        for bit in range(len(turn)):
            level = Signal(self.width, name=f"rotated_{bit}")
            m.d.comb += level.eq(Mux(turn[bit], levels.rotate_left(8 << bit), levels))
            levels = level

        # Merge: a row is what is kept of the rows before, then this piece.
        kept = Signal(self.width)
        row = Signal(self.width)
        again = Signal()  # the rest of the group's last piece has a row of its own
        full, over = Signal(), Signal()  # the piece reaches the row's end, and beyond it
        shows = Signal()
        before = Signal(lanes)  # lanes before the piece's first byte, never the last one
        room = Signal()
        m.d.comb += [
            before.eq(Cat(*(rotated.lane > number for number in range(lanes - 1)))),
            shows.eq(full | rotated.last),
            room.eq(~self.o.valid | self.o.ready),
            rotated_ready.eq(~shows | (room & ~(rotated.last & over & ~again))),
        ]
        for number in range(lanes):
            byte = slice(8 * number, 8 * number + 8)
            m.d.comb += row[byte].eq(Mux(before[number] & ~again, kept[byte], rotated.data[byte]))

        with m.If(room):
            m.d.sync += self.o.valid.eq(0)
        with m.If(rotated_valid):
            with m.If(shows & room):
                m.d.sync += [
                    self.o.valid.eq(1),
                    self.o.payload.data.eq(row),
                    self.o.payload.count.eq(Mux(full & ~again, lanes, rotated.end[: ceil_log2(lanes)])),
                    self.o.payload.last.eq(rotated.last & (again | ~over)),
                    self.o.payload.context.eq(rotated.context),
                    again.eq(rotated.last & over & ~again),
                ]
            with m.If(rotated_ready):
                # Behind a full row only the piece's bytes that did not fit into it are left.
                m.d.sync += kept.eq(Mux(full, rotated.data, row))
        plan = Signal()
        move = Signal()
        m.d.comb += [
            move.eq(~rotated_valid | rotated_ready),
            plan.eq(~planned_valid | move),
            self.i.ready.eq(plan),
            self.busy.eq(planned_valid | rotated_valid | self.o.valid),
        ]
        with m.If(move):
            m.d.sync += [rotated.eq(planned), rotated.data.eq(levels), rotated_valid.eq(planned_valid)]
            m.d.sync += [full.eq(planned.end >= lanes), over.eq(planned.end > lanes)]
        with m.If(plan):
            m.d.sync += planned_valid.eq(self.i.valid)
            with m.If(self.i.valid):
                m.d.sync += [
                    planned.data.eq(piece.data),
                    planned.lane.eq(here),
                    planned.end.eq(here + piece.count),
                    planned.last.eq(piece.last),
                    planned.context.eq(piece.context),
                    turn.eq(here - piece.start),
                    lane.eq(here + piece.count),
                ]
        with m.If(self.flush):
            m.d.sync += [planned_valid.eq(0), rotated_valid.eq(0), self.o.valid.eq(0), again.eq(0)]
        return m

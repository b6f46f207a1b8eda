"""The segments of one direction of a chain."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..chain import TOKEN
from .layout import Segment
from .walk_layout import WalkShape

__all__ = ["RowWalk", "part_layout", "segment_layout"]


def part_layout(shape: WalkShape) -> data.StructLayout:
    """One direction of chain ``token``."""
    return data.StructLayout({"token": TOKEN, "part": shape.part})


segment_layout = data.StructLayout({"token": TOKEN, "segment": Segment, "last": 1})


class RowWalk(wiring.Component):
    """Read one chain's rows of one direction after the other, and let go of them.

    The first segment is on offer in the second cycle after its row could be read, and another one every
    2 cycles. The step from a ring's own descriptors into an indirect table takes 2 cycles more.

    Parameters
    ----------
    shape : :class:`WalkShape`

    Members
    -------
    i : :py:`In(stream of part_layout(shape))`
        One is taken when the one before is through; ``count`` is not 0.
    o : :py:`Out(stream of segment_layout)`
    drop : :py:`In(1)`
        While high, nothing is offered; what is left of the chain is let go of.
    read : :py:`Out(shape.read)`
    """

    def __init__(self, *, shape: WalkShape):
        self.shape = shape
        super().__init__(
            {
                "i": In(stream.Signature(part_layout(shape))),
                "o": Out(stream.Signature(segment_layout)),
                "drop": In(1),
                "read": Out(shape.read),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the FSM that goes from row to row."""
        m = Module()
        shape = self.shape
        token = Signal(TOKEN)
        place = Signal(shape.place)  # of the row that is read
        caught = Signal(shape.row)  # but for its address and length
        count = Signal(shape.count)  # segments that are not through
        start = Signal(shape.index_bits + 1)
        row: Any = self.read.row
        m.d.comb += [
            self.read.queue.eq(shape.queue(token)),
            self.read.place.eq(place),
            self.read.clear.eq(1),
            self.o.payload.token.eq(token),
            self.o.payload.last.eq(count == 1),
        ]
        with m.FSM():
            with m.State("TAKE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    token.eq(self.i.payload.token),
                    place.eq(self.i.payload.part.place),
                    count.eq(self.i.payload.part.count),
                    start.eq(self.i.payload.part.start),
                ]
                with m.If(self.i.valid):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += self.read.valid.eq(1)
                with m.If(self.read.ready):
                    m.next = "CATCH"
            with m.State("CATCH"):
                m.d.sync += [
                    self.o.payload.segment.address.eq(row.address),
                    self.o.payload.segment.length.eq(row.length),
                    caught.eq(row),
                ]
                m.next = "GIVE"
            with m.State("GIVE"):
                through, into = Signal(), Signal()
                m.d.comb += [
                    into.eq(caught.indirect & ~shape.in_table(place) if shape.indirect else 0),
                    self.o.valid.eq(~into & ~self.drop),
                    through.eq(~into & (self.drop | self.o.ready)),
                    self.read.place.eq(shape.behind(place, caught)),
                ]
                if shape.indirect:
                    with m.If(into):
                        m.d.comb += self.read.place.eq(shape.of_table(start))
                with m.If(through | into):
                    m.d.sync += place.eq(self.read.place)
                    m.d.sync += count.eq(count - through)
                    with m.If(through & (self.o.payload.last | (self.drop & shape.in_table(place)))):
                        m.next = "TAKE"
                    with m.Else():
                        m.d.comb += self.read.valid.eq(1)
                        m.next = "READ"
                        with m.If(self.read.ready):
                            m.next = "CATCH"
        return m

"""The writable segments of the chain that the device writes."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from ..chain import TOKEN
from .row_walk import RowWalk, part_layout
from .walk_layout import NO_COLLISION, SegmentOrEnd, WalkShape

__all__ = ["WritableSegments"]


class WritableSegments(wiring.Component):
    """Hand the writable segments of one chain after another to whoever writes them.

    The client begins a chain by its token, takes as many segments as it needs, and ends the chain: segments
    that are left are let go of, a queue's own at 2 cycles each. Segments come ahead: the first one 5 cycles
    after ``begin`` was taken, the next ones 2 cycles after the one before was taken, or sooner if not asked
    for at once.

    Parameters
    ----------
    shape : :class:`WalkShape`
    tokens : :class:`int`
        Chains in flight.

    Members
    -------
    chain : :py:`In(stream of part_layout(shape), always_ready)`
        Stores the writable part of a chain, which may be empty.
    begin : :py:`In(stream of TOKEN)`
        Taken when the chain before was ended, and let go of.
    segment : :py:`Out(stream of SegmentOrEnd)`
        A payload that does not ``exist`` stands behind the chain's last segment, is not to be taken, and
        goes with ``end``.
    end : :py:`In(1)`
        Strobe: the chain needs no further segment. Not before ``begin`` was taken; in its cycle nothing
        is taken from ``segment`` any more.
    ended : :py:`Out(1)`
        Strobe: nothing of the chain is left in the rows. In the order of ``begin``.
    read : :py:`Out(shape.read)`
    """

    def __init__(self, *, shape: WalkShape, tokens: int):
        self.shape = shape
        self.tokens = tokens
        super().__init__(
            {
                "chain": In(stream.Signature(part_layout(shape), always_ready=True)),
                "begin": In(stream.Signature(TOKEN)),
                "segment": Out(stream.Signature(SegmentOrEnd)),
                "end": In(1),
                "ended": Out(1),
                "read": Out(shape.read),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the memory of what chains have, and the FSM round the walk."""
        m = Module()
        m.submodules.parts = parts = Memory(
            shape=self.shape.part, depth=self.tokens, init=[], attrs=NO_COLLISION
        )
        m.submodules.walk = walk = RowWalk(shape=self.shape)
        put, get = parts.write_port(), parts.read_port()
        token, part = Signal(TOKEN), Signal(self.shape.part)
        connect(m, walk.read, flipped(self.read))
        ending = Signal()  # the rest of the chain is not wanted
        m.d.comb += [
            put.addr.eq(self.chain.payload.token),
            put.data.eq(self.chain.payload.part),
            put.en.eq(self.chain.valid),
            get.addr.eq(self.begin.payload),
            walk.i.payload.token.eq(token),
            walk.i.payload.part.eq(part),
            walk.drop.eq(ending),
            self.segment.payload.segment.eq(walk.o.payload.segment),
        ]
        with m.If(self.end):
            m.d.sync += ending.eq(1)
        with m.FSM():
            with m.State("BEGIN"):
                m.d.comb += self.begin.ready.eq(1)
                m.d.sync += [token.eq(self.begin.payload), ending.eq(0)]
                with m.If(self.begin.valid):
                    m.next = "FOUND"
            with m.State("FOUND"):
                m.d.sync += part.eq(get.data)
                m.next = "START"
            with m.State("START"):
                m.next = "WALK"
                with m.If(part.count == 0):
                    m.next = "END"
                with m.Else():
                    m.d.comb += walk.i.valid.eq(1)
            with m.State("WALK"):
                m.d.comb += [
                    self.segment.valid.eq(walk.o.valid),
                    self.segment.payload.exists.eq(1),
                    walk.o.ready.eq(self.segment.ready),
                ]
                # The walk is through with its last segment, or because it was dropped.
                with m.If(walk.i.ready | (walk.o.valid & walk.o.ready & walk.o.payload.last)):
                    m.next = "END"
            with m.State("END"):
                m.d.comb += self.segment.valid.eq(~ending)
                with m.If(ending & walk.i.ready):
                    m.d.comb += self.ended.eq(1)
                    m.next = "BEGIN"
        return m

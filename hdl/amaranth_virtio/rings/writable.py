"""The writable segments of the chain that the device writes."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from ..block_ram import NO_COLLISION
from ..chain import TOKEN
from .layout import Segment
from .row_walk import RowWalk, part_layout
from .walk_layout import SegmentOrEnd, WalkShape

__all__ = ["WritableSegments"]


class WritableSegments(wiring.Component):
    """Hand the writable segments of one chain after another to whoever writes them.

    The client begins a chain by its token, takes as many segments as it needs, and ends the chain: segments
    that are left are let go of, a queue's own at 2 cycles each. It may begin the next chains before; up to
    3 that are not ended are taken, one every 2 cycles, and ``segment`` and ``end`` are about the first of
    them. Segments come ahead, into a register: the first one 6 cycles after ``begin`` was taken, and at once
    in the next chain if that was begun early and nothing of the one before was left; the next ones 2 cycles
    after the one before was taken.

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
        In the order in which they are to be ended.
    segment : :py:`Out(stream of SegmentOrEnd)`
        Of the first chain that was begun and not ended. A payload that does not ``exist`` stands behind its
        last segment, is not to be taken, and goes with ``end``.
    end : :py:`In(1)`
        Strobe: the first chain needs no further segment. Not before its ``begin`` was taken. What is taken
        from ``segment`` in its cycle is gone with the rest.
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
        """Build the memory of what chains have, the look-up, and the walk behind it."""
        m = Module()
        m.submodules.parts = parts = Memory(
            shape=self.shape.part, depth=self.tokens, init=[], attrs=NO_COLLISION
        )
        m.submodules.walk = walk = RowWalk(shape=self.shape)
        put, get = parts.write_port(), parts.read_port()
        connect(m, walk.read, flipped(self.read))
        m.d.comb += [
            put.addr.eq(self.chain.payload.token),
            put.data.eq(self.chain.payload.part),
            put.en.eq(self.chain.valid),
        ]

        # Look up: the data come in the next cycle, and go into ``part``.
        token, part = Signal(TOKEN), Signal(self.shape.part)
        looked, found = Signal(), Signal()
        start = Signal()  # a chain goes on to the walk
        empty = Signal()
        m.d.comb += [
            self.begin.ready.eq(~looked & (~found | start)),
            get.addr.eq(self.begin.payload),
            walk.i.payload.token.eq(token),
            walk.i.payload.part.eq(part),
            empty.eq(part.count == 0),
        ]
        m.d.sync += looked.eq(self.begin.valid & self.begin.ready)
        with m.If(self.begin.valid & self.begin.ready):
            m.d.sync += token.eq(self.begin.payload)
        with m.If(start):
            m.d.sync += found.eq(0)
        with m.If(looked):
            m.d.sync += [part.eq(get.data), found.eq(1)]

        # Walk: the chain that the client is at, and behind it another one if all of the first was walked.
        first, behind = (
            Signal(data.StructLayout({"there": 1, "given": 1}), name=n) for n in ("first", "behind")
        )
        ends = Signal(range(4))  # of chains that are to be ended still
        dropping = Signal()
        over = Signal()  # the first chain is
        ending = self.end | (ends != 0)
        # What was walked goes into a register, so that nobody who takes it is heard at the rows in one cycle.
        segment, held = Signal(Segment), Signal()
        ahead = Signal()  # it is of the chain behind
        m.d.comb += [
            start.eq(found & walk.i.ready & ~dropping & ~behind.there & (~first.there | first.given)),
            walk.i.valid.eq(start & ~empty),
            walk.drop.eq(dropping),
            self.segment.payload.segment.eq(segment),
            self.segment.payload.exists.eq(held & ~ahead),
            self.segment.valid.eq(first.there & (ends == 0) & (first.given | held)),
            walk.o.ready.eq(~held),
            over.eq(Mux(dropping, walk.i.ready, first.there & first.given & ending)),
            self.ended.eq(over),
        ]
        with m.If(~held):
            m.d.sync += segment.eq(walk.o.payload.segment)
        walked = walk.o.valid & ~held
        taken = self.segment.payload.exists & self.segment.valid & self.segment.ready
        with m.If(walked):
            m.d.sync += [held.eq(1), ahead.eq(first.given)]
        with m.Elif(dropping | (~ahead & (over | taken))):
            m.d.sync += held.eq(0)
        m.d.sync += ends.eq(ends + self.end - over)
        with m.If(first.there & ~first.given & ending):
            m.d.sync += dropping.eq(1)
        last = walked & walk.o.payload.last
        with m.If(last & ~first.given):
            m.d.sync += first.given.eq(1)
        with m.If(last & first.given):
            m.d.sync += behind.given.eq(1)
        with m.If(over):
            m.d.sync += [dropping.eq(0), ahead.eq(0), behind.there.eq(0)]
            m.d.sync += [first.there.eq(behind.there), first.given.eq(behind.given | last)]
        with m.If(start):
            with m.If(first.there & ~over):
                m.d.sync += [behind.there.eq(1), behind.given.eq(empty)]
            with m.Else():
                m.d.sync += [first.there.eq(1), first.given.eq(empty)]
        return m

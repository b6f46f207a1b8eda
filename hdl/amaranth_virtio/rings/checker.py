"""The check of whole chains."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.layout import Cause

from ..chain import QUEUE, TOKEN, Chain
from .layout import ChainRecord
from .options import RingFeatures
from .row_walk import part_layout
from .schedule import candidate_layout
from .walk_layout import INDEX, BrokenChain, TablePlace, WalkShape

__all__ = ["Checker"]


class Checker(wiring.Component):
    """Walk chains whose descriptors are all loaded, and announce those in which each descriptor is right.

    A chain of ``n`` descriptors takes ``2 * n + 1`` cycles, and 2 more with an indirect table behind others,
    if the rows can be read at once. Reserved flag bits are ignored. A chain of a queue that is retired is
    dropped: it takes as many cycles again.

    Parameters
    ----------
    shape : :class:`WalkShape`
    packed : :class:`bool`
        There are packed rings.

    Members
    -------
    running : :py:`In(1)`
        While low, no chain is announced or dropped.
    features : :py:`In(RingFeatures)`
    retire : :py:`In(1)`, retire_queue : :py:`In(QUEUE)`
        Chains of this queue are dropped.
    i : :py:`In(stream of candidate_layout)`
    loaded : :py:`In(1)`
        Strobe: an indirect table is complete, in the order of ``i``.
    read : :py:`Out(shape.read)`
    chain : :py:`Out(stream of Chain, always_ready)`
        Chains that passed, with all that follows here in the same cycle.
    record : :py:`Out(ChainRecord)`
    readable, writable : :py:`Out(stream of part_layout(shape), always_ready)`
        Parts; ``readable`` is valid only if there is one.
    dropped : :py:`Out(stream of TOKEN)`
    error : :py:`Out(stream of BrokenChain, always_ready)`
        ZERO_LENGTH, READABLE_AFTER_WRITABLE, TOTAL_LENGTH, NEXT_INDEX, CHAIN_LOOP (inside a table),
        INDIRECT or INDIRECT_NESTED.
    """

    def __init__(self, *, shape: WalkShape, packed: bool):
        self.shape = shape
        self.packed = packed
        super().__init__(
            {
                "running": In(1),
                "features": In(RingFeatures),
                "retire": In(1),
                "retire_queue": In(QUEUE),
                "i": In(stream.Signature(candidate_layout)),
                "loaded": In(1),
                "read": Out(shape.read),
                "chain": Out(stream.Signature(Chain, always_ready=True)),
                "record": Out(ChainRecord),
                "readable": Out(stream.Signature(part_layout(shape), always_ready=True)),
                "writable": Out(stream.Signature(part_layout(shape), always_ready=True)),
                "dropped": Out(stream.Signature(TOKEN)),
                "error": Out(stream.Signature(BrokenChain, always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the FSM that goes from row to row, and the sums."""
        m = Module()
        shape, bits = self.shape, self.shape.sequence_bits
        token, first, identity = Signal(TOKEN), Signal(INDEX), Signal(16)
        table = Signal(TablePlace)
        place = Signal(shape.place)  # of the row that is looked at
        origin = Signal(shape.place)  # from where it is reached without another segment between
        row = Signal(shape.row)  # but for its address
        found: Any = self.read.row
        ringed = Signal(shape.count)  # descriptors in the ring itself
        left = Signal(11)  # entries of the table that are not passed

        sum_, more = Signal(33), Signal(shape.count)
        over, checked = Signal(), Signal(shape.place)  # the sum with the row before, at ``checked``, carries
        readable, readables = Signal(32), Signal(shape.count)
        writable, writables = Signal(32), Signal(shape.count)
        writing, writables_at = Signal(), Signal(shape.place)
        dropping = Signal()
        finished = Signal()  # the sums are those of a chain that is at its end
        leaves = Signal()  # its queue is to be retired
        m.d.sync += leaves.eq(self.retire & (self.retire_queue == token[bits:]))

        in_table = shape.in_table(place)
        behind = shape.behind(place, row)

        # The next chain, and whether all of it is here.
        took = Signal()
        following, waits, complete = Signal(candidate_layout), Signal(), Signal()
        tabled = Signal()
        tables = Signal(TOKEN)  # loaded, and not taken
        m.d.comb += self.i.ready.eq(~waits | took)
        m.d.sync += complete.eq(waits & ~took & (~tabled | (tables != 0)))
        with m.If(self.i.ready):
            m.d.sync += [following.eq(self.i.payload), waits.eq(self.i.valid)]
        if shape.indirect:
            m.d.comb += tabled.eq(following.table.entries != 0)
            with m.If(self.loaded ^ (took & tabled)):
                m.d.sync += tables.eq(tables + Mux(self.loaded, 1, -1))
        m.d.comb += [
            self.read.queue.eq(token[bits:]),
            self.read.place.eq(place),
            self.read.clear.eq(dropping),
            self.chain.payload.token.eq(token),
            self.chain.payload.queue.eq(token[bits:]),
            self.chain.payload.readable.eq(readable),
            self.chain.payload.writable.eq(writable),
            self.record.id.eq(first),
            self.readable.payload.token.eq(token),
            self.readable.payload.part.place.index.eq(first),
            self.readable.payload.part.count.eq(readables),
            self.readable.payload.part.start.eq(table.start),
            self.writable.payload.token.eq(token),
            self.writable.payload.part.place.eq(writables_at),
            self.writable.payload.part.count.eq(writables),
            self.writable.payload.part.start.eq(table.start),
            self.dropped.payload.eq(token),
            self.error.payload.token.eq(token),
        ]
        if self.packed:
            m.d.comb += self.record.skip.eq(ringed)
            with m.If(self.features.packed):
                m.d.comb += self.record.id.eq(identity)
        broken = Signal(shape.place)
        m.d.comb += [
            broken.eq(Mux(over, checked, place)),
            self.error.payload.descriptor.eq(broken.index),
        ]
        if shape.indirect:
            with m.If(shape.in_table(broken)):
                position = (shape_position(shape, broken) - table.start)[: shape.index_bits]
                m.d.comb += self.error.payload.descriptor.eq(position)

        def fail(cause: Cause) -> None:
            m.d.comb += [self.error.valid.eq(1), self.error.payload.cause.eq(cause)]
            m.next = "REST"

        # A carry goes through the whole sum, so it is looked at one cycle later.
        m.d.sync += over.eq(0)
        with m.FSM():
            with m.State("TAKE"):
                with m.If(over):
                    fail(Cause.TOTAL_LENGTH)
                with m.Elif(finished & leaves):
                    m.d.sync += [finished.eq(0), dropping.eq(1), place.eq(0), place.index.eq(first)]
                    m.next = "READ"
                with m.Elif(self.running):
                    m.d.comb += [
                        self.chain.valid.eq(finished),
                        self.writable.valid.eq(finished),
                        self.readable.valid.eq(finished & (self.readable.payload.part.count != 0)),
                        took.eq(complete),
                        self.read.place.eq(0),
                        self.read.place.index.eq(following.first),
                        self.read.queue.eq(following.token[bits:]),
                        self.read.valid.eq(took),
                    ]
                    m.d.sync += finished.eq(0)
                    with m.If(took):
                        m.d.sync += [
                            token.eq(following.token),
                            first.eq(following.first),
                            identity.eq(following.id),
                            table.eq(following.table),
                            left.eq(following.table.entries),
                            place.eq(self.read.place),
                            origin.eq(self.read.place),
                            *(signal.eq(0) for signal in (ringed, writing)),
                            *(signal.eq(0) for signal in (readable, readables, writable, writables)),
                            dropping.eq(0),
                        ]
                        m.next = "READ"
                        with m.If(self.read.ready):
                            m.next = "CATCH"
            with m.State("READ"):
                m.d.comb += self.read.valid.eq(1)
                with m.If(over):
                    fail(Cause.TOTAL_LENGTH)
                with m.Elif(self.read.ready):
                    m.next = "CATCH"
            with m.State("CATCH"):
                m.d.sync += row.eq(found)
                m.next = "CHECK"
                with m.If(over):
                    fail(Cause.TOTAL_LENGTH)
            with m.State("CHECK"):
                goes = Signal()
                m.d.comb += [
                    goes.eq(row.next),
                    sum_.eq(Mux(row.writable, writable, readable) + row.length),
                    more.eq(Mux(row.writable, writables, readables) + 1),
                    self.read.place.eq(behind),
                ]
                m.d.sync += ringed.eq(ringed + ~in_table)
                with m.If(row.indirect):
                    if shape.indirect:
                        m.d.comb += [goes.eq(1), self.read.place.eq(shape.of_table(table.start))]
                with m.Elif(~dropping):
                    m.d.sync += [
                        origin.eq(self.read.place),
                        left.eq(left - in_table),
                        over.eq(sum_[32]),
                        checked.eq(place),
                    ]
                    with m.If(row.writable):
                        m.d.sync += [writable.eq(sum_), writables.eq(more), writing.eq(1)]
                        with m.If(~writing):
                            m.d.sync += writables_at.eq(origin)
                    with m.Else():
                        m.d.sync += [readable.eq(sum_), readables.eq(more)]
                with m.If(goes):
                    m.d.comb += self.read.valid.eq(1)
                    m.d.sync += place.eq(self.read.place)
                    m.next = "READ"
                    with m.If(self.read.ready):
                        m.next = "CATCH"
                with m.Else():
                    m.d.sync += finished.eq(~dropping)
                    m.next = "TAKE"
                    with m.If(dropping):
                        m.next = "DROP"
                with m.If(~dropping):
                    with m.If(row.indirect):
                        if shape.indirect:
                            with m.If(in_table):
                                fail(Cause.INDIRECT_NESTED)
                        else:
                            fail(Cause.INDIRECT)
                    with m.Elif(row.length == 0):
                        fail(Cause.ZERO_LENGTH)
                    with m.Elif(~row.writable & writing):
                        fail(Cause.READABLE_AFTER_WRITABLE)
                    with m.Elif(row.next & row.bad):
                        fail(Cause.NEXT_INDEX)
                    with m.Elif(row.next & in_table & (left == 1)):
                        fail(Cause.CHAIN_LOOP)
            with m.State("DROP"):
                m.d.comb += self.dropped.valid.eq(1)
                with m.If(self.dropped.ready):
                    m.next = "TAKE"
            with m.State("REST"):
                pass
        return m


def shape_position(shape: WalkShape, place: Any) -> Any:
    """Number of a row among those for indirect tables."""
    return place.index + ((place.region[1]) << shape.index_bits)

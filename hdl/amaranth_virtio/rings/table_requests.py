"""Reads of descriptors."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..chain import QUEUE, TOKEN
from ..dma.layout import read_request_layout
from .layout import Head, QueueContext, TableJob
from .walk_layout import FollowUp, TableContext, WalkShape

__all__ = ["TableRequests"]

DESCRIPTOR_BITS = 4  # binary logarithm of the bytes of a descriptor
BLOCK_BITS = 3  # of the descriptors of an aligned block of 128 bytes


class TableRequests(wiring.Component):
    """Request descriptors of indirect tables, of chains that go on, and of new chains, in this order.

    Each request lies inside an aligned block of 128 bytes. Heads that come in ascending order, as chains of
    one queue one after the other, are read together with all between them as far as the block goes; a chain
    that goes on with the next descriptor is read 2 at a time, and to the end of the block when it did so
    before, or when the chain that was read last in its queue began like that. A read takes 4 cycles, and one
    more for each head after the first; a further block of an indirect table takes 1.

    Parameters
    ----------
    shape : :class:`WalkShape`

    Members
    -------
    running : :py:`In(1)`
        While low, no read is started.
    head : :py:`In(stream of Head)`
    follow : :py:`In(stream of FollowUp)`
    job : :py:`In(stream of TableJob)`
        With ``shape.indirect``: indirect tables, with at least one entry.
    began : :py:`In(1)`, began_queue : :py:`In(QUEUE)`, runs : :py:`In(1)`
        Strobe: the first descriptor of a chain of this queue came, and it goes on with the next one.
    queue : :py:`Out(QUEUE)`, context : :py:`In(QueueContext)`
        Context of the queue of the cycle before.
    request : :py:`Out(stream of read_request_layout(TableContext))`
    """

    def __init__(self, *, shape: WalkShape):
        self.shape = shape
        members: dict[str, Any] = {
            "running": In(1),
            "head": In(stream.Signature(Head)),
            "follow": In(stream.Signature(FollowUp)),
            "began": In(1),
            "began_queue": In(QUEUE),
            "runs": In(1),
            "queue": Out(QUEUE),
            "context": In(QueueContext),
            "request": Out(stream.Signature(read_request_layout(TableContext))),
        }
        if shape.indirect:
            members["job"] = In(stream.Signature(TableJob))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        """Build the FSM that looks up, gathers heads and makes addresses."""
        m = Module()
        bits, index_bits = self.shape.sequence_bits, self.shape.index_bits
        token = Signal(TOKEN)  # of the first descriptor
        index, last = (
            Signal(index_bits),
            Signal(index_bits),
        )  # first and last descriptor, that are read for certain
        base = Signal(64 - DESCRIPTOR_BITS)  # of the table
        size = Signal(4)
        starts = Signal(8)
        expected = Signal(bits)  # sequence of the head that may be added
        head, on, table = Signal(), Signal(), Signal()  # what is read; ``on``: and what is behind it
        left = Signal(index_bits + 1)  # entries of an indirect table
        patience = Signal()
        run = Signal()  # with ``on``: much of it

        # Whether chains of a queue begin with two descriptors or more that stand one behind the other
        m.submodules.habits = habits = Memory(shape=1, depth=1 << self.shape.queue_bits, init=[])
        put_habit, habit = habits.write_port(), habits.read_port()
        m.d.comb += [
            put_habit.addr.eq(self.began_queue),
            put_habit.data.eq(self.runs),
            put_habit.en.eq(self.began),
            habit.addr.eq(self.queue),
        ]

        slot = Signal(max(index_bits, BLOCK_BITS) + 1)  # ``index`` counted from the base's block
        room = Signal(3)  # descriptors behind ``index`` in its block
        span = Signal(3)  # of those, what is read
        final = Signal()
        log = Signal(4)
        m.d.comb += [
            log.eq(
                Cat(Cat(self.context.size[n] for n in range(11) if n >> bit & 1).any() for bit in range(4))
            ),
            slot.eq(index + base[:BLOCK_BITS]),
            room.eq(~slot[:BLOCK_BITS]),
        ]

        # Behind what is certain, tables are read up to the next multiple of 8 descriptors at most, which
        # lies inside.
        behind = Signal(3)
        inside = Signal(3)
        tail = Signal(3)
        m.d.comb += [
            inside.eq(Cat(on & (size > 0), run & (size > 1), run & (size > 2))),
            behind.eq(~last[:3] & inside),
            tail.eq(last - index),
        ]
        reach = Signal(4)
        m.d.comb += reach.eq(tail + behind)
        with m.If(table):
            m.d.comb += [
                final.eq(left - 1 <= room),
                span.eq(Mux(final, left - 1, room)),
            ]
        with m.Else():
            m.d.comb += span.eq(Mux(reach < room, reach, room))

        request = self.request.payload
        with m.If(self.request.ready):
            m.d.sync += self.request.valid.eq(0)

        added = self.head.payload
        added_slot = Signal(len(slot))
        fits = Signal()
        m.d.comb += [
            added_slot.eq(added.head[:index_bits] + base[:BLOCK_BITS]),
            fits.eq(
                (added.token == Cat(expected, token[bits:]))
                & (added_slot[BLOCK_BITS:] == slot[BLOCK_BITS:])
                & (added.head[:index_bits] > last)
            ),
            self.queue.eq(self.head.payload.token[bits:]),
        ]

        with m.FSM():
            with m.State("TAKE"):
                m.d.sync += [head.eq(0), on.eq(0), table.eq(0), starts.eq(0), patience.eq(1)]

                def take(source: Any, place: Any) -> None:
                    m.d.comb += [source.ready.eq(1), self.queue.eq(source.payload.token[bits:])]
                    m.d.sync += [token.eq(source.payload.token), index.eq(place), last.eq(place)]
                    m.next = "LOOK"

                with m.If(self.running & self.follow.valid):
                    take(self.follow, self.follow.payload.index)
                    m.d.sync += [
                        on.eq(self.follow.payload.sequential),
                        run.eq(self.follow.payload.run),
                    ]
                with m.Elif(self.running & self.head.valid):
                    take(self.head, self.head.payload.head)
                    m.d.sync += [
                        head.eq(1),
                        starts.eq(1),
                        expected.eq(self.head.payload.token[:bits] + 1),
                    ]
                if self.shape.indirect:
                    with m.If(self.running & self.job.valid):
                        m.d.comb += [self.follow.ready.eq(0), self.head.ready.eq(0)]
                        take(self.job, 0)
                        m.d.sync += [
                            head.eq(0),
                            on.eq(0),
                            starts.eq(0),
                            table.eq(1),
                            base.eq(self.job.payload.address[DESCRIPTOR_BITS:]),
                            left.eq(self.job.payload.entries),
                        ]
                        m.next = "ADD"
            with m.State("LOOK"):
                m.d.sync += [base.eq(self.context.desc[DESCRIPTOR_BITS:]), size.eq(log)]
                m.next = "ADD"
                with m.If(head):
                    m.d.sync += [on.eq(habit.data), run.eq(habit.data)]
                    m.next = "GATHER"
            with m.State("GATHER"):
                m.d.sync += patience.eq(0)
                with m.If(self.head.valid & fits):
                    m.d.comb += self.head.ready.eq(1)
                    m.d.sync += [
                        starts.eq(starts | (1 << (added.head[:3] - index[:3])[:3])),
                        last.eq(added.head),
                        expected.eq(expected + 1),
                        patience.eq(1),
                    ]
                with m.Elif(self.head.valid | ~patience):
                    m.next = "ADD"
            with m.State("ADD"):
                with m.If(self.running & (~self.request.valid | self.request.ready)):
                    m.d.sync += [
                        self.request.valid.eq(1),
                        request.address.eq(
                            Cat(
                                Const(0, DESCRIPTOR_BITS),
                                slot[:BLOCK_BITS],
                                base[BLOCK_BITS:] + slot[BLOCK_BITS:],
                            )
                        ),
                        request.length.eq(Cat(Const(0, DESCRIPTOR_BITS), (span + 1)[:4])),
                        request.context.token.eq(token),
                        request.context.index.eq(index),
                        request.context.starts.eq(starts),
                        request.context.size.eq(size),
                        request.context.table.eq(table),
                        request.context.last.eq(final),
                        index.eq(index + span + 1),
                        left.eq(left - span - 1),
                    ]
                    m.next = "TAKE"
                    with m.If(table & ~final):
                        m.next = "ADD"
        return m

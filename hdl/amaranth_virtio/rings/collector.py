"""Completed chains, gathered by queue."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..chain import QUEUE, TOKEN
from .line import QueueLine
from .parameters import check_queues, check_quota

__all__ = ["BatchSignature", "Collector", "CompleteChain"]


class CompleteChain(data.Struct):
    """A completed chain; with ``more`` it becomes visible together with the queue's next one."""

    token: TOKEN
    more: 1


def slot_bits(quota: int) -> int:
    """Bits of a place in a queue's ring of completions, which has at least two."""
    return max(1, exact_log2(quota))


class BatchSignature(wiring.Signature):
    """Batches, as :class:`Collector` hands them out.

    ``queue``
        Queue that has a batch; taken, all that is visible of it is the batch.
    ``first``, ``end``, ``grouped``, ``retired``
        Of the batch taken in the cycle before: the slots from ``first`` up to, but without, ``end`` (the
        same if it is all of them); some of its chains become visible together; its queue is retired.
    ``slot``, ``fetch``, ``sequence``
        Sequence number in the ``slot`` at the last ``fetch``, from the next cycle on.
    """

    def __init__(self, quota: int):
        bits = slot_bits(quota)
        super().__init__(
            {
                "queue": Out(stream.Signature(QUEUE)),
                "first": Out(bits),
                "end": Out(bits),
                "grouped": Out(1),
                "retired": Out(1),
                "slot": In(bits),
                "fetch": In(1),
                "sequence": Out(bits),
            }
        )


class Collector(wiring.Component):
    """Keep completed chains, in their order, until all those of a queue are taken as one batch.

    A queue stands in line while it has some; a chain with ``more`` counts only when the next one without it
    came. There is room for every chain in flight, so no queue waits for another. A chain takes two cycles; a
    queue that had none is on offer in the second cycle after.

    Parameters
    ----------
    queues : :class:`int`
        Number of virtqueues, 1 to 256.
    quota : :class:`int`
        Chains in flight of one queue; a power of two from 1 to 256.

    Members
    -------
    i : :py:`In(stream.Signature(CompleteChain))`
    batches : :py:`Out(BatchSignature(quota))`
        Slots keep what they hold until the chain is finished.
    broken : :py:`In(stream.Signature(TOKEN, always_ready=True))`
        From now on, nothing of this chain's queue is kept.
    retire : :py:`In(1)`, retire_queue : :py:`In(QUEUE)`
        While high, nothing of this queue is kept. What waits for chains to become visible with it becomes a
        batch.
    dropped : :py:`Out(stream.Signature(TOKEN))`
        Chains that are not kept.
    vacant : :py:`Out(1)`
        While ``retire`` is high: nothing is kept of ``retire_queue``.
    clear : :py:`In(1)`, clear_queue : :py:`In(QUEUE)`
        Make this queue as after reset; only while none is kept of it. A queue must have been cleared once.
    hold : :py:`In(1)`
        Take no chain.
    """

    def __init__(self, *, queues: int, quota: int):
        self.queues = check_queues(queues)
        self.quota = check_quota(quota, queues)
        super().__init__(
            {
                "i": In(stream.Signature(CompleteChain)),
                "batches": Out(BatchSignature(quota)),
                "broken": In(stream.Signature(TOKEN, always_ready=True)),
                "retire": In(1),
                "retire_queue": In(QUEUE),
                "dropped": Out(stream.Signature(TOKEN)),
                "vacant": Out(1),
                "clear": In(1),
                "clear_queue": In(QUEUE),
                "hold": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the rings and the two steps, read and write, of everything that is done to their pointers."""
        m = Module()
        bits = slot_bits(self.quota)
        sequence_bits = exact_log2(self.quota)
        # One bit more than a slot has, to tell all from none. Behind ``shown`` stand the chains that wait for
        # others to become visible with them.
        pointers = data.StructLayout({"head": bits + 1, "shown": bits + 1, "tail": bits + 1, "grouped": 1})
        m.submodules.state = state = Memory(shape=pointers, depth=self.queues, init=[])
        m.submodules.order = order = Memory(shape=sequence_bits or 1, depth=self.queues << bits, init=[])
        m.submodules.marks = marks = Memory(shape=1, depth=self.queues, init=[])
        m.submodules.line = line = QueueLine(queues=self.queues)
        get, put = state.read_port(), state.write_port()
        get_order, put_order = order.read_port(), order.write_port()
        get_mark, put_mark = marks.read_port(), marks.write_port()
        batches = self.batches

        # Second step: of a chain that came, a batch that was taken, or a look at the retired queue.
        came, taken, looked = Signal(), Signal(), Signal()
        busy = came | taken | looked
        chain = Signal(CompleteChain)
        batch = Signal(range(self.queues))
        rest = Signal()  # no second look without a pause
        owner = chain.token[sequence_bits:][: len(batch)]

        # First step
        offered = self.i.payload.token[sequence_bits:]
        take, look, come = Signal(), Signal(), Signal()
        m.d.comb += [
            batches.queue.payload.eq(line.head.payload),
            batches.queue.valid.eq(line.head.valid & ~busy),
            line.head.ready.eq(batches.queue.ready & ~busy),
            take.eq(batches.queue.valid & batches.queue.ready),
            look.eq(self.retire & ~self.vacant & ~busy & ~take & ~rest),
            self.i.ready.eq(~busy & ~take & ~look & ~self.hold),
            come.eq(self.i.valid & self.i.ready),
            get.en.eq(~busy),
            get.addr.eq(Mux(take, line.head.payload, Mux(look, self.retire_queue, offered))),
            get_mark.en.eq(~busy),
            get_mark.addr.eq(offered),
        ]
        m.d.sync += [looked.eq(look), taken.eq(take), rest.eq(looked)]
        with m.If(come):
            m.d.sync += [chain.eq(self.i.payload), came.eq(1)]
        with m.If(take):
            m.d.sync += batch.eq(line.head.payload)

        # Second step
        now, then = get.data, put.data
        waits = now.shown != now.tail
        stands = now.head != now.shown  # in line already
        drop = get_mark.data | (self.retire & (owner == self.retire_queue))
        m.d.comb += [
            put.addr.eq(self.clear_queue),
            put.en.eq(self.clear),
            line.join.payload.eq(owner),
            self.dropped.payload.eq(chain.token),
            put_order.addr.eq(Cat(now.tail[:bits], owner)),
            put_order.data.eq(chain.token[:sequence_bits]),
        ]
        with m.If(busy):
            m.d.comb += then.eq(now)
        with m.If(came):
            m.d.comb += [
                put.addr.eq(owner),
                put.en.eq(~drop),
                put_order.en.eq(~drop),
                self.dropped.valid.eq(drop),
            ]
            m.d.comb += [then.tail.eq(now.tail + 1), then.grouped.eq(now.grouped | waits)]
            with m.If(~chain.more):
                m.d.comb += [then.shown.eq(now.tail + 1), line.join.valid.eq(~drop & ~stands)]
            with m.If(~drop | self.dropped.ready):
                m.d.sync += came.eq(0)
        with m.If(taken):
            m.d.comb += [put.addr.eq(batch), put.en.eq(1), then.head.eq(now.shown), then.grouped.eq(0)]
        with m.If(looked):
            m.d.comb += [
                put.addr.eq(self.retire_queue),
                put.en.eq(1),
                then.shown.eq(now.tail),
                line.join.payload.eq(self.retire_queue),
                line.join.valid.eq(waits & ~stands),
            ]
            m.d.sync += self.vacant.eq(~waits & ~stands)
        with m.If(~self.retire):
            m.d.sync += self.vacant.eq(0)

        m.d.comb += [
            batches.first.eq(now.head),
            batches.end.eq(now.shown),
            batches.grouped.eq(now.grouped),
            batches.retired.eq(self.retire & (batch == self.retire_queue)),
            get_order.addr.eq(Cat(batches.slot, batch)),
            get_order.en.eq(batches.fetch),
            batches.sequence.eq(get_order.data),
        ]

        # Marks of broken queues; a retired one is beyond that.
        reported = self.broken.payload[sequence_bits:]
        m.d.comb += [
            put_mark.addr.eq(Mux(self.broken.valid, reported, self.clear_queue)),
            put_mark.en.eq(self.broken.valid | self.clear),
            put_mark.data.eq(self.broken.valid & ~(self.retire & (reported == self.retire_queue))),
        ]
        return m

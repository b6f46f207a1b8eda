"""Which queues are to be looked at."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..chain import QUEUE
from .line import QueueLine
from .parameters import check_queues
from .poll_layout import queue_shape

__all__ = ["Scheduler"]


class Marks(data.Struct):
    """One side's half of the two marks of a queue: a mark is set while the halves differ."""

    kicked: 1
    awake: 1


class Scheduler(wiring.Component):
    """Say which queue the poller looks at next, and remember every kick.

    A queue is *asleep*, or *awake* in exactly one place: in the line here, with the poller that looks at it,
    or where something will bring it back (``again``: a read of its ring; ``woken``: tokens to be released).
    Only the poller lays it to sleep, and only a kick wakes it up. So nobody stands in line twice.

    A kick sets the queue's mark ``kicked``, which stays until the poller clears it (``serve``) in the cycle
    in which it decides to look at the ring in host memory; that covers every kick up to and with that cycle.
    A queue with the mark must not be laid to sleep. Both marks have two halves in two memories, one for
    each side to write.

    A kicked queue that was asleep is on offer in the cycle after its kick. Queues that a kick woke go before
    the others; each of them stands there at most once before it has to line up with those, so all have
    their turn.

    Parameters
    ----------
    queues : :class:`int`
        Number of virtqueues, 1 to 256. A kick for a queue beyond is dropped.

    Members
    -------
    kick : :py:`In(stream.Signature(QUEUE, always_ready=True))`
        The driver's notification.
    woken : :py:`In(stream.Signature(queue, always_ready=True))`
        A queue comes back; before ``again``.
    again : :py:`In(stream.Signature(queue))`
        A queue comes back.
    offered : :py:`Out(1)`, queue : :py:`Out(queue)`, take : :py:`In(1)`
        The next queue to look at. It may change while it waits to be taken.
    select : :py:`In(queue)`
        Queue whose marks are shown.
    kicked, asleep : :py:`Out(1)`
        Marks of the queue that was selected in the cycle before, as of now.
    serve, sleep : :py:`In(1)`
        Clear its mark ``kicked``; lay it to sleep.
    sweep : :py:`In(1)`
        The memories are being cleared. Kicks are remembered as one for all queues.
    clear : :py:`In(1)`, clear_queue : :py:`In(queue)`
        Forget the kicks of this queue, and let it sleep. Outside of ``sweep`` only while not ``busy``.
    busy : :py:`Out(1)`
    """

    def __init__(self, *, queues: int):
        self.queues = check_queues(queues)
        shape = queue_shape(queues)
        super().__init__(
            {
                "kick": In(stream.Signature(QUEUE, always_ready=True)),
                "woken": In(stream.Signature(shape, always_ready=True)),
                "again": In(stream.Signature(shape)),
                "offered": Out(1),
                "queue": Out(shape),
                "take": In(1),
                "select": In(shape),
                "kicked": Out(1),
                "asleep": Out(1),
                "serve": In(1),
                "sleep": In(1),
                "sweep": In(1),
                "clear": In(1),
                "clear_queue": In(shape),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the pipeline of kicks and the two lines."""
        m = Module()
        shape = queue_shape(self.queues)
        m.submodules.kicks = kicks = QueueLine(queues=self.queues)
        m.submodules.others = others = QueueLine(queues=self.queues)
        m.submodules.ours = ours = Memory(shape=Marks, depth=self.queues, init=[])
        m.submodules.theirs = theirs = Memory(shape=Marks, depth=self.queues, init=[])
        put_ours, put_theirs = ours.write_port(), theirs.write_port()
        here = ours.read_port(transparent_for=[put_ours])
        there = theirs.read_port(transparent_for=[put_theirs])
        shown_ours = ours.read_port(transparent_for=[put_ours])
        shown_theirs = theirs.read_port(transparent_for=[put_theirs])

        # Kicks: in the first cycle the marks are read, in the second one they are set.
        entering, queue, valid = Signal(shape), Signal(shape), Signal()
        known = self.kick.valid & (self.kick.payload < self.queues)
        missed, recalled = Signal(), Signal(shape)
        m.d.comb += entering.eq(self.kick.payload)
        m.d.sync += valid.eq(known & ~self.sweep)
        with m.If(self.sweep):
            m.d.sync += [missed.eq(missed | known), recalled.eq(0)]
        with m.Elif(missed & ~self.kick.valid):
            m.d.comb += entering.eq(recalled)
            m.d.sync += [valid.eq(1), recalled.eq(recalled + 1), missed.eq(recalled != self.queues - 1)]
        m.d.sync += queue.eq(entering)

        wakes = Signal()
        m.d.comb += [
            self.busy.eq(valid),
            here.addr.eq(entering),
            there.addr.eq(entering),
            wakes.eq(valid & (here.data.awake == there.data.awake)),
            put_ours.addr.eq(queue),
            put_ours.en.eq(valid),
            put_ours.data.kicked.eq(~there.data.kicked),
            put_ours.data.awake.eq(here.data.awake ^ wakes),
        ]

        # The poller's side
        selected = Signal(shape)
        m.d.sync += selected.eq(self.select)
        m.d.comb += [
            shown_ours.addr.eq(self.select),
            shown_theirs.addr.eq(self.select),
            self.asleep.eq(shown_ours.data.awake == shown_theirs.data.awake),
            self.kicked.eq(
                (shown_ours.data.kicked != shown_theirs.data.kicked) | (valid & (queue == selected))
            ),
            put_theirs.addr.eq(selected),
            put_theirs.en.eq(self.serve | self.sleep),
            put_theirs.data.kicked.eq(shown_theirs.data.kicked),
            put_theirs.data.awake.eq(shown_theirs.data.awake),
        ]
        with m.If(self.serve):
            m.d.comb += put_theirs.data.kicked.eq(shown_ours.data.kicked)
        with m.If(self.sleep):
            m.d.comb += put_theirs.data.awake.eq(shown_ours.data.awake)
        with m.If(self.clear):
            for port in (put_ours, put_theirs):
                m.d.comb += [port.addr.eq(self.clear_queue), port.data.eq(0), port.en.eq(1)]

        # The lines; a queue that a kick wakes is offered at once if nobody is before it.
        at_once = Signal()
        m.d.comb += [
            at_once.eq(~kicks.head.valid & ~others.head.valid),
            self.offered.eq(Cat(kicks.head.valid, others.head.valid, wakes).any()),
            self.queue.eq(queue),
            kicks.join.payload.eq(queue),
            kicks.join.valid.eq(wakes & ~(at_once & self.take)),
            kicks.head.ready.eq(self.take),
            others.head.ready.eq(self.take & ~kicks.head.valid),
            others.join.valid.eq(self.again.valid | self.woken.valid),
            others.join.payload.eq(self.again.payload),
            self.again.ready.eq(~self.woken.valid),
        ]
        with m.If(kicks.head.valid):
            m.d.comb += self.queue.eq(kicks.head.payload)
        with m.Elif(others.head.valid):
            m.d.comb += self.queue.eq(others.head.payload)
        with m.If(self.woken.valid):
            m.d.comb += others.join.payload.eq(self.woken.payload)
        return m

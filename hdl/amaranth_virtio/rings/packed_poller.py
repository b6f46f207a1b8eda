"""What to read of the descriptor rings."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from virtio_spec.layout import Cause
from virtio_spec.packed import EventFlags

from ..dma.layout import read_request_layout
from .layout import ErrorReport, QueueLookup, ring_write_layout
from .parameters import check_queues, check_quota
from .poll_layout import INDEX_BITS, PollContext, RetireSignature, VisitSignature, place_layout, queue_shape
from .room import wake_batch

__all__ = ["PackedPoller"]

BLOCK = 8  # descriptors of 128 bytes
UNDER_WAY = 12  # blocks at most: 96 descriptors hide 250 cycles at less than 3 cycles per descriptor


class Ahead(data.Struct):
    """How far a queue was read.

    ``next``
        First descriptor that was not read, if blocks are under way.
    ``asked``
        Blocks that were asked for, modulo 16.
    ``last_look``
        The block under way, or that came last, was read after the driver was told that we wait for its first
        descriptor, or to see the rest of a chain.
    """

    next: INDEX_BITS
    asked: 4
    last_look: 1


class PackedPoller(wiring.Component):
    """Visit one queue after another and read what may be available.  [virtio 1.4 §2.8.10, §2.8.14, §2.8.21]

    Each read is of up to 8 descriptors: to the end of the ring or of the aligned block of 128 bytes. While
    blocks come full, further ones are read ahead: up to 2, 4, then 12 are under way, as long as there are
    tokens for a chain per descriptor. At the first descriptor that is not available, what was read ahead is
    dropped:

    - In the middle of a chain, the rest is read once more; if it is still not there, that is an error, as the
      driver makes a chain's head available last.
    - A queue that was kicked is read again.
    - Else, with EVENT_IDX: tell the driver where we wait, once, and only then read once more.
    - Else the queue sleeps.

    A read is on offer in the second cycle after the queue was taken, one ahead in the third; a visit takes 3
    or 4 cycles, and a write of the event suppression structure as long as it waits.

    A queue that is not enabled is laid to sleep; so is one that is to be retired, when what was read came and
    no chain is left half. After an error no visit starts
    until reset, which is that of the clock domain.

    Parameters
    ----------
    queues, quota : :class:`int`
        Number of virtqueues, tokens of each.
    event_idx : :class:`bool`
        Whether there is an ``arm``.

    Members
    -------
    running, event_idx : :py:`In(1)`
        Visits may start; EVENT_IDX was negotiated.
    visit : :py:`Out(VisitSignature(queues, quota))`, retire : :py:`Out(RetireSignature(queues))`
    lookup : :py:`Out(QueueLookup)`
    request : :py:`Out(stream.Signature(read_request_layout(PollContext)))`
    select, place, ended
        See :class:`DescriptorReader`.
    arm : :py:`Out(stream.Signature(ring_write_layout))`
    clear : :py:`In(1)`, clear_queue : :py:`In(queue)`
        Start this queue's ring from the beginning.
    error : :py:`Out(stream.Signature(ErrorReport, always_ready=True))`
        CHAIN_INCOMPLETE or CHAIN_LOOP, with ``descriptor``.
    """

    def __init__(self, *, queues: int, quota: int, event_idx: bool):
        self.queues = check_queues(queues)
        self.quota = check_quota(quota, queues)
        self.has_arm = event_idx
        shape = queue_shape(queues)
        arming = {"event_idx": In(1), "arm": Out(stream.Signature(ring_write_layout))}
        super().__init__(
            {
                "running": In(1),
                **(arming if event_idx else {}),
                "visit": Out(VisitSignature(queues=queues, quota=quota)),
                "retire": Out(RetireSignature(queues=queues)),
                "lookup": Out(QueueLookup),
                "request": Out(stream.Signature(read_request_layout(PollContext))),
                "select": Out(shape),
                "place": In(place_layout(quota)),
                "ended": In(stream.Signature(shape)),
                "clear": In(1),
                "clear_queue": In(shape),
                "error": Out(stream.Signature(ErrorReport, always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the FSM of a visit."""
        m = Module()
        shape = queue_shape(self.queues)
        m.submodules.ahead = ahead_memory = Memory(shape=Ahead, depth=self.queues, init=[])
        # A queue waits for a block while these differ.
        m.submodules.waiting = waiting = Memory(shape=1, depth=self.queues, init=[])
        m.submodules.returned = returned_memory = Memory(shape=1, depth=self.queues, init=[])
        ahead, store = ahead_memory.read_port(), ahead_memory.write_port()
        put_waits, waited = waiting.write_port(), waiting.read_port()
        waits = waiting.read_port(transparent_for=[put_waits])
        put_returned, returned = returned_memory.write_port(), returned_memory.read_port()
        visit, retire, context, place = self.visit, self.retire, self.lookup.context, self.place
        bits, request = exact_log2(self.quota), self.request

        queue = Signal(shape)
        forced, turn = Signal(), Signal()  # the visit is to see whether the queue is at rest; so is the next
        last = Signal(INDEX_BITS)  # of the ring
        position = Signal(INDEX_BITS)  # first descriptor of the read
        behind = Signal(INDEX_BITS)  # descriptors behind it in the ring
        more = Signal(range(BLOCK))  # descriptors to read, less one
        address = Signal(64)
        epoch = Signal()
        looking = Signal()  # this read is a last look

        # What the two memories say
        here, full, under_way = Signal(INDEX_BITS), Signal(), Signal(4)
        window = Signal(4)
        m.d.comb += [
            here.eq(Mux(place.going, ahead.data.next, place.position)),
            full.eq(place.count == visit.count ^ (1 << bits)),
            under_way.eq(ahead.data.asked - place.answered),
            window.eq(Mux(place.streak == 3, UNDER_WAY, 1 << place.streak)),
        ]
        # A queue that is to be retired is read to the end of the chain that was begun.
        leaves = Signal()
        m.d.comb += leaves.eq(retire.active & (retire.queue == queue) & ~place.open)
        tokens = Signal(bits + 1)
        m.d.comb += tokens.eq(visit.count - place.count + self.quota)
        free = Signal(bits + 1)
        spare, below, alone = (
            Signal(),
            Signal(),
            Signal(),
        )  # tokens, and room for one more block; none is there

        # The end of the aligned block, or that of the ring
        ring_first = Signal()
        m.d.comb += [
            ring_first.eq(~behind[3:].any() & (behind[:3] <= ~address[4:7])),
            more.eq(Mux(ring_first, behind, ~address[4:7])),
        ]

        line_up, lined_up, returns = Signal(), Signal(), Signal()
        m.d.comb += [
            visit.select.eq(queue),
            self.lookup.queue.eq(visit.select),
            self.select.eq(visit.select),
            ahead.addr.eq(visit.select),
            store.addr.eq(queue),
            store.data.next.eq(Mux(ring_first, 0, position + more + 1)),
            store.data.asked.eq(ahead.data.asked + 1),
            store.data.last_look.eq(looking),
            visit.at.eq(place.count + wake_batch(self.quota) - 1),
            request.payload.address.eq(address),
            request.payload.length.eq(Cat(Const(0, 4), more + 1)),
            request.payload.context.token.eq(Cat(Const(0, bits), queue)),
            request.payload.context.asked.eq(epoch),
            request.payload.context.last.eq(last),
            put_waits.addr.eq(queue),
            put_waits.data.eq(~waited.data),
            waited.addr.eq(visit.select),
            waits.addr.eq(self.ended.payload),
            returned.addr.eq(self.ended.payload),
            put_returned.addr.eq(self.ended.payload),
            put_returned.data.eq(waits.data),
            put_returned.en.eq(returns),
        ]

        # A block that ended brings the queue back, if it waits for that.
        told = Signal()  # the memories were asked
        m.d.sync += told.eq(self.ended.valid & ~self.ended.ready)
        m.d.comb += [
            returns.eq(told & (waits.data != returned.data)),
            visit.again.valid.eq(returns | line_up),
            visit.again.payload.eq(Mux(returns, self.ended.payload, queue)),
            lined_up.eq(visit.again.ready & ~returns),
            self.ended.ready.eq(told & (~returns | visit.again.ready)),
        ]
        # Blocks that ended while this visit goes on: it does not see them, and could wait for them in vain.
        ends, ended = Signal(), Signal()
        begins = Signal()  # as ``ends``, but in the cycle in which the visit begins
        m.d.comb += [
            ends.eq(self.ended.valid & (self.ended.payload == queue)),
            begins.eq(self.ended.valid & (self.ended.payload == visit.select)),
        ]
        m.d.sync += ended.eq(ended | ends)

        def wait() -> None:
            m.d.comb += put_waits.en.eq(~(ends | ended))
            with m.If(ends | ended):
                m.next = "LINE_UP"

        m.d.sync += [self.error.valid.eq(0), retire.rests.eq(0)]
        with m.If(request.ready):
            m.d.sync += request.valid.eq(0)

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += ended.eq(begins)
                # What is looked up must not wait for whether it is worth it.
                checks = retire.check & turn
                m.d.comb += visit.select.eq(Mux(checks, retire.queue, visit.queue))
                with m.If(~request.valid | request.ready):
                    m.d.sync += [turn.eq(~checks), forced.eq(checks)]
                    with m.If(checks | (visit.offered & self.running)):
                        m.d.comb += visit.take.eq(~checks)
                        m.d.sync += queue.eq(visit.select)
                        m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.sync += [
                    position.eq(here),
                    behind.eq(context.size + ~here),
                    last.eq(context.size - 1),
                    address.eq(Cat(Const(0, 4), (context.desc[4:] + here)[:60])),
                    epoch.eq(place.epoch),
                    looking.eq(ahead.data.last_look & ~place.moved & ~place.going),
                    free.eq(tokens),
                    below.eq(under_way < window),
                    alone.eq(under_way == 0),
                ]
                m.next = "IDLE"
                with m.If(forced):
                    # All its chains left. One that sleeps waits for no block.
                    m.d.sync += retire.rests.eq(visit.asleep & (place.count == visit.count))
                with m.Elif(~context.enable | (leaves & (under_way == 0))):
                    m.d.comb += [visit.sleep.eq(1), visit.serve.eq(1)]
                with m.Elif((place.going | place.held) & ~leaves):
                    m.next = "AHEAD"
                with m.Elif(under_way != 0):
                    wait()
                with m.Elif(place.open):
                    m.d.sync += looking.eq(1)
                    with m.If(ahead.data.last_look & ~place.moved):
                        m.d.sync += [
                            self.error.valid.eq(1),
                            # One that fills the ring goes on at its own beginning.
                            self.error.payload.cause.eq(
                                Mux(
                                    place.position == place.begin,
                                    Cause.CHAIN_LOOP,
                                    Cause.CHAIN_INCOMPLETE,
                                )
                            ),
                            self.error.payload.queue.eq(queue),
                            self.error.payload.descriptor.eq(place.position),
                        ]
                        m.next = "REST"
                    with m.Else():
                        m.d.sync += request.valid.eq(1)
                        m.next = "ADVANCE"
                with m.Elif(visit.kicked):
                    m.d.sync += request.valid.eq(1)
                    m.next = "ADVANCE"
                with m.Else():
                    m.d.comb += visit.sleep.eq(1)
                    if self.has_arm:
                        with m.If(self.event_idx & ~(ahead.data.last_look & ~place.moved)):
                            m.d.comb += visit.sleep.eq(0)
                            m.d.sync += [looking.eq(1), address.eq(context.device)]
                            m.d.sync += self.arm.valid.eq(1)
                            m.next = "ARM"
            with m.State("AHEAD"):
                m.d.comb += spare.eq(free > Cat(Const(0, 3), under_way))
                m.next = "IDLE"
                with m.If(alone & (free != 0)):
                    m.d.sync += request.valid.eq(1)
                    m.next = "ADVANCE"
                with m.Elif(alone & full):
                    m.d.comb += visit.park.eq(~visit.changing)
                    with m.If(visit.changing):
                        m.next = "LINE_UP"
                with m.Elif(alone):
                    m.next = "LINE_UP"
                with m.Elif(below & spare & place.going):
                    m.d.sync += request.valid.eq(1)
                    m.next = "ADVANCE"
                with m.Else():
                    wait()
            with m.State("ADVANCE"):
                # What is read ahead says nothing about the place where the blocks before may end.
                m.d.comb += [visit.serve.eq(alone), store.en.eq(1), line_up.eq(1)]
                m.next = "IDLE"
                with m.If(~lined_up):
                    m.next = "LINE_UP"
            with m.State("LINE_UP"):
                m.d.comb += line_up.eq(1)
                with m.If(lined_up):
                    m.next = "IDLE"
            if self.has_arm:
                with m.State("ARM"):
                    with m.If(self.arm.ready):
                        m.d.sync += [
                            self.arm.valid.eq(0),
                            address.eq(Cat(Const(0, 4), (context.desc[4:] + here)[:60])),
                            request.valid.eq(1),
                        ]
                        m.next = "ADVANCE"
            with m.State("REST"):
                pass

        if self.has_arm:
            m.d.comb += [
                self.arm.payload.address.eq(Cat(Const(0, 2), address[2:])),
                self.arm.payload.data.eq(
                    Cat(position, Const(0, 15 - INDEX_BITS), ~place.odd, Const(EventFlags.DESC, 2))
                ),
                self.arm.payload.count.eq(4),
                self.arm.payload.last.eq(1),
            ]
        with m.If(self.clear):
            for port in (store, put_waits, put_returned):
                m.d.comb += [port.addr.eq(self.clear_queue), port.data.eq(0), port.en.eq(1)]
        return m

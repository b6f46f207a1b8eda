"""What to read of the available rings."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from virtio_spec.layout import Cause

from ..dma.layout import read_request_layout
from .entries import answer_layout
from .layout import ErrorReport, QueueLookup, ring_write_layout
from .parameters import check_queue_size, check_queues, check_quota
from .poll_layout import PollContext, RetireSignature, VisitSignature, index_mask, queue_shape
from .room import wake_batch

__all__ = ["SplitPoller"]

BLOCK_BITS = 6  # entries of 128 bytes


def progress_layout(quota: int) -> data.StructLayout:
    """How far a queue is.

    ``next``
        First entry that was not read.
    ``taken``
        Number of tokens that were given out, modulo ``2 * quota``.
    ``polled``
        The index was read since entries were.
    ``armed``
        The driver was told that we wait for entry ``next``.
    ``asked``
        Changes with each read of the index that is started.
    """
    return data.StructLayout(
        {"next": 16, "taken": exact_log2(quota) + 1, "polled": 1, "armed": 1, "asked": 1}
    )


class Known(data.Struct):
    """The index as it was read last; a read of it is under way while ``answered`` differs from ``asked``."""

    index: 16
    answered: 1


def _least(value: Any, limit: Any) -> Any:
    """The lesser one; no wider than ``value``."""
    bits = len(value)
    return Mux((limit[:bits] < value) & ~limit[bits:].any(), limit[:bits], value)


class SplitPoller(wiring.Component):
    """Visit one queue after another and start the read that it needs.  [virtio 1.4 §2.7.6, §2.7.10, §2.7.13]

    - Entries are known that were not read: read them, as many as there are tokens, in one aligned block of
      128 bytes and not around the ring's end. The queue lines up again at once. When it has less than
      ``quota`` to go, the index is read before, so that it never runs dry. Without a token, it is parked.
    - Else, if it was kicked, or if the index was not read since: read the index, and come back then.
    - Else, with EVENT_IDX: write ``avail_event``, once, and only then read the index again.
    - Else the queue sleeps.

    An index read is on offer in the second cycle after the queue was taken, one of entries in the sixth; a
    visit takes 2 or 6 cycles, and a write of ``avail_event`` as long as it waits.

    A queue that is not enabled, or that is to be retired, is laid to sleep. After an error no visit starts
    until reset, which is that of the clock domain.

    Parameters
    ----------
    queues, queue_size, quota : :class:`int`
        Number of virtqueues, greatest size of one, tokens of each.
    event_idx : :class:`bool`
        Whether there is an ``arm``.

    Members
    -------
    running, event_idx : :py:`In(1)`
        Visits may start; EVENT_IDX was negotiated.
    visit : :py:`Out(VisitSignature(queues, quota))`, retire : :py:`Out(RetireSignature(queues))`
    lookup : :py:`Out(QueueLookup)`
    request : :py:`Out(stream.Signature(read_request_layout(PollContext)))`
    answer : :py:`In(stream.Signature(answer_layout(queues)))`, coming : :py:`In(queue)`
        See :class:`EntryReader`.
    arm : :py:`Out(stream.Signature(ring_write_layout))`
    clear : :py:`In(1)`, clear_queue : :py:`In(queue)`
        Start this queue's ring from 0; its tokens too, unless it is the one that ``rests``.
    error : :py:`Out(stream.Signature(ErrorReport, always_ready=True))`
        AVAIL_INDEX.
    """

    def __init__(self, *, queues: int, queue_size: int, quota: int, event_idx: bool):
        self.queues = check_queues(queues)
        self.queue_size = check_queue_size(queue_size)
        self.quota = check_quota(quota, queues)
        self.has_arm = event_idx
        # Within reach of simulations, which would else need 65536 chains to see them wrap.
        self.progress = Memory(shape=progress_layout(quota), depth=queues, init=[])
        self.known = Memory(shape=Known, depth=queues, init=[])
        self._ports = [(memory.read_port(), memory.write_port()) for memory in (self.progress, self.known)]
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
                "answer": In(stream.Signature(answer_layout(queues))),
                "coming": In(shape),
                "clear": In(1),
                "clear_queue": In(shape),
                "error": Out(stream.Signature(ErrorReport, always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the FSM of a visit."""
        m = Module()
        m.submodules.progress, m.submodules.known = self.progress, self.known
        (stored, store), (known, put_known) = self._ports
        # Whether the queue comes back with the answer
        m.submodules.waiting = waiting = Memory(shape=1, depth=self.queues, init=[])
        put_waits = waiting.write_port()
        waits = waiting.read_port(transparent_for=[put_waits])
        visit, retire, context = self.visit, self.retire, self.lookup.context
        bits, request = exact_log2(self.quota), self.request

        queue = Signal(queue_shape(self.queues))
        forced, turn = Signal(), Signal()  # the visit is to see whether the queue is at rest; so is the next
        entries, asked = Signal(), Signal()
        early = Signal()  # the index may be read before the entries
        sequence = Signal(bits)
        mask = Signal(exact_log2(self.queue_size))
        address = Signal(64)
        offset = Signal(13 if self.has_arm else 11)  # in units of 2 bytes
        ahead = Signal(16)  # entries that are known, less one
        behind = Signal(len(mask))  # entries of the ring behind the first one
        more = Signal(max(1, bits))  # entries to read, less one

        reading = stored.data.asked != known.data.answered
        here = Signal.like(mask)
        m.d.comb += here.eq(stored.data.next & index_mask(context.size, self.queue_size))
        room = Signal(max(1, bits))  # tokens, less one; a full queue has 0 as well
        if bits:
            m.d.comb += room.eq(visit.count - stored.data.taken - 1)
        full = stored.data.taken == visit.count ^ (1 << bits)

        # The one adder: areas have even addresses [§2.7], whatever the driver wrote.
        arming = Signal()
        base = Mux(arming, context.device, context.driver) if self.has_arm else context.driver
        adding = Signal()
        with m.If(adding):
            m.d.sync += address.eq(Cat(Const(0, 1), (base[1:] + offset)[:63]))

        m.d.comb += [
            visit.select.eq(queue),
            self.lookup.queue.eq(visit.select),
            stored.addr.eq(visit.select),
            known.addr.eq(visit.select),
            store.addr.eq(queue),
            store.data.eq(stored.data),
            visit.at.eq(stored.data.taken + wake_batch(self.quota) - 1),
            request.payload.address.eq(address),
            request.payload.length.eq(Cat(Const(0, 1), more + 1)),
            request.payload.context.token.eq(Cat(sequence, queue)),
            request.payload.context.entries.eq(entries),
            request.payload.context.asked.eq(asked),
            request.payload.context.last.eq(mask),
            visit.again.payload.eq(queue),
            put_known.addr.eq(self.answer.payload.queue),
            put_known.data.index.eq(self.answer.payload.index),
            put_known.data.answered.eq(self.answer.payload.asked),
            put_known.en.eq(self.answer.valid),
            waits.addr.eq(self.coming),
            put_waits.addr.eq(queue),
            self.answer.ready.eq(~waits.data | visit.again.ready),
        ]
        line_up, lined_up, returns = Signal(), Signal(), Signal()
        m.d.comb += [
            returns.eq(self.answer.valid & waits.data),
            visit.again.valid.eq(returns | line_up),
            lined_up.eq(visit.again.ready & ~returns),
        ]
        with m.If(returns):
            m.d.comb += visit.again.payload.eq(self.answer.payload.queue)
        # Answers that this visit does not see, neither in memory nor as one that it could wait for
        answers, answered = Signal(), Signal()
        m.d.comb += answers.eq(self.answer.valid & (self.answer.payload.queue == queue))
        m.d.sync += answered.eq(self.answer.valid & (self.answer.payload.queue == visit.select))

        def ask(waits: int) -> None:
            m.d.comb += [
                visit.serve.eq(1),
                store.data.polled.eq(1),
                store.data.asked.eq(~stored.data.asked),
                store.en.eq(1),
                put_waits.data.eq(waits),
                put_waits.en.eq(1),
            ]
            m.d.sync += request.valid.eq(1)

        m.d.sync += [self.error.valid.eq(0), retire.rests.eq(0)]
        with m.If(request.ready):
            m.d.sync += request.valid.eq(0)

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += offset.eq(1)
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
                m.d.comb += adding.eq(1)
                m.d.sync += [
                    sequence.eq(stored.data.taken),
                    mask.eq(index_mask(context.size, self.queue_size)),
                    offset.eq(here + 2),
                    ahead.eq(known.data.index + ~stored.data.next),
                    early.eq(~stored.data.polled & ~reading),
                    asked.eq(~stored.data.asked),
                    behind.eq(~here & index_mask(context.size, self.queue_size)),
                    entries.eq(0),
                    more.eq(0),
                ]
                m.next = "IDLE"
                with m.If(forced):
                    # All its chains left, and no answer is to come.
                    m.d.sync += retire.rests.eq(visit.asleep & ~reading & (stored.data.taken == visit.count))
                with m.Elif(~context.enable | (retire.active & (retire.queue == queue))):
                    m.d.comb += [visit.sleep.eq(1), visit.serve.eq(1)]
                with m.Elif(known.data.index == stored.data.next):
                    with m.If(reading & (answers | answered)):
                        m.next = "LINE_UP"
                    with m.Elif(reading):
                        m.d.comb += [put_waits.data.eq(1), put_waits.en.eq(1)]
                    with m.Elif(visit.kicked | ~stored.data.polled):
                        ask(waits=1)
                    with m.Else():
                        m.d.comb += visit.sleep.eq(1)
                        if self.has_arm:
                            with m.If(self.event_idx & ~stored.data.armed):
                                m.d.comb += [
                                    visit.sleep.eq(0),
                                    store.data.armed.eq(1),
                                    store.data.polled.eq(0),
                                    store.en.eq(1),
                                ]
                                # ``avail_event`` is at 4 + 8 * size.
                                size = context.size[: exact_log2(self.queue_size) + 1]
                                m.d.sync += [offset.eq(Cat(Const(2, 2), size)), arming.eq(1)]
                                m.next = "ARM"
                with m.Elif(full):
                    m.d.comb += visit.park.eq(~visit.changing)
                    with m.If(visit.changing):
                        m.next = "LINE_UP"
                with m.Else():
                    m.d.sync += more.eq(room)
                    m.next = "LIMIT"
            with m.State("LIMIT"):
                m.d.sync += [entries.eq(1), more.eq(_least(more, ahead))]
                m.next = "LIMIT_RING"
                with m.If(early & ~ahead[bits:].any()):
                    ask(waits=0)
                    m.d.sync += [entries.eq(0), more.eq(0)]
                    m.next = "LINE_UP"
                with m.Else():
                    m.d.comb += adding.eq(1)
                with m.If((ahead & ~Cat(mask, Const(0, 16 - len(mask)))).any()):
                    m.d.sync += [
                        self.error.valid.eq(1),
                        self.error.payload.cause.eq(Cause.AVAIL_INDEX),
                        self.error.payload.queue.eq(queue),
                    ]
                    m.next = "REST"
            with m.State("LIMIT_RING"):
                m.d.sync += more.eq(_least(more, behind))
                m.next = "LIMIT_BLOCK"
            with m.State("LIMIT_BLOCK"):
                m.d.sync += [more.eq(_least(more, ~address[1 : 1 + BLOCK_BITS])), request.valid.eq(1)]
                m.next = "ADVANCE"
            with m.State("ADVANCE"):
                m.d.comb += [
                    store.data.next.eq(stored.data.next + more + 1),
                    store.data.taken.eq(stored.data.taken + more + 1),
                    store.data.polled.eq(0),
                    store.data.armed.eq(0),
                    store.en.eq(1),
                    line_up.eq(1),
                ]
                m.next = "IDLE"
                with m.If(~lined_up):
                    m.next = "LINE_UP"
            with m.State("LINE_UP"):
                m.d.comb += line_up.eq(1)
                with m.If(lined_up):
                    m.next = "IDLE"
            if self.has_arm:
                with m.State("ARM"):
                    m.d.comb += adding.eq(1)
                    m.d.sync += [self.arm.valid.eq(1), arming.eq(0)]
                    m.next = "ARMED"
                with m.State("ARMED"):
                    with m.If(self.arm.ready):
                        m.d.sync += self.arm.valid.eq(0)
                        m.next = "LINE_UP"
            with m.State("REST"):
                pass
        if self.has_arm:
            m.d.comb += [
                self.arm.payload.data.eq(stored.data.next),
                self.arm.payload.count.eq(2),
                self.arm.payload.last.eq(1),
                self.arm.payload.address.eq(address),
            ]
        with m.If(self.clear):
            for port in (store, put_known, put_waits):
                m.d.comb += [port.addr.eq(self.clear_queue), port.data.eq(0), port.en.eq(1)]
            with m.If(retire.rests):
                m.d.comb += store.data.taken.eq(stored.data.taken)
        return m

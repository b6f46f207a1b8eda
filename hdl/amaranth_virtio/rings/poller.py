"""From kicks to what the driver made available."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from ..chain import QUEUE, TOKEN
from ..dma.layout import read_data_layout, read_request_layout
from ..tlp import check_width
from .entries import EntryReader
from .layout import ErrorReport, Head, QueueLookup, ring_write_layout
from .options import RingFeatures, RingOptions
from .parameters import check_queue_size, check_queues, check_quota
from .poll_layout import PollContext, queue_shape
from .retirement import Retirement
from .room import Room
from .scheduler import Scheduler
from .split_poller import SplitPoller

__all__ = ["Poller"]


class Poller(wiring.Component):
    """Find out which chains the driver made available, and give each a token.

    **Work.** Kicked queues are polled until nothing new is there; see :class:`SplitPoller`. Many reads are
    under way at a time: of several queues, and of one queue's entries and index. No queue waits for
    another one's driver or device: one that has ``quota`` chains in flight is left alone until some of its
    tokens are released.

    **Kicks** are remembered while not ``running``, and while memories are cleared, which takes a cycle per
    queue after reset. Reset is that of the clock domain.

    **Errors.** After one, no read starts and nothing more is taken from ``data``, until reset.

    Latency on an idle poller: 3 cycles from a kick to the read of the index, 1 cycle from a beat of data to
    the first head, and 7 from an index to the read of its entries.

    Parameters
    ----------
    width : :class:`int`
        Width of ``data`` in bits.
    queues : :class:`int`
        Number of virtqueues, 1 to 256.
    queue_size : :class:`int`
        Greatest size of a queue; a power of two from 2 to 1024.
    quota : :class:`int`
        Chains in flight per queue; a power of two from 1 to 128. A device must get on with three quarters of
        them: not before a quarter of them, or 8, have left, more are fetched.
    options : :class:`RingOptions`
        What the rings can do.

    Members
    -------
    kick : :py:`In(stream.Signature(QUEUE, always_ready=True))`
        Queue numbers as the driver notifies them.
    running : :py:`In(1)`
        Rings may be read. While low, nobody is looked at.
    features : :py:`In(RingFeatures)`
    lookup : :py:`Out(QueueLookup)`
    request, data : read channel with a :class:`PollContext`
    head : :py:`Out(stream.Signature(Head))`
        Chains of split rings, in ring order per queue.
    arm : :py:`Out(stream.Signature(ring_write_layout))`
        Only with ``options.event_idx``: tell the driver that we wait for more.
    released : :py:`In(stream.Signature(TOKEN, always_ready=True))`
        Tokens in per-queue order, free again. Those of a queue that is being retired do not count.
    retire : :py:`In(1)`, retire_queue : :py:`In(QUEUE)`, forgotten : :py:`Out(1)`
        See :class:`Retirement`.
    error : :py:`Out(stream.Signature(ErrorReport, always_ready=True))`
        AVAIL_INDEX, HEAD_INDEX or DMA_ERROR; ``head`` is the ring entry in HEAD_INDEX, else 0.
    """

    def __init__(self, *, width: int, queues: int, queue_size: int, quota: int, options: RingOptions):
        self.width = check_width(width)
        self.queues = check_queues(queues)
        self.queue_size = check_queue_size(queue_size)
        self.quota = check_quota(quota, queues)
        self.options = options
        self.split = SplitPoller(
            queues=queues, queue_size=queue_size, quota=quota, event_idx=options.event_idx
        )
        super().__init__(
            {
                "kick": In(stream.Signature(QUEUE, always_ready=True)),
                "running": In(1),
                "features": In(RingFeatures),
                "lookup": Out(QueueLookup),
                "request": Out(stream.Signature(read_request_layout(PollContext))),
                "data": In(stream.Signature(read_data_layout(width, PollContext))),
                "head": Out(stream.Signature(Head)),
                **({"arm": Out(stream.Signature(ring_write_layout))} if options.event_idx else {}),
                "released": In(stream.Signature(TOKEN, always_ready=True)),
                "retire": In(1),
                "retire_queue": In(QUEUE),
                "forgotten": Out(1),
                "error": Out(stream.Signature(ErrorReport, always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Put the parts together."""
        m = Module()
        m.submodules.scheduler = scheduler = Scheduler(queues=self.queues)
        m.submodules.room = room = Room(queues=self.queues, quota=self.quota)
        m.submodules.retirement = retirement = Retirement(queues=self.queues)
        m.submodules.split = split = self.split
        m.submodules.entries = entries = EntryReader(width=self.width, queues=self.queues, quota=self.quota)
        visit = split.visit

        # Who is looked at
        connect(m, flipped(self.kick), scheduler.kick)
        connect(m, room.woken, scheduler.woken)
        connect(m, visit.again, scheduler.again)
        m.d.comb += [
            visit.offered.eq(scheduler.offered),
            visit.queue.eq(scheduler.queue),
            visit.kicked.eq(scheduler.kicked),
            visit.asleep.eq(scheduler.asleep),
            visit.count.eq(room.count),
            visit.changing.eq(room.changing),
            visit.parked.eq(room.parked),
            scheduler.take.eq(visit.take),
            scheduler.select.eq(visit.select),
            scheduler.serve.eq(visit.serve),
            scheduler.sleep.eq(visit.sleep),
            room.select.eq(visit.select),
            room.park.eq(visit.park),
            room.at.eq(visit.at),
            room.released.payload.eq(self.released.payload),
            room.released.valid.eq(
                self.released.valid
                & ~(self.retire & (self.released.payload[exact_log2(self.quota) :] == self.retire_queue))
            ),
        ]

        # Rings
        connect(m, split.lookup, flipped(self.lookup))
        connect(m, split.request, flipped(self.request))
        connect(m, flipped(self.data), entries.data)
        connect(m, entries.head, flipped(self.head))
        connect(m, entries.answer, split.answer)
        m.d.comb += split.coming.eq(entries.coming)
        if self.options.event_idx:
            connect(m, split.arm, flipped(self.arm))
            m.d.comb += split.event_idx.eq(self.features.event_idx)

        # The state of a queue: cleared for all after a reset, and for one that is retired
        connect(m, retirement.poller, split.retire)
        sweep, swept = Signal(init=1), Signal(queue_shape(self.queues))
        with m.If(sweep):
            m.d.sync += swept.eq(swept + 1)
            with m.If(swept == self.queues - 1):
                m.d.sync += sweep.eq(0)
        m.d.comb += [
            retirement.retire.eq(self.retire),
            retirement.retire_queue.eq(self.retire_queue),
            self.forgotten.eq(retirement.forgotten),
            retirement.started.eq(self.request.valid & self.request.ready),
            retirement.ended.eq(entries.ended),
            retirement.busy.eq(scheduler.busy | room.busy | entries.answer.valid | entries.holding),
            entries.drop.eq(self.retire),
            entries.drop_queue.eq(self.retire_queue),
            scheduler.sweep.eq(sweep),
        ]
        for part in (scheduler, room, split):
            m.d.comb += [part.clear.eq(sweep | retirement.clear), part.clear_queue.eq(swept)]
            with m.If(~sweep):
                m.d.comb += part.clear_queue.eq(self.retire_queue)

        # Errors
        halted = Signal()
        m.d.sync += halted.eq(halted | self.error.valid)
        m.d.comb += [
            split.running.eq(self.running & ~sweep & ~halted & ~entries.error.valid),
            self.error.valid.eq((split.error.valid | entries.error.valid) & ~halted),
            self.error.payload.eq(split.error.payload),
        ]
        with m.If(entries.error.valid):
            m.d.comb += self.error.payload.eq(entries.error.payload)
        return m

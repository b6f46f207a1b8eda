"""From kicks to what the driver made available."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..chain import QUEUE, TOKEN
from ..dma.layout import read_data_layout, read_request_layout
from ..tlp import check_width
from .descriptors import DescriptorReader
from .entries import EntryReader
from .layout import ErrorReport, Head, Item, QueueLookup, ring_write_layout
from .options import RingFeatures, RingOptions
from .packed_poller import PackedPoller
from .parameters import check_queue_size, check_queues, check_quota
from .poll_layout import PollContext, queue_shape
from .room import Room
from .scheduler import Scheduler
from .split_poller import SplitPoller

__all__ = ["Poller"]


class Poller(wiring.Component):
    """Find out which chains the driver made available, and give each a token.

    **Work.** Kicked queues are polled until nothing new is there; see :class:`SplitPoller` and
    :class:`PackedPoller`. Many reads are under way at a time, of several queues and of one. No queue waits
    for another one's driver or device: one that has ``quota`` chains in flight is left alone until some of
    its tokens are released.

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
        Chains in flight per queue; a power of two from 1 to 256. A device must get on with three quarters of
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
    item : :py:`Out(stream.Signature(Item))`
        Only with ``options.packed``: descriptors of packed rings, in ring order per queue.
    arm : :py:`Out(stream.Signature(ring_write_layout))`
        Only with ``options.event_idx``: tell the driver that we wait for more.
    released : :py:`In(stream.Signature(TOKEN, always_ready=True))`
        Tokens in per-queue order, free again.
    retire : :py:`In(1)`, retire_queue : :py:`In(QUEUE)`
        No chain of this queue is looked for any more. Those whose entries were asked for, or of which an item
        was given, are given in full.
    forgotten : :py:`Out(1)`
        All tokens of ``retire_queue`` were released, no read of its ring is under way, and its ring starts
        from its beginning; its tokens go on. Stays high with ``retire``.
    error : :py:`Out(stream.Signature(ErrorReport, always_ready=True))`
        AVAIL_INDEX, HEAD_INDEX, CHAIN_LOOP, CHAIN_INCOMPLETE or DMA_ERROR; ``head`` is the ring entry in
        HEAD_INDEX, ``descriptor`` the place in a packed ring, else they are 0.
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
                **({"item": Out(stream.Signature(Item))} if options.packed else {}),
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
        m.submodules.split = split = self.split
        m.submodules.entries = entries = EntryReader(width=self.width, queues=self.queues, quota=self.quota)
        m.d.comb += split.coming.eq(entries.coming)
        connect(m, entries.head, flipped(self.head))
        connect(m, entries.answer, split.answer)
        pollers, readers = [split], [entries]
        changing = entries.answer.valid
        if self.options.packed:
            m.submodules.packed = packed = PackedPoller(
                queues=self.queues, quota=self.quota, event_idx=self.options.event_idx
            )
            m.submodules.descriptors = descriptors = DescriptorReader(
                width=self.width, queues=self.queues, quota=self.quota
            )
            m.d.comb += [
                room.block.eq(descriptors.block),
                descriptors.count.eq(room.block_count),
                descriptors.select.eq(packed.select),
                packed.place.eq(descriptors.place),
                descriptors.retire.eq(self.retire),
                descriptors.retire_queue.eq(self.retire_queue),
                descriptors.keep.eq(packed.retire.rests),
            ]
            connect(m, descriptors.item, flipped(self.item))
            connect(m, descriptors.ended, packed.ended)
            pollers.append(packed)
            readers.append(descriptors)
            changing = changing | descriptors.ended.valid

        # Who is looked at. A poller that is not in use says nothing.
        connect(m, flipped(self.kick), scheduler.kick)
        connect(m, room.woken, scheduler.woken)
        for strobe, target in (
            ("take", scheduler.take),
            ("serve", scheduler.serve),
            ("sleep", scheduler.sleep),
            ("park", room.park),
        ):
            m.d.comb += target.eq(Cat(getattr(poller.visit, strobe) for poller in pollers).any())
        connect(m, flipped(self.released), room.released)
        for number, poller in enumerate(pollers):
            visit = poller.visit
            m.d.comb += [
                visit.offered.eq(scheduler.offered),
                visit.queue.eq(scheduler.queue),
                visit.kicked.eq(scheduler.kicked),
                visit.asleep.eq(scheduler.asleep),
                visit.count.eq(room.count),
                visit.changing.eq(room.changing),
                visit.parked.eq(room.parked),
                visit.again.ready.eq(scheduler.again.ready),
                poller.lookup.context.eq(self.lookup.context),
                poller.request.ready.eq(self.request.ready),
            ]
            # The first one, unless another one is in use
            with m.If(self.features.packed | (number == 0)):
                m.d.comb += [
                    scheduler.select.eq(visit.select),
                    scheduler.again.payload.eq(visit.again.payload),
                    scheduler.again.valid.eq(visit.again.valid),
                    room.select.eq(visit.select),
                    room.at.eq(visit.at),
                    self.lookup.queue.eq(poller.lookup.queue),
                    self.request.payload.eq(poller.request.payload),
                    self.request.valid.eq(poller.request.valid),
                ]
                if self.options.event_idx:
                    m.d.comb += [
                        self.arm.payload.eq(poller.arm.payload),
                        self.arm.valid.eq(poller.arm.valid),
                    ]
            if self.options.event_idx:
                m.d.comb += [
                    poller.arm.ready.eq(self.arm.ready),
                    poller.event_idx.eq(self.features.event_idx),
                ]

        # What was read
        for number, reader in enumerate(readers):
            in_use = self.features.packed == number if self.options.packed else Const(1)
            m.d.comb += [
                reader.data.payload.eq(self.data.payload),
                reader.data.valid.eq(self.data.valid & in_use),
            ]
            with m.If(in_use):
                m.d.comb += self.data.ready.eq(reader.data.ready)

        # The state of a queue: cleared for all after a reset, and for one that is retired
        sweep, swept = Signal(init=1), Signal(queue_shape(self.queues))
        with m.If(sweep):
            m.d.sync += swept.eq(swept + 1)
            with m.If(swept == self.queues - 1):
                m.d.sync += sweep.eq(0)
        renew = Signal()
        m.d.comb += [
            renew.eq(Cat(poller.retire.rests for poller in pollers).any() & ~changing),
            scheduler.sweep.eq(sweep),
        ]
        m.d.sync += self.forgotten.eq(self.retire & (self.forgotten | renew))
        for number, poller in enumerate(pollers):
            m.d.comb += [
                poller.retire.queue.eq(self.retire_queue),
                poller.retire.active.eq(self.retire),
                poller.retire.check.eq(
                    self.retire & ~self.forgotten & ~sweep & (self.features.packed == number)
                ),
            ]
        for part in (scheduler, room):
            m.d.comb += [part.clear.eq(sweep), part.clear_queue.eq(swept)]
        for part in (*pollers, *readers[1:]):
            m.d.comb += [
                part.clear.eq(sweep | renew),
                part.clear_queue.eq(Mux(sweep, swept, self.retire_queue)),
            ]

        # Errors
        halted = Signal()
        m.d.sync += halted.eq(halted | self.error.valid)
        running = self.running & ~sweep & ~halted & ~self.error.valid
        for number, poller in enumerate(pollers):
            m.d.comb += poller.running.eq(running & (self.features.packed == number))
        for part in (*pollers, *readers):
            with m.If(part.error.valid):
                m.d.comb += [self.error.payload.eq(part.error.payload), self.error.valid.eq(~halted)]
        return m

"""Split virtqueues."""

from typing import Any

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..chain import QUEUE, TOKEN, Chain
from ..dma.layout import ChainContext, read_data_layout, read_request_layout, word_write_layout
from ..tlp import check_width
from .avail import AvailFetcher
from .buffer import StreamBuffer
from .descriptors import DescriptorFetcher
from .layout import NO_CONTEXT, ChainDone, ErrorReport, QueueLookup, ReadableJob, SegmentLookup
from .parameters import check_queue_size, check_queues, check_slots
from .readable import ReadableMover
from .report import ErrorFilter
from .segments import SegmentStore
from .slots import SlotPool
from .used import UsedWriter

__all__ = ["SplitRings"]


class SplitRings(wiring.Component):
    """All split virtqueues of a device, from kick to interrupt, but for the bytes themselves.

    **Chains in flight.** Each has one of ``slots`` tokens from its first descriptor until its used
    element is written. Descriptors of the next chains, and the readable bytes of those that passed,
    are fetched ahead while the device works.

    **Errors.** The first error is reported and stops the fetching of heads and descriptors for all
    queues until reset. Chains that were announced before run to their end: a driver may find them
    used. The chain that the error is about never becomes used: it was not announced, or its
    readable bytes could not be fetched and its completion is dropped.

    Parameters
    ----------
    width : :class:`int`
        Width of the read channels' data in bits.
    queues : :class:`int`
        Number of virtqueues.
    queue_size : :class:`int`
        Largest queue size; a power of two from 2 to 1024.
    slots : :class:`int`
        Chains in flight.

    Members
    -------
    kick : :py:`In(stream.Signature(16, always_ready=True))`
        Queue numbers as the driver notifies them; remembered until ``running``.
    running : :py:`In(1)`
        The driver is ready: rings may be read.
    reset : :py:`In(1)`
        Forget everything. To be held until the read channels are flushed and ``writing`` is low;
        the components work again some cycles after it falls.
    writing : :py:`Out(1)`
        A write is on offer; it stays so through ``reset`` until it is taken.
    lookup : :py:`Out(QueueLookup).array(3)`
        Queue contexts. ``size`` is a power of two not above ``queue_size``.
    avail_request, avail_data, descriptor_request, descriptor_data : read channels, no context
    flags_request, flags_data : read channel with the queue as context
    data_request : :py:`Out(stream.Signature(read_request_layout(ChainContext)))`
        Request half of the read channel for readable bytes.
    fault : :py:`In(stream.Signature(8, always_ready=True))`
        Readable bytes of this chain could not be fetched; at the latest in the cycle in which the
        device is told.
    chain : :py:`Out(stream.Signature(Chain))`
        Chains that passed.
    segments : :py:`In(SegmentLookup)`
        Their writable segments.
    done : :py:`In(stream.Signature(ChainDone))`
        Chains whose writable bytes are written.
    write : :py:`Out(stream.Signature(word_write_layout))`
        Used elements and indices; taken means written, in posted order.
    interrupt : :py:`Out(stream.Signature(16))`
        Queues whose used buffers the driver wants to hear of.
    error : :py:`Out(stream.Signature(ErrorReport, always_ready=True))`
        One report between two resets.
    """

    def __init__(self, *, width: int, queues: int, queue_size: int, slots: int):
        self.width = check_width(width)
        self.queues = check_queues(queues)
        self.queue_size = check_queue_size(queue_size)
        self.slots = check_slots(slots)
        super().__init__(
            {
                "kick": In(stream.Signature(QUEUE, always_ready=True)),
                "running": In(1),
                "reset": In(1),
                "writing": Out(1),
                "lookup": Out(QueueLookup).array(3),
                "avail_request": Out(stream.Signature(read_request_layout(NO_CONTEXT))),
                "avail_data": In(stream.Signature(read_data_layout(width, NO_CONTEXT))),
                "descriptor_request": Out(stream.Signature(read_request_layout(NO_CONTEXT))),
                "descriptor_data": In(stream.Signature(read_data_layout(width, NO_CONTEXT))),
                "flags_request": Out(stream.Signature(read_request_layout(QUEUE))),
                "flags_data": In(stream.Signature(read_data_layout(width, QUEUE))),
                "data_request": Out(stream.Signature(read_request_layout(ChainContext))),
                "fault": In(stream.Signature(TOKEN, always_ready=True)),
                "chain": Out(stream.Signature(Chain)),
                "segments": In(SegmentLookup),
                "done": In(stream.Signature(ChainDone)),
                "write": Out(stream.Signature(word_write_layout)),
                "interrupt": Out(stream.Signature(QUEUE)),
                "error": Out(stream.Signature(ErrorReport, always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Put the components together."""
        m = Module()
        avail = AvailFetcher(width=self.width, queues=self.queues)
        descriptors = DescriptorFetcher(width=self.width)
        store = SegmentStore(queue_size=self.queue_size, slots=self.slots)
        slots = SlotPool(slots=self.slots)
        chains = StreamBuffer(shape=Chain, depth=self.slots)
        jobs = StreamBuffer(shape=ReadableJob, depth=self.slots)
        mover = ReadableMover()
        used = UsedWriter(width=self.width, queues=self.queues, slots=self.slots)

        errors = ErrorFilter(sources=3)

        clear = ResetInserter(self.reset)
        m.submodules.avail = clear(avail)
        m.submodules.descriptors = clear(descriptors)
        m.submodules.store = store
        m.submodules.slots = clear(slots)
        m.submodules.chains = clear(chains)
        m.submodules.jobs = clear(jobs)
        m.submodules.mover = clear(mover)
        m.submodules.errors = clear(errors)
        # A write on offer is not withdrawn.
        m.submodules.used = ResetInserter(self.reset & ~(used.write.valid & ~used.write.ready))(used)

        # Rings
        connect(m, flipped(self.kick), avail.kick)
        for port, component in zip(self.lookup, (avail, descriptors, used), strict=True):
            connect(m, component.lookup, flipped(port))
        for name, component in (("avail", avail), ("descriptor", descriptors), ("flags", used)):
            connect(m, component.read, flipped(getattr(self, f"{name}_request")))
            connect(m, flipped(getattr(self, f"{name}_data")), component.data)
        connect(m, used.write, flipped(self.write))
        m.d.comb += self.writing.eq(used.write.valid)

        # From heads to the device
        connect(m, avail.head, descriptors.head)
        connect(m, slots.free, descriptors.slot)
        connect(m, descriptors.segment, store.segment)
        connect(m, descriptors.record, store.chain)
        connect(m, descriptors.chain, chains.i)
        connect(m, descriptors.job, jobs.i)
        connect(m, jobs.o, mover.job)
        connect(m, mover.lookup, store.readable)
        connect(m, mover.read, flipped(self.data_request))
        connect(m, flipped(self.segments), store.writable)
        request = self.data_request
        m.d.comb += [
            self.chain.payload.eq(chains.o.payload),
            self.chain.valid.eq(chains.o.valid & ~self.reset),
            chains.o.ready.eq(self.chain.ready),
            slots.reading.payload.eq(descriptors.job.payload.token),
            slots.reading.valid.eq(descriptors.job.valid),
            slots.read.payload.eq(request.payload.context.token),
            slots.read.valid.eq(request.valid & request.ready & request.payload.context.last),
        ]

        # From the device to the driver
        connect(m, used.chain, store.records[0])
        connect(m, used.release, slots.release)
        m.d.comb += [
            used.done.payload.eq(self.done.payload),
            used.done.valid.eq(self.done.valid),
            self.done.ready.eq(used.done.ready | self.reset),
            self.interrupt.payload.eq(used.interrupt.payload),
            self.interrupt.valid.eq(used.interrupt.valid & ~self.reset),
            used.interrupt.ready.eq(self.interrupt.ready),
        ]

        # Errors
        connect(m, flipped(self.fault), used.broken)
        connect(m, flipped(self.fault), errors.fault)
        connect(m, errors.chain, store.records[1])
        for source, component in enumerate((avail, descriptors, used)):
            connect(m, component.error, errors.reports[source])
        connect(m, errors.error, flipped(self.error))
        fetching = self.running & ~errors.halted
        m.d.comb += [avail.running.eq(fetching), descriptors.running.eq(fetching)]
        return m

"""The used side of the rings, from completed chains to interrupts."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from ..chain import QUEUE, TOKEN
from ..dma.layout import read_data_layout, read_request_layout
from ..tlp import check_width
from .collector import Collector
from .in_order import InOrder
from .layout import ChainDone, ErrorReport, QueueLookup, ring_write_layout
from .notifier import Notifier, event_context
from .options import RingFeatures, RingOptions
from .parameters import check_queue_size, check_queues, check_quota
from .used import UsedWriter
from .walk_layout import RecordLookup

__all__ = ["UsedSide"]


class UsedSide(wiring.Component):
    """Give completed chains back to the driver and interrupt it if it wants that.

    Chains wait by queue, and queues in line; all that is complete of a queue is written as one batch. With
    nothing under way, the write of a chain's element is on offer 5 cycles after ``done``; ``used.idx`` and
    the request for the event structure each follow in the cycle after what was before is taken (with a
    packed ring, the request in the one after). See :class:`UsedWriter`.

    **Broken chains.** From the report on, no chain of the queue becomes used any more: with IN_ORDER a later
    one would say that the broken one is used too. They finish, but for those that wait to become visible
    together with one that is dropped.

    Reset is that of the clock domain; nothing is taken for one cycle per queue after it (with ``in_order``,
    per token).

    Parameters
    ----------
    width : :class:`int`
        Width of ``data`` in bits.
    queues : :class:`int`
        Number of virtqueues, 1 to 256.
    queue_size : :class:`int`
        Greatest queue size, a power of two from 2 to 1024.
    quota : :class:`int`
        Chains in flight of one queue; a power of two from 1 to 256.
    options : :class:`RingOptions`
        What there is logic for.

    Members
    -------
    features : :py:`In(RingFeatures)`
        None beyond ``options``.
    done : :py:`In(stream.Signature(ChainDone))`
        Chains whose data is written, in posted order. With IN_ORDER, the token of each chain must come.
    broken : :py:`In(stream.Signature(TOKEN, always_ready=True))`
        Token of a chain that the driver must not see used.
    chain : :py:`Out(RecordLookup)`
        Records of chains.
    lookup : :py:`Out(QueueLookup)`
        Queue contexts.
    write : :py:`Out(stream.Signature(ring_write_layout))`
        Taken means written, in posted order. A write does not cross a multiple of 4096; it is 2 bytes at an
        even address, or up to 16 whole dwords.
    request, data
        Read channel for event structures, with an :func:`event_context`: 2 or 4 bytes, naturally aligned.
    finished : :py:`Out(stream.Signature(TOKEN, always_ready=True))`
        Tokens that may be released: each that came with ``done``, once.
    interrupt : :py:`Out(stream.Signature(QUEUE))`
        Queues whose used buffers the driver wants to hear of.
    retire : :py:`In(1)`, retire_queue : :py:`In(QUEUE)`
        While high, no batch of this queue is begun and it is not interrupted for; its chains finish. Low
        for a cycle between two queues.
    forgotten : :py:`Out(1)`
        While ``retire`` is high: nothing of ``retire_queue`` is inside, but for chains whose ``finished`` is
        still to come, and its place in the ring is that after reset.
    error : :py:`Out(stream.Signature(ErrorReport, always_ready=True))`
        DMA_ERROR: an event structure could not be read.
    """

    def __init__(self, *, width: int, queues: int, queue_size: int, quota: int, options: RingOptions):
        self.width = check_width(width)
        self.queues = check_queues(queues)
        self.queue_size = check_queue_size(queue_size)
        self.quota = check_quota(quota, queues)
        self.options = options
        context = event_context(queues, options)
        #: The part that keeps the rings' places.
        self.writer = UsedWriter(queues=queues, queue_size=queue_size, quota=quota, options=options)
        super().__init__(
            {
                "features": In(RingFeatures),
                "done": In(stream.Signature(ChainDone)),
                "broken": In(stream.Signature(TOKEN, always_ready=True)),
                "chain": Out(RecordLookup),
                "lookup": Out(QueueLookup),
                "write": Out(stream.Signature(ring_write_layout)),
                "request": Out(stream.Signature(read_request_layout(context))),
                "data": In(stream.Signature(read_data_layout(width, context))),
                "finished": Out(stream.Signature(TOKEN, always_ready=True)),
                "interrupt": Out(stream.Signature(QUEUE)),
                "retire": In(1),
                "retire_queue": In(QUEUE),
                "forgotten": Out(1),
                "error": Out(stream.Signature(ErrorReport, always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Put the parts together."""
        m = Module()
        tokens = self.queues * self.quota
        m.submodules.lengths = lengths = Memory(shape=unsigned(32), depth=tokens, init=[])
        m.submodules.collector = collector = Collector(queues=self.queues, quota=self.quota)
        m.submodules.writer = writer = self.writer
        m.submodules.notifier = notifier = Notifier(
            width=self.width, queues=self.queues, options=self.options
        )
        get, put = lengths.read_port(), lengths.write_port()

        # Completions
        done = collector.i
        if self.options.in_order:
            m.submodules.in_order = in_order = InOrder(queues=self.queues, quota=self.quota)
            connect(m, in_order.o, collector.i)
            m.d.comb += in_order.in_order.eq(self.features.in_order)
            done = in_order.i
        m.d.comb += [
            done.payload.token.eq(self.done.payload.token),
            done.payload.more.eq(self.done.payload.more),
            done.valid.eq(self.done.valid),
            self.done.ready.eq(done.ready),
            put.addr.eq(self.done.payload.token),
            put.data.eq(self.done.payload.written),
            put.en.eq(done.valid & done.ready),
            get.addr.eq(writer.chain.token),
            get.en.eq(writer.look),
            writer.written.eq(get.data),
        ]

        # Rings
        connect(m, collector.batches, writer.batches)
        connect(m, writer.lookup, flipped(self.lookup))
        connect(m, writer.chain, flipped(self.chain))
        connect(m, writer.write, flipped(self.write))
        connect(m, writer.request, flipped(self.request))
        connect(m, flipped(self.data), notifier.data)
        connect(m, notifier.interrupt, flipped(self.interrupt))
        connect(m, notifier.error, flipped(self.error))
        connect(m, flipped(self.broken), collector.broken)
        m.d.comb += [
            writer.features.eq(self.features),
            notifier.features.eq(self.features),
            writer.room.eq(notifier.room),
            notifier.began.eq(writer.request.valid & writer.request.ready),
            self.finished.valid.eq(writer.finished.valid | collector.dropped.valid),
            self.finished.payload.eq(
                Mux(writer.finished.valid, writer.finished.payload, collector.dropped.payload)
            ),
            collector.dropped.ready.eq(~writer.finished.valid),
        ]

        # After reset every queue is made new, and one that is retired when it has nothing left here
        sweep = Signal(range(self.queues + 1))
        swept, cleared, clear = Signal(), Signal(), Signal()
        m.d.comb += [
            swept.eq(sweep == self.queues),
            clear.eq(self.retire & ~cleared & collector.vacant & writer.idle & ~self.broken.valid),
            collector.hold.eq(~swept),
            notifier.last.eq(clear),
            self.forgotten.eq(self.retire & cleared & notifier.quiet),
        ]
        m.d.sync += [cleared.eq(self.retire & (cleared | clear)), sweep.eq(sweep + ~swept)]
        for part in (collector, writer):
            m.d.comb += [
                part.clear.eq(clear | ~swept),
                part.clear_queue.eq(Mux(swept, self.retire_queue, sweep)),
            ]
        for part in (collector, notifier):
            m.d.comb += [part.retire.eq(self.retire), part.retire_queue.eq(self.retire_queue)]
        return m

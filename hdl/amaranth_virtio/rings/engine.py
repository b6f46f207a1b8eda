"""The virtqueue engine."""

from typing import Any

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..chain import QUEUE, ChainSignature
from ..dma.layout import ChainContext, DmaSettings, read_data_layout, read_request_layout
from ..dma.packer import Packer
from ..dma.scatter import ScatterWriter
from ..tlp import TlpSignature, check_width
from .errors import FirstError
from .layout import ErrorReport, QueueLookup
from .notifier import event_context
from .options import RingFeatures, RingOptions
from .parameters import check_queue_size, check_queues, check_quota
from .poll_layout import PollContext
from .poller import Poller
from .used_side import UsedSide
from .walk_layout import TableContext
from .walker import Walker
from .writer import RingWriter

__all__ = ["Engine"]


class Engine(wiring.Component):
    """All virtqueues of a device: rings and buffers in host memory on one side, chains on the other.

    **Chains in flight.** Each has one of ``quota`` tokens of its queue until it is used. Rings, descriptors
    and readable bytes are fetched ahead. Whatever is limited is limited per queue, so that none waits for
    another's driver.

    **Errors.** The first one is reported and stops the fetching for all queues until reset. Chains
    that were announced before run to their end: a driver may find them used. The chain that the error is
    about never becomes used.

    **Reset.** ``reset`` is held until ``idle``: reading stops and what is under way is flushed, packets that
    were started end, the device gives up its chains. From ``idle`` on there is no access to host memory.
    When ``reset`` falls, all rings start from their beginning.

    **Queue reset.** While ``retire`` is high nothing new begins on ``retire_queue``; ``retired`` says that
    nothing of it is left and its ring starts from its beginning. The other queues go on.

    Parameters
    ----------
    width : :class:`int`
        Width of all streams in bits.
    queues : :class:`int`
        Number of virtqueues, 1 to 256.
    queue_size : :class:`int`
        Greatest queue size; a power of two from 2 to 1024.
    quota : :class:`int`
        Chains in flight per queue; a power of two from 2 to 256.
    options : :class:`RingOptions`
        Formats and features of the rings.
    reads : :class:`bool`
        Readable bytes are fetched for the device. Without, there is no channel for data.
    max_payload : :class:`int`
        Most bytes of a write; a power of two from 128 to 4096.

    Members
    -------
    chains : :py:`Out(ChainSignature(width))`
        The device.
    lookup : :py:`Out(QueueLookup).array(3)`
        Queue contexts.
    kick : :py:`In(stream.Signature(QUEUE, always_ready=True))`
        Queue numbers as the driver notifies them; remembered until ``running``, but not over a reset.
    running : :py:`In(1)`
        The driver is ready: rings may be read.
    features : :py:`In(RingFeatures)`
        What was negotiated, within ``options``; stable while ``running``.
    reset : :py:`In(1)`, idle : :py:`Out(1)`
        See above. ``idle`` is meaningful from the second cycle of ``reset`` on.
    retire : :py:`In(1)`, retire_queue : :py:`In(QUEUE)`, retired : :py:`Out(1)`
        See above. ``retired`` is meaningful from the second cycle of ``retire`` on, which is low for a cycle
        between two queues.
    flush : :py:`Out(1)`, channels_idle : :py:`In(1)`
        ``flush`` and ``idle`` of all read channels.
    poll_request, poll_data, table_request, table_data, event_request, event_data : read channels
        For rings, descriptors and suppression of interrupts. No request crosses a multiple of 128 bytes.
    data_request, data_data : read channel with a :class:`ChainContext`
        For readable buffers.
    data_write, ring_write : :py:`Out(TlpSignature(width))`
        Writes of buffers and of rings. Taken means written, in posted order.
    settings : :py:`In(DmaSettings)`
    interrupt : :py:`Out(stream.Signature(QUEUE))`
        Queues whose used buffers the driver wants to hear of.
    error : :py:`Out(stream.Signature(ErrorReport, always_ready=True))`
        One report between two resets.
    """

    def __init__(
        self,
        *,
        width: int,
        queues: int,
        queue_size: int,
        quota: int,
        options: RingOptions,
        reads: bool = True,
        max_payload: int = 256,
    ):
        self.width = check_width(width)
        self.queues = check_queues(queues)
        self.queue_size = check_queue_size(queue_size)
        self.quota = check_quota(quota, queues)
        self.options = options
        self.reads = reads
        self.max_payload = max_payload
        #: Shapes of the contexts of the read channels, by name.
        self.contexts = {
            "poll": PollContext,
            "table": TableContext,
            "event": event_context(queues, options),
        }
        if reads:
            self.contexts["data"] = ChainContext
        #: The parts that keep places in rings.
        self.poller = Poller(width=width, queues=queues, queue_size=queue_size, quota=quota, options=options)
        self.used = UsedSide(width=width, queues=queues, queue_size=queue_size, quota=quota, options=options)
        channels: dict[str, Any] = {}
        for name, context in self.contexts.items():
            channels[f"{name}_request"] = Out(stream.Signature(read_request_layout(context)))
            channels[f"{name}_data"] = In(stream.Signature(read_data_layout(width, context)))
        super().__init__(
            {
                "chains": Out(ChainSignature(width)),
                "lookup": Out(QueueLookup).array(3),
                "kick": In(stream.Signature(QUEUE, always_ready=True)),
                "running": In(1),
                "features": In(RingFeatures),
                "reset": In(1),
                "idle": Out(1),
                "retire": In(1),
                "retire_queue": In(QUEUE),
                "retired": Out(1),
                "flush": Out(1),
                "channels_idle": In(1),
                **channels,
                "data_write": Out(TlpSignature(width)),
                "ring_write": Out(TlpSignature(width)),
                "settings": In(DmaSettings),
                "interrupt": Out(stream.Signature(QUEUE)),
                "error": Out(stream.Signature(ErrorReport, always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Put the parts together."""
        m = Module()
        clear = ResetInserter(self.reset)
        poller, used = self.poller, self.used
        walker = Walker(
            width=self.width,
            queues=self.queues,
            queue_size=self.queue_size,
            quota=self.quota,
            options=self.options,
        )
        m.submodules.walker = clear(walker)
        m.submodules.writer = writer = RingWriter(width=self.width, inputs=2 if self.options.event_idx else 1)
        # Whose write is being sent stays until it was. While none is, the writer drops what it is given.
        clear_writers = ResetInserter(self.reset & writer.idle)
        m.submodules.used = clear_writers(used)
        m.submodules.poller = (clear_writers if self.options.event_idx else clear)(poller)
        m.submodules.errors = errors = clear(FirstError(sources=3))

        # Rings
        for name, part in (("poll", poller), ("event", used)):
            connect(m, part.request, flipped(getattr(self, f"{name}_request")))
            connect(m, flipped(getattr(self, f"{name}_data")), part.data)
        connect(m, walker.table_request, flipped(self.table_request))
        connect(m, flipped(self.table_data), walker.table_data)
        connect(m, flipped(self.kick), poller.kick)
        connect(m, poller.head, walker.head)
        if self.options.packed:
            connect(m, poller.item, walker.item)
        for port, part in zip(self.lookup, (poller, walker, used), strict=True):
            connect(m, part.lookup, flipped(port))
        connect(m, used.write, writer.i[0])
        if self.options.event_idx:
            connect(m, poller.arm, writer.i[1])
        connect(m, writer.o, flipped(self.ring_write))
        connect(m, used.chain, walker.record)
        connect(m, walker.done, used.done)
        connect(m, used.finished, walker.finished)
        connect(m, walker.released, poller.released)
        m.d.comb += [
            self.interrupt.payload.eq(used.interrupt.payload),
            self.interrupt.valid.eq(used.interrupt.valid & ~self.reset),
            used.interrupt.ready.eq(self.interrupt.ready),
        ]
        idle = self._bytes(m, walker, used)

        # Errors
        fetching = Signal()
        m.d.sync += fetching.eq(self.running & ~errors.halted)
        m.d.comb += [poller.running.eq(fetching), walker.running.eq(fetching)]
        for report, part in zip(errors.reports, (poller, walker, used), strict=True):
            connect(m, part.error, report)
        connect(m, errors.error, flipped(self.error))

        # Reset, of everything and of a queue
        resetting = Signal()
        features, retire, retire_queue = Signal(RingFeatures), Signal(), Signal(QUEUE)
        m.d.sync += [
            resetting.eq(self.reset),
            features.eq(self.features),
            retire.eq(self.retire),
            retire_queue.eq(self.retire_queue),
        ]
        m.d.comb += [
            writer.settings.eq(self.settings),
            writer.flush.eq(self.reset),
            self.chains.reset.eq(self.reset),
            self.chains.retire.eq(retire),
            self.chains.retire_queue.eq(retire_queue),
            self.flush.eq(resetting),
            self.idle.eq(self.reset & resetting & self.chains.idle & self.channels_idle & idle & writer.idle),
            self.retired.eq(poller.forgotten & used.forgotten),
        ]
        for part in (poller, walker, used):
            m.d.comb += [
                part.retire.eq(retire),
                part.retire_queue.eq(retire_queue),
                part.features.eq(features),
            ]
        return m

    def _bytes(self, m: Module, walker: Any, used: Any) -> Any:
        """The ways of buffers' bytes; returns whether they are idle."""
        m.submodules.scatter = scatter = ScatterWriter(width=self.width, max_payload=self.max_payload)
        chains = self.chains
        m.d.comb += [
            chains.chain.payload.eq(walker.chain.payload),
            chains.chain.valid.eq(walker.chain.valid & ~self.reset),
            walker.chain.ready.eq(chains.chain.ready),
        ]
        if self.reads:
            self._readable(m, walker, used)
        else:
            # The rows of readable segments are given back all the same.
            request = walker.data_request
            m.d.comb += [
                request.ready.eq(1),
                walker.fetched.payload.eq(request.payload.context.token),
                walker.fetched.valid.eq(request.valid & request.payload.context.last),
            ]

        # From the device; in a reset they are taken and dropped
        connect(m, flipped(chains.writable), scatter.i)
        connect(m, scatter.begin, walker.begin)
        connect(m, walker.segment, scatter.segment)
        connect(m, scatter.o, flipped(self.data_write))
        m.d.comb += [
            walker.end.eq(scatter.end),
            walker.completed.payload.eq(scatter.done.payload),
            walker.completed.valid.eq(scatter.done.valid),
            scatter.done.ready.eq(walker.completed.ready | self.reset),
            scatter.settings.eq(self.settings),
            scatter.flush.eq(self.flush),
        ]
        return scatter.idle

    def _readable(self, m: Module, walker: Any, used: Any) -> None:
        """Bytes for the device: they are fetched ahead, but it sees none before it took their chain."""
        m.submodules.packer = packer = Packer(width=self.width)
        chains = self.chains
        connect(m, walker.data_request, flipped(self.data_request))
        connect(m, flipped(self.data_data), packer.i)
        data = self.data_data
        came = data.valid & data.ready
        awaited = Signal(range(self.queues * self.quota + 1))
        begins, ends = Signal(), Signal()
        m.d.comb += [
            walker.fetched.payload.eq(data.payload.context.token),
            walker.fetched.valid.eq(
                came & data.payload.last & data.payload.context.last & ~data.payload.error
            ),
            walker.fault.payload.eq(data.payload.context.token),
            walker.fault.valid.eq(came & data.payload.error),
            used.broken.payload.eq(walker.fault.payload),
            used.broken.valid.eq(walker.fault.valid),
            packer.flush.eq(self.reset),
            begins.eq(chains.chain.valid & chains.chain.ready & (chains.chain.payload.readable != 0)),
            ends.eq(chains.readable.valid & chains.readable.ready & chains.readable.payload.last),
            chains.readable.payload.eq(packer.o.payload),
            chains.readable.valid.eq(packer.o.valid & (awaited != 0)),
            packer.o.ready.eq(chains.readable.ready & (awaited != 0)),
        ]
        m.d.sync += awaited.eq(awaited + begins - ends)
        with m.If(self.reset):
            m.d.sync += awaited.eq(0)

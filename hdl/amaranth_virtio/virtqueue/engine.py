"""The virtqueue engine."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..chain import QUEUE, ChainSignature
from ..dma.layout import ChainContext, DmaSettings, read_data_layout, read_request_layout
from ..dma.packer import Packer
from ..dma.scatter import ScatterWriter
from ..dma.word import WordWriter
from ..tlp import TlpSignature, check_width
from .layout import NO_CONTEXT, ErrorReport, QueueLookup
from .parameters import check_queue_size, check_queues, check_slots
from .rings import SplitRings

__all__ = ["Engine"]


class Engine(wiring.Component):
    """All virtqueues of a device: rings and buffers in host memory on one side, chains on the other.

    See :class:`SplitRings` for chains in flight and for errors.

    **Reset.** ``reset`` is held until ``idle``: reading stops and what is under way is flushed,
    packets that were started end, the device gives up its chains. From ``idle`` on there is no
    access to host memory. When ``reset`` falls, all rings start from index 0.

    Parameters
    ----------
    width : :class:`int`
        Width of all streams in bits.
    queues : :class:`int`
        Number of virtqueues.
    queue_size : :class:`int`
        Largest queue size; a power of two from 2 to 1024.
    slots : :class:`int`
        Chains in flight.
    max_payload : :class:`int`
        Most bytes of a write; a power of two from 128 to 4096.

    Members
    -------
    chains : :py:`Out(ChainSignature(width))`
        The device.
    lookup : :py:`Out(QueueLookup).array(3)`
        Queue contexts. ``size`` is a power of two not above ``queue_size``.
    kick : :py:`In(stream.Signature(16, always_ready=True))`
        Queue numbers as the driver notifies them; remembered until ``running``, but not over a reset.
    running : :py:`In(1)`
        The driver is ready: rings may be read.
    reset : :py:`In(1)`, idle : :py:`Out(1)`
        See above. ``idle`` is meaningful from the second cycle of ``reset`` on.
    flush : :py:`Out(1)`, channels_idle : :py:`In(1)`
        ``flush`` and ``idle`` of the four read channels.
    avail_request, avail_data, descriptor_request, descriptor_data : read channels, no context
    flags_request, flags_data : read channel with a queue number as context
    data_request, data_data : read channel with a :class:`ChainContext`
    data_write, used_write : :py:`Out(TlpSignature(width))`
        Writes of buffers and of used rings. Taken means written, in posted order.
    settings : :py:`In(DmaSettings)`
    interrupt : :py:`Out(stream.Signature(16))`
        Queues whose used buffers the driver wants to hear of.
    error : :py:`Out(stream.Signature(ErrorReport, always_ready=True))`
        One report between two resets.
    """

    def __init__(
        self, *, width: int, queues: int, queue_size: int = 128, slots: int = 4, max_payload: int = 256
    ):
        self.width = check_width(width)
        self.queues = check_queues(queues)
        self.queue_size = check_queue_size(queue_size)
        self.slots = check_slots(slots)
        self.max_payload = max_payload
        channels = {"avail": NO_CONTEXT, "descriptor": NO_CONTEXT, "flags": QUEUE, "data": ChainContext}
        members: dict[str, Any] = {}
        for name, context in channels.items():
            members[f"{name}_request"] = Out(stream.Signature(read_request_layout(context)))
            members[f"{name}_data"] = In(stream.Signature(read_data_layout(width, context)))
        super().__init__(
            {
                "chains": Out(ChainSignature(width)),
                "lookup": Out(QueueLookup).array(3),
                "kick": In(stream.Signature(QUEUE, always_ready=True)),
                "running": In(1),
                "reset": In(1),
                "idle": Out(1),
                "flush": Out(1),
                "channels_idle": In(1),
                **members,
                "data_write": Out(TlpSignature(width)),
                "used_write": Out(TlpSignature(width)),
                "settings": In(DmaSettings),
                "interrupt": Out(stream.Signature(QUEUE)),
                "error": Out(stream.Signature(ErrorReport, always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Put rings, packer and writers together."""
        m = Module()
        m.submodules.rings = rings = SplitRings(
            width=self.width, queues=self.queues, queue_size=self.queue_size, slots=self.slots
        )
        m.submodules.scatter = scatter = ScatterWriter(width=self.width, max_payload=self.max_payload)
        m.submodules.word = word = WordWriter(width=self.width)
        m.submodules.packer = packer = Packer(width=self.width)
        chains = self.chains

        # Rings
        for name in ("kick", "avail_data", "descriptor_data", "flags_data"):
            connect(m, flipped(getattr(self, name)), getattr(rings, name))
        for name in ("avail_request", "descriptor_request", "flags_request", "data_request"):
            connect(m, getattr(rings, name), flipped(getattr(self, name)))
        for name in ("interrupt", "error"):
            connect(m, getattr(rings, name), flipped(getattr(self, name)))
        for port, inner in zip(self.lookup, rings.lookup, strict=True):
            connect(m, inner, flipped(port))
        connect(m, rings.chain, flipped(chains.chain))

        # Bytes for the device
        data = self.data_data
        connect(m, flipped(data), packer.i)
        m.d.comb += [
            rings.fault.payload.eq(data.payload.context.token),
            rings.fault.valid.eq(data.valid & data.ready & data.payload.error),
        ]
        # Bytes are fetched ahead, but the device sees none before it took their chain.
        awaited = Signal(16)
        begins, ends = Signal(), Signal()
        m.d.comb += [
            begins.eq(chains.chain.valid & chains.chain.ready & (chains.chain.payload.readable != 0)),
            ends.eq(chains.readable.valid & chains.readable.ready & chains.readable.payload.last),
            chains.readable.payload.eq(packer.o.payload),
            chains.readable.valid.eq(packer.o.valid & (awaited != 0)),
            packer.o.ready.eq(chains.readable.ready & (awaited != 0)),
        ]
        m.d.sync += awaited.eq(awaited + begins - ends)
        with m.If(self.reset):
            m.d.sync += awaited.eq(0)

        # Bytes from the device; in a reset they are taken and dropped
        connect(m, flipped(chains.writable), scatter.i)
        connect(m, scatter.segments, rings.segments)
        connect(m, scatter.done, rings.done)
        connect(m, scatter.o, flipped(self.data_write))
        m.d.comb += [
            scatter.settings.eq(self.settings),
            word.settings.eq(self.settings),
        ]
        connect(m, rings.write, word.request)
        connect(m, word.o, flipped(self.used_write))

        # Reset
        resetting = Signal()
        m.d.sync += resetting.eq(self.reset)
        m.d.comb += [
            rings.running.eq(self.running),
            rings.reset.eq(self.reset),
            packer.flush.eq(self.reset),
            scatter.flush.eq(self.reset),
            word.flush.eq(self.reset),
            chains.reset.eq(self.reset),
            self.flush.eq(self.reset),
            self.idle.eq(
                self.reset
                & resetting
                & chains.idle
                & self.channels_idle
                & scatter.idle
                & word.idle
                & ~rings.writing
            ),
        ]
        return m

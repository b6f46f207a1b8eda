"""The endpoint: a virtio device of any type on PCI Express."""

from typing import Any, NamedTuple

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .chain import QUEUE
from .core import DeviceCore
from .devices.interface import Device
from .dma.layout import ChainContext
from .dma.reader import CompletionRouter, ReadChannel
from .pcie.arbiter import PacketArbiter
from .pcie.config_header import Identity
from .pcie.function import Function
from .pcie.msix import MAX_VECTORS
from .tlp import RawSignature
from .transport.modern import ModernTransport
from .virtqueue.engine import Engine
from .virtqueue.layout import NO_CONTEXT

__all__ = ["Endpoint"]


class _Channel(NamedTuple):
    """A read channel: what the engine calls it, its tags, the longest read, the context's shape."""

    name: str
    tags: int
    max_bytes: int
    context: Any


def _forward(m: Module, member: Any, inner: Any, outer: Any) -> None:
    """Make a member of the device a port of the endpoint."""
    if member.is_signature:
        connect(m, inner, flipped(outer))
    elif member.flow is In:
        m.d.comb += inner.eq(outer)
    else:
        m.d.comb += outer.eq(inner)


class Endpoint(wiring.Component):
    """Everything between a PCI Express link and what is behind a virtio device.

    Reads have tags of their own per purpose, so that a long transfer never holds up a descriptor:
    two for available rings, four for descriptors, one for suppression flags, ``tags`` for data.

    Parameters
    ----------
    device : :class:`.devices.interface.Device`
        The device type.
    queue_size : :class:`int`
        Greatest queue size; a power of two from 2 to 1024.
    slots : :class:`int`
        Descriptor chains in flight.
    tags : :class:`int`
        Data reads outstanding, 1 to 249. More than 25 in all need Extended Tag Field Enable to be used.
    max_payload : :class:`int`
        Max_Payload_Size Supported in bytes: 128, 256 or 512.
    max_read : :class:`int`
        Longest read request for data in bytes, whatever Max_Read_Request_Size allows above it.
    completion_timeout : :class:`int`
        In cycles; 12,500,000 are 50 ms at 250 MHz.
    link_speed, link_width : :class:`int`
        What the link registers say: 1 to 5 (2.5 to 32 GT/s), and the number of lanes; by default as many
        as the data path carries in Gen3 at 250 MHz.

    Members
    -------
    rx : :py:`In(RawSignature(width))`
        Packets from the link.
    tx : :py:`Out(RawSignature(width))`
        Packets to the link.

    And the members of ``device.backend``.
    """

    def __init__(
        self,
        *,
        device: Device,
        queue_size: int = 128,
        slots: int = 4,
        tags: int = 32,
        max_payload: int = 256,
        max_read: int = 512,
        completion_timeout: int = 12_500_000,
        link_speed: int = 3,
        link_width: int | None = None,
    ):
        self.device = device
        self.width = device.width
        self.queue_size = queue_size
        self.slots = slots
        self.tags = tags
        self.max_payload = max_payload
        self.max_read = max_read
        self.completion_timeout = completion_timeout
        self.link_speed = link_speed
        self.link_width = self.width // 32 if link_width is None else link_width
        super().__init__(
            {"rx": In(RawSignature(self.width)), "tx": Out(RawSignature(self.width)), **device.backend}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        table = self.device.table
        # One for each queue and one for configuration changes; where they do not suffice, queues share.
        vectors = min(table.queues + 1, MAX_VECTORS)
        m.submodules.device = device = self.device
        m.submodules.function = function = Function(
            width=self.width,
            identity=Identity.modern(table.device_type, table.class_code),
            vectors=vectors,
            max_payload=self.max_payload,
            writers=2,
            link_speed=self.link_speed,
            link_width=self.link_width,
        )
        m.submodules.core = core = DeviceCore(table=table, queue_size=self.queue_size, vectors=vectors)
        m.submodules.transport = transport = ModernTransport(queues=table.queues)
        m.submodules.engine = engine = Engine(
            width=self.width,
            queues=table.queues,
            queue_size=self.queue_size,
            slots=self.slots,
            max_payload=self.max_payload,
        )
        connect(m, flipped(self.rx), function.rx)
        connect(m, function.tx, flipped(self.tx))
        for name in device.backend:
            _forward(m, device.backend[name], getattr(device, name), getattr(self, name))

        connect(m, function.registers, transport.bus)
        connect(m, transport.core, core.transport)
        connect(m, core.vector, function.vector)
        connect(m, core.kick, engine.kick)
        connect(m, engine.interrupt, core.interrupt)
        connect(m, engine.error, core.error)
        for port, lookup in zip(engine.lookup, core.lookup, strict=True):
            connect(m, port, lookup)
        connect(m, engine.chains, device.chains)
        connect(m, engine.data_write, function.writes[0])
        connect(m, engine.used_write, function.writes[1])
        channels_idle = self._reads(m, function, engine)

        m.d.comb += [
            engine.settings.eq(function.dma),
            engine.channels_idle.eq(channels_idle),
            engine.running.eq(core.running),
            engine.reset.eq(core.reset),
            function.reset.eq(core.reset),
            function.reads_pending.eq(~channels_idle),
            function.interrupt_status.eq(core.interrupt_status),
            function.function_reset_done.eq(core.function_reset_done),
            core.msix_enable.eq(function.msix_enable),
            core.function_reset.eq(function.function_reset),
            core.idle.eq(engine.idle & function.idle),
            device.features.eq(core.features),
        ]
        if table.config is not None:
            m.d.comb += [core.config.eq(device.config), core.config_changed.eq(device.config_changed)]
        return m

    def _reads(self, m: Module, function: Any, engine: Any) -> Any:
        """Connect the engine's four read channels; returns whether all of them are idle."""
        # Channels for the rings come first, so that they work without extended tags.
        plan = (
            _Channel("avail", 2, 128, NO_CONTEXT),
            _Channel("descriptor", 4, 128, NO_CONTEXT),
            _Channel("flags", 1, 128, QUEUE),
            _Channel("data", self.tags, self.max_read, ChainContext),
        )
        channels = []
        first = 0
        for entry in plan:
            channel = ReadChannel(
                width=self.width,
                tags=entry.tags,
                first_tag=first,
                max_bytes=entry.max_bytes,
                context=entry.context,
                timeout=self.completion_timeout,
            )
            m.submodules[f"{entry.name}_reads"] = channel
            channels.append(channel)
            first += entry.tags
        m.submodules.completions = completions = CompletionRouter(
            width=self.width, channels=[range(c.first_tag, c.first_tag + c.tags) for c in channels]
        )
        m.submodules.read_arbiter = arbiter = PacketArbiter(width=self.width, inputs=len(channels))
        connect(m, function.completion, completions.i)
        connect(m, arbiter.o, function.reads)
        for entry, channel, completion, port in zip(plan, channels, completions.o, arbiter.i, strict=True):
            connect(m, getattr(engine, f"{entry.name}_request"), channel.request)
            connect(m, channel.data, getattr(engine, f"{entry.name}_data"))
            connect(m, completion, channel.completion)
            connect(m, channel.o, port)
            m.d.comb += [
                channel.settings.eq(function.dma),
                channel.completion_timeout_disable.eq(function.completion_timeout_disable),
                channel.flush.eq(engine.flush),
            ]

        def any_of(strobe: str) -> Any:
            return Cat(getattr(channel, strobe) for channel in channels).any()

        m.d.comb += [
            function.ur_received.eq(any_of("ur_received")),
            function.ca_received.eq(any_of("ca_received")),
            function.poisoned.eq(any_of("poisoned")),
            function.unexpected.eq(any_of("unexpected") | completions.unexpected),
            function.timed_out.eq(any_of("timed_out")),
        ]
        return Cat(channel.idle for channel in channels).all()

"""The endpoint: a virtio device of any type on PCI Express."""

from dataclasses import replace
from typing import Any

from amaranth.hdl import Const, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from virtio_spec.virtio import Feature, feature_mask
from virtio_spec.virtio_pci import Interface

from .core import DeviceCore
from .devices.interface import Device, DeviceTable
from .dma.reads import Client, Reads
from .pcie.config_header import Identity
from .pcie.function import Function
from .pcie.msix import MAX_VECTORS
from .rings.abandon import Abandonment
from .rings.engine import Engine
from .rings.options import RingOptions
from .tlp import RawSignature
from .transport.legacy import LegacyTransport
from .transport.modern import ModernTransport
from .transport.select import TransportSelect

__all__ = ["Endpoint"]


ALL_RINGS = RingOptions()
QUOTA = 16

#: Features of the virtqueues that do not depend on the rings.  [virtio 1.4 §2.6.1, §4.1.5.2]
NOTIFICATIONS = feature_mask(Feature.RING_RESET, Feature.NOTIFICATION_DATA, Feature.NOTIF_CONFIG_DATA)

#: What a card is: its addresses are the bus's, which the platform may translate, and its accesses are ordered
#: as PCI Express orders them. Without the first, a driver would bypass an IOMMU.  [virtio 1.4 §6.1, §6.2]
CARD = feature_mask(Feature.ACCESS_PLATFORM, Feature.ORDER_PLATFORM)

#: Tags of the channels for rings, so that they work without extended tags.
FEW_RING_TAGS = {"poll": 4, "table": 4, "event": 2}
#: And with many tags for data, so that the rings keep up with them; how many there are without extended tags.
MANY_RING_TAGS = {"poll": 16, "table": 16, "event": 8}
SHORT_RING_TAGS = {"poll": 8, "table": 12, "event": 8}
MANY = 32


def _identity(table: DeviceTable, interface: Interface) -> Identity:
    """The ids that the device brings along, or those that virtio has for it."""
    if table.identity is not None:
        return table.identity
    ids = Identity.transitional if interface.has_legacy else Identity.modern
    return ids(table.device_type, table.class_code)


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
    :data:`FEW_RING_TAGS` for rings, and :data:`MANY_RING_TAGS` if there are more than 32 for data. A device
    without virtqueues neither reads nor writes memory; a completion that comes nevertheless is unexpected.

    Parameters
    ----------
    device : :class:`.devices.interface.Device`
        The device type.
    interface : :class:`virtio_spec.virtio_pci.Interface`
        Which registers a driver finds, modern, legacy or both; by default the first that the device type
        can have, which is the modern one of all that virtio 1 knows.
    queue_size : :class:`int`
        Greatest queue size; a power of two from 2 to 1024. On the legacy interface it is the size.
    quota : :class:`int`
        Descriptor chains in flight per queue; a power of two from 2 to 256. By default what the device was
        made for, or 16.
    rings : :class:`.rings.options.RingOptions`
        Formats and features of the rings; what is left out is not offered and costs no logic.
    tags : :class:`int`
        Data reads outstanding, 1 to 204; of a device that reads. More than 22 need Extended Tag Field Enable
        to be used.
    max_payload : :class:`int`
        Max_Payload_Size Supported in bytes: 128, 256 or 512.
    max_read : :class:`int`
        Longest read request for data in bytes, whatever Max_Read_Request_Size allows above it.
    completion_timeout : :class:`int`
        In cycles; 12,500,000 are 50 ms at 250 MHz.
    config_hold : :class:`int`
        Cycles since the last read of the device configuration for which a value that was read in part
        stays the same; 250,000,000 are 1 s at 250 MHz. See :class:`.core.config.DeviceConfig`.
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
        interface: Interface | None = None,
        queue_size: int = 128,
        quota: int | None = None,
        rings: RingOptions = ALL_RINGS,
        tags: int = 32,
        max_payload: int = 256,
        max_read: int = 512,
        completion_timeout: int = 12_500_000,
        config_hold: int = 250_000_000,
        link_speed: int = 3,
        link_width: int | None = None,
    ):
        table = device.table
        interface = table.interfaces[0] if interface is None else interface
        if interface not in table.interfaces:
            allowed = ", ".join(table.interfaces)
            raise ValueError(f"interface must be one that the device can have ({allowed}), not {interface}")
        if None not in (quota, device.quota) and quota != device.quota:
            raise ValueError(f"quota must be that of the device, {device.quota}, not {quota}")
        self.device = device
        self.interface = Interface(interface)
        self.identity = _identity(table, self.interface)
        # One for each queue and one for configuration changes; where they do not suffice, queues share.
        self.vectors = min(table.queues + 1, MAX_VECTORS) if table.msix else 0
        self.width = device.width
        self.queue_size = queue_size
        self.quota = quota or device.quota or QUOTA
        # A legacy driver does not see the others.
        modern = self.interface.has_modern
        self.rings = rings if modern else replace(rings, packed=False, in_order=False)
        self.tags = tags
        self.max_payload = max_payload
        self.max_read = max_read
        self.completion_timeout = completion_timeout
        self.config_hold = config_hold
        self.link_speed = link_speed
        self.link_width = self.width // 32 if link_width is None else link_width
        super().__init__(
            {"rx": In(RawSignature(self.width)), "tx": Out(RawSignature(self.width)), **device.backend}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        table = self.device.table
        m.submodules.device = device = self.device
        m.submodules.function = function = Function(
            width=self.width,
            identity=self.identity,
            interface=self.interface,
            vectors=self.vectors,
            max_payload=self.max_payload,
            writers=2 if table.queues else 0,
            link_speed=self.link_speed,
            link_width=self.link_width,
        )
        m.submodules.core = core = DeviceCore(
            table=table,
            interface=self.interface,
            queue_size=self.queue_size,
            vectors=self.vectors,
            ring_features=self.rings.features | NOTIFICATIONS | CARD,
            config_hold=self.config_hold,
        )
        connect(m, flipped(self.rx), function.rx)
        connect(m, function.tx, flipped(self.tx))
        for name in device.backend:
            _forward(m, device.backend[name], getattr(device, name), getattr(self, name))

        self._registers(m, function, core)
        connect(m, core.vector, function.vector)
        at_rest = self._queues(m, function, core) if table.queues else self._no_queues(m, function)
        m.d.comb += [
            function.reset.eq(core.reset),
            function.interrupt_status.eq(core.interrupt_status),
            function.function_reset_done.eq(core.function_reset_done),
            core.msix_enable.eq(function.msix_enable),
            core.function_reset.eq(function.function_reset),
            core.idle.eq(at_rest & function.idle),
            device.features.eq(core.features),
            device.driver_ok.eq(core.driver_ok),
            device.legacy.eq(core.legacy),
        ]
        if table.config is not None:
            m.d.comb += [core.config.eq(device.config), core.config_changed.eq(device.config_changed)]
        if table.writable:
            m.d.comb += device.config_write.eq(core.config_write)
        return m

    def _registers(self, m: Module, function: Any, core: Any) -> None:
        """Put the register front ends between the function's BARs and the device core."""
        queues = self.device.table.queues
        fronts = {}
        if self.interface.has_modern:
            m.submodules.modern = fronts["modern"] = modern = ModernTransport(queues=queues)
            connect(m, function.registers, modern.bus)
        if self.interface.has_legacy:
            m.submodules.legacy = fronts["legacy"] = legacy = LegacyTransport(
                queues=queues, queue_size=self.queue_size
            )
            connect(m, function.legacy_registers, legacy.bus)
            m.d.comb += legacy.msix_enable.eq(function.msix_enable)
        if len(fronts) == 1:
            [front] = fronts.values()
            connect(m, front.core, core.transport)
            return
        m.submodules.select = select = TransportSelect()
        for name, front in fronts.items():
            connect(m, front.core, getattr(select, name))
        connect(m, select.core, core.transport)

    def _queues(self, m: Module, function: Any, core: Any) -> Any:
        """The virtqueue engine; returns whether it is at rest."""
        device: Any = self.device
        m.submodules.engine = engine = Engine(
            width=self.width,
            queues=device.table.queues,
            queue_size=self.queue_size,
            quota=self.quota,
            options=self.rings,
            reads=device.table.reads,
            max_payload=self.max_payload,
        )
        connect(m, core.kick, engine.kick)
        connect(m, engine.interrupt, core.interrupt)
        for port, lookup in zip(engine.lookup, core.lookup, strict=True):
            connect(m, port, lookup)
        connect(m, engine.chains, device.chains)
        connect(m, engine.data_write, function.writes[0])
        connect(m, engine.ring_write, function.writes[1])
        reads = self._reads(m, function, engine)
        m.d.comb += [
            engine.settings.eq(function.dma),
            engine.channels_idle.eq(reads.idle),
            engine.running.eq(core.running),
            engine.features.packed.eq(core.features[Feature.RING_PACKED]),
            engine.features.indirect.eq(core.features[Feature.INDIRECT_DESC]),
            engine.features.event_idx.eq(core.features[Feature.EVENT_IDX]),
            engine.features.in_order.eq(core.features[Feature.IN_ORDER]),
            engine.retire.eq(core.retire),
            engine.retire_queue.eq(core.retire_queue),
            function.reads_pending.eq(~reads.idle),
        ]
        self._abandonment(m, function, core, engine, reads)
        return engine.idle

    def _abandonment(self, m: Module, function: Any, core: Any, engine: Any, reads: Any) -> None:
        """Resets of the engine, for its device's sake and to end that of a queue; and its errors."""
        m.submodules.abandonment = abandonment = Abandonment()
        m.d.comb += [
            abandonment.reset.eq(core.reset),
            abandonment.retire.eq(core.retire),
            abandonment.retire_queue.eq(core.retire_queue),
            abandonment.master.eq(function.dma.bus_master),
            abandonment.tick.eq(reads.tick),
            abandonment.failed.eq(engine.error.valid),
            abandonment.idle.eq(engine.idle),
            abandonment.retired.eq(engine.retired),
            engine.reset.eq(abandonment.reset_engine),
            core.retired.eq(abandonment.ended),
            core.error.valid.eq(engine.error.valid | abandonment.error.valid),
            core.error.payload.eq(Mux(engine.error.valid, engine.error.payload, abandonment.error.payload)),
        ]

    def _no_queues(self, m: Module, function: Any) -> Any:
        """Nothing has asked for a completion; returns that all is at rest."""
        completion = function.completion
        m.d.comb += [
            completion.ready.eq(1),
            function.unexpected.eq(completion.valid & completion.p.first),
        ]
        return Const(1)

    def _reads(self, m: Module, function: Any, engine: Any) -> Any:
        """Connect the engine's read channels to the reads, which it returns."""
        many = self.tags > MANY
        plan = dict(MANY_RING_TAGS if many else FEW_RING_TAGS)
        short = SHORT_RING_TAGS if many else {}
        if self.device.table.reads:
            plan["data"] = self.tags
        m.submodules.reads = reads = Reads(
            width=self.width,
            clients={
                name: Client(
                    tags=tags,
                    max_bytes=self.max_read if name == "data" else 128,
                    context=engine.contexts[name],
                    whole=name != "data",
                    short=short.get(name),
                )
                for name, tags in plan.items()
            },
            timeout=self.completion_timeout,
        )
        connect(m, function.completion, reads.completion)
        connect(m, reads.o, function.reads)
        for name in plan:
            connect(m, getattr(engine, f"{name}_request"), getattr(reads, f"{name}_request"))
            connect(m, getattr(reads, f"{name}_data"), getattr(engine, f"{name}_data"))
        m.d.comb += [
            reads.settings.eq(function.dma),
            reads.completion_timeout_disable.eq(function.completion_timeout_disable),
            reads.flush.eq(engine.flush),
            function.ur_received.eq(reads.ur_received),
            function.ca_received.eq(reads.ca_received),
            function.poisoned.eq(reads.poisoned),
            function.unexpected.eq(reads.unexpected),
            function.timed_out.eq(reads.timed_out),
        ]
        return reads

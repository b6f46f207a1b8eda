"""The device core."""

from typing import Any

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.layout import DIAGNOSTICS_MAGIC
from virtio_spec.virtio import NO_VECTOR, Feature, feature_mask
from virtio_spec.virtio_pci import Interface

from ..chain import QUEUE
from ..devices.interface import ConfigWrite, DeviceTable
from ..rings.layout import ErrorReport, QueueLookup
from .config import DeviceConfig, config_groups
from .interface import CoreSignature
from .interrupts import InterruptDispatch
from .queue_reset import QueueResets
from .queues import QueueContexts, check_queues
from .reset import ResetSequencer
from .status import Negotiation, check_features

__all__ = ["DeviceCore"]


class DeviceCore(wiring.Component):
    """Everything about a virtio device that is neither a register layout, a ring nor a device type.

    Status machine, feature negotiation, queue contexts, device configuration, ISR status, interrupt
    dispatch, diagnostics, and the sequence of a reset.  [virtio 1.4 §2, §3, §4.1.4]

    A queue can be enabled once FEATURES_OK is set, also after DRIVER_OK; on the legacy interface at any
    time. How the configuration is read is written down at :class:`DeviceConfig`.

    Parameters
    ----------
    table : :class:`DeviceTable`
        The device type. If the interface has a modern side, VERSION_1 is offered beside its features.
    interface : :class:`Interface`
        Register interfaces of the device; one of those that the table allows.
    queue_size : :class:`int`
        Greatest queue size, a power of two up to 32768.
    vectors : :class:`int`
        MSI-X vectors of the function, 0 to 2048.
    ring_features : :class:`int`
        Features of the virtqueues that the engine has, as a word; offered if there are queues. A legacy
        driver sees those below 32.
    config_hold : :class:`int`
        Cycles since the last read of the configuration for which a value that was read in part stays
        the same; 250,000,000 are one second at 250 MHz.

    Members
    -------
    transport : :py:`In(CoreSignature())`
        The register front end.
    legacy : :py:`Out(1)`
        The driver uses the legacy interface.
    lookup : array of three :py:`In(QueueLookup)`
        The engine's read ports on the queue contexts; only for queues that exist.
    kick : :py:`Out(stream.Signature(16, always_ready=True))`
        Existing queues that the driver notified; nothing while not ``running``.
    interrupt : :py:`In(stream.Signature(16))`
        Queues whose used ring the driver is to be told of.
    error : :py:`In(stream.Signature(ErrorReport, always_ready=True))`
        The engine met a broken ring: DEVICE_NEEDS_RESET. The first report stands until the reset.
    retire : :py:`Out(1)`, retire_queue : :py:`Out(QUEUE)`, retired : :py:`In(1)`
        A queue is being reset; see :class:`.queue_reset.QueueResets`.
        These seven are present if there are queues.
    vector : :py:`Out(stream.Signature(16))`
        MSI-X vectors to be signalled; the cause is in the ISR status already.
    msix_enable : :py:`In(1)`
        MSI-X is enabled.
    isr : :py:`Out(8)`
        ISR status.
    interrupt_status : :py:`Out(1)`
        Interrupt Status of the PCI Status register, and with it INTx: any ISR bit while MSI-X is
        disabled and no reset is under way.
    features : :py:`Out(64)`
        Accepted features: 0 before FEATURES_OK; on the legacy interface as the driver writes them.
    driver_ok : :py:`Out(1)`
        Status DRIVER_OK, and no reset under way.
    running : :py:`Out(1)`
        Buffers may be used: DRIVER_OK (not needed on the legacy interface), neither FAILED nor
        DEVICE_NEEDS_RESET, no reset under way.
    reset : :py:`Out(1)`
        To the engine, the device and all that serves them, until everything is cleared.
    idle : :py:`In(1)`
        All of them are at rest; looked at from the second cycle of ``reset`` on.
    function_reset : :py:`In(1)`, function_reset_done : :py:`Out(1)`
        An FLR goes the same way: high until the strobe.
    config : :py:`In(table.config)`, config_changed : :py:`In(1)`
        As :class:`Device` has them; present if the table names a layout.
    config_write : :py:`Out(ConfigWrite(table.config))`
        As :class:`Device` has it; present if the table names writable fields.
    """

    def __init__(
        self,
        *,
        table: DeviceTable,
        interface: Interface = Interface.MODERN,
        queue_size: int,
        vectors: int,
        ring_features: int = 0,
        config_hold: int = 250_000_000,
    ):
        if interface not in table.interfaces:
            allowed = ", ".join(table.interfaces)
            raise ValueError(f"interface must be one that the device can have ({allowed}), not {interface}")
        if not 0 <= vectors <= 2048:
            raise ValueError(f"vectors must be 0 to 2048, not {vectors}")
        check_queues(table.queues, queue_size)
        config_groups(
            table.config, together=table.together, writable=table.writable, acknowledge=table.acknowledge
        )
        if config_hold < 1:
            raise ValueError(f"config_hold must be at least 1 cycle, not {config_hold}")
        self.table = table
        self.interface = interface
        self.queue_size = queue_size
        self.vectors = vectors
        self.config_hold = config_hold
        self.ring_features = ring_features if table.queues else 0
        self.offered = table.features | self.ring_features
        if interface.has_modern:
            self.offered |= feature_mask(Feature.VERSION_1)
        check_features(self.offered, table.requires)
        members: dict[str, Any] = {
            "transport": In(CoreSignature()),
            "legacy": Out(1),
            "vector": Out(stream.Signature(16)),
            "msix_enable": In(1),
            "isr": Out(8),
            "interrupt_status": Out(1),
            "features": Out(64),
            "driver_ok": Out(1),
            "running": Out(1),
            "reset": Out(1),
            "idle": In(1),
            "function_reset": In(1),
            "function_reset_done": Out(1),
        }
        if table.queues:
            members |= {
                "lookup": In(QueueLookup).array(3),
                "kick": Out(stream.Signature(QUEUE, always_ready=True)),
                "interrupt": In(stream.Signature(QUEUE)),
                "error": In(stream.Signature(ErrorReport, always_ready=True)),
                "retire": Out(1),
                "retire_queue": Out(QUEUE),
                "retired": In(1),
            }
        if table.config is not None:
            members |= {"config": In(table.config), "config_changed": In(1)}
        if table.writable:
            members["config_write"] = Out(ConfigWrite(table.config))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        host = self.transport
        m.submodules.negotiation = negotiation = Negotiation(
            offered=self.offered, requires=self.table.requires
        )
        m.submodules.reset = sequencer = ResetSequencer()
        m.submodules.interrupts = interrupts = InterruptDispatch()
        writable = Signal()
        status_zero = Signal()
        m.d.comb += [
            writable.eq(~sequencer.reset),
            status_zero.eq(host.status_write & (host.status_data == 0)),
            self.legacy.eq(host.legacy),
            # Status and features
            negotiation.legacy.eq(host.legacy),
            negotiation.write.eq(host.status_write & ~status_zero & writable),
            negotiation.data.eq(host.status_data),
            negotiation.features_enable.eq(Mux(writable, host.driver_features_enable, 0)),
            negotiation.features_data.eq(host.driver_features_data),
            negotiation.features_unknown.eq(host.driver_features_unknown & writable),
            negotiation.clear.eq(sequencer.clear),
            host.status.eq(negotiation.status),
            host.offered.eq(self.offered),
            host.driver_features.eq(negotiation.driver_features),
            self.features.eq(negotiation.features),
            self.driver_ok.eq(negotiation.status[2] & writable),
            self.running.eq(negotiation.running & writable),
            # Reset
            sequencer.request.eq(status_zero),
            sequencer.function_reset.eq(self.function_reset),
            sequencer.idle.eq(self.idle & interrupts.idle),
            host.clear.eq(sequencer.clear),
            # With status 0 already the driver cannot see that a reset is under way, and its next
            # write would be lost; so it waits.
            host.busy.eq(sequencer.reset & (sequencer.sweep | sequencer.clear | (negotiation.status == 0))),
            self.function_reset_done.eq(sequencer.function_reset_done),
            self.reset.eq(sequencer.reset),
        ]
        changed, acknowledged = self._config(m, writable, release=status_zero | self.function_reset)
        if self.table.queues:
            self._queues(m, writable, negotiation, sequencer, interrupts)
        else:
            m.d.comb += [host.registers.vector.eq(NO_VECTOR), sequencer.swept.eq(1)]
        broken = self._errors(m, writable, negotiation, sequencer.clear)

        # Interrupts
        config_vector = Signal(16, init=NO_VECTOR)
        with m.If(sequencer.clear):
            m.d.sync += config_vector.eq(NO_VECTOR)
        with m.Elif(writable):
            for byte in range(2):
                with m.If(host.config_vector_enable[byte]):
                    m.d.sync += config_vector.word_select(byte, 8).eq(
                        host.config_vector_data.word_select(byte, 8)
                    )
        wiring.connect(m, interrupts.vector, wiring.flipped(self.vector))
        m.d.comb += [
            host.config_vector.eq(
                Mux(config_vector < self.vectors, config_vector, NO_VECTOR) if self.vectors else NO_VECTOR
            ),
            interrupts.config_vector.eq(host.config_vector),
            interrupts.config_changed.eq(changed | broken),
            interrupts.enabled.eq(negotiation.status[2]),
            interrupts.reset.eq(sequencer.reset),
            interrupts.clear.eq(sequencer.clear),
            interrupts.msix_enable.eq(self.msix_enable),
            interrupts.isr_read.eq(host.isr_read),
            interrupts.acknowledge.eq(acknowledged),
            host.isr.eq(interrupts.isr),
            self.isr.eq(interrupts.isr),
            self.interrupt_status.eq(interrupts.isr.any() & ~self.msix_enable & writable),
        ]
        return m

    def _queues(self, m: Module, writable: Any, negotiation: Any, sequencer: Any, interrupts: Any) -> None:
        """The queue contexts, kicks and used-ring interrupts of a device with queues."""
        host: Any = self.transport
        m.submodules.queues = queues = QueueContexts(
            queues=self.table.queues, queue_size=self.queue_size, vectors=self.vectors
        )
        for ours, inner in zip(self.lookup, queues.lookup, strict=True):
            m.d.comb += [inner.queue.eq(ours.queue), ours.context.eq(inner.context)]
        wiring.connect(m, wiring.flipped(self.interrupt), interrupts.interrupt)
        m.d.comb += [
            queues.queue.eq(host.queue),
            queues.write.eq(Mux(writable, host.queue_enable, 0)),
            queues.data.eq(host.queue_data),
            queues.any_size.eq(negotiation.features[Feature.RING_PACKED]),
            queues.enable_allowed.eq(negotiation.status[3] | host.legacy),
            queues.sweep.eq(sequencer.sweep),
            sequencer.swept.eq(queues.swept),
            host.registers.eq(queues.registers),
            queues.vector_queue.eq(interrupts.vector_queue),
            interrupts.queue_vector.eq(queues.vector),
            self.kick.valid.eq(host.kick.valid & self.running & (host.kick.p < self.table.queues)),
            self.kick.p.eq(host.kick.p),
        ]
        if not self.ring_features >> Feature.RING_RESET & 1:
            return
        m.submodules.queue_resets = resets = ResetInserter(self.reset)(QueueResets(queues=self.table.queues))
        wiring.connect(m, queues.resets, resets.request)
        m.d.comb += [
            queues.reset.eq(host.queue_reset & negotiation.features[Feature.RING_RESET] & writable),
            host.queue_resetting.eq(queues.resetting),
            self.retire.eq(resets.retire),
            self.retire_queue.eq(resets.retire_queue),
            resets.retired.eq(self.retired),
            queues.clear.eq(resets.clear),
            queues.clear_queue.eq(resets.retire_queue),
            resets.cleared.eq(queues.cleared),
        ]

    def _config(self, m: Module, writable: Any, *, release: Any) -> tuple[Any, Any]:
        """The device configuration; returns the strobes that it has changed and is acknowledged."""
        host: Any = self.transport
        table = self.table
        if table.config is None:
            return 0, 0
        m.submodules.config = config = DeviceConfig(
            layout=table.config,
            together=table.together,
            writable=table.writable,
            acknowledge=table.acknowledge,
            hold=self.config_hold,
        )
        m.d.comb += [
            config.config.eq(self.config),
            config.changed.eq(self.config_changed),
            config.index.eq(host.config_index),
            config.read.eq(host.config_read),
            config.enable.eq(Mux(writable, host.config_enable, 0)),
            config.write_data.eq(host.config_write_data),
            # At the start of a reset, not at its end: a driver may read on while it waits.
            config.release.eq(host.generation_read | release),
            host.config_data.eq(config.data),
            host.generation.eq(config.generation),
        ]
        if table.writable:
            m.d.comb += self.config_write.eq(config.write)
        return self.config_changed, config.acknowledged

    def _errors(self, m: Module, writable: Any, negotiation: Any, clear: Any) -> Any:
        """The diagnostics block; returns the strobe that the device broke down."""
        host: Any = self.transport
        m.d.comb += host.diagnostics.magic.eq(DIAGNOSTICS_MAGIC)
        if not self.table.queues:
            return 0
        report = Signal(ErrorReport)
        broken = Signal()
        m.d.comb += [
            broken.eq(self.error.valid & ~negotiation.status[6] & writable),
            negotiation.needs_reset.eq(broken),
            host.diagnostics.cause.eq(report.cause),
            host.diagnostics.queue.eq(report.queue),
            host.diagnostics.head.eq(report.head),
            host.diagnostics.descriptor.eq(report.descriptor),
        ]
        with m.If(clear):
            m.d.sync += report.eq(0)
        with m.Elif(broken):
            m.d.sync += report.eq(self.error.p)
        return broken

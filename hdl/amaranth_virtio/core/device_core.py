"""The device core."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Shape, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.layout import DIAGNOSTICS_MAGIC
from virtio_spec.virtio import NO_VECTOR, Feature, feature_mask

from ..chain import QUEUE
from ..devices.interface import DeviceTable
from ..virtqueue.layout import ErrorReport, QueueLookup
from .config import DeviceConfig
from .interface import CoreSignature
from .interrupts import InterruptDispatch
from .queues import QueueContexts, check_queues
from .reset import ResetSequencer
from .status import Negotiation, check_features

__all__ = ["DeviceCore"]


class DeviceCore(wiring.Component):
    """Everything about a virtio device that is neither a register layout, a ring nor a device type.

    Status machine, feature negotiation, queue contexts, configuration generation, ISR status,
    interrupt dispatch, diagnostics, and the sequence of a reset.  [virtio 1.4 §2, §3, §4.1.4]

    A queue can be enabled once FEATURES_OK is set, also after DRIVER_OK.

    Parameters
    ----------
    table : :class:`DeviceTable`
        The device type. VERSION_1 is offered beside its features.
    queue_size : :class:`int`
        Greatest queue size, a power of two up to 32768.
    vectors : :class:`int`
        MSI-X vectors of the function, 0 to 2048.

    Members
    -------
    transport : :py:`In(CoreSignature())`
        The register front end.
    lookup : array of three :py:`In(QueueLookup)`
        The engine's read ports on the queue contexts; only for queues that exist.
    kick : :py:`Out(stream.Signature(16, always_ready=True))`
        Existing queues that the driver notified; nothing while not ``running``.
    interrupt : :py:`In(stream.Signature(16))`
        Queues whose used ring the driver is to be told of.
    error : :py:`In(stream.Signature(ErrorReport, always_ready=True))`
        The engine met a broken ring: DEVICE_NEEDS_RESET. The first report stands until the reset.
    vector : :py:`Out(stream.Signature(16))`
        MSI-X vectors to be signalled; the cause is in the ISR status already.
    msix_enable : :py:`In(1)`
        MSI-X is enabled.
    isr : :py:`Out(8)`
        ISR status.
    interrupt_status : :py:`Out(1)`
        Interrupt Status of the PCI Status register: any ISR bit while MSI-X is disabled.
    features : :py:`Out(64)`
        Accepted features while FEATURES_OK is set, else 0.
    running : :py:`Out(1)`
        Buffers may be used: DRIVER_OK, neither FAILED nor DEVICE_NEEDS_RESET, no reset under way.
    reset : :py:`Out(1)`
        To the engine, the device and all that serves them, until everything is cleared.
    idle : :py:`In(1)`
        All of them are at rest; looked at from the second cycle of ``reset`` on.
    function_reset : :py:`In(1)`, function_reset_done : :py:`Out(1)`
        An FLR goes the same way: high until the strobe.
    config : :py:`In(table.config)`, config_changed : :py:`In(1)`
        As :class:`Device` has them; present if the table names a layout.
    """

    def __init__(self, *, table: DeviceTable, queue_size: int, vectors: int):
        if not 0 <= vectors <= 2048:
            raise ValueError(f"vectors must be 0 to 2048, not {vectors}")
        check_queues(table.queues, queue_size)
        self.table = table
        self.queue_size = queue_size
        self.vectors = vectors
        self.offered = table.features | feature_mask(Feature.VERSION_1)
        check_features(self.offered, table.requires)
        members: dict[str, Any] = {
            "transport": In(CoreSignature()),
            "lookup": In(QueueLookup).array(3),
            "kick": Out(stream.Signature(QUEUE, always_ready=True)),
            "interrupt": In(stream.Signature(QUEUE)),
            "error": In(stream.Signature(ErrorReport, always_ready=True)),
            "vector": Out(stream.Signature(16)),
            "msix_enable": In(1),
            "isr": Out(8),
            "interrupt_status": Out(1),
            "features": Out(64),
            "running": Out(1),
            "reset": Out(1),
            "idle": In(1),
            "function_reset": In(1),
            "function_reset_done": Out(1),
        }
        if table.config is not None:
            members |= {"config": In(table.config), "config_changed": In(1)}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        host = self.transport
        m.submodules.negotiation = negotiation = Negotiation(
            offered=self.offered, requires=self.table.requires
        )
        m.submodules.queues = queues = QueueContexts(
            queues=self.table.queues, queue_size=self.queue_size, vectors=self.vectors
        )
        m.submodules.reset = sequencer = ResetSequencer()
        m.submodules.interrupts = interrupts = InterruptDispatch()
        writable = ~sequencer.reset

        # Status, features, reset
        status_zero = host.status_write & (host.status_data == 0)
        m.d.comb += [
            negotiation.write.eq(host.status_write & ~status_zero & writable),
            negotiation.data.eq(host.status_data),
            negotiation.features_enable.eq(Mux(writable, host.driver_features_enable, 0)),
            negotiation.features_data.eq(host.driver_features_data),
            negotiation.features_unknown.eq(host.driver_features_unknown & writable),
            negotiation.clear.eq(sequencer.clear),
            sequencer.request.eq(status_zero),
            sequencer.function_reset.eq(self.function_reset),
            sequencer.idle.eq(self.idle & interrupts.idle),
            sequencer.swept.eq(queues.swept),
            host.status.eq(negotiation.status),
            host.offered.eq(self.offered),
            host.driver_features.eq(negotiation.driver_features),
            host.clear.eq(sequencer.clear),
            # With status 0 already the driver cannot see that a reset is under way, and its next
            # write would be lost; so it waits.
            host.busy.eq(sequencer.reset & (sequencer.sweep | sequencer.clear | (negotiation.status == 0))),
            self.function_reset_done.eq(sequencer.function_reset_done),
            self.reset.eq(sequencer.reset),
            self.features.eq(negotiation.features),
            self.running.eq(negotiation.running & ~sequencer.reset),
            self.kick.valid.eq(host.kick.valid & self.running & (host.kick.p < self.table.queues)),
            self.kick.p.eq(host.kick.p),
        ]

        # Queue contexts
        for ours, inner in zip(self.lookup, queues.lookup, strict=True):
            m.d.comb += [inner.queue.eq(ours.queue), ours.context.eq(inner.context)]
        m.d.comb += [
            queues.queue.eq(host.queue),
            queues.write.eq(Mux(writable, host.queue_enable, 0)),
            queues.data.eq(host.queue_data),
            queues.enable_allowed.eq(negotiation.status[3]),
            queues.sweep.eq(sequencer.sweep),
            host.registers.eq(queues.registers),
        ]

        # Device configuration
        config_changed = Signal()
        if self.table.config is not None:
            m.submodules.config = config = DeviceConfig(bits=Shape.cast(self.table.config).width)
            m.d.comb += [
                config_changed.eq(self.config_changed),
                config.config.eq(self.config),
                config.changed.eq(config_changed),
                config.index.eq(host.config_index),
                config.read.eq(host.config_read),
                host.config_data.eq(config.data),
                host.generation.eq(config.generation),
            ]

        # Errors
        report = Signal(ErrorReport)
        broken = Signal()
        m.d.comb += [
            broken.eq(self.error.valid & ~negotiation.status[6] & writable),
            negotiation.needs_reset.eq(broken),
            host.diagnostics.magic.eq(DIAGNOSTICS_MAGIC),
            host.diagnostics.cause.eq(report.cause),
            host.diagnostics.queue.eq(report.queue),
            host.diagnostics.head.eq(report.head),
            host.diagnostics.descriptor.eq(report.descriptor),
        ]
        with m.If(sequencer.clear):
            m.d.sync += report.eq(0)
        with m.Elif(broken):
            m.d.sync += report.eq(self.error.p)

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
        wiring.connect(m, wiring.flipped(self.interrupt), interrupts.interrupt)
        wiring.connect(m, interrupts.vector, wiring.flipped(self.vector))
        m.d.comb += [
            host.config_vector.eq(Mux(config_vector < self.vectors, config_vector, NO_VECTOR)),
            interrupts.config_vector.eq(host.config_vector),
            interrupts.config_changed.eq(config_changed | broken),
            interrupts.enabled.eq(negotiation.status[2]),
            interrupts.reset.eq(sequencer.reset),
            interrupts.clear.eq(sequencer.clear),
            interrupts.msix_enable.eq(self.msix_enable),
            interrupts.isr_read.eq(host.isr_read),
            queues.vector_queue.eq(interrupts.vector_queue),
            interrupts.queue_vector.eq(queues.vector),
            host.isr.eq(interrupts.isr),
            self.isr.eq(interrupts.isr),
            self.interrupt_status.eq(Cat(interrupts.isr).any() & ~self.msix_enable),
        ]
        return m

"""The legacy PCI transport's registers."""

from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from virtio_spec import layout
from virtio_spec.split import LEGACY_ALIGN, legacy_layout
from virtio_spec.virtio import DeviceStatus, Feature, feature_mask
from virtio_spec.virtio_pci import LegacyHeader, LegacyVectors
from virtio_spec.wire import field_offset, field_size, size

from ..core.interface import CoreSignature
from ..core.queues import check_queues
from ..registers import RegisterBus
from .access import RegisterAccess

__all__ = ["LegacyTransport"]


class _Registers(data.Struct):
    """All that may stand before the device configuration."""

    header: LegacyHeader
    vectors: LegacyVectors


class LegacyTransport(wiring.Component):
    """The legacy registers of I/O BAR 0 in front of the device core.  [virtio 1.4 §4.1.4.10]

    The header, behind it while MSI-X is enabled the two vectors, then the device configuration up to
    the diagnostics block at 0xF0. The configuration moves with ``msix_enable`` at once. Everything is
    little-endian.

    Reads take any byte enables and give the whole dword; the ISR status is cleared only by a read of
    its byte. A write to the header or the vectors counts only for registers that it covers whole; one
    dword may cover several. The configuration takes any bytes. What has no meaning reads 0, and writes
    to it and to read-only registers are ignored.

    A queue address other than 0 places and enables the queue, with its parts where the legacy layout
    has them [§2.7.2]; the address is read back while the queue is enabled, and other ones are ignored.
    Address 0 for an enabled queue resets the device, since nothing else would tell that all accesses to
    the old place have ended. A write to the driver's features makes those above bit 31 0.

    An access takes two cycles, a read's answer comes one cycle later; while the core is busy it waits.

    Parameters
    ----------
    queues : :class:`int`
        Number of queues, 0 to 256.
    queue_size : :class:`int`
        Size of each, a power of two up to 32768. A legacy driver cannot change it.

    Members
    -------
    bus : :py:`In(RegisterBus)`
        BAR 0; the ``bar`` of a request is not looked at, nor its address beyond 256 bytes.
    core : :py:`Out(CoreSignature())`
        The device core.
    msix_enable : :py:`In(1)`
        MSI-X is enabled.
    """

    def __init__(self, *, queues: int, queue_size: int):
        check_queues(queues, queue_size)
        self.queues = queues
        self.queue_size = queue_size
        super().__init__({"bus": In(RegisterBus), "core": Out(CoreSignature()), "msix_enable": In(1)})

    def elaborate(self, platform):
        m = Module()
        core: Any = self.core
        m.submodules.access = port = RegisterAccess()
        wiring.connect(m, wiring.flipped(self.bus), port.bus)
        access: Any = port.access
        dword = access.address[2 : layout.LEGACY_BAR_SIZE.bit_length() - 1]
        config = Mux(self.msix_enable, size(_Registers) // 4, size(LegacyHeader) // 4)
        in_registers = dword < config
        in_diagnostics = dword >= layout.LEGACY_DIAGNOSTICS_OFFSET // 4

        registers = self._registers(m, port, in_registers)
        m.d.comb += [
            core.legacy.eq(1),
            core.active.eq(port.active),
            port.busy.eq(core.busy),
            core.config_index.eq(dword - config),
            core.config_write_data.eq(access.data),
        ]
        with m.If(in_registers):
            m.d.comb += port.answer.eq(registers.as_value().word_select(dword[:3], 32))
        with m.Elif(in_diagnostics):
            m.d.comb += port.answer.eq(core.diagnostics.as_value().word_select(dword[:2], 32))
        with m.Else():
            m.d.comb += [
                port.answer.eq(core.config_data),
                core.config_read.eq(Mux(port.reading, access.byte_enable, 0)),
                core.config_enable.eq(Mux(port.writing & ~core.locked, access.byte_enable, 0)),
            ]
        return m

    def _registers(self, m: Module, port: Any, selected: Any) -> Any:
        """Serve accesses to header and vectors, and return what these read as."""
        core: Any = self.core
        access = port.access
        written = Signal(_Registers)
        shown = Signal(_Registers)
        lanes = Signal(size(_Registers))
        m.d.comb += [
            written.eq(access.data.replicate(size(_Registers) // 4)),
            lanes.word_select(access.address[2:5], 4).eq(Mux(selected, access.byte_enable, 0)),
        ]

        def covered(struct: Any, name: str):
            start = field_offset(_Registers, "vectors" if struct is LegacyVectors else "header")
            start += field_offset(struct, name)
            return lanes[start : start + field_size(struct, name)].all()

        def write(struct: Any, name: str):
            return port.writing & ~core.locked & covered(struct, name)

        # Features and notifications
        features_write = write(LegacyHeader, "driver_features")
        notify = write(LegacyHeader, "queue_notify")
        m.d.comb += [
            shown.header.device_features.eq(core.offered | feature_mask(Feature.ANY_LAYOUT)),
            shown.header.driver_features.eq(core.driver_features),
            core.driver_features_enable.eq(features_write.replicate(8)),
            core.driver_features_data.eq(written.header.driver_features),
            core.kick.valid.eq(notify),
            core.kick.p.eq(written.header.queue_notify),
        ]

        # The selected queue
        queue_select = Signal.like(shown.header.queue_select)
        select_write = write(LegacyHeader, "queue_select")
        with m.If(select_write):
            m.d.sync += queue_select.eq(written.header.queue_select)
        with m.If(core.clear):
            m.d.sync += queue_select.eq(0)
        m.d.comb += [core.queue.eq(queue_select), shown.header.queue_select.eq(queue_select)]
        if self.queues:
            with m.If(queue_select < self.queues):
                m.d.comb += shown.header.queue_size.eq(self.queue_size)

        address_write = write(LegacyHeader, "queue_address")
        vector_write = write(LegacyVectors, "queue_msix_vector")
        page = written.header.queue_address
        place = Cat(C(0, LEGACY_ALIGN.bit_length() - 1), page)
        parts = legacy_layout(self.queue_size)
        in_use = core.registers.enable.any()
        enable = address_write & page.any() & ~in_use
        release = address_write & ~page.any() & in_use
        with m.If(in_use):
            m.d.comb += shown.header.queue_address.eq(core.registers.desc[LEGACY_ALIGN.bit_length() - 1 :])
        m.d.comb += [
            core.queue_data.vector.eq(written.vectors.queue_msix_vector),
            core.queue_data.enable.eq(1),
            core.queue_data.desc.eq(place),
            core.queue_data.driver.eq(place + parts.avail),
            core.queue_data.device.eq(place + parts.used),
            # size, vector, enable and the three addresses
            core.queue_enable.eq(Cat(C(0, 2), vector_write.replicate(2), enable.replicate(2 + 3 * 8))),
            shown.vectors.queue_msix_vector.eq(core.registers.vector),
        ]

        # Status, ISR status and the other vector
        nonzero = written.header.device_status.any()
        status_write = port.writing & covered(LegacyHeader, "device_status") & ~(nonzero & core.locked)
        config_vector_write = write(LegacyVectors, "config_msix_vector")
        m.d.comb += [
            shown.header.device_status.eq(core.status & (0xFF ^ DeviceStatus.FEATURES_OK)),
            core.status_write.eq(status_write | release),
            core.status_data.eq(written.header.device_status),  # 0 with an address of 0 as well
            shown.header.isr_status.eq(core.isr),
            core.isr_read.eq(port.reading & covered(LegacyHeader, "isr_status")),
            shown.vectors.config_msix_vector.eq(core.config_vector),
            core.config_vector_enable.eq(config_vector_write.replicate(2)),
            core.config_vector_data.eq(written.vectors.config_msix_vector),
        ]
        m.d.comb += core.write.eq(
            features_write
            | notify
            | select_write
            | address_write
            | vector_write
            | config_vector_write
            | (status_write & nonzero)
            | core.config_enable.any()
        )
        return shown

"""The modern PCI transport's registers."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from virtio_spec import layout
from virtio_spec.virtio_pci import CommonCfg
from virtio_spec.wire import field_offset, field_size, size

from ..core.interface import CoreSignature
from ..registers import RegisterBus
from .access import RegisterAccess

__all__ = ["ModernTransport"]


class ModernTransport(wiring.Component):
    """All virtio structures of BAR 4 in front of the device core.  [virtio 1.4 §4.1.4]

    Common configuration, diagnostics, ISR status, device configuration and notification at the
    offsets of :mod:`virtio_spec.layout`. Bytes without a meaning read 0, and writes to them
    and to read-only fields are ignored. Any byte enables are served; a 64-bit field is two halves on
    their own; 16-bit fields that must have certain values (``queue_size``, ``queue_enable``) should be
    written whole.

    A write to a queue's notification address, whatever its width and value, kicks the queue that the
    address stands for: so NOTIFICATION_DATA and NOTIF_CONFIG_DATA, whose value is the queue's number, need
    nothing more.

    An access takes two cycles, a read's answer comes one cycle later; while the core is busy it waits.

    Parameters
    ----------
    queues : :class:`int`
        Number of queues, for ``num_queues``.

    Members
    -------
    bus : :py:`In(RegisterBus)`
        BAR 4; the ``bar`` of a request is not looked at.
    core : :py:`Out(CoreSignature())`
        The device core.
    """

    def __init__(self, *, queues: int):
        self.queues = queues
        super().__init__({"bus": In(RegisterBus), "core": Out(CoreSignature())})

    def elaborate(self, platform):
        m = Module()
        core: Any = self.core
        m.submodules.access = port = RegisterAccess()
        wiring.connect(m, wiring.flipped(self.bus), port.bus)
        access: Any = port.access
        writing = port.writing & ~core.locked

        def inside(offset: int, length: int):
            return access.address[length.bit_length() - 1 : 14] == offset // length

        common, common_write = self._common(m, port, inside(layout.COMMON_OFFSET, size(CommonCfg)))
        dword = access.address[2:]
        diagnostics = core.diagnostics.as_value()
        m.d.comb += [
            core.active.eq(port.active),
            port.busy.eq(core.busy),
            core.config_index.eq(dword),
            core.config_write_data.eq(access.data),
            core.kick.p.eq(dword[: layout.NOTIFY_LENGTH.bit_length() - 3]),
            core.write.eq(common_write | core.config_enable.any() | core.kick.valid),
        ]
        with m.If(inside(layout.COMMON_OFFSET, size(CommonCfg))):
            m.d.comb += port.answer.eq(common.as_value().word_select(dword[:4], 32))
        with m.Elif(inside(layout.DIAGNOSTICS_OFFSET, size(layout.Diagnostics))):
            m.d.comb += port.answer.eq(diagnostics.word_select(dword[:2], 32))
        with m.Elif(inside(layout.ISR_OFFSET, 4)):
            m.d.comb += [
                port.answer.eq(core.isr),
                core.isr_read.eq(port.reading & access.byte_enable[0]),
            ]
        with m.Elif(inside(layout.DEVICE_OFFSET, layout.DEVICE_LENGTH)):
            m.d.comb += [
                port.answer.eq(core.config_data),
                core.config_read.eq(Mux(port.reading, access.byte_enable, 0)),
                core.config_enable.eq(Mux(writing, access.byte_enable, 0)),
            ]
        with m.Elif(inside(layout.NOTIFY_OFFSET, layout.NOTIFY_LENGTH)):
            m.d.comb += core.kick.valid.eq(writing & access.byte_enable.any())
        return m

    def _common(self, m: Module, port: Any, selected: Any) -> tuple[Any, Any]:
        """Serve the common configuration; what it reads as, and whether a register is written."""
        core: Any = self.core
        access = port.access
        written = Signal(CommonCfg)
        lanes = Signal(size(CommonCfg))
        m.d.comb += [
            written.eq(access.data.replicate(size(CommonCfg) // 4)),
            lanes.word_select(access.address[2:6], 4).eq(Mux(selected, access.byte_enable, 0)),
        ]

        def touched(name: str):
            start = field_offset(CommonCfg, name)
            return lanes[start : start + field_size(CommonCfg, name)]

        enables = []  # of all registers that can be written, but for the status

        def enable(name: str):
            enables.append(Mux(port.writing & ~core.locked, touched(name), 0))
            return enables[-1]

        common = Signal(CommonCfg)
        for name in ("device_feature_select", "driver_feature_select", "queue_select"):
            register = Signal.like(common[name], name=name)
            m.d.comb += common[name].eq(register)
            for byte, selected in enumerate(enable(name)):
                with m.If(selected):
                    m.d.sync += register.word_select(byte, 8).eq(written[name].word_select(byte, 8))
            with m.If(core.clear):
                m.d.sync += register.eq(0)

        features_enable = enable("driver_feature")
        for word in range(2):
            half = slice(32 * word, 32 * word + 32)
            with m.If(common.device_feature_select == word):
                m.d.comb += common.device_feature.eq(core.offered[half])
            with m.If(common.driver_feature_select == word):
                m.d.comb += [
                    common.driver_feature.eq(core.driver_features[half]),
                    core.driver_features_enable[4 * word : 4 * word + 4].eq(features_enable),
                ]
        accepts = [
            written.driver_feature.word_select(byte, 8).any() & selected
            for byte, selected in enumerate(features_enable)
        ]
        nonzero = written.device_status.any()
        status_write = port.writing & touched("device_status") & ~(nonzero & core.locked)
        m.d.comb += [
            core.driver_features_data.eq(written.driver_feature.replicate(2)),
            core.driver_features_unknown.eq(Cat(accepts).any() & (common.driver_feature_select > 1)),
            core.config_vector_enable.eq(enable("config_msix_vector")),
            core.config_vector_data.eq(written.config_msix_vector),
            common.config_msix_vector.eq(core.config_vector),
            common.num_queues.eq(self.queues),
            core.status_write.eq(status_write),
            core.status_data.eq(written.device_status),
            common.device_status.eq(core.status),
            common.config_generation.eq(core.generation),
            core.generation_read.eq(port.reading & touched("config_generation")),
        ]

        queue_fields = {
            "size": "queue_size",
            "vector": "queue_msix_vector",
            "enable": "queue_enable",
            "desc": "queue_desc",
            "driver": "queue_driver",
            "device": "queue_device",
        }
        m.d.comb += [
            core.queue.eq(common.queue_select),
            core.queue_enable.eq(Cat(enable(name) for name in queue_fields.values())),
        ]
        for ours, theirs in queue_fields.items():
            m.d.comb += [core.queue_data[ours].eq(written[theirs]), common[theirs].eq(core.registers[ours])]
        # It does not choose the interface: a driver has written others long before.
        m.d.comb += [
            core.queue_reset.eq(
                port.writing & ~core.locked & touched("queue_reset").all() & (written.queue_reset == 1)
            ),
            common.queue_reset.eq(core.queue_resetting),
            # Of a feature that is not offered
            common.admin_queue_index.eq(0),
            common.admin_queue_num.eq(0),
        ]
        with m.If(common.queue_select < self.queues):
            m.d.comb += [
                common.queue_notify_off.eq(common.queue_select),
                common.queue_notif_config_data.eq(common.queue_select),
            ]
        return common, Cat(*enables, status_write & nonzero).any()

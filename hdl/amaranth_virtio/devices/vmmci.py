"""OpenBSD's virtual machine monitor control interface, vmmci(4)."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.pci import ClassCode
from virtio_spec.virtio import DeviceType, feature_mask
from virtio_spec.virtio_pci import Interface
from virtio_spec.vmmci import DEVICE_ID, SUBSYSTEM_ID, VENDOR_ID, VmmciConfig, VmmciFeature

from ..pcie.config_header import Identity
from .clock import ClockSignature
from .interface import Device, DeviceTable
from .vmmci_commands import COMMAND, VmmciCommands, VmmciNotice, VmmciReply

__all__ = ["VmmciDevice"]

COMMAND_BYTES = 4


class VmmciDevice(Device):
    """Show the guest the host's time, and hand it the host's commands, as OpenBSD's vmd does.

    A legacy device without virtqueues; its ids are OpenBSD's. The rules for commands are those of
    :class:`VmmciCommands`. Unlike vmd's, its registers can be read in any width, and the time's high words
    are right: seconds and microseconds are one value (``together`` in the table).

    A write to the command register counts if it covers the register's first byte; bytes that it leaves
    out are 0, as they read. So a guest that writes byte by byte is understood at its first byte, and the
    three others do nothing. Writes to the time are ignored. An acknowledgement counts whether or not the
    guest accepted ACK, because a driver that there is looks at the wrong bit.

    A guest that never reads the ISR status takes the interrupt back by reading or writing the command.

    Parameters
    ----------
    width : :class:`int`
        Data path in bits of the endpoint that it becomes part of; the device itself has no use for it.
    ack_timeout : :class:`int`
        Cycles until a SHUTDOWN or REBOOT has to be acknowledged, and a guest that shuts down on its own
        has to be done; by default 3 s at 250 MHz.
    shutdown_timeout : :class:`int`
        Cycles from an acknowledgement until the guest has to be done; by default 120 s at 250 MHz.

    Members
    -------
    clock : :py:`In(ClockSignature())`
        The time that the guest is told, in the same cycle.
    request : :py:`In(stream.Signature(2))`
        A ``VmmciCommand`` for the guest. Always taken.
    answer : :py:`Out(VmmciReply)`
        What became of a request, one cycle after it.
    notice : :py:`Out(VmmciNotice)`
        The guest acknowledged, shuts down on its own, or took too long; a strobe.
    pending : :py:`Out(2)`
        The command in the register.
    """

    features: Any
    driver_ok: Any
    config: Any
    config_changed: Any
    config_write: Any
    clock: Any
    request: Any
    answer: Any
    notice: Any
    pending: Any

    def __init__(
        self, *, width: int = 64, ack_timeout: int = 750_000_000, shutdown_timeout: int = 30_000_000_000
    ):
        self.commands = VmmciCommands(ack_timeout=ack_timeout, shutdown_timeout=shutdown_timeout)
        self.ack_timeout = ack_timeout
        self.shutdown_timeout = shutdown_timeout
        super().__init__(
            table=DeviceTable(
                device_type=DeviceType.VMMCI,
                class_code=ClassCode.VMMCI,
                features=feature_mask(VmmciFeature.TIMESYNC, VmmciFeature.ACK, VmmciFeature.SYNCRTC),
                queues=0,
                config=VmmciConfig,
                together=(("time_sec", "time_usec"),),
                writable=("command",),
                acknowledge="command",
                identity=Identity(
                    vendor_id=VENDOR_ID,
                    device_id=DEVICE_ID,
                    subsystem_vendor_id=VENDOR_ID,
                    subsystem_id=SUBSYSTEM_ID,
                    revision=0,
                    class_code=ClassCode.VMMCI,
                ),
                interfaces=(Interface.LEGACY,),
                msix=False,
            ),
            width=width,
            backend={
                "clock": In(ClockSignature()),
                "request": In(stream.Signature(COMMAND)),
                "answer": Out(VmmciReply),
                "notice": Out(VmmciNotice),
                "pending": Out(COMMAND),
            },
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.commands = commands = self.commands
        wiring.connect(m, wiring.flipped(self.request), commands.request)
        enable = self.config_write.enable[:COMMAND_BYTES]
        data = self.config_write.data.command
        m.d.comb += [
            commands.driver_ok.eq(self.driver_ok),
            commands.sync_accepted.eq(self.features[VmmciFeature.SYNCRTC]),
            commands.written.eq(enable[0]),
            commands.value.eq(
                Cat(Mux(enable[byte], data.word_select(byte, 8), 0) for byte in range(COMMAND_BYTES))
            ),
            self.answer.eq(commands.answer),
            self.notice.eq(commands.notice),
            self.pending.eq(commands.pending),
            self.config.command.eq(commands.pending),
            self.config.time_sec.eq(self.clock.seconds),
            self.config.time_usec.eq(self.clock.microseconds),
            self.config_changed.eq(commands.raised),
        ]
        return m

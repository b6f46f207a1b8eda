"""OpenBSD's virtual machine monitor control interface, as vmd(8) has it, with a clock that is right.

What the guest writes to the command is an acknowledgement if it is the pending command, or its own wish
to shut down. Only a write of the first byte counts: the others are 0 in every command, so that a driver
that writes byte by byte says everything with the first.
"""

from virtio_spec import vmmci, wire
from virtio_spec.pci import ClassCode
from virtio_spec.virtio import DeviceType, feature_mask
from virtio_spec.virtio_pci import Interface
from virtio_spec.vmmci import VmmciAnswer, VmmciCommand, VmmciConfig, VmmciEvent, VmmciFeature

from .clock import Clock
from .config_space import Identity
from .kind import DeviceKind

__all__ = ["Vmmci"]

SECOND_NS = 1_000_000_000


class Vmmci(DeviceKind):
    """The device, and the host's side of it.

    Parameters
    ----------
    clock
        The host's time.
    ack_timeout_ns
        How long a guest may take to acknowledge a shutdown or reboot, and for its own shutdown.
    shutdown_timeout_ns
        How long it may take to shut down or reboot after it has acknowledged.

    Attributes
    ----------
    pending
        The command register.
    events
        What the guest did, or did not do in time, in order.
    """

    device_type = DeviceType.VMMCI
    class_code = ClassCode.VMMCI
    identity = Identity(
        vendor_id=vmmci.VENDOR_ID,
        device_id=vmmci.DEVICE_ID,
        revision_id=0,
        class_code=ClassCode.VMMCI,
        subsystem_vendor_id=vmmci.VENDOR_ID,
        subsystem_id=vmmci.SUBSYSTEM_ID,
        vectors=0,
    )
    interfaces = (Interface.LEGACY,)
    msix = False
    features = feature_mask(*VmmciFeature)
    queues = 0
    config_layout = VmmciConfig
    together = (("time_sec", "time_usec"),)
    writable = ("command",)
    acknowledge = "command"

    def __init__(
        self,
        clock: Clock,
        *,
        ack_timeout_ns: int = 3 * SECOND_NS,
        shutdown_timeout_ns: int = 120 * SECOND_NS,
    ):
        self.clock = clock
        self.ack_timeout_ns, self.shutdown_timeout_ns = ack_timeout_ns, shutdown_timeout_ns
        self.events: list[tuple[VmmciEvent, VmmciCommand]] = []
        self.reset()

    def reset(self) -> None:
        """The guest starts anew: nothing is asked of it."""
        super().reset()
        self.pending = VmmciCommand.NONE
        self._acknowledged = False
        self._timed = VmmciCommand.NONE  # what the timer is for; NONE: it does not run
        self._left_ns = 0

    def config(self) -> bytes:
        """Command and time."""
        seconds, microseconds = self.clock.now()
        return wire.pack(VmmciConfig, command=self.pending, time_sec=seconds % 2**64, time_usec=microseconds)

    def request(self, command: int) -> VmmciAnswer:
        """The host wants something of the guest."""
        if not self.driver_ok:
            return VmmciAnswer.NOT_RUNNING
        if command not in (VmmciCommand.SHUTDOWN, VmmciCommand.REBOOT, VmmciCommand.SYNCRTC):
            return VmmciAnswer.UNKNOWN
        if command == self.pending:
            return VmmciAnswer.PENDING
        if command == VmmciCommand.SYNCRTC and not self.accepted >> VmmciFeature.SYNCRTC & 1:
            return VmmciAnswer.NOT_NEGOTIATED
        self.pending = VmmciCommand(command)
        self._acknowledged = False
        if command != VmmciCommand.SYNCRTC:
            self._start_timer(self.pending, self.ack_timeout_ns)
        self.changed()
        return VmmciAnswer.RAISED

    def config_written(self, offset: int, data: bytes) -> None:
        """The guest writes to the command; what it leaves out is what the register reads."""
        if offset or not self.driver_ok:
            return
        held = self.pending.to_bytes(4, "little")
        written = int.from_bytes(data + held[len(data) :], "little")
        if written == VmmciCommand.NONE:
            return
        if written == self.pending:
            self._acknowledge()
        elif written == VmmciCommand.SHUTDOWN and self.pending == VmmciCommand.NONE:
            self.events.append((VmmciEvent.SHUTDOWN, VmmciCommand.SHUTDOWN))
            self._start_timer(VmmciCommand.SHUTDOWN, self.ack_timeout_ns)

    def _acknowledge(self) -> None:
        if self._acknowledged:
            return
        self.events.append((VmmciEvent.ACKNOWLEDGED, self.pending))
        if self.pending == VmmciCommand.SYNCRTC:
            self.pending = VmmciCommand.NONE
        else:
            self._acknowledged = True
            self._start_timer(self.pending, self.shutdown_timeout_ns)

    def _start_timer(self, command: VmmciCommand, ns: int) -> None:
        self._timed, self._left_ns = command, ns

    def elapse(self, ns: int) -> None:
        """Time passes; the clock is moved by whoever owns it."""
        if self._timed == VmmciCommand.NONE:
            return
        self._left_ns -= ns
        if self._left_ns <= 0:
            self.events.append((VmmciEvent.TIMED_OUT, self._timed))
            self.pending = self._timed = VmmciCommand.NONE

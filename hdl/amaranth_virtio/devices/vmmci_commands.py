"""Commands of a virtual machine's host to its guest."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.vmmci import VmmciAnswer, VmmciCommand, VmmciEvent

from .countdown import Countdown

__all__ = ["COMMAND", "VmmciCommands", "VmmciNotice", "VmmciReply"]

COMMAND = 2  # bits of a VmmciCommand


class VmmciReply(data.Struct):
    """What became of a request; ``valid`` for one cycle."""

    valid: 1
    kind: VmmciAnswer


class VmmciNotice(data.Struct):
    """What the guest did, or did not do in time, about ``command``; ``valid`` for one cycle."""

    valid: 1
    kind: VmmciEvent
    command: COMMAND


class VmmciCommands(wiring.Component):
    """The command register of vmmci(4), and how long the guest may take.

    A request puts its command into the register, and the guest acknowledges by writing it back:

    - SYNCRTC is over with that. SHUTDOWN and REBOOT stay in the register: they have ``ack_timeout``
      cycles to be acknowledged, and from the acknowledgement, which counts once, ``shutdown_timeout``
      cycles to come true, which is a virtio reset.
    - Another request replaces the command in the register. SYNCRTC leaves the time-out of an earlier
      SHUTDOWN or REBOOT running.
    - A guest that writes SHUTDOWN while no command is pending is shutting down on its own, and has
      ``ack_timeout`` cycles for it; writing it once more begins them anew.
    - Anything else that the guest writes is ignored.
    - A time-out empties the register.

    What happens in the same cycle happens in this order: the guest's write; the time-out, which a write
    that counts puts off by a cycle; the request. While ``driver_ok`` is low there is neither command nor
    time-out, requests are refused and writes ignored.

    Parameters
    ----------
    ack_timeout, shutdown_timeout : :class:`int`
        In cycles.

    Members
    -------
    driver_ok, sync_accepted : :py:`In(1)`
        The driver is there; it has accepted SYNCRTC.
    request : :py:`In(stream.Signature(2))`
        A ``VmmciCommand`` for the guest. Always taken.
    answer : :py:`Out(VmmciReply)`
        One cycle after each request.
    written : :py:`In(1)`, value : :py:`In(32)`
        The guest writes the register.
    notice : :py:`Out(VmmciNotice)`
        One cycle after its cause. ``command`` of a time-out is that whose time is over, SHUTDOWN if it was
        the guest's own.
    pending : :py:`Out(2)`
        The register.
    raised : :py:`Out(1)`
        Strobe in the first cycle in which ``pending`` shows a new command.
    """

    request: Any
    answer: Any
    notice: Any

    def __init__(self, *, ack_timeout: int, shutdown_timeout: int):
        for name, cycles in (("ack_timeout", ack_timeout), ("shutdown_timeout", shutdown_timeout)):
            if cycles < 1:
                raise ValueError(f"{name} must be 1 or more cycles, not {cycles}")
        self.ack_timeout = ack_timeout
        self.shutdown_timeout = shutdown_timeout
        super().__init__(
            {
                "driver_ok": In(1),
                "sync_accepted": In(1),
                "request": In(stream.Signature(COMMAND)),
                "answer": Out(VmmciReply),
                "written": In(1),
                "value": In(32),
                "notice": Out(VmmciNotice),
                "pending": Out(COMMAND),
                "raised": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.timer = timer = Countdown(limit=max(self.ack_timeout, self.shutdown_timeout))
        timed = Signal(COMMAND)  # the command whose time-out it is
        acknowledged = Signal()  # the SHUTDOWN or REBOOT in the register is

        # The guest
        matches = Signal()
        synced = Signal()
        stopping = Signal()
        own = Signal()
        m.d.comb += [
            matches.eq(self.written & self.driver_ok & (self.value == self.pending)),
            synced.eq(matches & (self.pending == VmmciCommand.SYNCRTC)),
            stopping.eq(
                matches
                & ((self.pending == VmmciCommand.SHUTDOWN) | (self.pending == VmmciCommand.REBOOT))
                & ~acknowledged
            ),
            own.eq(
                self.written
                & self.driver_ok
                & (self.pending == VmmciCommand.NONE)
                & (self.value == VmmciCommand.SHUTDOWN)
            ),
        ]
        with m.If(stopping):
            m.d.comb += [timer.start.eq(1), timer.cycles.eq(self.shutdown_timeout)]
            m.d.sync += acknowledged.eq(1)
        with m.If(own):
            m.d.comb += [timer.start.eq(1), timer.cycles.eq(self.ack_timeout)]
            m.d.sync += timed.eq(VmmciCommand.SHUTDOWN)

        # The time-out
        timed_out = Signal()
        m.d.comb += [
            timed_out.eq(timer.expired & self.driver_ok & ~synced & ~stopping & ~own),
            timer.stop.eq(timed_out | ~self.driver_ok),
        ]
        m.d.sync += [
            self.notice.valid.eq(synced | stopping | own | timed_out),
            self.notice.command.eq(Mux(timed_out, timed, self.value[:COMMAND])),
            self.notice.kind.eq(
                Mux(timed_out, VmmciEvent.TIMED_OUT, Mux(own, VmmciEvent.SHUTDOWN, VmmciEvent.ACKNOWLEDGED))
            ),
        ]

        # The host
        current = Signal(COMMAND)  # as the two above leave it
        command = self.request.p
        kind = Signal(VmmciAnswer)
        raise_command = Signal()
        m.d.comb += [
            self.request.ready.eq(1),
            current.eq(Mux(synced | timed_out | ~self.driver_ok, VmmciCommand.NONE, self.pending)),
            raise_command.eq(self.request.valid & (kind == VmmciAnswer.RAISED)),
        ]
        with m.If(~self.driver_ok):
            m.d.comb += kind.eq(VmmciAnswer.NOT_RUNNING)
        with m.Elif(command == VmmciCommand.NONE):
            m.d.comb += kind.eq(VmmciAnswer.UNKNOWN)
        with m.Elif(command == current):
            m.d.comb += kind.eq(VmmciAnswer.PENDING)
        with m.Elif((command == VmmciCommand.SYNCRTC) & ~self.sync_accepted):
            m.d.comb += kind.eq(VmmciAnswer.NOT_NEGOTIATED)
        with m.Else():
            m.d.comb += kind.eq(VmmciAnswer.RAISED)
        m.d.sync += [
            self.answer.valid.eq(self.request.valid),
            self.answer.kind.eq(kind),
            self.pending.eq(Mux(raise_command, command, current)),
            self.raised.eq(raise_command),
        ]
        with m.If(raise_command & (command != VmmciCommand.SYNCRTC)):
            m.d.comb += [timer.start.eq(1), timer.cycles.eq(self.ack_timeout)]
            m.d.sync += [timed.eq(command), acknowledged.eq(0)]
        return m

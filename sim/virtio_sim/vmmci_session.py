"""A guest and its host talk through vmmci: what is found, clock drift, SYNCRTC, a reboot.

Everything is told as it happens; a device that does not do what it should fails the step.
"""

from collections.abc import Callable
from typing import Any

from cocotbext.virtio.devices.vmmci import VirtioVmmci
from cocotbext.virtio.driver import probe
from cocotbext.virtio.suite import Bench
from virtio_spec.pci import ConfigOffset
from virtio_spec.virtio import DeviceStatus
from virtio_spec.vmmci import VmmciAnswer, VmmciCommand, VmmciEvent, VmmciFeature

__all__ = ["START", "Session"]

#: How guests read: OpenBSD and virtio_pci_obsd by words, Linux's own legacy driver by bytes.
HABITS = ("natural", "bytes")
#: Seconds of the host's clock at the start; on the way they begin to need their upper word.
START = 2**32 - 38
SECOND = 1_000_000  # in microseconds
POLL = 15 * SECOND  # what OpenBSD's driver waits between two looks at the clock
POLLS = 5
DRIFT_PPM = 300  # of the guest's clock, a bad one
OFFSET = -SECOND * 5 // 4  # what the guest's clock was wrong by when it booted
INTX_NS = 20_000
#: What the host is told comes a few cycles after the guest wrote, and nothing wakes a host that waits.
NOTICE_NS = 100

CONFIG_CHANGE = 2


class Session:
    """The steps, each a coroutine that returns how many times the guest and the host have dealt.

    Parameters
    ----------
    bench
        With a vmmci device whose clock stands at :data:`START`.
    tell
        Called with ``say=`` a sentence, or ``drift=`` a row of the table, in microseconds: the host's
        clock, and by how much the guest finds its own behind it, for each habit.
    """

    def __init__(self, bench: Bench, tell: Callable[..., None]):
        assert bench.vmmci is not None, "the bench has no vmmci"
        self.bench, self.tell, self.vmmci = bench, tell, bench.vmmci
        self.readers: dict[str, VirtioVmmci] = {}
        bench.host.clocks.append(bench.clock)
        self._set_guest_clock(self._host_clock() + OFFSET)

    @property
    def steps(self) -> dict[str, Any]:
        """Name and coroutine function of each step, in order."""
        return {
            "probe": self.probe,
            "clock drift": self.drift,
            "SYNCRTC": self.sync,
            "reboot": self.reboot,
            "shutdown": self.shutdown,
        }

    def _host_clock(self) -> int:
        seconds, microseconds = self.bench.clock.now()
        return seconds * SECOND + microseconds

    def _guest_clock(self) -> int:
        return self._guest_base + self.bench.host.now_ns() // 1000

    def _set_guest_clock(self, microseconds: int) -> None:
        self._guest_base = microseconds - self.bench.host.now_ns() // 1000

    @property
    def _guest(self) -> VirtioVmmci:
        return self.readers[HABITS[0]]

    async def probe(self) -> int:
        """What a guest finds when it boots, up to DRIVER_OK."""
        host = self.bench.host
        ids = await host.config_read(ConfigOffset.VENDOR_ID, 4)
        subsystem = await host.config_read(ConfigOffset.SUBSYSTEM_VENDOR_ID, 4)
        shown = [f"{word & 0xFFFF:04x}:{word >> 16:04x}" for word in (ids, subsystem)]
        self.tell(say=f"guest: found {shown[0]}, subsystem {shown[1]}")
        for habit in HABITS:
            self.readers[habit] = VirtioVmmci(await probe(host, transport="legacy", habit=habit))
        device = self._guest.device
        await device.start()
        assert await device.transport.status() & DeviceStatus.DRIVER_OK, "DRIVER_OK does not read back"
        names = [feature.name for feature in VmmciFeature if device.accepted >> feature & 1]
        assert len(names) == len(VmmciFeature), f"only {names} are offered"
        self.tell(say=f"guest: vmmci is running, with {', '.join(names)}")
        return 1

    async def drift(self) -> int:
        """The guest polls the host's clock, which carries into the upper word of the seconds on the way."""
        for poll in range(POLLS):
            if poll:
                self._sleep()
            await self._row()
        assert self._host_clock() >= 2**32 * SECOND, "the seconds have not needed their upper word"
        return POLLS

    def _sleep(self) -> None:
        """A poll interval passes, by the clocks; the simulation does not wait for it."""
        self.bench.clock.advance(POLL)
        self._guest_base += POLL + POLL * DRIFT_PPM // SECOND

    async def _row(self) -> None:
        row = {"host": self._host_clock()}
        for habit, reader in self.readers.items():
            before, guest = self._host_clock(), self._guest_clock()
            behind = -await reader.drift(guest * 1000) // 1000
            read, after = guest + behind, self._host_clock()
            assert before <= read <= after, f"{habit} reads {read:,} µs, not {before:,} to {after:,}"
            row[habit] = behind
        self.tell(drift=row)

    async def _raise(self, command: VmmciCommand) -> None:
        answer = await self.vmmci.request(command)
        assert answer == VmmciAnswer.RAISED, f"{command.name} was answered with {answer.name}"
        await self.bench.host.until(self.bench.host.intx, timeout_ns=INTX_NS)
        self.tell(say=f"host: {command.name}; INTA is asserted")

    async def _acknowledge(self, command: VmmciCommand) -> None:
        await self._guest.acknowledge(command)
        await self._expect(VmmciEvent.ACKNOWLEDGED, command)
        self.tell(say=f"guest: acknowledges {command.name}")

    async def _expect(self, event: VmmciEvent, command: VmmciCommand) -> None:
        events = self.vmmci.events
        await self.bench.host.sleep(NOTICE_NS)
        assert events and events[-1] == (event, command), f"the host was told {events[-1:]}"

    async def _quiet(self) -> None:
        host = self.bench.host
        await host.until(lambda: not host.intx(), timeout_ns=INTX_NS)

    async def sync(self) -> int:
        """The host's clock was set; a guest that reads the ISR status, as OpenBSD does, follows it."""
        await self._raise(VmmciCommand.SYNCRTC)
        isr = await self._guest.device.transport.isr()
        assert isr == CONFIG_CHANGE, f"the ISR status is {isr}"
        await self._quiet()
        assert await self._guest.command() == VmmciCommand.SYNCRTC, "the command is not SYNCRTC"
        self.tell(say="guest: ISR says configuration change, INTA is deasserted; sets its clock")
        self._set_guest_clock(self._host_clock())
        await self._acknowledge(VmmciCommand.SYNCRTC)
        assert await self._guest.command() == VmmciCommand.NONE, "SYNCRTC is still pending"
        await self._row()
        return 1

    async def reboot(self) -> int:
        """The host wants a reboot; a guest that never reads the ISR status, as virtio_pci_obsd, obeys."""
        await self._raise(VmmciCommand.REBOOT)
        assert await self._guest.command() == VmmciCommand.REBOOT, "the command is not REBOOT"
        await self._quiet()
        self.tell(say="guest: reads the command, which deasserts INTA")
        await self._acknowledge(VmmciCommand.REBOOT)
        await self._guest.device.reset()
        refused = await self.vmmci.request(VmmciCommand.SHUTDOWN)
        assert refused == VmmciAnswer.NOT_RUNNING, f"SHUTDOWN while it reboots: {refused.name}"
        self.tell(say="guest: goes down; host: SHUTDOWN now is refused, no driver is there")
        await self._guest.device.start()
        self.tell(say="guest: is back")
        await self._row()
        return 2

    async def shutdown(self) -> int:
        """The guest shuts down by itself, and says so."""
        await self._guest.request_shutdown()
        await self._expect(VmmciEvent.SHUTDOWN, VmmciCommand.SHUTDOWN)
        self.tell(say="guest: shuts down by itself; the host is told")
        return 1

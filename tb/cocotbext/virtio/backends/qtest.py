"""Host of QEMU's own virtio devices: no guest, no processor, accesses through qtest."""

from collections.abc import Callable

from virtio_models.clock import Clock
from virtio_spec.pci import Command, ConfigOffset

from ..host import Host, HostTimeout, check_io
from ..trace import Trace
from .qtest_machine import IO_BASE, LOW_BASE, PREFETCHABLE_BASE, Machine
from .qtest_pump import Pump
from .shared_memory import SharedMemory

__all__ = ["QtestHost"]

BARS = 6
#: BARs of one kind follow each other at this distance.
IO_SPACING, BAR_SPACING = 0x100, 0x1_0000
ACCESS_NS = 200  # what an access to a register counts as
#: In how many steps of the machine's clock something is waited for, in real time at most so long for each,
#: once the first have passed at once.
STEPS, PROMPT, STEP_S = 64, 8, 0.002
#: A device is left alone for so many steps without any traffic, but not for more than so many in all.
CALM, MOST = 3, 10_000


class QtestHost(Host):
    """A host of the device of a machine; enumerates it.

    Time is that of the machine's clock, which moves only while the host waits and sleeps, and counts
    accesses. QEMU works at its own pace in real time: the host lets it, as long as there is traffic between
    QEMU and what is behind the device, and looks on for some real time before it gives up.

    Accesses that nobody answers end well here: QEMU has no completions, so :class:`~..host.BusError` is never
    raised.

    Parameters
    ----------
    machine
        With the device.
    pump
        Serves what is behind the device.
    seed
        For buffer addresses.
    """

    memory: SharedMemory

    def __init__(self, machine: Machine, pump: Pump, *, seed: int = 0):
        self.memory = SharedMemory(machine.stores, seed=seed)
        self.clocks: list[Clock] = []
        self._machine, self._pump = machine, pump
        self._now = self._stepped = 0
        self.trace = Trace(self.now_ns, self.memory)
        self._bars: dict[int, int] = {}
        self._io_bars: set[int] = set()
        self._enumerate()

    def _enumerate(self) -> None:
        number = 0
        while number < BARS:
            offset = ConfigOffset.BAR0 + 4 * number
            self._config_write(offset, 4, 0xFFFF_FFFF)
            mask = self._config_read(offset, 4)
            wide = mask & 7 == 4
            if mask & 1:
                self._io_bars.add(number)
                self._bars[number] = IO_BASE + IO_SPACING * number
            elif mask:
                self._bars[number] = (PREFETCHABLE_BASE if wide else LOW_BASE) + BAR_SPACING * number
            address = self._bars.get(number, 0)
            self._config_write(offset, 4, address & 0xFFFF_FFFF)
            if wide:
                self._config_write(offset + 4, 4, address >> 32)
            number += 1 + wide
        command = Command.MEMORY_SPACE | Command.BUS_MASTER | (Command.IO_SPACE if self._io_bars else 0)
        self._config_write(ConfigOffset.COMMAND, 2, command)

    def _config_read(self, offset: int, size: int) -> int:
        return self._machine.qtest.read(self._machine.config(offset), size)

    def _config_write(self, offset: int, size: int, value: int) -> None:
        self._machine.qtest.write(self._machine.config(offset), size, value)

    def _accessed(self) -> None:
        self._now += ACCESS_NS
        self.memory.look()

    async def config_read(self, offset: int, size: int) -> int:
        """See :class:`Host`."""
        value = self._config_read(offset, size)
        self.trace.access(None, offset, size, value, write=False)
        self._accessed()
        return value

    async def config_write(self, offset: int, size: int, value: int) -> None:
        """See :class:`Host`."""
        self.trace.access(None, offset, size, value, write=True)
        self._config_write(offset, size, value)
        self._accessed()

    async def bar_read(self, bar: int, offset: int, size: int) -> int:
        """See :class:`Host`."""
        qtest, address = self._machine.qtest, self._bars[bar] + offset
        value = qtest.io_read(address, size) if self._is_io(bar, offset, size) else qtest.read(address, size)
        self.trace.access(bar, offset, size, value, write=False)
        self._accessed()
        return value

    async def bar_write(self, bar: int, offset: int, size: int, value: int) -> None:
        """See :class:`Host`."""
        qtest, address = self._machine.qtest, self._bars[bar] + offset
        self.trace.access(bar, offset, size, value, write=True)
        (qtest.io_write if self._is_io(bar, offset, size) else qtest.write)(address, size, value)
        self._accessed()

    def _is_io(self, bar: int, offset: int, size: int) -> bool:
        if bar not in self._io_bars:
            return False
        check_io(offset, size)
        return True

    def msix_message(self, vector: int) -> tuple[int, int]:
        """See :class:`Host`."""
        return self._machine.message(vector)

    def interrupts(self, vector: int) -> int:
        """See :class:`Host`."""
        return self._machine.doorbell.count(vector)

    def intx(self) -> bool:
        """See :class:`Host`."""
        return bool(self._machine.qtest.asserted)

    def intx_asserted(self) -> int:
        """See :class:`Host`."""
        return self._machine.qtest.assertions

    async def until(self, condition: Callable[[], bool], *, timeout_ns: int = 1_000_000) -> None:
        """See :class:`Host`."""
        for step in range(MOST):
            self.memory.look()
            if condition():
                return
            if step < STEPS:
                self._step(max(timeout_ns // STEPS, 1), STEP_S if step >= PROMPT else 0.0)
            elif not self._pump.turn(STEP_S):  # nothing goes on any more
                break
            else:
                self._step(1, 0.0)
        raise HostTimeout(f"did not happen within {timeout_ns} ns")

    async def sleep(self, ns: int) -> None:
        """See :class:`Host`."""
        self._step(max(ns, 1), 0.0)
        calm = 0
        for _ in range(MOST):
            before = self._pump.traffic
            self._step(1, 0.0)
            # The answer to the step itself is some traffic, too.
            calm = calm + 1 if self._pump.traffic <= before + 1 else 0
            if calm == CALM:
                break
        self.memory.look(everywhere=True)

    def _step(self, ns: int, wait_s: float) -> None:
        """Let time pass; QEMU's main loop goes round at least once."""
        before, self._now = self._now // 1_000, self._now + ns
        self._machine.qtest.step(self._now - self._stepped)
        self._stepped = self._now
        self._pump.turn(wait_s)
        for clock in self.clocks if self._now // 1_000 > before else ():
            clock.advance(self._now // 1_000 - before)

    def now_ns(self) -> int:
        """See :class:`Host`."""
        return self._now

    def close(self) -> None:
        """End QEMU; the host cannot be used any more."""
        self._machine.close()
        self._pump.close()

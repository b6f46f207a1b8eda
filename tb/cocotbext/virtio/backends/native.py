"""Host above RTL that Verilator has compiled into a shared library: no simulator around it.

Time passes only while the host waits, sleeps or accesses the device, and its coroutines never suspend.
"""

import mmap
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from virtio_models.clock import Clock
from virtio_spec.pci import Command, ConfigOffset

from ..checkers.tlp import TlpChecker
from ..host import BusError, Host, HostTimeout, check_io
from ..memory import Arena, HostMemory
from ..trace import Trace
from .messages import MESSAGE_VECTORS, message_of
from .native_device import NativeDevice, Stop
from .native_link import NativeLink
from .run import run

__all__ = ["NativeHost", "run"]

#: Address and size of the host's memory: one part reached with 32-bit, one with 64-bit addresses.
MEMORY = ((0x0100_0000, 16 << 20), (0x12_3400_0000, 16 << 20))
#: Where BARs are put: I/O, 32-bit and 64-bit memory.
IO_BASE, LOW_BASE, HIGH_BASE = 0x4000, 0xE000_0000, 0x80_0000_0000
IO_SPACING, BAR_SPACING = 1 << 12, 1 << 20
BARS = 6
SETTLE = 16  # cycles from the reset to the first access
MICROSECOND = 1_000


class NativeHost(Host):
    """A host above ``device``; call :meth:`start` before anything else.

    Parameters
    ----------
    device
        Just reset, and with nothing mapped.
    period_ns
        What a cycle counts as.
    seed
        For buffer addresses.
    watched
        Whether every packet is looked at; without it, time passes several times faster.

    Attributes
    ----------
    checker, trace
        See every packet, as on the cocotb backend, if it is watched.
    link
        Raw packets for the test list, which needs it to be watched.
    lookers
        Called whenever time has passed.
    """

    def __init__(self, device: NativeDevice, *, period_ns: int = 4, seed: int = 0, watched: bool = True):
        self.device, self.period_ns = device, period_ns
        arenas = [Arena(base, mmap.mmap(-1, size)) for base, size in MEMORY]
        self.memory = HostMemory(arenas, seed=seed)
        for arena in arenas:
            device.map(arena.base, arena.store, len(arena.store))
        self.clocks: list[Clock] = []
        self.lookers: list[Callable[[], None]] = []
        self._clocks_ns = self.now_ns()
        self._watched, self._packet_cycle, self._looking = watched, 0, False
        self._interrupts: Counter[int] = Counter()
        self._vectors = {message_of(vector): vector for vector in range(MESSAGE_VECTORS)}
        self._bars: dict[int, int] = {}
        self._io_bars: set[int] = set()
        self.trace = Trace(self._told_ns, self.memory, message=message_of)
        self.trace.bars = self._bars
        self.checker = TlpChecker(self.memory, self._is_message, self._seen_ns)
        self.link = NativeLink(self)
        device.log(watched)

    # -- what passed -------------------------------------------------------------------------------

    def _seen_ns(self) -> int:
        return self._packet_cycle * self.period_ns

    def _told_ns(self) -> int:
        """Of a packet that is looked at, or else of now."""
        return self._seen_ns() if self._looking else self.now_ns()

    def _is_message(self, address: int, data: bytes) -> bool:
        return (address, int.from_bytes(data, "little")) in self._vectors and len(data) == 4

    def look(self) -> None:
        """Take note of all that passed since the last time."""
        self._looking = True
        for from_device, cycle, dwords in self.device.packets() if self._watched else ():
            self._packet_cycle = cycle
            for observer in (self.trace, self.checker, self.link):
                (observer.from_device if from_device else observer.from_host)(dwords)
        self._looking = False
        for sentence in self.device.findings():
            self.trace.broken_framing(sentence)
            self.checker.broken_framing(sentence)
        for message in self.device.messages():
            if message in self._vectors:
                self._interrupts[self._vectors[message]] += 1
        for look in self.lookers:
            look()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Around whatever lets time pass: afterwards the clocks are right, and :meth:`look` was done."""
        try:
            yield
        finally:
            now = self.now_ns()
            passed = now // MICROSECOND - self._clocks_ns // MICROSECOND
            self._clocks_ns = now
            for clock in self.clocks if passed else ():
                clock.advance(passed)
            self.look()

    def run(self, ns: int, stop_at: int = 0) -> None:
        """Let time pass, less of it if one of ``stop_at``, of :class:`.native_device.Stop`, happens."""
        end = self.device.cycles + max(ns // self.period_ns, 1)
        happened = 0
        while (left := end - self.device.cycles) > 0 and not happened & stop_at:
            if self.clocks:  # they show on the device's pins: not further than they next change
                left = min(left, -(-(MICROSECOND - self.now_ns() % MICROSECOND) // self.period_ns))
            with self.passing():
                happened = self.device.run(left, stop_at=stop_at)

    # -- enumeration -------------------------------------------------------------------------------

    def reset(self) -> None:
        """Reset the clock domain, and what is known of the link."""
        with self.passing():
            self.device.reset()
        self.checker.link_reset()
        self.run(SETTLE * self.period_ns)

    async def start(self) -> None:
        """Enumeration: BARs get addresses; I/O and memory space and bus mastering are on at the end."""
        self.run(SETTLE * self.period_ns)
        number = 0
        while number < BARS:
            offset = ConfigOffset.BAR0 + 4 * number
            await self.config_write(offset, 4, 0xFFFF_FFFF)
            mask = await self.config_read(offset, 4)
            wide = mask & 7 == 4
            if mask & 1:
                self._bars[number] = IO_BASE + IO_SPACING * number
                self._io_bars.add(number)
            elif mask:
                self._bars[number] = (HIGH_BASE if wide else LOW_BASE) + BAR_SPACING * number
            address = self._bars.get(number, 0)
            await self.config_write(offset, 4, address & 0xFFFF_FFFF)
            if wide:
                await self.config_write(offset + 4, 4, address >> 32)
            number += 1 + wide
        command = Command.MEMORY_SPACE | Command.BUS_MASTER | (Command.IO_SPACE if self._io_bars else 0)
        await self.config_write(ConfigOffset.COMMAND, 2, command)

    # -- Host --------------------------------------------------------------------------------------

    async def config_read(self, offset: int, size: int) -> int:
        """See :class:`Host`."""
        what = f"configuration read of {size} at {offset:#x}"
        return self._read(self.device.config_read, offset, size, what)

    async def config_write(self, offset: int, size: int, value: int) -> None:
        """See :class:`Host`."""
        what = f"configuration write of {size} at {offset:#x}"
        self._write(self.device.config_write, offset, size, value, what)

    async def bar_read(self, bar: int, offset: int, size: int) -> int:
        """See :class:`Host`."""
        io = self._is_io(bar, offset, size)
        read = self.device.io_read if io else self.device.memory_read
        return self._read(read, self._bars[bar] + offset, size, f"read of {size} at BAR {bar} + {offset:#x}")

    async def bar_write(self, bar: int, offset: int, size: int, value: int) -> None:
        """See :class:`Host`."""
        address = self._bars[bar] + offset
        if self._is_io(bar, offset, size):
            what = f"write of {size} at BAR {bar} + {offset:#x}"
            self._write(self.device.io_write, address, size, value, what)
            return
        with self.passing():
            self.device.memory_write(address, size, value)

    def _is_io(self, bar: int, offset: int, size: int) -> bool:
        if bar not in self._io_bars:
            return False
        check_io(offset, size)
        return True

    def _read(self, read: Callable[[int, int], tuple[str, int]], at: int, size: int, what: str) -> int:
        with self.passing():
            status, value = read(at, size)
        if status:
            raise BusError(status, what)
        return value

    def _write(
        self, write: Callable[[int, int, int], str], at: int, size: int, value: int, what: str
    ) -> None:
        with self.passing():
            status = write(at, size, value)
        if status:
            raise BusError(status, what)

    def bar_address(self, bar: int) -> int:
        """Where enumeration has put a BAR."""
        return self._bars[bar]

    def msix_message(self, vector: int) -> tuple[int, int]:
        """See :class:`Host`."""
        return message_of(vector)

    def interrupts(self, vector: int) -> int:
        """See :class:`Host`."""
        return self._interrupts[vector]

    def intx(self) -> bool:
        """See :class:`Host`."""
        return self.device.intx

    def intx_asserted(self) -> int:
        """See :class:`Host`."""
        return self.device.intx_asserted

    async def until(self, condition: Callable[[], bool], *, timeout_ns: int = 1_000_000) -> None:
        """See :class:`Host`."""
        end = self.now_ns() + timeout_ns
        while not condition():
            left = end - self.now_ns()
            if left <= 0:
                raise HostTimeout(f"did not happen within {timeout_ns} ns")
            self.run(left, Stop.STORED | Stop.MESSAGE | Stop.SENT)

    async def sleep(self, ns: int) -> None:
        """See :class:`Host`."""
        self.run(ns)

    def now_ns(self) -> int:
        """See :class:`Host`."""
        return self.device.cycles * self.period_ns

    def cycles(self) -> int:
        """Clock cycles so far."""
        return self.device.cycles

"""The compiled endpoint as a function: what a virtual machine attaches is the gateware itself."""

import mmap
from collections.abc import Callable, Iterable, Mapping

from virtio_spec.pci import ConfigOffset

from ..native.library import Event, NativeEndpoint
from .function import CONFIG_REGION, READABLE, WRITABLE, FunctionFault, Region

__all__ = ["NativeFunction"]

CONFIG_BYTES = 4096
BARS = range(ConfigOffset.BAR0, ConfigOffset.BAR0 + 6 * 4, 4)
ALL_ONES = 0xFFFF_FFFF
#: Where the BARs are in the simulation: apart from each other, whatever software wrote.
IO_BASE, MEMORY_BASE, SPACING = 0x1000, 0x8000_0000, 0x0100_0000
#: Cycles without any movement after which nothing more is to be expected: far beyond what the endpoint
#: thinks between two packets, unless it clears memories.
QUIET = 4096
#: Retries of a configuration request, and cycles between two: longer than any reset takes.
RETRIES, RETRY_CYCLES = 1000, 1000


class NativeFunction:
    """A :class:`~..native.library.NativeEndpoint` as a :class:`~.function.Function`.

    Its clock goes on only inside accesses and :meth:`work`, and stands still while nothing moves.

    Software sees base address registers of this class, and the endpoint's own stay where this class has put
    them, also over function level resets: a client says which BAR it means and not where it is, and
    QEMU does not write addresses again that it knows.

    Parameters
    ----------
    endpoint
        With its backend in place.
    clears
        Cycles that it may need after a reset to clear memories, which nobody sees from outside.
    """

    def __init__(self, endpoint: NativeEndpoint, *, clears: int = 0):
        self._endpoint, self._quiet = endpoint, QUIET + clears
        self._regions = {CONFIG_REGION: Region(CONFIG_BYTES)}
        self._masks: dict[int, int] = {}  # by register: its bits, all ones written
        self._shown: dict[int, int] = {}  # by register: what software wrote
        self._placed: dict[int, int] = {}  # by register: where the endpoint has it
        self._settled = False  # the endpoint's registers are known to hold that
        for register in BARS:
            self._retried_write(register, 4, ALL_ONES)
            self._masks[register] = self._retried_read(register, 4)
        for bar, register in enumerate(BARS):
            self._place(bar, register)
        self.reset()

    @property
    def regions(self) -> Mapping[int, Region]:
        """The BARs that the endpoint has, and configuration space."""
        return self._regions

    def _place(self, bar: int, register: int) -> None:
        """Find out what a BAR is, and give it a place."""
        mask = self._masks[register]
        if not mask or register in self._placed:
            return  # none, or the upper half of the one before
        io, wide = bool(mask & 1), mask & 7 == 4
        self._regions[bar] = Region((~mask & ALL_ONES | (3 if io else 0xF)) + 1, io)
        self._placed[register] = IO_BASE * (bar + 1) if io else MEMORY_BASE + SPACING * bar
        if wide:
            self._placed[register + 4] = 0

    # -- accesses ----------------------------------------------------------------------------------

    def _retried(self, request: Callable[[], tuple[str, int]], what: str) -> int:
        """The result of a configuration request, however long the function is being reset."""
        for _ in range(RETRIES):
            status, value = request()
            if not status:
                return value
            if status != "RRS":
                raise FunctionFault(f"{what} ended with {status}")
            self._endpoint.run(RETRY_CYCLES)
        raise FunctionFault(f"{what} is put off for ever")

    def _retried_read(self, offset: int, size: int) -> int:
        return self._retried(
            lambda: self._endpoint.config_read(offset, size), f"a configuration read at {offset:#x}"
        )

    def _retried_write(self, offset: int, size: int, value: int) -> None:
        self._retried(
            lambda: (self._endpoint.config_write(offset, size, value), 0),
            f"a configuration write at {offset:#x}",
        )

    def config_read(self, offset: int, size: int) -> int:
        """Read configuration space."""
        register, shift = offset & ~3, 8 * (offset & 3)
        if register not in BARS:
            return self._retried_read(offset, size)
        mask = self._masks[register]
        kind = self._kind(register)
        value = self._shown.get(register, 0) & mask & ~kind | mask & kind
        return value >> shift & (1 << 8 * size) - 1

    def _kind(self, register: int) -> int:
        """Bits of a base address register that say what it is, and no address."""
        bar = BARS.index(register)
        if bar not in self._regions:
            return 0  # the upper half of an address
        return 3 if self._regions[bar].io else 0xF

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Write configuration space."""
        register, shift = offset & ~3, 8 * (offset & 3)
        if register in BARS:
            bits = (1 << 8 * size) - 1 << shift
            self._shown[register] = self._shown.get(register, 0) & ~bits | value << shift & bits
            return
        self._retried_write(offset, size, value)
        self._settled = False  # this may have been a function level reset

    def _address(self, bar: int) -> int:
        if not self._settled:
            for register, address in self._placed.items():
                self._retried_write(register, 4, address)
            self._settled = True
        return self._placed[BARS[bar]]

    def bar_read(self, bar: int, offset: int, size: int) -> int:
        """Read a BAR."""
        read = self._endpoint.io_read if self._regions[bar].io else self._endpoint.memory_read
        status, value = read(self._address(bar) + offset, size)
        if status == "timeout":
            raise FunctionFault(f"a read at BAR {bar} + {offset:#x} was never answered")
        return (1 << 8 * size) - 1 if status else value

    def bar_write(self, bar: int, offset: int, size: int, value: int) -> None:
        """Write a BAR."""
        address = self._address(bar) + offset
        if not self._regions[bar].io:
            self._endpoint.memory_write(address, size, value)
        elif self._endpoint.io_write(address, size, value) == "timeout":
            raise FunctionFault(f"a write at BAR {bar} + {offset:#x} was never answered")

    # -- memory, time, interrupts ------------------------------------------------------------------

    def map(self, address: int, buffer: mmap.mmap, flags: int) -> None:
        """Let the device reach a buffer, without a copy."""
        readable, writable = bool(flags & READABLE), bool(flags & WRITABLE)
        self._endpoint.map(address, buffer, len(buffer), readable=readable, writable=writable)

    def unmap(self, address: int, size: int) -> None:
        """Take a buffer back. Writes that are still on the link find nothing there."""
        self._endpoint.unmap(address, size)

    def reset(self) -> None:
        """Reset the clock domain: what was on the link is gone, maps stay."""
        self._endpoint.reset()
        self._shown.clear()
        self._settled = False

    def work(self, budget: int) -> bool:
        """Let ``budget`` cycles pass, fewer if an interrupt is sent or everything has come to rest."""
        events = self._endpoint.run(budget, stop_at=Event.MESSAGE | Event.QUIET, quiet=self._quiet)
        return Event.QUIET not in events

    def interrupts(self) -> Iterable[tuple[int, int]]:
        """Messages since the last call."""
        return self._endpoint.messages()

    def intx(self) -> bool:
        """Level of INTA."""
        return self._endpoint.intx

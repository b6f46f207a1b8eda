"""The reference device in Python behind the Host interface: no simulator, no suspension."""

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from virtio_models.device import ReferenceDevice
from virtio_models.dma import DmaError
from virtio_models.kind import DeviceKind
from virtio_models.pci import RequestRetry, UnsupportedRequest
from virtio_spec import layout
from virtio_spec.pci import Command, ConfigOffset

from ..host import BusError, Host, HostTimeout
from ..memory import Arena, HostMemory

__all__ = ["ModelHost", "run"]

ARENA_BYTES = 1 << 20
LOW_BASE, HIGH_BASE = 0x1000_0000, 0x12_3450_0000
BAR_BASES = {layout.MSIX_BAR: 0xE000_0000, layout.MODERN_BAR: 0x80_0000_0000}
MESSAGE_LOW, MESSAGE_HIGH = 0xFEE0_0000, 0x1_FEE0_0000
STEP_NS = 20  # what a step of the model counts as


class _Memory:
    """The device's way to :class:`HostMemory`, and its messages."""

    def __init__(self, memory: HostMemory):
        self.memory = memory
        self.interrupts: Counter[int] = Counter()

    def read(self, address: int, length: int) -> bytes:
        try:
            return self.memory.device_read(address, length)
        except ValueError as error:
            raise DmaError(str(error)) from error

    def write(self, address: int, data: bytes) -> None:
        self.memory.device_write(address, data)

    def interrupt(self, address: int, data: int) -> None:
        if (address, data) != message(data):
            raise AssertionError(f"there is no message {data:#x} at {address:#x}")
        self.interrupts[data] += 1


def message(vector: int) -> tuple[int, int]:
    """MSI-X message of a vector: even ones below, odd ones above 4 GiB."""
    return (MESSAGE_HIGH if vector % 2 else MESSAGE_LOW) + 16 * vector, vector


class ModelHost(Host):
    """Host of a :class:`ReferenceDevice`.

    The device works only inside :meth:`until` and :meth:`sleep`; what is waited for and does not
    happen although the device has nothing left to do is timed out at once.

    Parameters
    ----------
    kind
        Device type.
    device
        Class of the device, for tests with a broken one.
    seed
        For the device's order of work and the memory's arenas.
    options
        Go to the device.
    """

    def __init__(
        self,
        kind: DeviceKind,
        *,
        device: type[ReferenceDevice] = ReferenceDevice,
        seed: int = 0,
        **options: Any,
    ):
        arenas = [Arena(LOW_BASE, bytearray(ARENA_BYTES)), Arena(HIGH_BASE, bytearray(ARENA_BYTES))]
        self.memory = HostMemory(arenas, seed=seed)
        self._dma = _Memory(self.memory)
        self.device = device(kind, self._dma, seed=seed, **options)
        self._now = 0
        for bar, base in BAR_BASES.items():
            self.device.pci.config_write(ConfigOffset.BAR0 + 4 * bar, 4, base & 0xFFFF_FFFF)
            if bar == layout.MODERN_BAR:
                self.device.pci.config_write(ConfigOffset.BAR0 + 4 * bar + 4, 4, base >> 32)
        self.device.pci.config_write(ConfigOffset.COMMAND, 2, Command.MEMORY_SPACE | Command.BUS_MASTER)

    async def config_read(self, offset: int, size: int) -> int:
        """Read configuration space."""
        self._aligned(offset, size)
        try:
            return self.device.pci.config_read(offset, size)
        except RequestRetry as error:
            raise BusError("RRS", f"configuration read at {offset:#x}") from error

    async def config_write(self, offset: int, size: int, value: int) -> None:
        """Write configuration space."""
        self._aligned(offset, size)
        try:
            self.device.pci.config_write(offset, size, value)
        except RequestRetry as error:
            raise BusError("RRS", f"configuration write at {offset:#x}") from error

    @staticmethod
    def _aligned(offset: int, size: int) -> None:
        if size not in (1, 2, 4) or offset % size or not 0 <= offset < 256:
            raise ValueError(f"{size} bytes at {offset:#x} are no configuration access")

    def _hit(self, bar: int) -> None:
        """A BAR that software has put elsewhere is not hit."""
        if self.device.pci.bar_address(bar) != BAR_BASES.get(bar):
            raise UnsupportedRequest(f"BAR {bar} is not there")

    async def bar_read(self, bar: int, offset: int, size: int) -> int:
        """Read a memory BAR."""
        try:
            self._hit(bar)
            return self.device.pci.bar_read(bar, offset, size)
        except UnsupportedRequest as error:
            raise BusError("UR", f"read of {error}") from error

    async def bar_write(self, bar: int, offset: int, size: int, value: int) -> None:
        """Write a memory BAR; posted, so nobody hears of an unsupported request."""
        try:
            self._hit(bar)
            self.device.pci.bar_write(bar, offset, size, value)
        except UnsupportedRequest:
            pass

    def msix_message(self, vector: int) -> tuple[int, int]:
        """Address and data for a table entry."""
        return message(vector)

    def interrupts(self, vector: int) -> int:
        """Messages of a vector so far."""
        return self._dma.interrupts[vector]

    async def until(self, condition: Callable[[], bool], *, timeout_ns: int = 1_000_000) -> None:
        """Let the device work until ``condition()`` holds."""
        end = self._now + timeout_ns
        while not condition():
            if not self.device.step() or self._now >= end:
                self._now = max(end, self._now)
                raise HostTimeout(f"nothing after {timeout_ns} ns")
            self._now += STEP_NS

    async def sleep(self, ns: int) -> None:
        """Let the device work for a time."""
        end = self._now + ns
        while self._now < end and self.device.step():
            self._now += STEP_NS
        self._now = max(end, self._now)

    def now_ns(self) -> int:
        """The device's time."""
        return self._now


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that only ever waits for a :class:`ModelHost`; returns its result."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError("the coroutine waits for something else than a model")

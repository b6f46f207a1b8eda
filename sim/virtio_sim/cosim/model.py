"""The reference model as a function: the server without a simulator."""

import mmap
from collections.abc import Callable, Iterable

from virtio_models.device import ReferenceDevice
from virtio_models.dma import Dma, DmaError
from virtio_models.pci import RequestRetry, UnsupportedRequest
from virtio_spec import layout

from .function import CONFIG_REGION, READABLE, WRITABLE, Region

__all__ = ["ModelFunction"]

CONFIG_BYTES = 4096  # of which the model has the first 256
MODEL_CONFIG_BYTES = 256
STEP_NS = 20


class _Memory:
    """What the device reaches: maps, and messages where there are none."""

    def __init__(self) -> None:
        self.maps: dict[int, tuple[mmap.mmap, int]] = {}
        self.messages: list[tuple[int, int]] = []
        self.level = False

    def _find(self, address: int, length: int, flag: int) -> tuple[mmap.mmap, int] | None:
        for base, (buffer, flags) in self.maps.items():
            if base <= address and address + length <= base + len(buffer) and flags & flag:
                return buffer, address - base
        return None

    def read(self, address: int, length: int) -> bytes:
        found = self._find(address, length, READABLE)
        if found is None:
            raise DmaError(f"there is no memory at {address:#x}")
        buffer, offset = found
        return buffer[offset : offset + length]

    def write(self, address: int, data: bytes) -> None:
        found = self._find(address, len(data), WRITABLE)
        if found is not None:
            buffer, offset = found
            buffer[offset : offset + len(data)] = data

    def interrupt(self, address: int, data: int) -> None:
        self.messages.append((address, data))

    def intx(self, asserted: bool) -> None:
        self.level = asserted


class ModelFunction:
    """A :class:`~virtio_models.device.ReferenceDevice` as a :class:`~.function.Function`.

    Parameters
    ----------
    make
        Makes the device on its way to memory; called again for each reset.
    """

    def __init__(self, make: Callable[[Dma], ReferenceDevice]):
        self._make = make
        self._memory = _Memory()
        self.device = make(self._memory)
        self.regions = {CONFIG_REGION: Region(CONFIG_BYTES)}
        if self.device.pci.interface.has_legacy:
            self.regions[layout.LEGACY_BAR] = Region(layout.LEGACY_BAR_SIZE, io=True)
        for bar, size in self.device.pci.config.memory_bars.items():
            self.regions[bar] = Region(size)

    def config_read(self, offset: int, size: int) -> int:
        """Read configuration space, extended configuration space reads 0."""
        if offset >= MODEL_CONFIG_BYTES:
            return 0
        while True:
            try:
                return self.device.pci.config_read(offset, size)
            except RequestRetry:
                continue

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Write configuration space."""
        while offset < MODEL_CONFIG_BYTES:
            try:
                return self.device.pci.config_write(offset, size, value)
            except RequestRetry:
                continue

    def bar_read(self, bar: int, offset: int, size: int) -> int:
        """Read a BAR."""
        try:
            return self.device.pci.bar_read(bar, offset, size)
        except UnsupportedRequest:
            return (1 << 8 * size) - 1

    def bar_write(self, bar: int, offset: int, size: int, value: int) -> None:
        """Write a BAR."""
        try:
            self.device.pci.bar_write(bar, offset, size, value)
        except UnsupportedRequest:
            return

    def map(self, address: int, buffer: mmap.mmap, flags: int) -> None:
        """Let the device reach a buffer."""
        self._memory.maps[address] = buffer, flags

    def unmap(self, address: int, size: int) -> None:
        """Take it back: the model has no access under way between two calls."""
        del self._memory.maps[address]

    def reset(self) -> None:
        """A new device."""
        self._memory.messages.clear()
        self._memory.level = False
        self.device = self._make(self._memory)

    def work(self, budget: int) -> bool:
        """Steps of the device."""
        for _ in range(budget):
            if not self.device.step():
                return False
            self.device.elapse(STEP_NS)
        return True

    def interrupts(self) -> Iterable[tuple[int, int]]:
        """Messages since the last call."""
        messages, self._memory.messages = self._memory.messages, []
        return messages

    def intx(self) -> bool:
        """Level of INTA."""
        return self._memory.level

"""The reference device in Python behind the Host interface: no simulator, no suspension."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from virtio_models.device import ReferenceDevice
from virtio_models.dma import DmaError
from virtio_models.kind import DeviceKind
from virtio_models.pci import RequestRetry, UnsupportedRequest
from virtio_models.vmmci import Vmmci
from virtio_spec import layout
from virtio_spec.pci import Command, ConfigOffset
from virtio_spec.virtio_pci import Interface
from virtio_spec.vmmci import VmmciAnswer

from ..host import BusError, Host, HostTimeout
from ..memory import Arena, HostMemory
from ..trace import Trace
from .run import run

__all__ = ["ModelHost", "ModelVmmci", "run"]

ARENA_BYTES = 1 << 20
LOW_BASE, HIGH_BASE = 0x1000_0000, 0x12_3450_0000
BAR_BASES = {
    layout.LEGACY_BAR: 0xC000,
    layout.MSIX_BAR: 0xE000_0000,
    layout.MODERN_BAR: 0x80_0000_0000,
}
MESSAGE_LOW, MESSAGE_HIGH = 0xFEE0_0000, 0x1_FEE0_0000
CONFIG_BYTES = 4096  # of which the model has the first 256
MODEL_CONFIG_BYTES = 256
STEP_NS = 20  # what a step of the model counts as
ACCESS_NS = 200  # what an access to a register counts as
IDLE_NS = 1_000  # how far time goes at once while the device has nothing to do


class _Memory:
    """The device's way to :class:`HostMemory`, and its messages."""

    def __init__(self, memory: HostMemory, trace: Trace):
        self.memory, self.trace = memory, trace
        self.interrupts: Counter[int] = Counter()
        self.asserted, self.assertions = False, 0

    def read(self, address: int, length: int) -> bytes:
        try:
            return self.memory.device_read(address, length)
        except ValueError as error:
            raise DmaError(str(error)) from error

    def write(self, address: int, data: bytes) -> None:
        with suppress(ValueError):  # nobody hears of a posted write to where there is no memory
            self.memory.device_write(address, data)

    def interrupt(self, address: int, data: int) -> None:
        if (address, data) != message(data):
            raise AssertionError(f"there is no message {data:#x} at {address:#x}")
        self.interrupts[data] += 1
        self.trace.interrupt(f"vector {data}")

    def intx(self, asserted: bool) -> None:
        if asserted == self.asserted:
            raise AssertionError(f"INTx is {'asserted' if asserted else 'deasserted'} twice")
        self.asserted = asserted
        self.assertions += asserted
        self.trace.interrupt(f"INTA {'asserted' if asserted else 'deasserted'}")


def message(vector: int) -> tuple[int, int]:
    """MSI-X message of a vector: even ones below, odd ones above 4 GiB."""
    return (MESSAGE_HIGH if vector % 2 else MESSAGE_LOW) + 16 * vector, vector


class ModelHost(Host):
    """Host of a :class:`ReferenceDevice`.

    The device works on its queues only inside :meth:`until` and :meth:`sleep`; its time goes on with
    each access, too.

    Parameters
    ----------
    kind
        Device type.
    interface
        Which register interfaces the device has.
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
        interface: Interface = Interface.MODERN,
        device: type[ReferenceDevice] = ReferenceDevice,
        seed: int = 0,
        **options: Any,
    ):
        arenas = [Arena(LOW_BASE, bytearray(ARENA_BYTES)), Arena(HIGH_BASE, bytearray(ARENA_BYTES))]
        self.memory = HostMemory(arenas, seed=seed)
        self._now = 0
        self.trace = Trace(self.now_ns, self.memory)
        self._dma = _Memory(self.memory, self.trace)
        self.device = device(kind, self._dma, interface=interface, seed=seed, **options)
        self.clocks = []
        for bar, base in BAR_BASES.items():
            self.device.pci.config_write(ConfigOffset.BAR0 + 4 * bar, 4, base & 0xFFFF_FFFF)
            if bar == layout.MODERN_BAR:
                self.device.pci.config_write(ConfigOffset.BAR0 + 4 * bar + 4, 4, base >> 32)
        command = Command.IO_SPACE | Command.MEMORY_SPACE | Command.BUS_MASTER
        self.device.pci.config_write(ConfigOffset.COMMAND, 2, command)

    async def config_read(self, offset: int, size: int) -> int:
        """Read configuration space; what is beyond the model's reads 0."""
        self._aligned(offset, size)
        self._pass(ACCESS_NS)
        value = 0
        try:
            if offset < MODEL_CONFIG_BYTES:
                value = self.device.pci.config_read(offset, size)
        except RequestRetry as error:
            self.trace.access(None, offset, size, None, write=False)
            raise BusError("RRS", f"configuration read at {offset:#x}") from error
        self.trace.access(None, offset, size, value, write=False)
        return value

    async def config_write(self, offset: int, size: int, value: int) -> None:
        """Write configuration space."""
        self._aligned(offset, size)
        self._pass(ACCESS_NS)
        self.trace.access(None, offset, size, value, write=True)
        if offset >= MODEL_CONFIG_BYTES:
            return
        try:
            self.device.pci.config_write(offset, size, value)
        except RequestRetry as error:
            raise BusError("RRS", f"configuration write at {offset:#x}") from error

    @staticmethod
    def _aligned(offset: int, size: int) -> None:
        if size not in (1, 2, 4) or offset % size or not 0 <= offset < CONFIG_BYTES:
            raise ValueError(f"{size} bytes at {offset:#x} are no configuration access")

    def _hit(self, bar: int) -> None:
        """A BAR that software has put elsewhere is not hit."""
        if self.device.pci.bar_address(bar) != BAR_BASES.get(bar):
            raise UnsupportedRequest(f"BAR {bar} is not there")

    async def bar_read(self, bar: int, offset: int, size: int) -> int:
        """Read a BAR."""
        self._pass(ACCESS_NS)
        try:
            self._hit(bar)
            value = self.device.pci.bar_read(bar, offset, size)
        except UnsupportedRequest as error:
            self.trace.access(bar, offset, size, None, write=False)
            raise BusError("UR", f"read of {error}") from error
        self.trace.access(bar, offset, size, value, write=False)
        return value

    async def bar_write(self, bar: int, offset: int, size: int, value: int) -> None:
        """Write a BAR; in memory space, nobody hears of an unsupported request."""
        self._pass(ACCESS_NS)
        self.trace.access(bar, offset, size, value, write=True)
        try:
            self._hit(bar)
            self.device.pci.bar_write(bar, offset, size, value)
        except UnsupportedRequest as error:
            if bar == layout.LEGACY_BAR:
                raise BusError("UR", f"write of {error}") from error

    def msix_message(self, vector: int) -> tuple[int, int]:
        """Address and data for a table entry."""
        return message(vector)

    def interrupts(self, vector: int) -> int:
        """Messages of a vector so far."""
        return self._dma.interrupts[vector]

    def intx(self) -> bool:
        """Whether INTx is asserted."""
        return self._dma.asserted

    def intx_asserted(self) -> int:
        """Assertions of INTx so far."""
        return self._dma.assertions

    async def until(self, condition: Callable[[], bool], *, timeout_ns: int = 1_000_000) -> None:
        """Let the device work until ``condition()`` holds."""
        end = self._now + timeout_ns
        while not condition():
            if self._now >= end:
                raise HostTimeout(f"nothing after {timeout_ns} ns")
            self._pass(STEP_NS if self.device.step() else min(IDLE_NS, end - self._now))

    async def sleep(self, ns: int) -> None:
        """Let the device work for a time."""
        end = self._now + ns
        while self._now < end:
            self._pass(STEP_NS if self.device.step() else end - self._now)

    def _pass(self, ns: int) -> None:
        """Time goes on."""
        microseconds = (self._now + ns) // 1_000 - self._now // 1_000
        self._now += ns
        self.device.elapse(ns)
        if microseconds:
            for clock in self.clocks:
                clock.advance(microseconds)

    def now_ns(self) -> int:
        """The device's time."""
        return self._now


class ModelVmmci:
    """The host's side of a vmmci in Python, called as that of one in a simulator is.

    Attributes
    ----------
    events
        What the guest made of it, in order.
    """

    def __init__(self, kind: Vmmci):
        self._kind = kind
        self.events = kind.events

    async def request(self, command: int) -> VmmciAnswer:
        """Ask for a command."""
        return self._kind.request(command)

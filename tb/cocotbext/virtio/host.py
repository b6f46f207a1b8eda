"""The one thing the driver knows about where it runs."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from virtio_models.clock import Clock

from .memory import HostMemory
from .trace import Trace

__all__ = ["BusError", "Host", "HostTimeout", "check_io"]


class BusError(Exception):
    """A request to the device did not complete with success.

    ``status`` is the completion status: ``"UR"`` (unsupported request), ``"CA"`` (completer abort),
    ``"RRS"`` (request retry status, configuration only) or ``"timeout"``.
    """

    def __init__(self, status: str, what: str):
        self.status = status
        super().__init__(f"{what} ended with {status}")


class HostTimeout(Exception):
    """What was waited for did not happen in time."""


def check_io(offset: int, size: int) -> None:
    """``ValueError`` unless an access is one that I/O space has: within a dword."""
    if offset % 4 + size > 4:
        raise ValueError(f"{size} bytes at {offset:#x} are no I/O access")


class Host(ABC):
    """A PCI function below this host: configuration, BARs, memory, interrupts, time.

    The function has been enumerated: its BARs have addresses, I/O space, memory space and bus
    mastering are enabled. Coroutines throughout, so that one driver runs everywhere.

    Attributes
    ----------
    memory
        What the device can be let to access.
    clocks
        Run with the device's time: put one here, and it moves by a microsecond in each.
    trace
        The last things that passed, for whoever has to find out why something failed.
    """

    memory: HostMemory
    clocks: list[Clock]
    trace: Trace

    @abstractmethod
    async def config_read(self, offset: int, size: int) -> int:
        """Read ``size`` (1, 2, 4) bytes of configuration space, naturally aligned; :class:`BusError`."""

    @abstractmethod
    async def config_write(self, offset: int, size: int, value: int) -> None:
        """Write ``size`` (1, 2, 4) bytes of configuration space, naturally aligned; :class:`BusError`."""

    @abstractmethod
    async def bar_read(self, bar: int, offset: int, size: int) -> int:
        """Read ``size`` bytes of a BAR in one request; :class:`BusError`.

        1, 2, 4 or 8 bytes of a memory BAR; 1, 2 or 4, inside one dword, of an I/O BAR.
        """

    @abstractmethod
    async def bar_write(self, bar: int, offset: int, size: int, value: int) -> None:
        """Write ``size`` bytes of a BAR in one request, as for :meth:`bar_read`.

        Posted in memory space; in I/O space it returns after the completion; :class:`BusError`.
        """

    @abstractmethod
    def msix_message(self, vector: int) -> tuple[int, int]:
        """Address and data to program into MSI-X table entry ``vector`` (0 to 127)."""

    @abstractmethod
    def interrupts(self, vector: int) -> int:
        """How many messages of ``vector`` have arrived since the start."""

    @abstractmethod
    def intx(self) -> bool:
        """Whether the device's INTx is asserted, by the messages that have arrived."""

    @abstractmethod
    def intx_asserted(self) -> int:
        """How many Assert_INTx messages have arrived since the start."""

    @abstractmethod
    async def until(self, condition: Callable[[], bool], *, timeout_ns: int = 1_000_000) -> None:
        """Return as soon as ``condition()`` holds.

        It is looked at whenever the device wrote to host memory or sent a message.
        :class:`HostTimeout` after ``timeout_ns``.
        """

    @abstractmethod
    async def sleep(self, ns: int) -> None:
        """Let ``ns`` of the device's time pass."""

    @abstractmethod
    def now_ns(self) -> int:
        """The device's time."""

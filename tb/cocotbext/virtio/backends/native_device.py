"""What the native backend needs of a device in a shared library."""

from collections.abc import Callable, Sequence
from enum import IntFlag
from typing import Any, Protocol

__all__ = ["NativeDevice", "Stop"]


class Stop(IntFlag):
    """What a run of the device may be asked to stop at."""

    STORED = 1
    MESSAGE = 2
    ANSWER = 4
    TAKEN = 8
    SENT = 32


class NativeDevice(Protocol):
    """A device and its link in a shared library; ``virtio_sim.native.library.NativeEndpoint`` is one.

    Time passes only inside accesses, :meth:`command` and :meth:`run`. Accesses return the completion
    status, empty if it was success.
    """

    @property
    def cycles(self) -> int:
        """Clock cycles so far."""
        ...

    def run(self, cycles: int, *, stop_at: int = ...) -> int:
        """Let cycles pass, fewer if one of ``stop_at``, of :class:`Stop`, happens."""
        ...

    def reset(self) -> None:
        """Reset the clock domain; what was on the link is gone."""
        ...

    def close(self) -> None:
        """End the simulation; nothing else may be called after it."""
        ...

    def config_read(self, offset: int, size: int) -> tuple[str, int]:
        """A configuration access inside a dword."""
        ...

    def config_write(self, offset: int, size: int, value: int) -> str:
        """A configuration access inside a dword."""
        ...

    def io_read(self, address: int, size: int) -> tuple[str, int]:
        """An access to I/O space inside a dword."""
        ...

    def io_write(self, address: int, size: int, value: int) -> str:
        """An access to I/O space inside a dword."""
        ...

    def memory_read(self, address: int, size: int) -> tuple[str, int]:
        """1 to 8 bytes of memory space."""
        ...

    def memory_write(self, address: int, size: int, value: int) -> None:
        """1 to 8 bytes of memory space; posted."""
        ...

    def map(self, address: int, memory: Any, size: int) -> None:
        """Let the device access a buffer at an address."""
        ...

    def messages(self) -> list[tuple[int, int]]:
        """Address and data of interrupt messages since the last call."""
        ...

    @property
    def intx(self) -> bool:
        """Whether INTA is asserted."""
        ...

    @property
    def intx_asserted(self) -> int:
        """Assert_INTA messages so far."""
        ...

    def inject(self, dwords: Sequence[int], *, cut: bool = ...) -> None:
        """Send a packet past the link; ``cut``: without its last beat."""
        ...

    def answer(self) -> list[int]:
        """The next answer to an injected request, or nothing."""
        ...

    def tamper(self, change: Callable[[list[int]], Sequence[Sequence[int]]] | None) -> None:
        """Let ``change`` say what the device gets in place of each completion of the host."""
        ...

    def log(self, on: bool) -> None:
        """Keep all packets for :meth:`packets`."""
        ...

    def packets(self) -> list[tuple[bool, int, list[int]]]:
        """Packets since the last call: whether the device sent it, its cycle, its dwords."""
        ...

    def findings(self) -> list[str]:
        """Broken rules of the streams since the last call."""
        ...

    def storage(self, serve: Callable[[int, int, int, int], bool], sectors: int) -> None:
        """``serve(operation, sector, count, address)``; False for an error.

        Operations: 0 read, 1 write, 2 flush, 3 discard, 4 write zeroes, 5 write zeroes and deallocate.
        """
        ...

    def entropy(self, source: Callable[[], int]) -> None:
        """Where the noise comes from."""
        ...

    def network(
        self, sent: Callable[[bytes], None], arrive: Callable[[], tuple[bytes, bool, bool] | None]
    ) -> None:
        """Who gets the device's frames, and gives it others: whether damaged, whether checked and right.

        After it gave nothing it is called again only after :meth:`cable`.
        """
        ...

    def cable(self, up: bool, speed: int) -> None:
        """State of the link, and its speed in Mbit/s; there may be frames on it, too."""
        ...

    def clock(self, seconds: int, microseconds: int) -> None:
        """What the clock of a vmmci shows."""
        ...

    def command(self, command: int) -> int:
        """Raise a command on a vmmci; the kind of the answer, -1 without one."""
        ...

    def events(self) -> list[tuple[int, int]]:
        """Kind and command of a vmmci's events since the last call."""
        ...

"""The seam between the vfio-user server and a device: all that the server knows of one."""

import mmap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

__all__ = ["CONFIG_REGION", "READABLE", "WRITABLE", "Function", "FunctionFault", "Region"]

CONFIG_REGION = 7  # VFIO's index of configuration space; BARs have their own numbers

READABLE, WRITABLE = 1, 2  # what the device may do with mapped memory


class FunctionFault(Exception):
    """The device did not do what every PCI function does, an access was never answered for example.

    The text is one sentence for the user.
    """


@dataclass(frozen=True)
class Region:
    """A BAR, or configuration space: its size in bytes, and whether it lies in I/O space."""

    size: int
    io: bool = False


class Function(Protocol):
    """A PCI function without a client; :class:`FunctionFault` from any method.

    Nothing happens in it but inside of these methods, which are called from one thread.
    """

    @property
    def regions(self) -> Mapping[int, Region]:
        """What there is of BARs 0 to 5, and configuration space as :data:`CONFIG_REGION`."""
        ...

    def config_read(self, offset: int, size: int) -> int:
        """Read 1, 2 or 4 bytes of configuration space, naturally aligned; retries while told to."""
        ...

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Write 1, 2 or 4 bytes of configuration space, naturally aligned; retries while told to."""
        ...

    def bar_read(self, bar: int, offset: int, size: int) -> int:
        """Read 1, 2, 4 or, in memory space, 8 bytes of a BAR, naturally aligned.

        The access goes wherever software put the BAR. All bits are one where the function does not
        answer with data.
        """
        ...

    def bar_write(self, bar: int, offset: int, size: int, value: int) -> None:
        """Write to a BAR, as :meth:`bar_read`; nobody hears of an unsupported request."""
        ...

    def map(self, address: int, buffer: mmap.mmap, flags: int) -> None:
        """Let the device reach ``buffer`` at ``address``, as far as ``flags`` say.

        Maps never overlap. The buffer may be read-only if ``flags`` lack :data:`WRITABLE`.
        """
        ...

    def unmap(self, address: int, size: int) -> None:
        """Take a whole map back; returns when no access of the device can touch the buffer any more.

        No view of the buffer is kept.
        """
        ...

    def reset(self) -> None:
        """Be as after power-on; maps stay, interrupts not fetched yet are gone."""
        ...

    def work(self, budget: int) -> bool:
        """Let the device go on for at most ``budget`` of its steps.

        False when nothing is outstanding: nothing would happen before the next access.
        """
        ...

    def interrupts(self) -> Iterable[tuple[int, int]]:
        """Messages since the last call, in order: address and data of dwords written outside of maps."""
        ...

    def intx(self) -> bool:
        """Level of INTA."""
        ...

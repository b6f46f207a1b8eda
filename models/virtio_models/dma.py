"""The way from the device to host memory, and to the host's interrupts."""

from typing import Protocol

__all__ = ["Dma", "DmaError"]


class DmaError(Exception):
    """The host did not answer a read with data."""


class Dma(Protocol):
    """The way to host memory."""

    def read(self, address: int, length: int, /) -> bytes:
        """Bytes from host memory; :class:`DmaError`."""
        ...

    def write(self, address: int, data: bytes, /) -> None:
        """Posted write into host memory."""
        ...

    def interrupt(self, address: int, data: int, /) -> None:
        """An MSI-X message: a posted write of one dword."""
        ...

    def intx(self, asserted: bool, /) -> None:
        """An INTA message, on each change of the level: asserted or deasserted."""
        ...

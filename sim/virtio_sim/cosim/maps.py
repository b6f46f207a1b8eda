"""The client's memory, as far as it let the device have it."""

import errno
import mmap
from dataclasses import dataclass

from .function import READABLE, WRITABLE, Function
from .protocol import MAX_MAPS, PAGE, Refused

__all__ = ["Maps"]


@dataclass(frozen=True)
class Map:
    """A map; without a buffer the client keeps the memory to itself, as QEMU does with its ROMs."""

    address: int
    size: int
    buffer: mmap.mmap | None


class Maps:
    """DMA regions of a client, of which those with a file descriptor become the device's memory.

    The device cannot reach a region without one: it reads it as unsupported requests, and what it
    writes is lost. Asking the client by DMA_READ instead would mean waiting for it while it waits for
    a register.

    Parameters
    ----------
    function
        Whose memory it is.
    """

    def __init__(self, function: Function):
        self._function = function
        self._maps: dict[int, Map] = {}

    def add(self, address: int, size: int, offset: int, flags: int, fd: int | None) -> None:
        """Map ``size`` bytes at ``offset`` of the file, which stays the caller's; :class:`Refused`."""
        where = f"{size:#x} bytes at {address:#x}"
        if not size or (address | size | offset) % PAGE or address + size > 1 << 64:
            raise Refused(errno.EINVAL, f"{where} from file offset {offset:#x} are not whole pages")
        if flags & ~(READABLE | WRITABLE) or not flags:
            raise Refused(errno.EINVAL, f"{where} have flags {flags:#x}")
        for other in self._maps.values():
            if address < other.address + other.size and other.address < address + size:
                theirs = f"{other.size:#x} bytes at {other.address:#x}"
                raise Refused(errno.EEXIST, f"{where} overlap {theirs}, which are mapped already")
        if len(self._maps) >= MAX_MAPS:
            raise Refused(errno.ENOSPC, f"{where} would be more than {MAX_MAPS} maps")
        buffer = None if fd is None else self._open(where, fd, size, offset, flags)
        if buffer is not None:
            self._function.map(address, buffer, flags)
        self._maps[address] = Map(address, size, buffer)

    @staticmethod
    def _open(where: str, fd: int, size: int, offset: int, flags: int) -> mmap.mmap:
        # Writable wherever the file allows it: the device is held back by the flags, and a harness in
        # another language can only take the address of a buffer that is.
        protections = [mmap.PROT_READ | mmap.PROT_WRITE]
        if not flags & WRITABLE:
            protections.append(mmap.PROT_READ)
        reason = ""
        for protection in protections:
            try:
                return mmap.mmap(fd, size, flags=mmap.MAP_SHARED, prot=protection, offset=offset)
            except (OSError, ValueError, OverflowError) as error:
                reason = getattr(error, "strerror", None) or str(error)
        raise Refused(errno.EINVAL, f"{where} from file offset {offset:#x} cannot be mapped: {reason}")

    def remove(self, address: int, size: int) -> None:
        """Take back what was mapped there, map by map; :class:`Refused` if it cuts one, or there is none.

        An IOMMU in front of the device maps by the page, and unmaps by larger powers of two. The device is
        done with it afterwards.
        """
        touched = [
            found
            for found in self._maps.values()
            if found.address < address + size and address < found.address + found.size
        ]
        whole = all(
            address <= found.address and found.address + found.size <= address + size for found in touched
        )
        if not touched or not whole:
            raise Refused(errno.ENOENT, f"{size:#x} bytes at {address:#x} are not a map")
        for found in touched:
            self._drop(found)

    def clear(self) -> None:
        """Take everything back."""
        for found in list(self._maps.values()):
            self._drop(found)

    def _drop(self, found: Map) -> None:
        del self._maps[found.address]
        if found.buffer is not None:
            self._function.unmap(found.address, found.size)
            found.buffer.close()

"""Host memory as the device sees it, and the record of what the driver exposed to it.

Every access of the device is checked against the grants; one outside of them is a violation. The
backends call :meth:`HostMemory.device_read` and :meth:`HostMemory.device_write`, or
:meth:`HostMemory.check` where a root complex model moves the bytes itself.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Arena", "Area", "Buffer", "Grant", "HostMemory", "MemoryObserver", "Violation"]


class Bytes(Protocol):
    """A mutable run of bytes: ``bytearray``, ``mmap``, ``memoryview``."""

    def __getitem__(self, key: slice, /) -> bytes | bytearray: ...
    def __setitem__(self, key: slice, value: bytes, /) -> None: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Grant:
    """The driver lets the device access ``length`` bytes at ``address``."""

    address: int
    length: int
    readable: bool
    writable: bool
    label: str


@dataclass(frozen=True)
class Area:
    """A part of a queue, by its name in :mod:`.meaning`; whoever tells of an access says what it was."""

    queue: int
    name: str
    address: int
    length: int


class MemoryObserver(Protocol):
    """Hears of what passes between driver, memory and a device whose accesses are no packets."""

    def stored(self, address: int, data: bytes) -> None:
        """The driver is about to store this."""

    def dma(self, address: int, data: bytes, *, write: bool) -> None:
        """The device reads this, or is about to write it."""

    def took(self, queue: int, identity: int, length: int) -> None:
        """The driver took a used chain back."""


@dataclass(frozen=True)
class Violation:
    """An access that no grant covers."""

    address: int
    length: int
    write: bool

    def __str__(self) -> str:
        verb = "wrote" if self.write else "read"
        return f"device {verb} {self.length} bytes at {self.address:#x}, which the driver did not expose"


@dataclass
class Arena:
    """A run of physical memory at ``base``, backed by ``store``."""

    base: int
    store: Bytes
    free: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.free = self.free or [(0, len(self.store))]

    def take(self, size: int, align: int, offset: int, below: int) -> int | None:
        """Address of ``size`` free bytes, ``offset`` past a multiple of ``align``; first fit."""
        for position, (start, length) in enumerate(self.free):
            begin = -(-(self.base + start - offset) // align) * align + offset - self.base
            if begin + size <= min(start + length, below - self.base):
                left = [(start, begin - start), (begin + size, start + length - begin - size)]
                self.free[position : position + 1] = [hole for hole in left if hole[1]]
                return self.base + begin
        return None

    def give_back(self, address: int, size: int) -> None:
        """Make ``size`` bytes at ``address`` free again, joined with free neighbours."""
        merged: list[tuple[int, int]] = []
        for start, length in sorted([*self.free, (address - self.base, size)]):
            if merged and sum(merged[-1]) == start:
                merged[-1] = (merged[-1][0], merged[-1][1] + length)
            else:
                merged.append((start, length))
        self.free = merged


class Buffer:
    """A run of allocated host memory; the driver's side of it, which is never checked."""

    def __init__(self, memory: "HostMemory", address: int, size: int):
        self.memory, self.address, self.size = memory, address, size

    def read(self, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes from ``offset`` on; all of them without ``length``."""
        length = self.size - offset if length is None else length
        self._inside(offset, length)
        return self.memory.read(self.address + offset, length)

    def write(self, data: bytes, offset: int = 0) -> None:
        """Store ``data`` at ``offset``."""
        self._inside(offset, len(data))
        if self.memory.observer is not None:
            self.memory.observer.stored(self.address + offset, data)
        self.memory.write(self.address + offset, data)

    def free(self) -> None:
        """Give the memory back."""
        self.memory.release(self)

    def _inside(self, offset: int, length: int) -> None:
        if offset < 0 or offset + length > self.size:
            raise ValueError(f"{length} bytes at {offset} are not inside a buffer of {self.size}")


class HostMemory:
    """Physical memory with an allocator and grants.

    Parameters
    ----------
    arenas
        Where buffers come from. Each allocation picks one by ``seed``, so that with one arena below
        and one above 4 GiB both address formats are in use.

    Attributes
    ----------
    areas
        Parts of queues that there are; replaced, never changed, so that a trace can keep it.
    observer
        Hears of accesses, if there is one.
    """

    def __init__(self, arenas: list[Arena], *, seed: int = 0):
        self.arenas = arenas
        self.grants: list[Grant] = []
        self.violations: list[Violation] = []
        self.areas: tuple[Area, ...] = ()
        self.observer: MemoryObserver | None = None
        self._rng = random.Random(f"memory {seed}")

    def alloc(self, size: int, *, align: int = 16, offset: int = 0, below: int = 1 << 64) -> Buffer:
        """Zeroed buffer of ``size`` bytes at ``offset`` past a multiple of ``align``, ending at ``below``."""
        for arena in self._rng.sample(self.arenas, len(self.arenas)):
            address = arena.take(max(size, 1), align, offset, below)
            if address is not None:
                self.write(address, bytes(size))
                return Buffer(self, address, size)
        raise MemoryError(f"no {size} bytes of host memory left")

    def release(self, buffer: Buffer) -> None:
        """Give ``buffer`` back; use :meth:`Buffer.free`."""
        self._arena(buffer.address, max(buffer.size, 1)).give_back(buffer.address, max(buffer.size, 1))

    def _arena(self, address: int, length: int) -> Arena:
        for arena in self.arenas:
            if arena.base <= address and address + length <= arena.base + len(arena.store):
                return arena
        raise ValueError(f"no host memory at {address:#x}")

    def read(self, address: int, length: int) -> bytes:
        """Bytes at a physical address, unchecked."""
        if not length:
            return b""
        arena = self._arena(address, length)
        return bytes(arena.store[address - arena.base : address - arena.base + length])

    def write(self, address: int, data: bytes) -> None:
        """Store bytes at a physical address, unchecked."""
        if data:
            arena = self._arena(address, len(data))
            arena.store[address - arena.base : address - arena.base + len(data)] = bytes(data)

    def grant(
        self, address: int, length: int, *, readable: bool = False, writable: bool = False, label: str = ""
    ) -> Grant:
        """Expose memory to the device until :meth:`revoke`."""
        grant = Grant(address, length, readable, writable, label)
        self.grants.append(grant)
        return grant

    def revoke(self, grant: Grant) -> None:
        """Take a grant back."""
        self.grants.remove(grant)

    def forget(self) -> None:
        """Take all grants back and free all buffers: the device has been reset."""
        self.grants.clear()
        self.areas = ()
        for arena in self.arenas:
            arena.free = [(0, len(arena.store))]

    @contextmanager
    def granted(
        self, address: int, length: int, *, readable: bool = False, writable: bool = False, label: str = ""
    ) -> Iterator[Grant]:
        """Expose memory for the length of a block."""
        grant = self.grant(address, length, readable=readable, writable=writable, label=label)
        try:
            yield grant
        finally:
            self.revoke(grant)

    def check(self, address: int, length: int, *, write: bool) -> bool:
        """Whether the device may access these bytes; each byte needs a grant. Records a violation if not."""
        position, end = address, address + length
        while position < end:
            reach = max(
                (
                    g.address + g.length
                    for g in self.grants
                    if g.address <= position < g.address + g.length and (g.writable if write else g.readable)
                ),
                default=None,
            )
            if reach is None:
                self.violations.append(Violation(address, length, write))
                return False
            position = reach
        return True

    def device_read(self, address: int, length: int) -> bytes:
        """A read by the device; outside the grants it is recorded, outside memory a ``ValueError``."""
        self.check(address, length, write=False)
        data = self.read(address, length)
        if self.observer is not None:
            self.observer.dma(address, data, write=False)
        return data

    def device_write(self, address: int, data: bytes) -> None:
        """A write by the device; outside the grants it is recorded, outside memory a ``ValueError``."""
        self.check(address, len(data), write=True)
        if self.observer is not None:
            self.observer.dma(address, data, write=True)
        self.write(address, data)

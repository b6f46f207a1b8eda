"""Storage behind a block device: content, capacity, faults, and what survives a loss of power."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from virtio_spec.blk import SECTOR_BYTES

__all__ = ["DISCARDED", "Disk", "DiskError"]

#: Content of a sector after a discard: neither what was there nor zeros.
DISCARDED = b"\xdd" * SECTOR_BYTES


class DiskError(Exception):
    """The operation failed; nothing was read or stored."""


@dataclass(frozen=True)
class Fault:
    """Sectors ``first`` to ``first + count - 1`` fail in the named operations."""

    first: int
    count: int
    read: bool
    write: bool


class Disk:
    """A disk of 512-byte sectors with a write cache.

    A write is visible at once and durable after the next successful :meth:`flush`.

    Parameters
    ----------
    content
        A number of sectors, all zero, or an image whose length is a multiple of 512.

    Attributes
    ----------
    data
        What reads return.
    counts
        Operations so far: ``"read"``, ``"write"``, ``"flush"``, ``"discard"``, ``"zeroes"`` and, of these,
        ``"unmap"``; failed ones included.
    listeners
        Called with the new capacity after every :meth:`resize`.
    flush_fails
        While true, :meth:`flush` fails.
    """

    def __init__(self, content: int | bytes | bytearray):
        data = bytearray(content * SECTOR_BYTES if isinstance(content, int) else content)
        if len(data) % SECTOR_BYTES:
            raise ValueError(f"a disk image is a multiple of {SECTOR_BYTES} bytes, not {len(data)}")
        self.data = data
        self.counts: Counter[str] = Counter()
        self.listeners: list[Callable[[int], None]] = []
        self.flush_fails = False
        self._faults: list[Fault] = []
        self._before: dict[int, bytes] = {}  # durable content of the sectors written since the last flush

    @property
    def capacity(self) -> int:
        """Sectors."""
        return len(self.data) // SECTOR_BYTES

    def read(self, sector: int, count: int) -> bytes:
        """Content of ``count`` sectors; :class:`DiskError` on a fault or beyond the end."""
        self.counts["read"] += 1
        start, end = self._span(sector, count, write=False)
        return bytes(self.data[start:end])

    def write(self, sector: int, content: bytes) -> None:
        """Store whole sectors; :class:`DiskError` on a fault or beyond the end, nothing is stored then."""
        self.counts["write"] += 1
        if len(content) % SECTOR_BYTES:
            raise ValueError(f"a write is a multiple of {SECTOR_BYTES} bytes, not {len(content)}")
        self._store(sector, content)

    def discard(self, sector: int, count: int) -> None:
        """Make the content :data:`DISCARDED`, which nobody may rely on; :class:`DiskError` as for a write."""
        self.counts["discard"] += 1
        self._fill(sector, count, DISCARDED)

    def write_zeroes(self, sector: int, count: int, *, unmap: bool = False) -> None:
        """Write zeros, which may ``unmap`` the sectors; :class:`DiskError` as for a write."""
        self.counts["zeroes"] += 1
        self.counts["unmap"] += unmap
        self._fill(sector, count, bytes(SECTOR_BYTES))

    def flush(self) -> None:
        """Make all writes so far durable; :class:`DiskError` while ``flush_fails``."""
        self.counts["flush"] += 1
        if self.flush_fails:
            raise DiskError("flush failed")
        self._before.clear()

    @property
    def unflushed(self) -> frozenset[int]:
        """Sectors written since the last flush."""
        return frozenset(self._before)

    def durable(self, sector: int, count: int) -> bytes:
        """What ``count`` sectors would hold after a loss of power now."""
        self._inside(sector, count)
        return b"".join(self._before.get(n, self._sector(n)) for n in range(sector, sector + count))

    def lose_power(self) -> None:
        """Forget every write that is not durable."""
        for number, content in self._before.items():
            self.data[number * SECTOR_BYTES : (number + 1) * SECTOR_BYTES] = content
        self._before.clear()

    def resize(self, sectors: int) -> None:
        """Change the capacity; new sectors are zero, cut ones are lost."""
        size = sectors * SECTOR_BYTES
        del self.data[size:]
        self.data.extend(bytes(size - len(self.data)))
        self._before = {n: content for n, content in self._before.items() if n < sectors}
        for listener in self.listeners:
            listener(sectors)

    def fail(self, first: int, count: int = 1, *, read: bool = True, write: bool = True) -> None:
        """Let operations that touch these sectors fail until :meth:`heal`."""
        self._faults.append(Fault(first, count, read, write))

    def heal(self) -> None:
        """Take all faults back."""
        self._faults.clear()
        self.flush_fails = False

    def _fill(self, sector: int, count: int, content: bytes) -> None:
        self._span(sector, count, write=True)  # before the content is made
        self._store(sector, count * content)

    def _store(self, sector: int, content: bytes) -> None:
        count = len(content) // SECTOR_BYTES
        start, end = self._span(sector, count, write=True)
        for number in range(sector, sector + count):
            self._before.setdefault(number, self._sector(number))
        self.data[start:end] = content

    def _sector(self, number: int) -> bytes:
        return bytes(self.data[number * SECTOR_BYTES : (number + 1) * SECTOR_BYTES])

    def _inside(self, sector: int, count: int) -> None:
        if sector < 0 or count < 0 or sector + count > self.capacity:
            raise DiskError(f"sectors {sector} to {sector + count - 1} are not on a disk of {self.capacity}")

    def _span(self, sector: int, count: int, *, write: bool) -> tuple[int, int]:
        self._inside(sector, count)
        for fault in self._faults:
            concerned = fault.write if write else fault.read
            if concerned and sector < fault.first + fault.count and fault.first < sector + count:
                raise DiskError(f"sector {max(sector, fault.first)} is broken")
        return sector * SECTOR_BYTES, (sector + count) * SECTOR_BYTES

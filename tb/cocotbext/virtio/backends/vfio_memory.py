"""Memory of this process that a card reaches: at addresses of one's own choice, or where it physically is.

A card looks at its rings while they are written, so what is written is stored once, in pieces as large as
their alignment, upwards: the flags of a descriptor come last, and an index is never half there. What is read
is read the other way round, so that flags come first.
"""

import ctypes
import mmap
from collections.abc import Sequence
from pathlib import Path

from .vfio_group import VfioError

__all__ = ["Pinned", "Words", "Zone", "physical_zones"]

#: Longer runs have nothing in them that a device looks at before it is told.
SMALL = 64
TYPES = {1: ctypes.c_uint8, 2: ctypes.c_uint16, 4: ctypes.c_uint32, 8: ctypes.c_uint64}
#: What ``mmap`` has no names for on all versions of Python.  [linux/mman.h]
MAP_LOCKED, MAP_POPULATE, MAP_HUGETLB = 0x2000, 0x8000, 0x40000
HUGE_BYTES = 2 << 20
#: Eight bytes for each page: one that is there has a bit, and the number of its frame.
PAGEMAP, PRESENT, FRAME_BITS = Path("/proc/self/pagemap"), 1 << 63, 55


class Words:
    """A run of memory at ``address``, whose words are stored and loaded in single accesses."""

    def __init__(self, address: int, size: int):
        self.address, self._size = address, size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, key: slice, /) -> bytes:
        start, stop, _ = key.indices(self._size)
        if stop - start > SMALL:
            return ctypes.string_at(self.address + start, stop - start)
        pieces = []
        for at, size in reversed(_pieces(self.address + start, self.address + stop)):
            pieces.append(TYPES[size].from_address(at).value.to_bytes(size, "little"))
        return b"".join(reversed(pieces))

    def __setitem__(self, key: slice, value: bytes, /) -> None:
        start, stop, _ = key.indices(self._size)
        if stop - start != len(value):
            raise ValueError(f"{len(value)} bytes do not fit into {stop - start}")
        if len(value) > SMALL:
            ctypes.memmove(self.address + start, bytes(value), len(value))
            return
        first = self.address + start
        for at, size in _pieces(first, self.address + stop):
            TYPES[size].from_address(at).value = int.from_bytes(value[at - first :][:size], "little")


def _pieces(start: int, stop: int) -> list[tuple[int, int]]:
    """Address and size of words, each as large as its address allows."""
    found = []
    while start < stop:
        size = next(size for size in (8, 4, 2, 1) if not start % size and start + size <= stop)
        found.append((start, size))
        start += size
    return found


class Pinned:
    """Memory of this process for a device: one large page if there is one, or small ones.

    It is ``locked`` where it is if the IOMMU does not do that.
    """

    size = HUGE_BYTES

    def __init__(self, *, locked: bool) -> None:
        flags = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | MAP_POPULATE | (MAP_LOCKED if locked else 0)
        try:
            self._pages = mmap.mmap(-1, self.size, flags=flags | MAP_HUGETLB)
        except OSError:
            try:
                self._pages = mmap.mmap(-1, self.size, flags=flags)
            except OSError:
                raise VfioError(
                    f"{self.size >> 10} KiB cannot be locked; raise the limit (ulimit -l), or be root"
                ) from None
        self._held = ctypes.c_char.from_buffer(self._pages)
        self.address = ctypes.addressof(self._held)

    def close(self) -> None:
        """Give it back; nobody may access it any more."""
        del self._held
        self._pages.close()


Zone = tuple[int, Words]
"""Where a card sees memory, and that memory."""


def physical_zones(
    pinned: Pinned, frames: Sequence[int] | None = None, page: int = mmap.PAGESIZE
) -> list[Zone]:
    """Runs of memory without a gap, by their physical addresses: without an IOMMU those are a card's.

    ``frames`` are the numbers of the physical pages, from the kernel if they are not given.
    """
    if frames is None:
        frames = _frames(pinned.address, pinned.size // page, page)
    zones: list[tuple[int, int, int]] = []  # physical address, offset, size
    for number, frame in enumerate(frames):
        if zones and zones[-1][0] + zones[-1][2] == frame * page:
            base, offset, size = zones[-1]
            zones[-1] = base, offset, size + page
        else:
            zones.append((frame * page, number * page, page))
    return [(base, Words(pinned.address + offset, size)) for base, offset, size in zones]


def _frames(address: int, count: int, page: int) -> list[int]:
    with PAGEMAP.open("rb", buffering=0) as table:
        table.seek(address // page * 8)
        entries = memoryview(table.read(8 * count)).cast("Q")
    frames = [entry & (1 << FRAME_BITS) - 1 if entry & PRESENT else 0 for entry in entries]
    if not all(frames):
        raise VfioError("be root: without an IOMMU it has to be known where memory is, and only root is told")
    return frames

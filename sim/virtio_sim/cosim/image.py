"""A disk image in a file behind the storage port of the compiled endpoint."""

import ctypes
import mmap
import os
from pathlib import Path
from typing import Self

from virtio_spec.blk import SECTOR_BYTES

__all__ = ["ImageFile"]

_READ, _WRITE, _FLUSH, _DISCARD = range(4)


class ImageFile:
    """Serves requests from a file, which is written in place; what was flushed is on the disk.

    Parameters
    ----------
    path
        A multiple of 512 bytes long.
    read_only
        The file is only read, and writes fail.
    """

    def __init__(self, path: Path, *, read_only: bool = False):
        self._file = path.open("rb" if read_only else "r+b")
        self._read_only = read_only
        access = mmap.ACCESS_READ if read_only else mmap.ACCESS_WRITE
        self._content = mmap.mmap(self._file.fileno(), 0, access=access)
        self.sectors = len(self._content) // SECTOR_BYTES

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """What was written is in the file."""
        self._content.close()
        self._file.close()

    def serve(self, operation: int, sector: int, count: int, address: int) -> bool:
        """One request, its data at ``address``; False if it fails. A discard does nothing."""
        if operation == _FLUSH:
            return self._flush()
        if sector > self.sectors or count > self.sectors - sector:
            return False
        start, size = sector * SECTOR_BYTES, count * SECTOR_BYTES
        if operation >= _DISCARD:
            if operation > _DISCARD and not self._read_only:
                self._content[start : start + size] = bytes(size)
            return not self._read_only
        data = memoryview((ctypes.c_char * size).from_address(address)).cast("B")
        if operation == _READ:
            data[:] = memoryview(self._content)[start : start + size]
            return True
        if self._read_only:
            return False
        self._content[start : start + size] = bytes(data)
        return True

    def _flush(self) -> bool:
        if self._read_only:
            return True
        try:
            self._content.flush()
            os.fsync(self._file.fileno())
        except OSError:
            return False
        return True

"""Accesses of a client to regions, cut into what a PCI function understands."""

import errno
from collections.abc import Iterator

from .function import CONFIG_REGION, Function
from .protocol import Refused

__all__ = ["check", "pieces", "read", "write"]


def pieces(offset: int, count: int, widest: int) -> Iterator[tuple[int, int]]:
    """Naturally aligned accesses of at most ``widest`` bytes that cover ``count`` bytes at ``offset``."""
    end = offset + count
    while offset < end:
        size = widest
        while offset % size or offset + size > end:
            size //= 2
        yield offset, size
        offset += size


def check(function: Function, region: int, offset: int, count: int) -> None:
    """An access has to lie inside a region that there is; :class:`Refused`."""
    there = function.regions.get(region)
    if there is None:
        raise Refused(errno.EINVAL, f"there is no region {region}")
    if offset + count > there.size:
        raise Refused(errno.EINVAL, f"{count} bytes at {offset:#x} are not inside of region {region}")


def _widest(function: Function, region: int) -> int:
    return 4 if region == CONFIG_REGION or function.regions[region].io else 8


def read(function: Function, region: int, offset: int, count: int) -> bytes:
    """Bytes of a region."""
    data = b""
    for at, size in pieces(offset, count, _widest(function, region)):
        if region == CONFIG_REGION:
            value = function.config_read(at, size)
        else:
            value = function.bar_read(region, at, size)
        data += value.to_bytes(size, "little")
    return data


def write(function: Function, region: int, offset: int, data: bytes) -> None:
    """Write bytes of a region."""
    for at, size in pieces(offset, len(data), _widest(function, region)):
        value = int.from_bytes(data[at - offset : at - offset + size], "little")
        if region == CONFIG_REGION:
            function.config_write(at, size, value)
        else:
            function.bar_write(region, at, size, value)

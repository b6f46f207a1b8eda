"""A block device between a driver's chains and a storage in Python, and what its requests have to do.

The reference is written from VIRTIO 1.4 §5.2.6.
"""

import struct
from typing import Any

from amaranth_virtio.devices.blk import BlkDevice

from .chains import ChainHost, Job
from .simulation import design, simulate
from .storage import PythonStorage

__all__ = [
    "DISCARD",
    "FLUSH",
    "FLUSH_ACCEPTED",
    "FLUSH_OUT",
    "GET_ID",
    "IN",
    "IOERR",
    "MAX_CLEAR",
    "MAX_SEGMENTS",
    "OK",
    "OUT",
    "SECTORS",
    "SERIAL",
    "UNSUPP",
    "VERSION_1",
    "WCE_ACCEPTED",
    "ZEROES",
    "BlkBench",
    "reference",
    "request",
    "segment",
]

IN, OUT, FLUSH, FLUSH_OUT, GET_ID, DISCARD, ZEROES = 0, 1, 4, 5, 8, 11, 13
OK, IOERR, UNSUPP = b"\0", b"\1", b"\2"
FLUSH_ACCEPTED, WCE_ACCEPTED, VERSION_1 = 1 << 9, 1 << 11, 1 << 32
SERIAL = b"disk-of-the-tests"
SECTORS = 12
MAX_CLEAR, MAX_SEGMENTS = 5, 4


def request(kind: int, sector: int, data: bytes = b"", room: int = 0) -> Job:
    """A request with ``room`` writable bytes in front of the status."""
    return Job(struct.pack("<IIQ", kind, 0xDEADBEEF, sector) + data, room + 1)


def segment(sector: int, count: int, flags: int = 0) -> bytes:
    """Part of the data of DISCARD and WRITE_ZEROES."""
    return struct.pack("<QLL", sector, count, flags)


def clear(content: bytearray, kind: int, data: bytes) -> bytes:
    """Status of a DISCARD or WRITE_ZEROES; the storage of the tests fills what is discarded with 0xdd."""
    if len(data) % 16 or len(data) > 16 * MAX_SEGMENTS:
        return IOERR
    for sector, count, flags in struct.iter_unpack("<QLL", data):
        if flags > 1 or (flags and kind == DISCARD):
            return UNSUPP
        if count > MAX_CLEAR or 512 * (sector + count) > len(content):
            return IOERR
        fill = b"\xdd" if kind == DISCARD else b"\0"
        content[512 * sector : 512 * (sector + count)] = fill * 512 * count
    return OK


def reference(content: bytearray, job: Job, read_only: bool = False, legacy: bool = False) -> bytes:
    """What the device has to write for ``job``; stores what it has to store."""
    if job.writable == 0:
        return b""
    room = job.writable - 1
    if len(job.readable) < 16 or job.fails_at is not None:
        return bytes(room) + IOERR
    kind, _, sector = struct.unpack("<IIQ", job.readable[:16])
    data = job.readable[16:]
    start, end = 512 * sector, len(content)
    if kind == IN:
        if room % 512 or start + room > end:
            return bytes(room) + IOERR
        return bytes(content[start : start + room]) + OK
    if kind == OUT:
        if read_only or len(data) % 512 or start + len(data) > end:
            return bytes(room) + IOERR
        content[start : start + len(data)] = data
        return bytes(room) + OK
    if kind == FLUSH or (legacy and kind == FLUSH_OUT):
        return bytes(room) + OK
    if kind == GET_ID:
        return SERIAL.ljust(20, b"\0").ljust(room, b"\0")[:room] + OK
    if kind in (DISCARD, ZEROES) and not read_only:
        return bytes(room) + clear(content, kind, data)
    return bytes(room) + UNSUPP


class BlkBench:
    """A device with ``options``; ``fails`` and ``shuffle`` are those of its storage."""

    def __init__(
        self,
        width: int,
        *,
        stall: float = 0.0,
        features: int = FLUSH_ACCEPTED,
        driver_ok: bool = True,
        legacy: bool = False,
        **options: Any,
    ):
        storage = {name: options.pop(name) for name in ("fails", "shuffle") if name in options}
        limits = {"max_clear_sectors": MAX_CLEAR, "max_clear_seg": MAX_SEGMENTS}
        self.device: Any = design(BlkDevice, width=width, serial=SERIAL, **limits, **options)
        self.host = ChainHost(self.device, stall=stall)
        self.storage = PythonStorage(self.device, sectors=SECTORS, stall=stall, **storage)
        self.features = features
        self.driver_ok = driver_ok
        self.legacy = legacy

    def run(self, bench: Any, deadline: int = 20_000) -> None:
        """Simulate ``bench``."""

        async def main(ctx: Any) -> None:
            ctx.set(self.device.features, self.features)
            ctx.set(self.device.driver_ok, self.driver_ok)
            ctx.set(self.device.legacy, self.legacy)
            await ctx.tick().repeat(2)
            await bench(ctx)

        simulate(self.device, main, background=[*self.storage.benches, *self.host.benches], deadline=deadline)

    async def do(self, ctx: Any, job: Job) -> bytes:
        """What is written for ``job``."""
        self.host.put(job)
        await self.host.until(ctx, job)
        return bytes(job.written)

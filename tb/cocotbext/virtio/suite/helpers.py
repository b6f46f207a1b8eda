"""What several modules of the test list need."""

from collections.abc import Awaitable
from typing import Any

from virtio_spec import wire
from virtio_spec.blk import SECTOR_BYTES, BlkReqHeader, BlkReqType

from ..devices.blk import VirtioBlk
from ..devices.rng import VirtioRng
from ..driver import VirtioDevice
from ..host import BusError
from .registry import Bench

__all__ = ["QUIET_NS", "exercise", "in_order", "quiet", "same", "small", "unsupported"]

#: How long a device is watched that should do nothing: far longer than it takes for a small request.
QUIET_NS = 2_000


def same(found: Any, expected: Any, what: str) -> None:
    """``AssertionError`` unless both are equal; says what they are."""
    if found != expected:
        raise AssertionError(f"{what} is {_shown(found)}, not {_shown(expected)}")


def _shown(value: Any) -> str:
    return f"{value:#x}" if isinstance(value, int) and not isinstance(value, bool) else repr(value)


async def unsupported(request: Awaitable[Any], what: str) -> None:
    """``AssertionError`` unless the request ends with UR."""
    try:
        await request
    except BusError as error:
        same(error.status, "UR", f"status of {what}")
        return
    raise AssertionError(f"{what} succeeded")


def small(bench: Bench) -> tuple[list[bytes], list[int]]:
    """Readable and writable buffers of a small request that every device of this type serves."""
    if bench.device == "rng":
        return [], [8]
    return [wire.pack(BlkReqHeader, type=BlkReqType.GET_ID)], [21]


async def exercise(bench: Bench, device: VirtioDevice) -> None:
    """One request whose answer is checked: the device works."""
    if bench.device == "rng":
        seen = len(bench.entropy.history)
        data = await VirtioRng(device).read(8)
        in_order(bench, data, max(seen - 4096, 0))
        return
    sector = bench.rng.randrange(bench.disk.capacity)
    expected = bench.rng.randbytes(SECTOR_BYTES)
    bench.disk.data[SECTOR_BYTES * sector : SECTOR_BYTES * (sector + 1)] = expected
    same(await VirtioBlk(device).read(sector, 1), expected, f"sector {sector}")


def in_order(bench: Bench, data: bytes, start: int) -> int:
    """``AssertionError`` unless the noise source gave ``data`` out in one piece; returns where it ends."""
    position = bench.entropy.history.find(data, start)
    if position < 0:
        raise AssertionError(f"{data.hex()} is nowhere in what the noise source gave out from {start} on")
    return position + len(data)


async def quiet(bench: Bench, device: VirtioDevice, *, vectors: int = 2) -> None:
    """Watch for a while: ``AssertionError`` if a chain comes back or a message arrives."""
    messages = [bench.host.interrupts(vector) for vector in range(vectors)]
    indices = {number: queue.used_index for number, queue in device.queues.items()}
    await bench.host.sleep(QUIET_NS)
    for number, queue in device.queues.items():
        same(queue.used_index, indices[number], f"used.idx of queue {number}")
    for vector in range(vectors):
        same(bench.host.interrupts(vector), messages[vector], f"messages of vector {vector}")

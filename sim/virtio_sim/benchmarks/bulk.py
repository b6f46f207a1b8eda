"""The work on which backends are compared: a block device is read through a full queue."""

import random

from cocotbext.virtio.devices.blk import VirtioBlk
from cocotbext.virtio.suite import Bench
from virtio_models.disk import Disk
from virtio_spec.blk import SECTOR_BYTES, BlkReqType

from ..config import Configuration

__all__ = ["BYTES", "CONFIGURATION", "Bulk", "disk"]

#: The endpoint of the comparison.
CONFIGURATION = Configuration("blk", 128)
REQUESTS = 24
REQUEST_SECTORS = 128
BYTES = REQUESTS * REQUEST_SECTORS * SECTOR_BYTES


def disk(seed: int) -> Disk:
    """A disk whose sectors differ."""
    return Disk(random.Random(f"bulk {seed}").randbytes(BYTES))


class Bulk:
    """All requests are made available first, so that nothing but one kick is left to the driver."""

    def __init__(self, bench: Bench):
        self._bench = bench

    async def prepare(self) -> None:
        """Up to the kick; without interrupts, which would stop a run."""
        device = await self._bench.start(queue_size=None, interrupts=False)
        self._blk = VirtioBlk(device)
        self._requests = [
            self._blk.prepare(
                BlkReqType.IN, number * REQUEST_SECTORS, room=REQUEST_SECTORS * SECTOR_BYTES, queue=0
            )
            for number in range(REQUESTS)
        ]
        self._queue = device.queues[0]

    async def kick(self) -> None:
        """Begin."""
        await self._blk.device.kick(0)

    def done(self) -> bool:
        """Whether all requests are used."""
        return self._queue.returned == REQUESTS

    async def check(self) -> None:
        """What was read is what the disk has."""
        await self._blk.wait(*self._requests)
        read = b"".join(request.result() for request in self._requests)
        assert read == self._bench.disk.read(0, self._bench.disk.capacity), "what was read is not the disk"

"""Front end of a block device.  [virtio 1.4 §5.2]"""

from collections.abc import Sequence
from dataclasses import dataclass

from virtio_spec import wire
from virtio_spec.blk import (
    ID_BYTES,
    SECTOR_BYTES,
    BlkConfig,
    BlkReqHeader,
    BlkReqType,
    BlkSegment,
    BlkSegmentFlag,
    BlkStatus,
)

from ..driver import Request, VirtioDevice
from ..function import DriverError
from .framing import cut, pieces

__all__ = ["BlkError", "BlkRequest", "VirtioBlk", "segments"]


class BlkError(Exception):
    """The device ended a request with a status other than OK."""

    def __init__(self, status: int):
        self.status = status
        super().__init__(f"status {status}")


@dataclass
class BlkRequest:
    """A block request that was handed to the device."""

    request: Request

    @property
    def done(self) -> bool:
        """Whether the device has returned it."""
        return self.request.done

    @property
    def status(self) -> int:
        """The last writable byte; :class:`DriverError` if the used length does not cover it."""
        if self.request.used != len(self.request.content):
            raise DriverError(
                f"used length {self.request.used} does not cover the status of a request with "
                f"{len(self.request.content)} writable bytes"
            )
        return self.request.content[-1]

    @property
    def data(self) -> bytes:
        """The writable bytes before the status."""
        return self.request.content[:-1]

    def result(self) -> bytes:
        """The data; :class:`BlkError` unless the status is OK."""
        if self.status != BlkStatus.OK:
            raise BlkError(self.status)
        return self.data


def segments(*parts: tuple[int, int], flags: int = 0) -> bytes:
    """Data of DISCARD and WRITE_ZEROES: the parts are sectors and how many, ``flags`` are those of all."""
    return b"".join(
        wire.pack(BlkSegment, sector=sector, num_sectors=count, flags=flags) for sector, count in parts
    )


class VirtioBlk:
    """Requests on the queues of a device at DRIVER_OK, on queue 0 if nothing else is said.

    Parameters
    ----------
    device
        The device.
    """

    def __init__(self, device: VirtioDevice):
        self.device = device

    async def capacity(self) -> int:
        """Sectors."""
        return (await self.device.transport.config(BlkConfig, "capacity")).capacity

    def prepare(
        self,
        type: int,
        sector: int = 0,
        data: bytes = b"",
        room: int = 0,
        *,
        framing: tuple[Sequence[int], Sequence[int]] | None = None,
        queue: int = 0,
    ) -> BlkRequest:
        """Make a request available without a kick.

        ``room`` writable bytes precede the status. Header and data, and room and status, are buffers
        of their own; with ``framing`` the readable and the writable bytes are cut at those points
        instead, wherever that is.
        """
        header = wire.pack(BlkReqHeader, type=type, sector=sector)
        if framing is None:
            framing = ((len(header),), (room,))
        readable = pieces(header + data, framing[0])
        return BlkRequest(self.device.prepare(queue, readable, cut(room + 1, framing[1])))

    async def request(
        self,
        type: int,
        sector: int = 0,
        data: bytes = b"",
        room: int = 0,
        *,
        framing: tuple[Sequence[int], Sequence[int]] | None = None,
        queue: int = 0,
    ) -> BlkRequest:
        """:meth:`prepare`, kick, and wait for the end, whatever the status."""
        prepared = self.prepare(type, sector, data, room, framing=framing, queue=queue)
        await self.device.kick(queue)
        await self.wait(prepared)
        return prepared

    async def wait(self, *requests: BlkRequest, timeout_ns: int = 200_000) -> None:
        """Until these have come back."""
        await self.device.wait(*(r.request for r in requests), timeout_ns=timeout_ns)

    async def read(self, sector: int, count: int, *, queue: int = 0) -> bytes:
        """``count`` sectors; :class:`BlkError`."""
        room = count * SECTOR_BYTES
        return (await self.request(BlkReqType.IN, sector, room=room, queue=queue)).result()

    async def write(self, sector: int, data: bytes, *, queue: int = 0) -> None:
        """Store whole sectors; :class:`BlkError`."""
        (await self.request(BlkReqType.OUT, sector, data, queue=queue)).result()

    async def flush(self, *, queue: int = 0) -> None:
        """Make writes durable; :class:`BlkError`."""
        (await self.request(BlkReqType.FLUSH, queue=queue)).result()

    async def get_id(self, *, queue: int = 0) -> bytes:
        """The serial number, without its padding; :class:`BlkError`."""
        request = await self.request(BlkReqType.GET_ID, room=ID_BYTES, queue=queue)
        return request.result().rstrip(b"\0")

    async def discard(self, *parts: tuple[int, int], queue: int = 0) -> None:
        """Give up the content of parts, sectors and how many; :class:`BlkError`."""
        (await self.request(BlkReqType.DISCARD, 0, segments(*parts), queue=queue)).result()

    async def write_zeroes(self, *parts: tuple[int, int], unmap: bool = False, queue: int = 0) -> None:
        """Write zeros into parts, sectors and how many, which may be unmapped for it; :class:`BlkError`."""
        data = segments(*parts, flags=BlkSegmentFlag.UNMAP if unmap else 0)
        (await self.request(BlkReqType.WRITE_ZEROES, 0, data, queue=queue)).result()

    async def writeback(self) -> int:
        """The cache mode: 1 for write-back, 0 for write-through."""
        return (await self.device.transport.config(BlkConfig, "writeback")).writeback

    async def set_writeback(self, mode: int) -> None:
        """Choose the cache mode; the driver has accepted CONFIG_WCE."""
        await self.device.transport.set_config(BlkConfig, "writeback", mode)

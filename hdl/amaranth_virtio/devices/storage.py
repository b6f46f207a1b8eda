"""What is behind a block device."""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = [
    "StorageOperation",
    "StorageRequest",
    "StorageResponse",
    "StorageSignature",
    "read_beat_layout",
    "write_beat_layout",
]


class StorageOperation(enum.Enum, shape=unsigned(2)):
    """What a request asks for."""

    READ = 0
    WRITE = 1
    FLUSH = 2


class StorageRequest(data.Struct):
    """One operation on ``count`` sectors of 512 bytes from ``sector`` on.

    They lie inside the capacity, and ``count`` is at least 1. Both mean nothing in a FLUSH.
    """

    operation: StorageOperation
    sector: 64
    count: 32


class StorageResponse(data.Struct):
    """The end of an operation."""

    error: 1


def write_beat_layout(width: int) -> data.StructLayout:
    """Data to be written; sectors follow each other without gaps, byte 0 in lane 0.

    ``last``
        Last beat of the request.
    ``abort``
        Only with ``last``, and instead of data: the rest of the request will not come. The sector
        that is not complete stays as it was; complete ones before it may be stored or not.
    """
    return data.StructLayout({"data": width, "abort": 1, "last": 1})


def read_beat_layout(width: int) -> data.StructLayout:
    """Data read, laid out as in :func:`write_beat_layout`; ``error``: this beat could not be read."""
    return data.StructLayout({"data": width, "error": 1})


class StorageSignature(wiring.Signature):
    """The block device's side of a storage (``Out`` towards the storage).

    A front end for an eMMC, an NVMe drive or a piece of memory is on the other side. Operations are
    carried out, and answered, in the order of their requests. The block device has one at a time
    under way, but a storage may accept more requests than it has answered.

    ``request``
        Operations.
    ``write_data``
        After the request of a WRITE, all its data, or less and an ``abort``.
    ``read_data``
        For a READ, exactly ``count * 512`` bytes, also where they could not be read.
    ``response``
        One per operation, after its data. To a WRITE: the data is taken, and later READs see it; to
        a FLUSH: all earlier WRITEs are durable. ``error`` if any of that is not so.
    ``capacity``
        In sectors of 512 bytes. It may change; requests that were sent before may then be beyond it
        and end in an error.

    Once a request is offered it stays until it is taken, and is then run to its end, also over a
    reset of the virtio device; the storage itself has no reset but that of the clock domain.
    """

    def __init__(self, width: int):
        self.width = width
        super().__init__(
            {
                "request": Out(stream.Signature(StorageRequest)),
                "write_data": Out(stream.Signature(write_beat_layout(width))),
                "read_data": In(stream.Signature(read_beat_layout(width))),
                "response": In(stream.Signature(StorageResponse)),
                "capacity": In(64),
            }
        )

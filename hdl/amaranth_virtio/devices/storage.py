"""What is behind a block device."""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = [
    "COUNT",
    "SECTOR",
    "StorageOperation",
    "StorageSignature",
    "read_beat_layout",
    "request_layout",
    "response_layout",
    "tag_shape",
    "write_beat_layout",
]

SECTOR = unsigned(48)  # 128 PiB
COUNT = unsigned(24)  # sectors; what a chain of less than 4 GiB can transfer, and more


class StorageOperation(enum.Enum, shape=unsigned(3)):
    """What a request asks for."""

    READ = 0
    WRITE = 1
    FLUSH = 2
    DISCARD = 3
    WRITE_ZEROES = 4


def tag_shape(requests: int):
    """Shape of a tag if at most ``requests`` requests are under way; a power of two from 2 to 64."""
    if not 2 <= requests <= 64 or requests & (requests - 1):
        raise ValueError(f"requests must be a power of two from 2 to 64, not {requests}")
    return unsigned(ceil_log2(requests))


def request_layout(requests: int) -> data.StructLayout:
    """One operation on ``count`` sectors of 512 bytes from ``sector`` on.

    They lie inside the capacity, and ``count`` is at least 1. Both mean nothing in a FLUSH.

    ``unmap``
        Of WRITE_ZEROES: the sectors may be deallocated, as long as they read as zeros.
    ``durable``
        Of WRITE and WRITE_ZEROES: the answer comes when the data would survive a loss of power.
        Means nothing in the others.
    ``tag``
        Names the request until it is answered.
    """
    return data.StructLayout(
        {
            "operation": StorageOperation,
            "unmap": 1,
            "durable": 1,
            "count": COUNT,
            "sector": SECTOR,
            "tag": tag_shape(requests),
        }
    )


def response_layout(requests: int) -> data.StructLayout:
    """The end of the request ``tag``; ``error``: it was not done, or not all of it."""
    return data.StructLayout({"error": 1, "tag": tag_shape(requests)})


def write_beat_layout(width: int) -> data.StructLayout:
    """Data to be written; sectors follow each other without gaps, byte 0 in lane 0.

    ``last``
        Last beat of the request.
    ``abort``
        Only with ``last``, and instead of data: the rest of the request will not come. The sector
        that is not complete stays as it was; complete ones before it may be stored or not. The
        response is an error.
    """
    return data.StructLayout({"data": width, "abort": 1, "last": 1})


def read_beat_layout(width: int, requests: int) -> data.StructLayout:
    """Data read, laid out as in :func:`write_beat_layout`.

    ``error``
        This beat could not be read.
    ``last``
        Last beat of the request ``tag``, and its end.
    """
    return data.StructLayout({"data": width, "error": 1, "last": 1, "tag": tag_shape(requests)})


class StorageSignature(wiring.Signature):
    """The block device's side of a storage (``Out`` towards the storage).

    A front end for an eMMC, an NVMe drive or a piece of memory is on the other side. Up to
    ``requests`` requests are under way at a time, each with a tag of its own. The storage carries
    them out, and answers them, in any order; it may take a request whenever it likes.

    ``request``
        Operations.
    ``write_data``
        The data of the WRITEs in the order of their requests, all of it, or less and an ``abort``.
        Its first beat may be offered together with the request, and is not to be taken before it.
    ``read_data``
        The answers to READs: for each exactly ``count * 512`` bytes, also where they could not be
        read, in one piece: beats of different requests are not mixed.
    ``response``
        The answers to all others, one per request. To a WRITE or a WRITE_ZEROES: all of it is taken,
        and READs requested from now on see it; to a FLUSH: all that was answered before the FLUSH was
        requested is durable. ``error`` if any of that is not so. A DISCARD says that the content of
        its sectors is of no use any more; they may read as anything afterwards.
    ``capacity``
        In sectors of 512 bytes. It may change; requests that were sent before may then be beyond it
        and end in an error.

    Requests that are under way together may concern the same sectors, and then nothing is said about
    their order. Once a request is offered it stays until it is taken, and is then run to its end, also
    over a reset of the virtio device; the storage itself has no reset but that of the clock domain.
    """

    def __init__(self, width: int, requests: int = 8):
        self.width = width
        self.requests = requests
        super().__init__(
            {
                "request": Out(stream.Signature(request_layout(requests))),
                "write_data": Out(stream.Signature(write_beat_layout(width))),
                "read_data": In(stream.Signature(read_beat_layout(width, requests))),
                "response": In(stream.Signature(response_layout(requests))),
                "capacity": In(SECTOR),
            }
        )

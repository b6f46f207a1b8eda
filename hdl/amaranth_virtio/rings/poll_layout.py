"""What runs between the parts of the poller."""

from amaranth.hdl import Cat, Shape, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from ..chain import TOKEN

__all__ = ["PollContext", "RetireSignature", "VisitSignature", "index_mask", "place_layout", "queue_shape"]

INDEX_BITS = 10  # of a ring of 1024


def queue_shape(queues: int) -> Shape:
    """Shape of a queue number below ``queues``; one bit at least, as there are no signals of none."""
    return unsigned(max(1, ceil_log2(queues)))


class PollContext(data.Struct):
    """What a read of the poller is for.

    ``token``
        Split: that of the first entry. Else only its queue counts.
    ``entries``
        Split: ring entries, else the index.
    ``asked``
        Split: changes from one read of a queue's index to the next. Packed: ``epoch`` of the queue's
        :func:`place_layout`.
    ``last``
        Queue size, less one.
    """

    token: TOKEN
    entries: 1
    asked: 1
    last: unsigned(INDEX_BITS)


def index_mask(size, queue_size: int):
    """``size - 1`` of a power of two up to ``queue_size``, without a carry chain."""
    return Cat(size[bit + 1 : exact_log2(queue_size) + 1].any() for bit in range(exact_log2(queue_size)))


def place_layout(quota: int) -> data.StructLayout:
    """Where the reader of descriptors is in a packed ring; all 0 after a reset.

    ``position``, ``odd``
        Next descriptor, and the inverse of its wrap counter.
    ``count``
        Number of chains that were started, modulo ``2 * quota``.
    ``open``, ``begin``
        The chain that was started last goes on; its first descriptor.
    ``going``
        All descriptors of the last block were available: what follows may be so, too.
    ``held``
        Otherwise: there was no token for the next chain.
    ``moved``
        At least one descriptor was available in the last block.
    ``epoch``
        Changes when ``going`` falls: what was read ahead is dropped.
    ``answered``
        Blocks that came, modulo 16.
    ``streak``
        Blocks in a row that came full, up to 3.
    """
    return data.StructLayout(
        {
            "position": INDEX_BITS,
            "odd": 1,
            "count": exact_log2(quota) + 1,
            "open": 1,
            "begin": INDEX_BITS,
            "going": 1,
            "held": 1,
            "moved": 1,
            "epoch": 1,
            "answered": 4,
            "streak": 2,
        }
    )


class VisitSignature(wiring.Signature):
    """The poller's side of :class:`Scheduler` and :class:`Room`; see the members of those."""

    def __init__(self, *, queues: int, quota: int):
        shape = queue_shape(queues)
        bits = exact_log2(quota)
        super().__init__(
            {
                "offered": In(1),
                "queue": In(shape),
                "take": Out(1),
                "again": Out(stream.Signature(shape)),
                "select": Out(shape),
                "kicked": In(1),
                "asleep": In(1),
                "serve": Out(1),
                "sleep": Out(1),
                "count": In(bits + 1),
                "changing": In(1),
                "parked": In(1),
                "park": Out(1),
                "at": Out(bits),
            }
        )


class RetireSignature(wiring.Signature):
    """How a poller forgets one queue while the others go on.

    ``queue``, ``active``
        A queue whose reset the driver waits for.
    ``check``
        It is to be looked at whether it stands in line or not.
    ``rests``
        It was looked at two cycles before. In the one before, it was asleep, and nothing of it under way.
    """

    def __init__(self, *, queues: int):
        super().__init__({"queue": In(queue_shape(queues)), "active": In(1), "check": In(1), "rests": Out(1)})

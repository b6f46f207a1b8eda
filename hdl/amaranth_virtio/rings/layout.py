"""What runs between the parts of the virtqueue engine."""

from amaranth.hdl import unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..chain import QUEUE, TOKEN

__all__ = [
    "ChainDone",
    "ChainRecord",
    "ErrorReport",
    "Head",
    "Item",
    "QueueContext",
    "QueueLookup",
    "Segment",
    "TableJob",
    "ring_write_layout",
    "token_of",
]


def token_of(token, quota: int):
    """The fields of a token: ``sequence`` of the chain in its queue, modulo ``quota``, and ``queue``."""
    bits = exact_log2(quota)
    return data.View(
        data.StructLayout({"sequence": bits, "queue": TOKEN.width - bits})
        if bits
        else data.StructLayout({"queue": TOKEN.width}),
        token,
    )


class QueueContext(data.Struct):
    """What the driver set up for one queue. ``size`` is a power of two with split rings."""

    size: 16
    enable: 1
    desc: 64
    driver: 64
    device: 64


# Read port on the queue contexts: ``context`` is that of the ``queue`` of the cycle before.
QueueLookup = wiring.Signature({"queue": Out(QUEUE), "context": In(QueueContext)})


class ErrorReport(data.Struct):
    """A broken ring; the fields of :class:`virtio_spec.layout.Diagnostics`."""

    cause: 16
    queue: QUEUE
    head: 16
    descriptor: 16


class Head(data.Struct):
    """A chain of a split ring that is to be walked; ``head`` lies inside the table."""

    token: TOKEN
    head: 16


class Item(data.Struct):
    """One descriptor of a chain, as it stands in host memory.

    ``start``
        The first one of its chain.
    ``next``
        The chain goes on: NEXT is set, or the indirect table goes on.
    ``id``
        Split: the chain's head. Packed: buffer id; that of the last one counts.
    ``index``
        Where it stands: in the descriptor table, the descriptor ring or the indirect table.
    ``table``
        It stands in an indirect table.
    """

    token: TOKEN
    start: 1
    next: 1
    writable: 1
    indirect: 1
    table: 1
    id: 16
    index: 16
    address: 64
    length: 32


class TableJob(data.Struct):
    """Walk the indirect table at ``address``, of ``entries`` descriptors, as the rest of chain ``token``."""

    token: TOKEN
    address: 64
    entries: 16


class Segment(data.Struct):
    """One descriptor's buffer."""

    address: 64
    length: 32


class ChainRecord(data.Struct):
    """What the used side needs of a chain: its id, and the number of descriptors it has in a packed ring."""

    id: 16
    skip: 16


class ChainDone(data.Struct):
    """The device completed chain ``token`` and ``written`` bytes of it are in host memory.

    ``more``: it becomes visible as used together with the queue's next one, as
    :func:`..chain.writable_layout` says.
    """

    token: TOKEN
    written: unsigned(32)
    more: 1


# Write consecutive bytes, at most 64: 8 in each beat but the last, which has ``count`` (1 to 8); ``address``
# is that of the first byte, in every beat. Taken means written, in posted order.
ring_write_layout = data.StructLayout({"address": 64, "data": 64, "count": 4, "last": 1})

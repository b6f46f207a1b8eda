"""What runs between the parts of the walk from heads to chains."""

from typing import Any

from amaranth.hdl import Cat, Mux, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from ..chain import QUEUE, TOKEN
from .layout import ChainRecord, Segment

__all__ = [
    "BrokenChain",
    "DirectEnd",
    "FollowUp",
    "RecordLookup",
    "SegmentOrEnd",
    "TableContext",
    "TablePlace",
    "WalkShape",
]

INDEX = unsigned(10)  # of a descriptor; queues have 1024 at most


class TableContext(data.Struct):
    """Context of the reads of descriptors.

    ``token``
        The chain that the first descriptor belongs to.
    ``index``
        Where the first descriptor stands in its table.
    ``starts``
        Bit ``n``: descriptor ``n`` of the read begins a chain, each the next of the queue.
    ``size``
        Descriptor table: binary logarithm of its number of descriptors.
    ``table``
        It is an indirect table.
    ``last``
        Indirect table: the read is its last one.
    """

    token: TOKEN
    index: INDEX
    starts: 8
    size: 4
    table: 1
    last: 1


class FollowUp(data.Struct):
    """Chain ``token`` goes on at descriptor ``index``.

    ``sequential``: that is the one behind the last. ``run``: and so was the last itself.
    """

    token: TOKEN
    index: INDEX
    sequential: 1
    run: 1


class DirectEnd(data.Struct):
    """The last descriptor of chain ``token`` in the queue's own ring or table, at ``index``.

    ``indirect``: it names an indirect table. ``id``: the chain's buffer id in a packed ring.
    """

    token: TOKEN
    index: INDEX
    indirect: 1
    id: 16


class TablePlace(data.Struct):
    """Rows of a chain's indirect table: their number, and the first of them (they go round)."""

    start: 11
    entries: 11


class BrokenChain(data.Struct):
    """Why chain ``token`` was given up; ``descriptor`` is the one that could not be accepted or read."""

    token: TOKEN
    cause: 16
    descriptor: 16


class SegmentOrEnd(data.Struct):
    """A chain's next segment; not ``exists``: there is no further one."""

    segment: Segment
    exists: 1


# Read port on what the used side needs: ``record`` is that of the ``token`` of the cycle before.
RecordLookup = wiring.Signature({"token": Out(TOKEN), "record": In(ChainRecord)})


class WalkShape:
    """Shapes that depend on the number of queues and their size.

    Rows hold the descriptors of the chains in flight. A queue has ``queue_size`` rows for the descriptors
    that stand in its table or ring, each in the row of its index, and twice as many for those of indirect
    tables, given out in ring order and going round.

    Parameters
    ----------
    queues : :class:`int`
    queue_size : :class:`int`
    quota : :class:`int`
    indirect : :class:`bool`
        There are rows for indirect tables.
    """

    def __init__(self, *, queues: int, queue_size: int, quota: int, indirect: bool):
        self.sequence_bits = exact_log2(quota)
        self.index_bits = exact_log2(queue_size)
        self.queue_bits = ceil_log2(queues)
        self.indirect = indirect
        self.rows = (3 if indirect else 1) << (self.index_bits + self.queue_bits)
        # Where a row is among its queue's: region 0 is the ring's own, 1 and 2 are the halves of the tables'.
        self.place = data.StructLayout(
            {"index": self.index_bits, "region": 2} if indirect else {"index": self.index_bits}
        )
        # ``bad``: ``link`` stands for a descriptor that does not exist. Not meaningful without ``next``.
        self.row = data.StructLayout(
            {
                "address": 64,
                "length": 32,
                "writable": 1,
                "next": 1,
                "indirect": 1,
                "bad": 1,
                "link": self.index_bits + indirect,
            }
        )
        # Write a row; with ``hold``, the chain of ``sequence`` holds it.
        self.store = data.StructLayout(
            {"queue": QUEUE, "place": self.place, "row": self.row, "hold": 1, "sequence": self.sequence_bits}
        )
        # A part of a chain of one direction: how many segments, and where they begin.
        self.count = unsigned(self.index_bits + 2)
        self.part = data.StructLayout(
            {"place": self.place, "count": self.count, "start": self.index_bits + 1}
        )
        # Read port on the rows: ``row`` is what was asked for in the cycle before if ``took`` is high.
        # ``clear``: a row of the ring's own may be written again.
        self.read = wiring.Signature(
            {
                "valid": Out(1),
                "queue": Out(QUEUE),
                "place": Out(self.place),
                "clear": Out(1),
                "ready": In(1),
                "took": In(1),
                "row": In(self.row),
            }
        )

    def queue(self, token: Any) -> Any:
        """Queue of ``token``."""
        return token[self.sequence_bits :]

    def sequence(self, token: Any) -> Any:
        """Sequence of ``token`` in its queue."""
        return token[: self.sequence_bits]

    def address(self, queue: Any, place: Any) -> Any:
        """Number of a row."""
        region = [place.region] if self.indirect else []
        return Cat(place.index, queue[: self.queue_bits], *region)

    def in_table(self, place: Any) -> Any:
        """The row belongs to an indirect table."""
        return place.region.any() if self.indirect else 0

    def of_table(self, position: Any) -> Any:
        """Place of row ``position`` of those for indirect tables, as a value."""
        return Cat(position[: self.index_bits], Mux(position[self.index_bits], 2, 1)[:2])

    def behind(self, place: Any, row: Any) -> Any:
        """Place that the ``link`` of ``row``, which is at ``place``, stands for, as a value."""
        if not self.indirect:
            return row.link
        return Cat(
            row.link[: self.index_bits],
            self.in_table(place) & ~row.link[self.index_bits],
            self.in_table(place) & row.link[self.index_bits],
        )

"""What runs between the virtqueue engine, the device core and the DMA writers."""

from amaranth.hdl import unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..chain import QUEUE, TOKEN

__all__ = [
    "ChainDone",
    "ChainLookup",
    "ChainRecord",
    "ChainWrite",
    "ErrorReport",
    "Head",
    "NO_CONTEXT",
    "QueueContext",
    "QueueLookup",
    "ReadableJob",
    "Segment",
    "SegmentIndex",
    "SegmentLookup",
    "SegmentWrite",
]


# Context of the read channels that need none: one bit, because Verilog has no signals of none.
NO_CONTEXT = unsigned(1)


class QueueContext(data.Struct):
    """What the driver set up for one queue."""

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


class Segment(data.Struct):
    """One descriptor's buffer."""

    address: 64
    length: 32


class SegmentIndex(data.Struct):
    """Segment ``index`` of chain ``token``, counted from its first readable or writable one."""

    token: TOKEN
    index: 16


# Read port on the segments of the chains in flight: ``segment`` and ``exists`` answer the ``select``
# of the cycle before; ``exists`` is low behind the chain's last segment of that direction.
SegmentLookup = wiring.Signature({"select": Out(SegmentIndex), "segment": In(Segment), "exists": In(1)})


class ChainDone(data.Struct):
    """The device completed chain ``token`` and ``written`` bytes of it are in host memory."""

    token: TOKEN
    written: unsigned(32)


class Head(data.Struct):
    """An available chain: its first descriptor is ``head``, which lies inside the table."""

    queue: QUEUE
    head: 16


class SegmentWrite(data.Struct):
    """Store segment ``index`` of chain ``token`` in the direction that ``writable`` names."""

    token: TOKEN
    index: 16
    writable: 1
    segment: Segment


class ChainRecord(data.Struct):
    """Where a chain in flight came from."""

    queue: QUEUE
    head: 16


class ChainWrite(data.Struct):
    """Store what is known of chain ``token`` beside its segments: origin and numbers of segments."""

    token: TOKEN
    record: ChainRecord
    readable: 16
    writable: 16


# Read port on the records of the chains in flight: ``record`` is that of the ``token`` of the cycle before.
ChainLookup = wiring.Signature({"token": Out(TOKEN), "record": In(ChainRecord)})


class ReadableJob(data.Struct):
    """Fetch the ``segments`` (1 or more) device-readable segments of chain ``token``."""

    token: TOKEN
    segments: 16

"""Chain streams: what a device type sees of a virtqueue, whatever the ring's format."""

from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["Chain", "ChainSignature", "readable_layout", "writable_layout"]

TOKEN = unsigned(12)
QUEUE = unsigned(16)


class Chain(data.Struct):
    """A descriptor chain that passed every check, ready for the device.

    ``token`` names it until it is completed.
    """

    token: TOKEN
    queue: QUEUE
    readable: 32  # bytes the driver wrote for the device
    writable: 32  # bytes the device may write


def readable_layout(width: int) -> data.StructLayout:
    """The device-readable bytes of a chain, from byte lane 0, every beat full but the ``last``.

    ``error`` (only with ``last``, ``count`` 0) says that the rest could not be read: the device gives
    the chain up without acting on what it got. A chain without readable bytes has no beat here.
    """
    return data.StructLayout(
        {"data": width, "count": ceil_log2(width // 8 + 1), "last": 1, "error": 1, "token": TOKEN}
    )


def writable_layout(width: int) -> data.StructLayout:
    """Bytes for the device-writable part of a chain, filled from its start.

    Valid from byte lane 0; ``count`` is 0 to ``width/8`` in any beat. ``last`` completes the chain:
    the bytes sent so far are its used length. The beats of one chain are contiguous in the stream.
    Bytes beyond the chain's writable length are dropped.

    ``more``, only with ``last``: the driver is to see this chain used together with the next one that is
    completed of its queue, not before.
    """
    return data.StructLayout(
        {"data": width, "count": ceil_log2(width // 8 + 1), "last": 1, "more": 1, "token": TOKEN}
    )


class ChainSignature(wiring.Signature):
    """The virtqueue engine's side of the chain streams; a device type has it flipped (``In``).

    Chains are announced in ring order per queue, and the readable bytes follow in the order of
    announcement; the device may complete chains in any order.

    ``reset``
        While high, the device gives up all chains: no beat it sends counts, none arrives. It
        brings its backend to rest (a started storage transfer is run to its end).
    ``retire``, ``retire_queue``
        While ``retire`` is high the driver waits for the reset of queue ``retire_queue``: the device
        completes the chains of it that it holds, or is handed yet, without waiting for anything from
        outside. What it writes into them, and how many bytes, means nothing any more. [§2.6.1]
    ``idle``
        High when nothing of before ``reset`` can reach the streams or the backend any more; sampled
        while ``reset`` is high.
    """

    def __init__(self, width: int):
        self.width = width
        super().__init__(
            {
                "chain": Out(stream.Signature(Chain)),
                "readable": Out(stream.Signature(readable_layout(width))),
                "writable": In(stream.Signature(writable_layout(width))),
                "reset": Out(1),
                "retire": Out(1),
                "retire_queue": Out(QUEUE),
                "idle": In(1),
            }
        )

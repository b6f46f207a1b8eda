"""Layouts shared by the DMA engines and their clients."""

from typing import Any

from amaranth.lib import data
from amaranth.utils import ceil_log2

from ..chain import TOKEN

__all__ = [
    "ChainContext",
    "DmaSettings",
    "read_data_layout",
    "read_request_layout",
]


class DmaSettings(data.Struct):
    """What configuration space says about requests of our own; stable while DMA is running."""

    requester_id: 16
    bus_master: 1
    max_payload: 3  # 128 << n bytes
    max_read_request: 3  # 128 << n bytes
    extended_tag: 1  # 8-bit tags; else tags stay below 32


class ChainContext(data.Struct):
    """Context of the reads that fetch a chain's bytes: which chain, and whether it ends with this one."""

    token: TOKEN
    last: 1


def read_request_layout(context: Any) -> data.StructLayout:
    """Read ``length`` (1 to 2**32-1) bytes at ``address``; ``context`` comes back beside the data."""
    return data.StructLayout({"address": 64, "length": 32, "context": context})


def read_data_layout(width: int, context: Any) -> data.StructLayout:
    """Bytes of a read as host memory has them: byte ``a`` of memory is in byte lane ``a % (width/8)``.

    ``start``
        First valid byte lane; 0 in every beat of a request but its first.
    ``count``
        Number of valid bytes from ``start`` on, 1 to ``width/8``; ``start + count`` is the full
        width in every beat of a request but its last.
    ``last``
        Last beat of the request (not of one TLP).
    ``error``
        The read failed (UR, CA, poison, time-out); with ``last``. No data in this beat.
    """
    lanes = width // 8
    return data.StructLayout(
        {
            "data": width,
            "start": ceil_log2(lanes),
            "count": ceil_log2(lanes + 1),
            "last": 1,
            "error": 1,
            "context": context,
        }
    )

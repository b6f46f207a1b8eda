"""Packed virtqueues.  [virtio 1.4 §2.8]"""

import enum

from amaranth.lib import data

__all__ = [
    "EventFlags",
    "EventSuppression",
    "PackedDescriptor",
    "PackedFlag",
    "descriptor_ring_size",
]


class PackedFlag(enum.IntFlag):
    """``pvirtq_desc.flags``.  [§2.8.1, §2.8.13]"""

    NEXT = 1
    WRITE = 2
    INDIRECT = 4
    AVAIL = 1 << 7
    USED = 1 << 15


class EventFlags(enum.IntEnum):
    """``pvirtq_event_suppress.flags.desc_event_flags``.  [§2.8.14]"""

    ENABLE = 0
    DISABLE = 1
    DESC = 2  # only with EVENT_IDX
    RESERVED = 3


class PackedDescriptor(data.Struct):
    """``struct pvirtq_desc``, 16 bytes, aligned to 16; an available and a used one alike.  [§2.8.13]"""

    addr: 64
    len: 32
    id: 16
    flags: 16


class EventSuppression(data.Struct):
    """``struct pvirtq_event_suppress``, 4 bytes, aligned to 4.  [§2.8.14]

    ``off`` and ``wrap``: place in the ring, and wrap counter there, at which an event is wanted if ``flags``
    is :attr:`EventFlags.DESC`.
    """

    off: 15
    wrap: 1
    flags: 2
    reserved: 14


def descriptor_ring_size(queue_size: int) -> int:
    """Bytes of the descriptor ring."""
    return 16 * queue_size

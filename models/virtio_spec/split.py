"""Split virtqueues.  [virtio 1.4 §2.7]"""

import enum
from typing import NamedTuple

from amaranth.lib import data

__all__ = [
    "MAX_QUEUE_SIZE",
    "AvailFlags",
    "AvailHeader",
    "Descriptor",
    "DescriptorFlag",
    "UsedElem",
    "UsedFlags",
    "UsedHeader",
    "LEGACY_ALIGN",
    "LegacyLayout",
    "avail_ring_offset",
    "avail_size",
    "descriptor_table_size",
    "legacy_layout",
    "used_ring_offset",
    "used_size",
]

MAX_QUEUE_SIZE = 32768
LEGACY_ALIGN = 4096


class DescriptorFlag(enum.IntFlag):
    """``virtq_desc.flags``.  [§2.7.5]"""

    NEXT = 1
    WRITE = 2
    INDIRECT = 4


class AvailFlags(enum.IntFlag):
    """``virtq_avail.flags``.  [§2.7.6]"""

    NO_INTERRUPT = 1


class UsedFlags(enum.IntFlag):
    """``virtq_used.flags``.  [§2.7.8]"""

    NO_NOTIFY = 1


class Descriptor(data.Struct):
    """``struct virtq_desc``, 16 bytes, aligned to 16.  [§2.7.5]"""

    addr: 64
    len: 32
    flags: 16
    next: 16


class AvailHeader(data.Struct):
    """Start of ``struct virtq_avail``, 4 bytes, aligned to 2.  [§2.7.6]"""

    flags: 16
    idx: 16


class UsedHeader(data.Struct):
    """Start of ``struct virtq_used``, 4 bytes, aligned to 4.  [§2.7.8]"""

    flags: 16
    idx: 16


class UsedElem(data.Struct):
    """``struct virtq_used_elem``, 8 bytes.  [§2.7.8]"""

    id: 32
    len: 32


def descriptor_table_size(queue_size: int) -> int:
    """Bytes of the descriptor table."""
    return 16 * queue_size


def avail_ring_offset(index: int) -> int:
    """Byte offset of ``avail.ring[index]``; ``used_event`` is at ``index = queue_size``."""
    return 4 + 2 * index


def avail_size(queue_size: int) -> int:
    """Bytes of the available ring, ``used_event`` included."""
    return 6 + 2 * queue_size


def used_ring_offset(index: int) -> int:
    """Byte offset of ``used.ring[index]``; ``avail_event`` is at ``index = queue_size``."""
    return 4 + 8 * index


def used_size(queue_size: int) -> int:
    """Bytes of the used ring, ``avail_event`` included."""
    return 6 + 8 * queue_size


class LegacyLayout(NamedTuple):
    """Offsets of a legacy virtqueue's parts from its descriptor table, and the size of all, in bytes."""

    avail: int
    used: int
    total: int


def legacy_layout(queue_size: int) -> LegacyLayout:
    """Where the parts of a legacy virtqueue are, whose address is a multiple of 4096.  [§2.7.2]"""
    avail = descriptor_table_size(queue_size)
    used = _aligned(avail + avail_size(queue_size))
    return LegacyLayout(avail, used, used + _aligned(used_size(queue_size)))


def _aligned(size: int) -> int:
    return -(-size // LEGACY_ALIGN) * LEGACY_ALIGN

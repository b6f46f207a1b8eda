"""How this project's endpoint lays out its BARs, and its diagnostics block.

The offsets inside BAR 4 and the MSI-X BAR are QEMU's, so that habits hold.  The diagnostics block is
the project's own: no virtio capability points at it, and a driver need not know it.  In the legacy BAR
it stands at the end, behind the device configuration.
"""

import enum

from amaranth.lib import data

__all__ = [
    "COMMON_LENGTH",
    "COMMON_OFFSET",
    "DEVICE_LENGTH",
    "DEVICE_OFFSET",
    "DIAGNOSTICS_MAGIC",
    "DIAGNOSTICS_OFFSET",
    "ISR_LENGTH",
    "ISR_OFFSET",
    "LEGACY_BAR",
    "LEGACY_BAR_SIZE",
    "LEGACY_DIAGNOSTICS_OFFSET",
    "MODERN_BAR",
    "MODERN_BAR_SIZE",
    "MSIX_BAR",
    "MSIX_BAR_SIZE",
    "MSIX_PBA_OFFSET",
    "MSIX_TABLE_OFFSET",
    "NOTIFY_LENGTH",
    "NOTIFY_MULTIPLIER",
    "NOTIFY_OFFSET",
    "Cause",
    "Diagnostics",
]

LEGACY_BAR = 0
LEGACY_BAR_SIZE = 0x100  # the most that a function may ask for in I/O space
LEGACY_DIAGNOSTICS_OFFSET = 0xF0

MSIX_BAR = 1
MSIX_BAR_SIZE = 0x1000
MSIX_TABLE_OFFSET = 0x000
MSIX_PBA_OFFSET = 0x800

MODERN_BAR = 4
MODERN_BAR_SIZE = 0x4000
COMMON_OFFSET = 0x0000
COMMON_LENGTH = 0x0800
DIAGNOSTICS_OFFSET = 0x0800
ISR_OFFSET = 0x1000
ISR_LENGTH = 0x1000
DEVICE_OFFSET = 0x2000
DEVICE_LENGTH = 0x1000
NOTIFY_OFFSET = 0x3000
NOTIFY_LENGTH = 0x1000
NOTIFY_MULTIPLIER = 4

DIAGNOSTICS_MAGIC = 0x45_44_49_56  # "VIDE"


class Cause(enum.IntEnum):
    """Why the device went into DEVICE_NEEDS_RESET; the first cause stands until the next reset."""

    NONE = 0
    AVAIL_INDEX = 1  # avail.idx is further ahead than the queue is long
    HEAD_INDEX = 2  # an available ring entry names a descriptor outside the table
    NEXT_INDEX = 3  # ``next`` names a descriptor outside the table
    CHAIN_LOOP = 4  # more descriptors in a chain than the queue has: a loop
    ZERO_LENGTH = 5  # a descriptor of length 0
    READABLE_AFTER_WRITABLE = 6
    INDIRECT = 7  # an indirect descriptor, not negotiated
    TOTAL_LENGTH = 8  # a chain of more than 2**32 - 1 bytes in one direction
    DMA_ERROR = 9  # a read ended in UR, CA, poison or time-out
    INDIRECT_TABLE = 10  # length no multiple of 16, 0, or more descriptors than a queue may have
    INDIRECT_NESTED = 11  # an indirect descriptor in an indirect table, or one with NEXT
    CHAIN_INCOMPLETE = 12  # packed: a chain goes on where nothing is available
    DESCRIPTOR_REUSE = 13  # more descriptors with the device than the queue has


class Diagnostics(data.Struct):
    """Diagnostics block at BAR 4 + 0x800 and legacy BAR 0 + 0xF0, 16 bytes, read-only."""

    magic: 32
    cause: 16  # a Cause
    queue: 16  # the queue it happened on
    head: 16  # the chain's head descriptor, where known
    descriptor: 16  # the offending descriptor, where known
    reserved: 32

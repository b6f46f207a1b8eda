"""What is said to the kernel about a device of one's own: numbers and structures of ``linux/vfio.h``.

All integers are in the machine's own byte order, as the kernel has them. Structures that the kernel may make
longer begin with the size that the caller knows.
"""

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

__all__ = [
    "API_VERSION",
    "CONFIG_REGION",
    "GROUP_STATUS",
    "IRQ_INFO",
    "REGION_INFO",
    "Action",
    "GroupStatus",
    "Interrupt",
    "Ioctl",
    "IommuType",
    "MapFlag",
    "RegionInfo",
    "dma_map",
    "group_status",
    "interrupt_info",
    "irq_set",
    "region_info",
]

API_VERSION = 0
#: BARs are regions 0 to 5.
CONFIG_REGION = 7


class Ioctl(IntEnum):
    """Requests: type ``';'``, numbers from 100 on, without direction and size."""

    GET_API_VERSION = 0x3B64
    CHECK_EXTENSION = 0x3B65
    SET_IOMMU = 0x3B66
    GROUP_GET_STATUS = 0x3B67
    GROUP_SET_CONTAINER = 0x3B68
    GROUP_GET_DEVICE_FD = 0x3B6A
    DEVICE_GET_REGION_INFO = 0x3B6C
    DEVICE_GET_IRQ_INFO = 0x3B6D
    DEVICE_SET_IRQS = 0x3B6E
    IOMMU_MAP_DMA = 0x3B71


class IommuType(IntEnum):
    """How a container's devices reach memory."""

    TYPE1_V2 = 3
    NO_IOMMU = 8


class GroupStatus(IntFlag):
    """Flags of a group."""

    VIABLE = 1


class MapFlag(IntFlag):
    """What a device may do with memory."""

    READ = 1
    WRITE = 2


class Interrupt(IntEnum):
    """Indices of a PCI device's interrupts."""

    INTX = 0
    MSIX = 2


class Action(IntFlag):
    """What is to be done with interrupts, and which data says it."""

    DATA_NONE = 1
    DATA_EVENTFD = 4
    UNMASK = 16
    TRIGGER = 32


class RegionInfo(NamedTuple):
    """A region: its size, and where in the device's file it is."""

    size: int
    offset: int


GROUP_STATUS = struct.Struct("=II")  # size, flags
REGION_INFO = struct.Struct("=IIIIQQ")  # size, flags, index, offset of capabilities, size, offset
IRQ_INFO = struct.Struct("=IIII")  # size, flags, index, count
IRQ_SET = struct.Struct("=IIIII")  # size, flags, index, start, count; then data
DMA_MAP = struct.Struct("=IIQQQ")  # size, flags, address in this process, address for the device, bytes


def group_status() -> bytearray:
    """Asks for a group's flags, which are the second word."""
    return bytearray(GROUP_STATUS.pack(GROUP_STATUS.size, 0))


def region_info(index: int) -> bytearray:
    """Asks for a region."""
    return bytearray(REGION_INFO.pack(REGION_INFO.size, 0, index, 0, 0, 0))


def interrupt_info(index: Interrupt) -> bytearray:
    """Asks how many interrupts there are of one kind."""
    return bytearray(IRQ_INFO.pack(IRQ_INFO.size, 0, index, 0))


def irq_set(
    action: Action, index: Interrupt, *, start: int = 0, count: int = 1, data: bytes = b""
) -> bytearray:
    """What is to be done with ``count`` interrupts from ``start`` on."""
    return bytearray(IRQ_SET.pack(IRQ_SET.size + len(data), action, index, start, count) + data)


def dma_map(flags: MapFlag, address: int, iova: int, size: int) -> bytearray:
    """Gives a device ``size`` bytes of this process at ``iova``."""
    return bytearray(DMA_MAP.pack(DMA_MAP.size, flags, address, iova, size))

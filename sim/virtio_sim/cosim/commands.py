"""What each command of a client does to the device."""

import errno
import struct
from collections.abc import Callable

from . import access
from .function import CONFIG_REGION, Function
from .interrupts import Interrupts
from .maps import Maps
from .msix import Table, hide_capabilities
from .protocol import (
    DMA_MAP,
    DMA_UNMAP,
    INFO,
    IRQ_SET,
    MAX_DATA,
    REGION_ACCESS,
    REGION_INFO,
    WRITE_COUNT,
    Command,
    DeviceFlag,
    Irq,
    Refused,
    RegionFlag,
    UnmapFlag,
)

__all__ = ["Commands"]

REGIONS = 9  # VFIO's for a PCI device: BARs, ROM, configuration space, VGA
MULTI_DATA = 8  # bytes of data in each write of a REGION_WRITE_MULTI
REFUSED = {
    Command.DEVICE_GET_REGION_IO_FDS,
    Command.DIRTY_PAGES,
    Command.DEVICE_FEATURE,
    Command.MIG_DATA_READ,
    Command.MIG_DATA_WRITE,
}


class Commands:
    """All commands but VERSION.

    Parameters
    ----------
    function
        The device.
    maps
        The client's memory.
    interrupts
        The client's interrupts.
    table
        Whose MSI-X table the guest programs.
    """

    def __init__(self, function: Function, maps: Maps, interrupts: Interrupts, table: Table):
        self._function, self._maps, self._interrupts, self._table = function, maps, interrupts, table
        self._handlers: dict[int, Callable[[bytes, list[int]], bytes]] = {
            Command.DMA_MAP: self._dma_map,
            Command.DMA_UNMAP: self._dma_unmap,
            Command.DEVICE_GET_INFO: self._get_info,
            Command.DEVICE_GET_REGION_INFO: self._get_region_info,
            Command.DEVICE_GET_IRQ_INFO: self._get_irq_info,
            Command.DEVICE_SET_IRQS: self._set_irqs,
            Command.REGION_READ: self._region_read,
            Command.REGION_WRITE: self._region_write,
            Command.REGION_WRITE_MULTI: self._region_write_multi,
            Command.DEVICE_RESET: self._device_reset,
        }

    def run(self, command: int, payload: bytes, fds: list[int]) -> bytes:
        """Do it, and give the payload of the answer; takes what it keeps out of ``fds``. :class:`Refused`."""
        handler = self._handlers.get(command)
        if handler is None:
            if command in REFUSED:
                raise Refused(errno.ENOTSUP, "this server does not have it")
            if command in list(Command):
                raise Refused(errno.EINVAL, "a client does not send it now")
            raise Refused(errno.ENOSYS, "it is unknown")
        if fds and command not in (Command.DMA_MAP, Command.DEVICE_SET_IRQS):
            raise Refused(errno.EINVAL, f"it came with {len(fds)} file descriptors")
        return handler(payload, fds)

    def _dma_map(self, payload: bytes, fds: list[int]) -> bytes:
        _, flags, offset, address, size = _unpack(DMA_MAP, payload)
        if len(fds) > 1:
            raise Refused(errno.EINVAL, f"it came with {len(fds)} file descriptors")
        self._maps.add(address, size, offset, flags, fds[0] if fds else None)
        return b""

    def _dma_unmap(self, payload: bytes, fds: list[int]) -> bytes:
        _, flags, address, size = _unpack(DMA_UNMAP, payload)
        if flags & ~UnmapFlag.ALL:
            raise Refused(errno.EINVAL, f"its flags are {flags:#x}")
        if flags & UnmapFlag.ALL:
            if address or size:
                raise Refused(errno.EINVAL, f"it is of all maps, and of {size:#x} bytes at {address:#x}")
            self._maps.clear()
        else:
            self._maps.remove(address, size)
        return payload

    def _get_info(self, payload: bytes, fds: list[int]) -> bytes:
        _check_room(INFO.size, _unpack(INFO, payload)[0])
        return INFO.pack(INFO.size, DeviceFlag.RESET | DeviceFlag.PCI, REGIONS, len(Irq))

    def _get_region_info(self, payload: bytes, fds: list[int]) -> bytes:
        room, _, index, _, _, _ = _unpack(REGION_INFO, payload)
        _check_room(REGION_INFO.size, room)
        if index >= REGIONS:
            raise Refused(errno.EINVAL, f"there is no region {index}")
        region = self._function.regions.get(index)
        flags = RegionFlag.READ | RegionFlag.WRITE if region else 0
        return REGION_INFO.pack(REGION_INFO.size, flags, index, 0, region.size if region else 0, 0)

    def _get_irq_info(self, payload: bytes, fds: list[int]) -> bytes:
        room, _, index, _ = _unpack(INFO, payload)
        _check_room(INFO.size, room)
        flags, count = self._interrupts.info(index)
        return INFO.pack(INFO.size, flags, index, count)

    def _set_irqs(self, payload: bytes, fds: list[int]) -> bytes:
        if len(payload) < IRQ_SET.size:
            raise Refused(errno.EINVAL, f"it has {len(payload)} bytes instead of {IRQ_SET.size} or more")
        _, flags, index, start, count = IRQ_SET.unpack_from(payload)
        self._interrupts.set(flags, index, start, count, payload[IRQ_SET.size :], fds)
        return b""

    def _region_read(self, payload: bytes, fds: list[int]) -> bytes:
        offset, region, count = _unpack(REGION_ACCESS, payload)
        _check_count(count)
        access.check(self._function, region, offset, count)
        data = access.read(self._function, region, offset, count)
        whole = region == CONFIG_REGION and count == self._function.regions[region].size
        if whole and self._table is Table.DEVICE:
            data = hide_capabilities(data)
        return payload + data

    def _region_write(self, payload: bytes, fds: list[int]) -> bytes:
        if len(payload) < REGION_ACCESS.size:
            raise Refused(
                errno.EINVAL, f"it has {len(payload)} bytes instead of {REGION_ACCESS.size} or more"
            )
        offset, region, count = REGION_ACCESS.unpack_from(payload)
        _check_count(count)
        data = payload[REGION_ACCESS.size :]
        if len(data) != count:
            raise Refused(errno.EINVAL, f"it is of {count} bytes and has {len(data)}")
        self._write(region, offset, data)
        return payload[: REGION_ACCESS.size]

    def _region_write_multi(self, payload: bytes, fds: list[int]) -> bytes:
        if len(payload) < WRITE_COUNT.size:
            raise Refused(errno.EINVAL, f"it has {len(payload)} bytes instead of {WRITE_COUNT.size} or more")
        (writes,) = WRITE_COUNT.unpack_from(payload)
        step = REGION_ACCESS.size + MULTI_DATA
        if len(payload) != WRITE_COUNT.size + writes * step:
            raise Refused(errno.EINVAL, f"it is of {writes} writes and has {len(payload)} bytes")
        for at in range(WRITE_COUNT.size, len(payload), step):
            offset, region, count = REGION_ACCESS.unpack_from(payload, at)
            if count > MULTI_DATA:
                raise Refused(errno.EINVAL, f"a write of {count} bytes in it is longer than {MULTI_DATA}")
            start = at + REGION_ACCESS.size
            self._write(region, offset, payload[start : start + count])
        return b""

    def _write(self, region: int, offset: int, data: bytes) -> None:
        access.check(self._function, region, offset, len(data))
        table = self._interrupts.table
        if table is not None and table.covers(region, offset, len(data)):
            return  # the client emulates its own; the device's is the server's
        access.write(self._function, region, offset, data)
        if table is not None and table.forget(region, offset, len(data)):
            self._interrupts.fill_in()

    def _device_reset(self, payload: bytes, fds: list[int]) -> bytes:
        if payload:
            raise Refused(errno.EINVAL, f"it has {len(payload)} bytes of data")
        self._function.reset()
        return b""


def _unpack(layout: struct.Struct, payload: bytes) -> tuple[int, ...]:
    if len(payload) != layout.size:
        raise Refused(errno.EINVAL, f"it has {len(payload)} bytes instead of {layout.size}")
    return layout.unpack(payload)


def _check_room(needed: int, room: int) -> None:
    if room < needed:
        raise Refused(errno.EINVAL, f"it leaves {room} bytes for an answer of {needed}")


def _check_count(count: int) -> None:
    if count > MAX_DATA:
        raise Refused(errno.EINVAL, f"{count} bytes at once are more than {MAX_DATA}")

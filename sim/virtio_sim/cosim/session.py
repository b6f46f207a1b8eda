"""One client from its first message on: what each command does."""

import errno
import struct
from collections.abc import Callable

from . import access
from .connection import Connection, Message
from .function import CONFIG_REGION, Function, FunctionFault
from .interrupts import Interrupts
from .maps import Maps
from .msix import Table, hide_capabilities
from .protocol import (
    DMA_ACCESS,
    DMA_MAP,
    DMA_UNMAP,
    INFO,
    IRQ_SET,
    MAJOR,
    MAX_DATA,
    MINOR,
    REGION_ACCESS,
    REGION_INFO,
    VERSION,
    WRITE_COUNT,
    Command,
    DeviceFlag,
    Flag,
    Header,
    Irq,
    ProtocolError,
    Refused,
    RegionFlag,
    UnmapFlag,
    answer_capabilities,
    command_name,
)

__all__ = ["Session"]

REGIONS = 9  # VFIO's for a PCI device: BARs, ROM, configuration space, VGA
MULTI_DATA = 8  # bytes of data in each write of a REGION_WRITE_MULTI
COMPLAINTS = 20  # sentences about one client
REFUSED = {
    Command.DEVICE_GET_REGION_IO_FDS,
    Command.DIRTY_PAGES,
    Command.DEVICE_FEATURE,
    Command.MIG_DATA_READ,
    Command.MIG_DATA_WRITE,
}


class Session:
    """A client and the device.

    Parameters
    ----------
    function
        The device, fresh from a reset.
    connection
        The client.
    table
        Whose MSI-X table the guest programs.
    report
        Hears of everything odd, in one sentence each.
    watch
        Watches the eventfd with which the client unmasks INTx; see :class:`~.interrupts.Intx`.

    Attributes
    ----------
    greeted
        Whether the two have agreed on a version.
    """

    def __init__(
        self,
        function: Function,
        connection: Connection,
        *,
        table: Table,
        report: Callable[[str], None],
        watch: Callable[[int | None], None],
    ):
        self._function, self._connection, self._table, self._report = function, connection, table, report
        self._complaints = 0
        self.greeted = False
        self._maps = Maps(function)
        self.interrupts = Interrupts(function, table, send=self._send, stray=self._stray, watch=watch)
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

    def work(self, budget: int) -> bool:
        """Let the device go on; False if it has nothing to do."""
        busy = self._function.work(budget)
        self.interrupts.deliver()
        return busy

    def handle(self, message: Message) -> None:
        """Do what a message asks for; :class:`ProtocolError` if this is the end."""
        header = message.header
        try:
            if header.is_reply:
                self._answered(header)
                return
            if not self.greeted:
                reply = self._greet(message)
            else:
                reply = self._command(header.command, message)
            if header.wants_reply:
                self._connection.reply(header, reply)
        except (Refused, FunctionFault) as error:
            self._complain(f"{command_name(header.command)} is refused: {error}")
            if header.wants_reply:
                number = error.number if isinstance(error, Refused) else errno.EIO
                self._connection.reply_error(header, number)
        except ProtocolError as error:
            if header.wants_reply:
                self._connection.reply_error(header, error.number)
            raise
        finally:
            message.close()
        self.interrupts.deliver()

    def close(self) -> None:
        """Take everything of the client's away from the device, which has been reset."""
        self._maps.clear()
        self.interrupts.close()

    def _complain(self, sentence: str) -> None:
        self._complaints += 1
        if self._complaints <= COMPLAINTS:
            self._report(sentence)
        elif self._complaints == COMPLAINTS + 1:
            self._report("this client has more to complain of, which is left out")

    def _send(self, address: int, data: int) -> None:
        self._connection.post(Command.DMA_WRITE, DMA_ACCESS.pack(address, 4) + data.to_bytes(4, "little"))

    def _stray(self, address: int, data: int) -> None:
        self._complain(f"the device wrote {data:#x} to {address:#x}, where it has no memory")

    def _answered(self, header: Header) -> None:
        """Nothing that the server sends is to be answered; QEMU does it for errors."""
        if header.flags & Flag.ERROR:
            self._complain(f"{command_name(header.command)} was refused by the client, errno {header.error}")

    # -- commands ----------------------------------------------------------------------------------

    def _greet(self, message: Message) -> bytes:
        header, payload = message.header, message.payload
        if header.command != Command.VERSION:
            name = command_name(header.command)
            raise ProtocolError(f"the client begins with {name} instead of VERSION", errno.EINVAL)
        if len(payload) < VERSION.size or message.fds:
            raise ProtocolError("the client's VERSION is malformed", errno.EINVAL)
        major, minor = VERSION.unpack_from(payload)
        if major != MAJOR:
            raise ProtocolError(
                f"the client speaks vfio-user {major}.{minor}, this server {MAJOR}.{MINOR}",
                errno.EPROTONOSUPPORT,
            )
        try:
            capabilities = answer_capabilities(payload[VERSION.size :])
        except Refused as error:
            raise ProtocolError(str(error), error.number) from None
        self.greeted = True
        self._report("a client has come")
        return VERSION.pack(MAJOR, MINOR) + capabilities

    def _command(self, command: int, message: Message) -> bytes:
        handler = self._handlers.get(command)
        if handler is None:
            if command in REFUSED:
                raise Refused(errno.ENOTSUP, "this server does not have it")
            if command in list(Command):
                raise Refused(errno.EINVAL, "a client does not send it now")
            raise Refused(errno.ENOSYS, "it is unknown")
        if message.fds and command not in (Command.DMA_MAP, Command.DEVICE_SET_IRQS):
            raise Refused(errno.EINVAL, f"it came with {len(message.fds)} file descriptors")
        return handler(message.payload, message.fds)

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
        flags, count = self.interrupts.info(index)
        return INFO.pack(INFO.size, flags, index, count)

    def _set_irqs(self, payload: bytes, fds: list[int]) -> bytes:
        if len(payload) < IRQ_SET.size:
            raise Refused(errno.EINVAL, f"it has {len(payload)} bytes instead of {IRQ_SET.size} or more")
        _, flags, index, start, count = IRQ_SET.unpack_from(payload)
        self.interrupts.set(flags, index, start, count, payload[IRQ_SET.size :], fds)
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
        table = self.interrupts.table
        if table is not None and table.covers(region, offset, len(data)):
            return  # the client emulates its own; the device's is the server's
        access.write(self._function, region, offset, data)
        if table is not None and table.forget(region, offset, len(data)):
            self.interrupts.fill_in()

    def _device_reset(self, payload: bytes, fds: list[int]) -> bytes:
        if payload:
            raise Refused(errno.EINVAL, f"it has {len(payload)} bytes of data")
        self._function.reset()
        if self.interrupts.table is not None:
            self.interrupts.table.forget_all()
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

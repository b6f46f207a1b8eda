"""What is behind QEMU's devices, at this end of a socket: noise, a disk, a cable."""

import socket
import struct
from collections.abc import Callable

from virtio_models.disk import Disk, DiskError
from virtio_models.entropy import EntropySource
from virtio_models.network import Network

from .qtest_pump import Pump

__all__ = ["serve_cable", "serve_disk", "serve_noise"]

#: Of the entropy gathering daemon: give me so many bytes, and be it later.
EGD_READ = 0x02
FRAME_HEADER = struct.Struct(">I")

# Network block device, https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
NBD_MAGIC, OPTION_MAGIC, OPTION_REPLY_MAGIC = b"NBDMAGIC", b"IHAVEOPT", 0x3E889045565A9
REQUEST_MAGIC, REPLY_MAGIC = 0x25609513, 0x67446698
FIXED_NEWSTYLE, NO_ZEROES = 1, 2
INFO, GO = 6, 7
ACK, EXPORT_INFO, UNSUPPORTED = 1, 3, 1 << 31 | 1
OPTION, OPTION_REPLY = struct.Struct(">8sII"), struct.Struct(">QIII")
REQUEST, REPLY = struct.Struct(">IHHQQI"), struct.Struct(">IIQ")
READ, WRITE, DISCONNECT, FLUSH, TRIM, ZEROES = 0, 1, 2, 3, 4, 6
FUA, NO_HOLE = 1, 2
HAS_FLAGS, READ_ONLY, CAN_FLUSH, CAN_FUA, CAN_TRIM, CAN_ZERO = 1, 2, 4, 8, 32, 64
EIO = 5
SECTOR = 512
#: A network block device cannot be resized: it is this large, and its monitor tells QEMU how much to show.
#: One that is read-only is as large as its disk, and stays so.
MOST_SECTORS = 1 << 16


def serve_noise(pump: Pump, peer: socket.socket, source: EntropySource) -> None:
    """An entropy gathering daemon, as ``rng-egd`` asks for one."""
    rest = bytearray()

    def receive(data: bytes) -> None:
        rest.extend(data)
        while len(rest) >= 2:
            command, count = rest[:2]
            del rest[:2]
            if command != EGD_READ:
                raise ValueError(f"QEMU asks the source of noise for {command:#x}")
            peer.sendall(bytes(source.next_byte() for _ in range(count)))

    pump.add(peer, receive)


def serve_cable(pump: Pump, peer: socket.socket, network: Network) -> None:
    """The other end of ``-netdev stream``: frames with their length in front."""
    rest = bytearray()

    def receive(data: bytes) -> None:
        rest.extend(data)
        while len(rest) >= FRAME_HEADER.size:
            (length,) = FRAME_HEADER.unpack_from(rest)
            end = FRAME_HEADER.size + length
            if len(rest) < end:
                return
            frame = bytes(rest[FRAME_HEADER.size : end])
            del rest[:end]
            network.put(frame)

    def send() -> None:
        while (came := network.take()) is not None:
            if not came.error:  # what is damaged ends at the port of the host
                peer.sendall(FRAME_HEADER.pack(len(came.data)) + came.data)

    pump.add(peer, receive)
    network.listeners.append(send)


def serve_disk(pump: Pump, peer: socket.socket, disk: Disk, *, read_only: bool) -> None:
    """A network block device whose first sectors are ``disk``, and what is behind them fails."""
    server = _Nbd(disk, read_only, peer.sendall)
    pump.add(peer, server.receive)
    peer.sendall(NBD_MAGIC + OPTION_MAGIC + struct.pack(">H", FIXED_NEWSTYLE | NO_ZEROES))


class _Nbd:
    """One connection: the client's flags, options until it is satisfied, requests."""

    def __init__(self, disk: Disk, read_only: bool, send: Callable[[bytes], None]):
        self._disk, self._send = disk, send
        self._flags = HAS_FLAGS | CAN_FLUSH | CAN_FUA | CAN_TRIM | CAN_ZERO | (READ_ONLY if read_only else 0)
        self._rest = bytearray()
        self._step: Callable[[], bool] = self._greeting

    def receive(self, data: bytes) -> None:
        self._rest += data
        while self._step():
            pass

    def _take(self, count: int) -> bytes:
        taken = bytes(self._rest[:count])
        del self._rest[:count]
        return taken

    def _greeting(self) -> bool:
        if len(self._rest) < 4:
            return False
        self._take(4)
        self._step = self._option
        return True

    def _option(self) -> bool:
        if len(self._rest) < OPTION.size:
            return False
        _, option, length = OPTION.unpack_from(self._rest)
        if len(self._rest) < OPTION.size + length:
            return False
        self._take(OPTION.size + length)
        if option not in (INFO, GO):
            self._send(OPTION_REPLY.pack(OPTION_REPLY_MAGIC, option, UNSUPPORTED, 0))
            return True
        sectors = self._disk.capacity if self._flags & READ_ONLY else MOST_SECTORS
        export = struct.pack(">HQH", 0, SECTOR * sectors, self._flags)
        self._send(OPTION_REPLY.pack(OPTION_REPLY_MAGIC, option, EXPORT_INFO, len(export)) + export)
        self._send(OPTION_REPLY.pack(OPTION_REPLY_MAGIC, option, ACK, 0))
        if option == GO:
            self._step = self._request
        return True

    def _request(self) -> bool:
        if len(self._rest) < REQUEST.size:
            return False
        magic, flags, kind, cookie, offset, length = REQUEST.unpack_from(self._rest)
        if magic != REQUEST_MAGIC:
            raise ValueError(f"QEMU sends a request with {magic:#x} to a disk")
        size = REQUEST.size + (length if kind == WRITE else 0)
        if len(self._rest) < size:
            return False
        content = self._take(size)[REQUEST.size :]
        if kind == DISCONNECT:
            return False
        data, error = b"", 0
        try:
            data = self._do(kind, flags, offset // SECTOR, length // SECTOR, content)
        except DiskError:
            error = EIO
        self._send(REPLY.pack(REPLY_MAGIC, error, cookie) + data)
        return True

    def _do(self, kind: int, flags: int, sector: int, count: int, content: bytes) -> bytes:
        disk = self._disk
        if kind == READ:
            return disk.read(sector, count)
        if kind == WRITE:
            disk.write(sector, content)
        elif kind == TRIM:
            disk.discard(sector, count)
        elif kind == ZEROES:
            disk.write_zeroes(sector, count, unmap=not flags & NO_HOLE)
        if kind == FLUSH or flags & FUA:
            disk.flush()
        return b""

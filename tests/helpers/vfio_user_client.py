"""A client of a vfio-user server, for tests; written from the protocol's specification.

Formats are literals here, independent of the server's.
"""

import array
import errno
import json
import os
import socket
import struct
from typing import NamedTuple

__all__ = ["Failed", "GuestMemory", "Reply", "VfioUserClient"]

CAPABILITIES = {
    "max_msg_fds": 16,
    "max_data_xfer_size": 1 << 20,
    "pgsizes": 4096,
    "max_dma_maps": 65535,
    "write_multiple": True,
    "migration": {"pgsize": 4096},
}


class Failed(Exception):
    """The server answered with an error."""

    def __init__(self, number: int):
        self.number = number
        super().__init__(errno.errorcode.get(number, str(number)))


class Reply(NamedTuple):
    """A message from the server."""

    id: int
    command: int
    flags: int
    error: int
    payload: bytes


class VfioUserClient:
    """A connected client; ``posted`` collects the commands that the server sends."""

    def __init__(self, path, *, timeout: float = 10.0):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self.posted: list[Reply] = []
        self._id = 0x4321

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self) -> None:
        self.socket.close()

    # -- messages ----------------------------------------------------------------------------------

    def send(self, command: int, payload: bytes = b"", *, fds=(), flags: int = 0) -> int:
        """Send a command, with its file descriptors at its first byte; returns its id."""
        self._id = self._id + 1 & 0xFFFF
        raw = struct.pack("<HHIII", self._id, command, 16 + len(payload), flags, 0) + payload
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.socket.sendmsg([raw], ancillary)
        if sent < len(raw):
            self.socket.sendall(raw[sent:])
        return self._id

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise EOFError("the server has closed the connection")
            data += part
        return data

    def receive(self) -> Reply:
        """The next message, whatever it is."""
        identifier, command, size, flags, error = struct.unpack("<HHIII", self._exactly(16))
        return Reply(identifier, command, flags, error, self._exactly(size - 16))

    def wait_posted(self) -> Reply:
        """The next command that the server sends."""
        return self.posted.pop(0) if self.posted else self._command(self.receive())

    @staticmethod
    def _command(message: Reply) -> Reply:
        assert not message.flags & 0xF, message
        return message

    def request(self, command: int, payload: bytes = b"", *, fds=()) -> bytes:
        """Send a command and wait for its answer's payload; :class:`Failed`."""
        identifier = self.send(command, payload, fds=fds)
        while True:
            message = self.receive()
            if message.flags & 0xF == 1:
                break
            self.posted.append(message)
        assert (message.id, message.command) == (identifier, command), message
        if message.flags & 0x20:
            assert message.payload == b""
            raise Failed(message.error)
        assert message.flags == 1 and message.error == 0
        return message.payload

    def closed(self) -> bool:
        """Whether the server has closed the connection; what it sent before is dropped."""
        try:
            while self.socket.recv(4096):
                pass
        except ConnectionError:
            pass
        return True

    # -- commands ----------------------------------------------------------------------------------

    def version(self, major: int = 0, minor: int = 0, capabilities=CAPABILITIES) -> tuple[int, int, dict]:
        data = json.dumps({"capabilities": capabilities}).encode() + b"\0"
        answer = self.request(1, struct.pack("<HH", major, minor) + data)
        assert answer[-1:] == b"\0"
        assert len(answer) <= len(data) + 4  # QEMU has no more room than its request took
        return *struct.unpack_from("<HH", answer), json.loads(answer[4:-1])["capabilities"]

    def dma_map(self, address: int, size: int, fd: int | None = None, *, offset=0, flags=3) -> None:
        payload = struct.pack("<IIQQQ", 32, flags, offset, address, size)
        assert self.request(2, payload, fds=() if fd is None else (fd,)) == b""

    def dma_unmap(self, address: int, size: int, flags: int = 0) -> None:
        payload = struct.pack("<IIQQ", 24, flags, address, size)
        assert self.request(3, payload) == payload

    def info(self) -> tuple[int, int, int]:
        """Flags, regions, interrupt types."""
        answer = self.request(4, struct.pack("<IIII", 16, 0, 0, 0))
        argsz, flags, regions, irqs = struct.unpack("<IIII", answer)
        assert argsz == 16
        return flags, regions, irqs

    def region_info(self, index: int) -> tuple[int, int]:
        """Flags and size of a region."""
        payload = struct.pack("<IIIIQQ", 32, 0, index, 0, 0, 0)
        argsz, flags, same, cap, size, offset = struct.unpack("<IIIIQQ", self.request(5, payload))
        assert (argsz, same, cap, offset) == (32, index, 0, 0)
        return flags, size

    def irq_info(self, index: int) -> tuple[int, int]:
        """Flags and number of an interrupt type."""
        payload = struct.pack("<IIII", 16, 0, index, 0)
        argsz, flags, same, count = struct.unpack("<IIII", self.request(7, payload))
        assert (argsz, same) == (16, index)
        return flags, count

    def set_irqs(self, index: int, flags: int, start: int, count: int, *, fds=(), data=b"") -> None:
        payload = struct.pack("<IIIII", 20 + len(data), flags, index, start, count) + data
        assert self.request(8, payload, fds=fds) == b""

    def read(self, region: int, offset: int, size: int) -> int:
        return int.from_bytes(self.read_bytes(region, offset, size), "little")

    def read_bytes(self, region: int, offset: int, size: int) -> bytes:
        head = struct.pack("<QII", offset, region, size)
        answer = self.request(9, head)
        assert answer[:16] == head and len(answer) == 16 + size
        return answer[16:]

    def write(self, region: int, offset: int, size: int, value: int, *, posted: bool = False) -> None:
        head = struct.pack("<QII", offset, region, size)
        data = value.to_bytes(size, "little")
        if posted:
            self.send(10, head + data, flags=0x10)
        else:
            assert self.request(10, head + data) == head

    def write_multi(self, writes, *, posted: bool = False) -> None:
        """``writes`` are (region, offset, size, value)."""
        payload = struct.pack("<Q", len(writes))
        for region, offset, size, value in writes:
            payload += struct.pack("<QIIQ", offset, region, size, value)
        if posted:
            self.send(15, payload, flags=0x10)
        else:
            assert self.request(15, payload) == b""

    def reset(self) -> None:
        assert self.request(13) == b""


class GuestMemory:
    """A memfd as a guest's memory."""

    def __init__(self, size: int):
        self.size = size
        self.fd = os.memfd_create("guest")
        os.truncate(self.fd, size)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        os.close(self.fd)

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self.fd, size, offset)

    def write(self, offset: int, data: bytes) -> None:
        os.pwrite(self.fd, data, offset)

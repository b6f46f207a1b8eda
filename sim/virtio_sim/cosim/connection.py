"""One client's socket: messages with their file descriptors, never waiting for more than is there."""

import os
import select
import socket
import struct
import time
from dataclasses import dataclass, field

from .protocol import HEADER, MAX_FDS, Flag, Header, ProtocolError

__all__ = ["Connection", "Gone", "Message"]

CHUNK = 1 << 16
TRUNCATED = int(socket.MSG_CTRUNC)
ANCILLARY = socket.CMSG_SPACE(MAX_FDS * struct.calcsize("i"))


class Gone(Exception):
    """The client has closed its end; the text is one sentence."""


@dataclass
class Message:
    """A whole message. Whoever wants a file descriptor to live takes it out of ``fds``."""

    header: Header
    payload: bytes
    fds: list[int] = field(default_factory=list)

    def close(self) -> None:
        """Close the file descriptors that nobody has taken."""
        while self.fds:
            os.close(self.fds.pop())


class Connection:
    """A client.

    Parameters
    ----------
    sock
        The connected socket; the connection closes it.
    patience
        Seconds that the client may take to finish a message, and to take a reply.

    Attributes
    ----------
    deadline
        When a message that has begun has to be complete, by :func:`time.monotonic`; or ``None``.
    """

    def __init__(self, sock: socket.socket, *, patience: float):
        self.patience = patience
        self.deadline: float | None = None
        self._socket = sock
        self._fds: list[int] = []
        self._data = bytearray()
        self._header: Header | None = None
        self._id = 0
        sock.setblocking(False)

    def fileno(self) -> int:
        """For a selector."""
        return self._socket.fileno()

    def expect(self) -> None:
        """A message has to come now: the deadline runs."""
        self.deadline = time.monotonic() + self.patience

    def receive(self) -> Message | None:
        """The next message, ``None`` if it has not arrived yet; :class:`Gone`, :class:`ProtocolError`.

        Reads no byte of the message after it, whose file descriptors would come along.
        """
        while True:
            size = self._header.size if self._header else HEADER.size
            if len(self._data) == size:
                if self._header is not None:
                    return self._complete(self._header)
                self._header = Header.parse(self._data)
                continue
            data = self._read(min(size - len(self._data), CHUNK))
            if data is None:
                return None
            if not data:
                where = f" in a message, after {len(self._data)} of its bytes" if self._data else ""
                raise Gone(f"the client left{where}")
            self._data += data
            if self.deadline is None:
                self.expect()

    def _complete(self, header: Header) -> Message:
        message = Message(header, bytes(self._data[HEADER.size :]), self._fds)
        self._data, self._fds, self._header, self.deadline = bytearray(), [], None, None
        return message

    def _read(self, size: int) -> bytes | None:
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(size, ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return None
        except OSError as error:
            raise Gone(f"the client left: {error.strerror}") from error
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                count = len(payload) // struct.calcsize("i")
                self._fds += struct.unpack_from(f"{count}i", payload)
        if flags & TRUNCATED or len(self._fds) > MAX_FDS:
            raise ProtocolError(f"a message has more than {MAX_FDS} file descriptors")
        return data

    # -- sending -----------------------------------------------------------------------------------

    def reply(self, to: Header, payload: bytes = b"") -> None:
        """Answer a command; :class:`Gone`, :class:`ProtocolError`."""
        self._send(HEADER.pack(to.id, to.command, HEADER.size + len(payload), Flag.REPLY, 0) + payload)

    def reply_error(self, to: Header, number: int) -> None:
        """Answer a command with an errno; :class:`Gone`, :class:`ProtocolError`."""
        self._send(HEADER.pack(to.id, to.command, HEADER.size, Flag.REPLY | Flag.ERROR, number))

    def post(self, command: int, payload: bytes) -> None:
        """Send a command that is not to be answered; :class:`Gone`, :class:`ProtocolError`."""
        self._id = self._id + 1 & 0xFFFF
        self._send(HEADER.pack(self._id, command, HEADER.size + len(payload), Flag.NO_REPLY, 0) + payload)

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                self._wait_for_room()
            except OSError as error:
                raise Gone(f"the client left: {error.strerror}") from error

    def _wait_for_room(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        if not poll.poll(self.patience * 1_000):
            raise ProtocolError(f"the client has taken no reply for {self.patience:g} s")

    def close(self) -> None:
        """Close the socket, and what came with a message that never became complete."""
        while self._fds:
            os.close(self._fds.pop())
        self._socket.close()

"""The cable of a network device: frames to and from whoever is at the other end of a socket."""

import os
import select
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Self

from .listener import Listener, meet

__all__ = ["Wire"]

LENGTH = struct.Struct(">I")
LONGEST = 65_550  # octets of a frame: no device here has more, nor QEMU
AHEAD = 64  # frames that wait for the device before no more are read
BUFFER = 1 << 20  # bytes for the other end that wait until frames are lost
CHUNK = 1 << 16


class Wire:
    """One end; the other is another endpoint's with the same path, or QEMU's ``-netdev stream``.

    Whoever comes first listens at the path, the other one connects; who has connected and is left has to
    start anew. There is a link while both are there.
    A frame goes behind its length, 4 bytes, big-endian. :class:`~.listener.SocketInUse`.

    Parameters
    ----------
    path
        Of the socket; removed by :meth:`close` if this end listens.
    report
        Hears when the other end comes and goes.

    Attributes
    ----------
    changed
        Called when a frame has come, and when the link goes up or down.
    """

    def __init__(self, path: str | os.PathLike[str], *, report: Callable[[str], None]):
        self._report = report
        self.changed: Callable[[], None] = _nobody
        self._incoming: deque[bytes] = deque()
        self._received, self._unsent = bytearray(), bytearray()
        self._peer: socket.socket | None = None
        self._listener: Listener | None = None
        self._poll = select.epoll()
        found = meet(path)
        if isinstance(found, Listener):
            self._listener = found
            self._poll.register(found.socket, select.EPOLLIN)
        else:
            self._begin(found)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Pull the cable; nobody is called any more."""
        self.changed = _nobody
        self._end()
        if self._listener is not None:
            self._listener.close()
        self._poll.close()

    def fileno(self) -> int:
        """For a selector: :meth:`look` when there is something to read."""
        return self._poll.fileno()

    @property
    def link_up(self) -> bool:
        """Whether the other end is there."""
        return self._peer is not None

    def put(self, frame: bytes) -> None:
        """Send a frame; it is lost if nobody is there, or takes frames."""
        if self._peer is None or len(self._unsent) > BUFFER:
            return
        self._unsent += LENGTH.pack(len(frame)) + frame
        self._send()

    def take(self) -> bytes | None:
        """The next frame that has come."""
        if not self._incoming:
            return None
        frame = self._incoming.popleft()
        self._watch()
        return frame

    def look(self) -> None:
        """Do what is to be done at the sockets now."""
        for number, events in self._poll.poll(0):
            if self._listener is not None and number == self._listener.socket.fileno():
                self._accept(self._listener.socket)
                continue
            if events & select.EPOLLOUT:
                self._send()
            if events & ~select.EPOLLOUT:
                self._receive()

    def _accept(self, listening: socket.socket) -> None:
        try:
            sock, _ = listening.accept()
        except OSError:
            return  # it left again
        if self._peer is None:
            self._begin(sock)
        else:
            sock.close()

    def _begin(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._peer = sock
        self._poll.register(sock, select.EPOLLIN)
        self._report("the wire's other end is there")
        self.changed()

    def _end(self, why: str = "") -> None:
        if self._peer is None:
            return
        self._poll.unregister(self._peer)
        self._peer.close()
        self._peer = None
        self._received.clear()
        self._unsent.clear()
        self._report(f"the wire's other end is gone{why}")
        self.changed()

    def _watch(self) -> None:
        """Read while frames have room, write while there are any."""
        if self._peer is not None:
            wanted = select.EPOLLIN if len(self._incoming) < AHEAD else 0
            self._poll.modify(self._peer, wanted | (select.EPOLLOUT if self._unsent else 0))

    def _send(self) -> None:
        try:
            while self._peer is not None and self._unsent:
                del self._unsent[: self._peer.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._end()
        self._watch()

    def _receive(self) -> None:
        if self._peer is None:
            return
        try:
            data = self._peer.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        self._received += data
        while len(self._received) >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._received)
            if not 0 < size <= LONGEST:
                self._end(f": it sent a frame of {size} octets")
                return
            if len(self._received) < LENGTH.size + size:
                break
            self._incoming.append(bytes(self._received[LENGTH.size : LENGTH.size + size]))
            del self._received[: LENGTH.size + size]
        self._watch()
        self.changed()


def _nobody() -> None:
    pass

"""Everything that QEMU says, on all of its sockets, in one thread."""

import selectors
import socket
import time
from collections.abc import Callable

__all__ = ["Pump", "QemuGone"]

CHUNK = 1 << 16


class QemuGone(Exception):
    """QEMU has closed a connection that lasts as long as it does."""


class Pump:
    """Reads what arrives, and hands it to whoever is at this end of a socket.

    While this side waits for one answer, QEMU may be waiting for another one of this side, so nothing here
    ever waits for a single socket.

    Attributes
    ----------
    traffic
        How many times something has arrived.
    """

    def __init__(self) -> None:
        self.traffic = 0
        self._selector = selectors.DefaultSelector()

    def add(self, peer: socket.socket, receive: Callable[[bytes], None]) -> None:
        """Call ``receive`` with what arrives at ``peer``."""

        def ready() -> None:
            data = peer.recv(CHUNK)
            if not data:
                raise QemuGone("QEMU has ended")
            receive(data)

        self._selector.register(peer, selectors.EVENT_READ, ready)

    def turn(self, wait_s: float = 0.0) -> bool:
        """Hand out what has arrived, waiting so long for the first of it; whether there was something."""
        found = self._selector.select(wait_s)
        for key, _ in found:
            key.data()
        self.traffic += len(found)
        return bool(found)

    def until(self, condition: Callable[[], bool], *, deadline_s: float, what: str) -> None:
        """Hand out what arrives until ``condition()`` holds; :class:`QemuGone` after ``deadline_s``."""
        end = time.monotonic() + deadline_s
        while not condition():
            left = end - time.monotonic()
            if left <= 0:
                raise QemuGone(f"QEMU has not {what} within {deadline_s:g} s")
            self.turn(left)

    def close(self) -> None:
        """Forget all sockets."""
        self._selector.close()

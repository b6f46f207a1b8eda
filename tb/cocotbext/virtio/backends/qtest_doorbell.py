"""Where interrupt messages go: the doorbell of an ``ivshmem`` device.

A message is a write to memory, and in memory a second one with the same content could not be told from the
first. A write to the doorbell adds one to a counter of this process. [QEMU, docs/specs/ivshmem-spec]
"""

import os
import socket
from collections import Counter

__all__ = ["Doorbell"]

#: What a server says to a new client: version, the client's own number, and this for the shared memory.
VERSION, OWN, SHARED_MEMORY = 0, 0, -1
#: The client of the server that the counters belong to, which does not exist.
PEER = 1
REGISTER = 12
REGISTERS_BYTES = 0x100
MEMORY_BYTES = 4096


class Doorbell:
    """The server of one ``ivshmem-doorbell``, with a counter for each vector.

    Parameters
    ----------
    vectors
        How many.

    Attributes
    ----------
    theirs
        QEMU's end of the connection; everything has been said to it.
    """

    def __init__(self, vectors: int):
        self._seen: Counter[int] = Counter()
        flags = os.EFD_NONBLOCK | os.EFD_CLOEXEC
        self._counters = [os.eventfd(0, flags) for _ in range(vectors)]
        self._memory = os.memfd_create("ivshmem")
        os.ftruncate(self._memory, MEMORY_BYTES)
        self._ours, self.theirs = socket.socketpair()
        self._say(VERSION)
        self._say(OWN)
        for counter in self._counters:
            self._say(PEER, counter)
        self._say(SHARED_MEMORY, self._memory)  # the last that QEMU waits for

    def _say(self, number: int, *descriptors: int) -> None:
        socket.send_fds(self._ours, [number.to_bytes(8, "little", signed=True)], list(descriptors))

    @staticmethod
    def message(base: int, vector: int) -> tuple[int, int]:
        """Address and data of a message that counts for ``vector``, with the registers at ``base``."""
        return base + REGISTER, PEER << 16 | vector

    def count(self, vector: int) -> int:
        """Messages of a vector so far."""
        if vector < len(self._counters):
            try:
                self._seen[vector] += os.eventfd_read(self._counters[vector])
            except BlockingIOError:  # none since the last time
                pass
        return self._seen[vector]

    def close(self) -> None:
        """Give everything back."""
        for descriptor in (*self._counters, self._memory):
            os.close(descriptor)
        self._ours.close()
        self.theirs.close()

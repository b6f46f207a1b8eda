"""What a guest does to a block device behind a vfio-user socket; run as a module, it is one to kill."""

import struct
import sys
import time

from .vfio_user_client import GuestMemory, VfioUserClient
from .vfio_user_guest import AVAIL, BASE, DESC, MODERN_BAR, NOTIFY, RngGuest

__all__ = ["BULK_BYTES", "PIECE_BYTES", "BlkGuest", "piece"]

IN, OUT, FLUSH = 0, 1, 4
VERSION_1, F_FLUSH = 1 << 32, 1 << 9
SECTOR = 512
RING, CHAIN = 128, 3
#: Where requests stand, one after the other, and their data, which all of them share.
HEADERS, STATUSES, DATA = 0x4000, 0x6000, 0x10000
#: Size of the requests under which a client dies.
BULK_BYTES = 256 * 1024
#: Size of what is flushed at a time.
PIECE_BYTES = 16 * SECTOR
PATIENCE_S = 8.0


def piece(seed: int) -> bytes:
    """What number ``seed`` of the pieces is."""
    return b"".join(struct.pack("<II", seed, number) for number in range(PIECE_BYTES // 8))


class BlkGuest(RngGuest):
    """A guest with one queue; each request has descriptors of its own, which are used once."""

    @staticmethod
    def memory_size() -> int:
        return DATA + BULK_BYTES

    def begin(self) -> None:
        """From a device that was just attached to one that runs."""
        self.enumerate()
        self.start(features=VERSION_1 | F_FLUSH, size=RING)

    def request(self, kind: int, sector: int = 0, length: int = 0) -> None:
        """Make a request available; its data is at DATA."""
        number, self.idx = self.idx, self.idx + 1
        slot = CHAIN * number
        assert slot + CHAIN <= RING, "no descriptor is left"
        header, status = HEADERS + 16 * number, STATUSES + number
        self.memory.write(header, struct.pack("<IIQ", kind, 0, sector))
        self.memory.write(status, b"\xff")
        parts = [(header, 16, 0), (DATA, length, 2 if kind == IN else 0), (status, 1, 2)]
        parts = [part for part in parts if part[1]]
        for at, (address, size, flags) in enumerate(parts):
            more = at + 1 < len(parts)
            entry = struct.pack("<QIHH", BASE + address, size, flags | more, slot + at + 1 if more else 0)
            self.memory.write(DESC + 16 * (slot + at), entry)
        self.memory.write(AVAIL + 4 + 2 * number, struct.pack("<H", slot))
        self.memory.write(AVAIL, struct.pack("<HH", 0, self.idx))

    def notify(self) -> None:
        self.client.write(MODERN_BAR, NOTIFY, 2, 0, posted=True)

    def wait(self) -> None:
        """Until all requests are used, each with VIRTIO_BLK_S_OK."""
        until = time.monotonic() + PATIENCE_S
        while self.used() != self.idx:
            assert time.monotonic() < until, f"{self.used()} of {self.idx} requests are used"
            time.sleep(0.001)  # the ring is polled: there are no interrupts here
        assert self.memory.read(STATUSES, self.idx) == bytes(self.idx)

    def store(self, sector: int, data: bytes) -> None:
        """Write and flush."""
        self.memory.write(DATA, data)
        for kind, length in ((OUT, len(data)), (FLUSH, 0)):
            self.request(kind, sector, length)
            self.notify()
            self.wait()

    def load(self, sector: int, length: int) -> bytes:
        self.memory.write(DATA, bytes(length))
        self.request(IN, sector, length)
        self.notify()
        self.wait()
        return self.memory.read(DATA, length)


def main(socket: str, fd: str, seed: str, bulk: str) -> None:
    """Flush piece ``seed`` at its place, then fill the queue with bulk of one kind, and stay."""
    memory = GuestMemory.__new__(GuestMemory)
    memory.fd, memory.size = int(fd), BlkGuest.memory_size()
    with VfioUserClient(socket) as client:
        client.version()
        client.dma_map(BASE, memory.size, memory.fd)
        guest = BlkGuest(client, memory)
        guest.begin()
        guest.store(int(seed) * PIECE_BYTES // SECTOR, piece(int(seed)))
        print("flushed", flush=True)
        while CHAIN * (guest.idx + 1) <= RING:
            guest.request({"read": IN, "write": OUT}[bulk], BULK_BYTES // SECTOR, BULK_BYTES)
        guest.notify()
        print("loaded", flush=True)
        time.sleep(60)  # the test kills this process meanwhile


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What a guest does to an entropy device behind a vfio-user socket; offsets are the standard's."""

import struct

from .vfio_user_client import GuestMemory, VfioUserClient

__all__ = ["BASE", "CONFIG", "DESC", "AVAIL", "USED", "DATA", "RngGuest"]

CONFIG = 7
BASE = 0x4000_0000
DESC, AVAIL, USED, DATA = 0x0000, 0x1000, 0x2000, 0x3000
SIZE = 0x10000
MSIX_BAR, MODERN_BAR = 1, 4
NOTIFY = 0x3000


class RngGuest:
    """A guest with one queue of eight entries."""

    def __init__(self, client: VfioUserClient, memory: GuestMemory):
        self.client, self.memory = client, memory
        self.idx = 0

    @staticmethod
    def memory_size() -> int:
        return SIZE

    def capability(self, wanted: int) -> int:
        offset = self.client.read(CONFIG, 0x34, 1)
        while offset:
            identifier, following = self.client.read_bytes(CONFIG, offset, 2)
            if identifier == wanted:
                return offset
            offset = following
        raise AssertionError(f"there is no capability {wanted:#x}")

    def enumerate(self) -> None:
        """Addresses for BARs, memory space, bus master."""
        write = self.client.write
        write(CONFIG, 0x14, 4, 0xE000_0000)
        write(CONFIG, 0x20, 4, 0x0000_0000)
        write(CONFIG, 0x24, 4, 0x0000_0080)
        write(CONFIG, 0x04, 2, 0x0006)

    def enable_msix(self) -> None:
        """MSI-X Enable."""
        write = self.client.write
        write(CONFIG, self.capability(0x11) + 2, 2, 0x8000)

    def start(self, *, vector: int = 0xFFFF, features: int = 1 << 32, size: int = 8) -> None:
        """Initialise the device with its queue."""
        write, read = self.client.write, self.client.read
        self.memory.write(AVAIL, bytes(4 + 2 * size))
        self.memory.write(USED, bytes(4 + 8 * size))
        self.idx = 0
        write(MODERN_BAR, 20, 1, 0)
        while read(MODERN_BAR, 20, 1):
            pass
        write(MODERN_BAR, 20, 1, 3)
        for word in (0, 1):
            write(MODERN_BAR, 8, 4, word)
            write(MODERN_BAR, 12, 4, features >> 32 * word & 0xFFFF_FFFF)  # at least VIRTIO_F_VERSION_1
        write(MODERN_BAR, 20, 1, 11)
        assert read(MODERN_BAR, 20, 1) == 11
        write(MODERN_BAR, 22, 2, 0)
        write(MODERN_BAR, 24, 2, size)
        write(MODERN_BAR, 26, 2, vector)
        assert read(MODERN_BAR, 26, 2) == vector
        write(MODERN_BAR, 32, 8, BASE + DESC)
        write(MODERN_BAR, 40, 8, BASE + AVAIL)
        write(MODERN_BAR, 48, 8, BASE + USED)
        write(MODERN_BAR, 28, 2, 1)
        write(MODERN_BAR, 20, 1, 15)

    def ask(self, length: int, *, address: int = BASE + DATA) -> None:
        """Make one buffer available, and notify with a posted write."""
        slot = self.idx % 8
        self.memory.write(DESC + 16 * slot, struct.pack("<QIHH", address, length, 2, 0))
        self.memory.write(AVAIL + 4 + 2 * slot, struct.pack("<H", slot))
        self.idx += 1
        self.memory.write(AVAIL, struct.pack("<HH", 0, self.idx))
        self.client.write(MODERN_BAR, NOTIFY, 2, 0, posted=True)

    def used(self) -> int:
        """The used index."""
        return struct.unpack("<HH", self.memory.read(USED, 4))[1]

    def status(self) -> int:
        return self.client.read(MODERN_BAR, 20, 1)

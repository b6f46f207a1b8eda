"""Host memory with rings laid out by hand, and everything that was written into it."""

__all__ = ["Memory", "drain"]


class Memory:
    """32 KiB, and the writes in order."""

    def __init__(self):
        self.bytes = bytearray(0x8000)
        self.writes: list[tuple[int, bytes]] = []

    def read(self, address, length):
        return bytes(self.bytes[address : address + length])

    def write(self, address, data):
        self.bytes[address : address + len(data)] = data
        self.writes.append((address, bytes(data)))

    def put(self, address, text):
        """Write bytes given in hex."""
        raw = bytes.fromhex(text)
        self.bytes[address : address + len(raw)] = raw

    def interrupt(self, address, data):
        raise AssertionError("a ring sends no messages")

    def intx(self, asserted):
        raise AssertionError("a ring sends no messages")


def drain(steps):
    """Take all steps."""
    for _ in steps:
        pass

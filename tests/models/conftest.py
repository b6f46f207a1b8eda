"""A reference device with plain rings on 64 KiB of host memory, and what it sends."""

import pytest
from virtio_models.device import ReferenceDevice
from virtio_models.options import PLAIN

IO_MEMORY_AND_MASTER = 7


class HostSide:
    """Memory, messages in order, and INTx."""

    def __init__(self):
        self.bytes = bytearray(0x1_0000)
        self.sent: list[object] = []
        self.writes = 0

    def read(self, address, length):
        assert address + length <= len(self.bytes), f"a read of {length} at {address:#x}"
        return bytes(self.bytes[address : address + length])

    def write(self, address, data):
        assert address + len(data) <= len(self.bytes), f"a write of {len(data)} at {address:#x}"
        self.bytes[address : address + len(data)] = data
        self.writes += 1

    def interrupt(self, address, data):
        self.sent.append(data)

    def intx(self, asserted):
        self.sent.append("assert" if asserted else "deassert")

    def put(self, address, value, size):
        self.bytes[address : address + size] = value.to_bytes(size, "little")

    def get(self, address, size):
        return int.from_bytes(self.bytes[address : address + size], "little")


@pytest.fixture
def make():
    def make(kind, *, device=ReferenceDevice, **options):
        device = device(kind, HostSide(), **{"rings": PLAIN} | options)
        device.pci.config_write(4, 2, IO_MEMORY_AND_MASTER)
        return device

    return make

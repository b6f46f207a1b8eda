"""The legacy transport's registers in front of a device core in plain Python.

Offsets are those of the standard (VIRTIO 1.4 §4.1.4.10, §2.7.2), as literal numbers.
"""

import itertools
import random
from typing import Any

import pytest
from amaranth_virtio.core.interface import QueueRegisters
from amaranth_virtio.transport.legacy import LegacyTransport
from helpers.bar import Bar
from helpers.core_stub import CoreStub
from helpers.simulation import simulate

DEVICE_FEATURES, DRIVER_FEATURES, QUEUE_ADDRESS = 0, 4, 8
QUEUE_SIZE, QUEUE_SELECT, QUEUE_NOTIFY, STATUS, ISR = 12, 14, 16, 18, 19
CONFIG_VECTOR, QUEUE_VECTOR = 20, 22
DIAGNOSTICS, BAR_SIZE = 0xF0, 0x100

# Writable registers: start, bytes
WRITABLE = {
    "driver_features": (4, 4),
    "queue_address": (8, 4),
    "queue_select": (14, 2),
    "queue_notify": (16, 2),
    "device_status": (18, 1),
}
VECTORS = {"config_vector": (20, 2), "queue_vector": (22, 2)}

QUEUES = 3
CONFIG = bytes(range(0x81, 0x81 + 40))

# Byte enables of the core's queue registers: size, vector, enable, and three addresses of 8 bytes
ENABLE_VECTOR, ENABLE_PLACE = 0b1100, 0x3FFF_FFF0


class Dut:
    def __init__(self, *, queue_size: int = 64, msix: bool = False):
        self.transport: Any = LegacyTransport(queues=QUEUES, queue_size=queue_size)
        self.core: Any = self.transport.core
        self.msix = msix
        self.stub = CoreStub(self.core, queues=QUEUES, queue_size=queue_size, config=CONFIG)

    def run(self, bench: Any) -> None:
        """Run a bench that takes (ctx, bar, stub)."""

        async def bound(ctx: Any) -> None:
            ctx.set(self.core.offered, 0x3_7000_0011)
            ctx.set(self.core.driver_features, 0x3_0800_0001)
            ctx.set(self.core.status, 0x4F)
            ctx.set(self.core.isr, 3)
            ctx.set(self.core.config_vector, 0x0007)
            ctx.set(
                self.core.diagnostics,
                {"magic": 0x45444956, "cause": 4, "queue": 2, "head": 0x1234, "descriptor": 0x5678},
            )
            self.stub.set_registers(0, vector=5, enable=1, desc=0xABC_DEF0_1000)
            ctx.set(self.transport.msix_enable, self.msix)
            await ctx.tick()
            await bench(ctx, Bar(ctx, self.transport.bus, bar=0), self.stub)

        simulate(self.transport, bound, background=[self.stub.run, self.stub.answer_config])


def image(msix: bool) -> bytes:
    """What the BAR reads as."""
    # FEATURES_OK (8) of the status and all features above bit 31 do not exist; ANY_LAYOUT (27) does.
    header = bytes.fromhex("11000078 01000008 01 ef cd ab 4000 0000 0000 47 03")
    vectors = bytes.fromhex("0700 0500") if msix else b""
    diagnostics = bytes.fromhex("56494445 0400 0200 3412 7856 00000000")
    return (header + vectors + CONFIG).ljust(DIAGNOSTICS, b"\0") + diagnostics


@pytest.mark.parametrize("msix", [False, True])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_every_register_reads_alike_at_every_width(size, msix):
    """Trap 25: PCI-LEG-DEV-07, FEAT-LEG-DEV-01.  PCI-LEG-DEV-05, PCI-LEG-DEV-P01, RFB-LEG-DEV-03."""

    async def bench(ctx, bar, stub):
        found = b""
        for offset in range(0, BAR_SIZE, size):
            found += (await bar.read(offset, size)).to_bytes(size, "little")
        assert found == image(msix)

    Dut(msix=msix).run(bench)

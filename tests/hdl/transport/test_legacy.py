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
from helpers.simulation import design, simulate

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

# All of the header and vectors, some of the configuration and of the zeros behind it, the diagnostics
DWORDS = [*range(0, 32, 4), 0x50, 0xEC, *range(DIAGNOSTICS, BAR_SIZE, 4)]

QUEUES = 3
CONFIG = bytes(range(0x81, 0x81 + 40))

# Byte enables of the core's queue registers: size, vector, enable, and three addresses of 8 bytes
ENABLE_VECTOR, ENABLE_PLACE = 0b1100, 0x3FFF_FFF0


class Dut:
    def __init__(self, *, queue_size: int = 64, msix: bool = False):
        self.transport: Any = design(LegacyTransport, queues=QUEUES, queue_size=queue_size)
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


def effects(offset: int, enable: int, data: int, msix: bool) -> list[tuple[Any, ...]]:
    """What one write tells the core if queue 0 is selected and not in use."""

    def covered(name: str, start: int, size: int) -> bool:
        lanes = range(start - offset, start - offset + size)
        return offset <= start < offset + 4 and all(enable >> lane & 1 for lane in lanes)

    def value(start: int, size: int) -> int:
        return data >> 8 * (start - offset) & (1 << 8 * size) - 1

    registers = WRITABLE | (VECTORS if msix else {})
    written = {name: value(*place) for name, place in registers.items() if covered(name, *place)}
    events: list[tuple[Any, ...]] = []
    if "device_status" in written:
        events.append(("status", written["device_status"]))
    if "driver_features" in written:
        events.append(("features", 0xFF, written["driver_features"]))
    if page := written.get("queue_address"):
        place = QueueRegisters.const(
            {"enable": 1, "desc": page << 12, "driver": (page << 12) + 1024, "device": (page << 12) + 4096}
        )
        events.append(("queue", 0, ENABLE_PLACE, place.as_bits()))
    if "queue_vector" in written:
        events.append(("queue", 0, ENABLE_VECTOR, written["queue_vector"] << 16))
    if "config_vector" in written:
        events.append(("config vector", 3, written["config_vector"]))
    if "queue_notify" in written:
        events.append(("kick", written["queue_notify"]))
    start = 24 if msix else 20
    if start <= offset < DIAGNOSTICS and enable:
        kept = int.from_bytes(bytes(0xFF * (enable >> lane & 1) for lane in range(4)), "little")
        events.append(("config write", (offset - start) // 4, enable, data & kept))
        return [*events, ("write",)]
    if set(written) - {"device_status"} or written.get("device_status"):
        events.append(("write",))
    return events


@pytest.mark.parametrize("msix", [False, True])
def test_a_write_counts_for_the_registers_that_it_covers_whole(msix):
    """Every byte enable at every dword; read-only registers and bytes behind the structures stay.

    PCI-LEG-DEV-P01, PCI-LEG-DEV-05, INIT-LEG-DEV-01.
    """

    async def bench(ctx, bar, stub):
        rng = random.Random(1)
        stub.set_registers(0, vector=0xFFFF, enable=0, desc=0)
        for offset, enable in itertools.product(DWORDS, range(16)):
            data = rng.getrandbits(32) | 0x01010101
            await bar.write_enabled(offset, enable, data)
            assert await stub.take(ctx) == effects(offset, enable, data, msix), (hex(offset), bin(enable))
            # Start over with queue 0, not in use
            stub.set_registers(0, vector=0xFFFF, enable=0, desc=0)
            await bar.write(QUEUE_SELECT, 2, 0)
            assert await stub.take(ctx) == [("write",)]

    Dut(msix=msix).run(bench)


def test_queue_select_takes_only_writes_of_both_its_bytes():
    async def bench(ctx, bar, stub):
        await bar.write(QUEUE_SELECT, 2, 0x0201)
        for enable in range(16):
            await bar.write_enabled(QUEUE_SIZE, enable, 0x8765_4321)
            whole = enable & 0b1100 == 0b1100
            assert await bar.read(QUEUE_SELECT, 2) == (0x8765 if whole else 0x0201)
            await bar.write(QUEUE_SELECT, 2, 0x0201)
        ctx.set(stub.core.clear, 1)
        await ctx.tick()
        ctx.set(stub.core.clear, 0)
        assert await bar.read(QUEUE_SELECT, 2) == 0

    Dut().run(bench)


@pytest.mark.parametrize("msix", [False, True])
def test_reads_have_side_effects_on_enabled_bytes_only(msix):
    """PCI-ISR-DEV-05.  PCI-LEG-DEV-05."""

    async def bench(ctx, bar, stub):
        start = 24 if msix else 20
        for offset, enable in itertools.product(DWORDS, range(16)):
            found = await bar.read_enabled(offset, enable)
            assert found.to_bytes(4, "little") == image(msix)[offset : offset + 4]
            expected: list[tuple[Any, ...]] = []
            if offset == 16 and enable & 0b1000:
                expected = [("isr read",)]
            elif start <= offset < DIAGNOSTICS and enable:
                expected = [("config read", (offset - start) // 4, enable)]
            assert await stub.take(ctx) == expected, (hex(offset), bin(enable))

    Dut(msix=msix).run(bench)


def test_the_configuration_moves_at_once_when_msix_is_switched():
    """Trap 23: PCI-LEG-DEV-06, PCI-LEG-DEV-P02, with the switch between two reads of one value."""

    async def bench(ctx, bar, stub):
        def at(start: int) -> int:
            return int.from_bytes(CONFIG[start : start + 4], "little")

        assert await bar.read(20, 4) == at(0)
        for on in (1, 0, 1):
            ctx.set(dut.transport.msix_enable, on)
            low, high = await bar.read(20 + 4 * on, 4), await bar.read(24 + 4 * on, 4)
            assert (low, high) == (at(0), at(4))
            if on:
                assert await bar.read(20, 4) == 0x0005_0007
            ctx.set(dut.transport.msix_enable, 1 - on)
            # What is read on stays at its own offset: the second half of the value is elsewhere now.
            assert await bar.read(24 + 4 * on, 4) == at(8 if on else 0)
            await stub.take(ctx)
            await bar.write(20, 2, 0x1122)
            await ctx.tick()
            expected = ("config write", 0, 0b0011, 0x1122) if on else ("config vector", 3, 0x1122)
            assert await stub.take(ctx) == [expected, ("write",)]

    dut = Dut()
    dut.run(bench)


@pytest.mark.parametrize(
    "queue_size, avail, used",
    [(1, 16, 4096), (2, 32, 4096), (128, 2048, 4096), (256, 4096, 8192), (512, 8192, 12288)]
    + [(1024, 16384, 20480), (2048, 32768, 40960), (32768, 524288, 593920)],
)
@pytest.mark.parametrize("page", [1, 0x0008_0000, 0xFFFF_FFFF])
def test_the_rings_are_where_the_legacy_layout_has_them(queue_size, avail, used, page):
    """SPLIT-LEG-DEV-01, PCI-LEG-DEV-P04: the used ring at the next multiple of 4096, above 32 bits too."""

    async def bench(ctx, bar, stub):
        await bar.write(QUEUE_SELECT, 2, 1)
        assert await bar.read(QUEUE_SIZE, 2) == queue_size
        await bar.write(QUEUE_ADDRESS, 4, page)
        assert await bar.read(QUEUE_ADDRESS, 4) == page
        found = stub.registers(1)
        base = page * 4096
        assert (found["desc"], found["driver"], found["device"]) == (base, base + avail, base + used)
        assert found["enable"] == 1
        assert stub.registers(0)["desc"] != base

    Dut(queue_size=queue_size).run(bench)


@pytest.mark.parametrize("queue", [QUEUES, 255, 256, 0xFFFF])
def test_a_queue_that_does_not_exist_has_size_zero(queue):
    """PCI-LEG-DEV-P04."""

    async def bench(ctx, bar, stub):
        await bar.write(QUEUE_SELECT, 2, queue)
        assert await bar.read(QUEUE_SIZE, 4) == queue << 16
        assert await bar.read(QUEUE_ADDRESS, 4) == 0

    Dut().run(bench)


def test_an_address_of_zero_resets_only_if_the_queue_is_in_use():
    """PCI-LEG-DEV-P05."""

    async def bench(ctx, bar, stub):
        await bar.write(QUEUE_ADDRESS, 4, 0x2000)
        await bar.write_enabled(QUEUE_ADDRESS, 0b0111, 0)
        assert await stub.take(ctx) == [("write",)]  # queue 0 is in use already
        await bar.write(QUEUE_ADDRESS, 4, 0)
        assert await stub.take(ctx) == [("status", 0), ("write",)]
        stub.set_registers(0, enable=0, desc=0x3000)
        await bar.read(0, 4)
        assert await bar.read(QUEUE_ADDRESS, 4) == 0
        await bar.write(QUEUE_ADDRESS, 4, 0)
        assert await stub.take(ctx) == [("write",)]

    Dut().run(bench)


def test_one_write_notifies_and_sets_the_status():
    async def bench(ctx, bar, stub):
        await bar.write(QUEUE_NOTIFY, 4, 0xFF07_0102)
        await bar.write(QUEUE_NOTIFY, 4, 0xFF00_0001)
        await bar.write(STATUS, 1, 0)
        assert await stub.take(ctx) == [
            *[("status", 7), ("kick", 0x0102), ("write",)],
            *[("status", 0), ("kick", 1), ("write",)],
            ("status", 0),
        ]

    Dut().run(bench)


def test_locked_it_passes_reads_and_a_status_of_zero_only():
    async def bench(ctx, bar, stub):
        await bar.write(QUEUE_SELECT, 2, 1)
        ctx.set(stub.core.locked, 1)
        await stub.take(ctx)
        for offset in range(0, BAR_SIZE, 4):
            await bar.write(offset, 4, 0x01010101)
        await bar.write(STATUS, 1, 8)
        await bar.write(QUEUE_SELECT, 2, 0)
        await bar.write(QUEUE_ADDRESS, 4, 0)
        assert await stub.take(ctx) == []
        assert await bar.read(QUEUE_SELECT, 2) == 1
        await bar.write(STATUS, 1, 0)
        await bar.write(QUEUE_NOTIFY, 4, 0)
        assert await bar.read(ISR, 1) == 3
        assert await bar.read(24, 2) == 0x8685
        assert await stub.take(ctx) == [
            ("status", 0),
            ("status", 0),
            ("isr read",),
            ("config read", 1, 0b0011),
        ]

    Dut().run(bench)


def test_an_access_waits_while_the_core_is_busy_and_takes_two_cycles():
    async def bench(ctx, bar, stub):
        request = bar.bus.request
        ctx.set(stub.core.busy, 1)
        ctx.set(request.p, {"address": 16, "write": 1, "byte_enable": 0b0100, "data": 0x0003_0000})
        ctx.set(request.valid, 1)
        for _ in range(5):
            await ctx.tick()
            assert (ctx.get(request.ready), ctx.get(stub.core.active)) == (0, 0)
        ctx.set(stub.core.busy, 0)
        await ctx.tick()
        ctx.set(stub.core.busy, 1)  # too late
        assert (ctx.get(request.ready), ctx.get(stub.core.active)) == (1, 1)
        ctx.set(request.valid, 0)
        assert await stub.take(ctx) == [("status", 3), ("write",)]
        assert ctx.get(stub.core.active) == 0

    Dut().run(bench)


@pytest.mark.parametrize("queues", [-1, 257])
def test_the_number_of_queues_is_checked(queues):
    with pytest.raises(ValueError, match=f"^queues must be 0 to 256, not {queues}$"):
        LegacyTransport(queues=queues, queue_size=64)


@pytest.mark.parametrize("queue_size", [0, 3, 65536])
def test_the_queue_size_is_checked(queue_size):
    with pytest.raises(
        ValueError, match=f"^queue_size must be a power of two up to 32768, not {queue_size}$"
    ):
        LegacyTransport(queues=1, queue_size=queue_size)

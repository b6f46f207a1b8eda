"""Device core behind the modern transport's registers.

Offsets and values are those of the standard's tables (VIRTIO 1.4 §4.1.4.3), as literal numbers.
"""

import itertools
import random
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth_virtio.core import DeviceCore
from amaranth_virtio.devices.interface import DeviceTable
from amaranth_virtio.transport.modern import ModernTransport
from helpers.bar import Bar
from helpers.core_stub import CoreStub
from helpers.simulation import design, simulate
from virtio_spec.virtio import DeviceType

# Common configuration
DEVICE_FEATURE_SELECT, DEVICE_FEATURE, DRIVER_FEATURE_SELECT, DRIVER_FEATURE = 0, 4, 8, 12
CONFIG_VECTOR, NUM_QUEUES, STATUS, GENERATION, QUEUE_SELECT = 16, 18, 20, 21, 22
QUEUE_SIZE, QUEUE_VECTOR, QUEUE_ENABLE, QUEUE_NOTIFY_OFF = 24, 26, 28, 30
QUEUE_DESC, QUEUE_DRIVER, QUEUE_DEVICE = 32, 40, 48
# The other structures of BAR 4
DIAGNOSTICS, ISR, CONFIG, NOTIFY = 0x800, 0x1000, 0x2000, 0x3000

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 64, 128

# Offered: bits 0, 3, 5 of the type and VERSION_1; bit 5 needs bit 3.
OFFERED_LOW, OFFERED_HIGH = 0b101001, 1
CONFIG_BYTES = 11
QUEUES, MAX_SIZE, VECTORS = 3, 64, 4


class Dut:
    def __init__(self, *, config: bool = True, queues: int = QUEUES):
        table = DeviceTable(
            device_type=DeviceType.BLOCK,
            class_code=0x010000,
            features=OFFERED_LOW,
            requires={5: (3,)},
            queues=queues,
            config=data.StructLayout({"a": 64, "b": 24}) if config else None,
        )
        self.core: Any = DeviceCore(table=table, queue_size=MAX_SIZE, vectors=VECTORS)
        self.transport: Any = ModernTransport(queues=queues)
        self.module = Module()
        self.module.submodules.core = self.core
        self.module.submodules.transport = self.transport
        wiring.connect(self.module, self.transport.core, self.core.transport)

    def run(self, *benches: Any, background: Any = (), deadline: int = 10_000) -> None:
        """Run benches that take (ctx, bar, core); the first one drives the bus."""

        def bound(bench: Any) -> Any:
            async def run(ctx: Any) -> None:
                if bench is benches[0]:
                    ctx.set(self.core.idle, 1)
                    ctx.set(self.core.vector.ready, 1)
                    ctx.set(self.core.msix_enable, 1)
                await bench(ctx, Bar(ctx, self.transport.bus), self.core)

            run.__qualname__ = bench.__qualname__
            return run

        simulate(
            self.module, *map(bound, benches), background=list(map(bound, background)), deadline=deadline
        )


async def negotiate(bar: Bar, low: int = 0, high: int = 1) -> None:
    await bar.write(STATUS, 1, ACKNOWLEDGE)
    await bar.write(STATUS, 1, ACKNOWLEDGE | DRIVER)
    for select, word in enumerate((low, high)):
        await bar.write(DRIVER_FEATURE_SELECT, 4, select)
        await bar.write(DRIVER_FEATURE, 4, word)
    await bar.write(STATUS, 1, ACKNOWLEDGE | DRIVER | FEATURES_OK)


async def start(bar: Bar) -> None:
    await negotiate(bar)
    await bar.write(STATUS, 1, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK)


async def wait_reset(bar: Bar) -> None:
    while await bar.read(STATUS, 1):
        pass


def vectors_of(taken: list[int]):
    async def monitor(ctx, bar, core):
        async for _, _, valid, ready, vector in ctx.tick().sample(
            core.vector.valid, core.vector.ready, core.vector.p
        ):
            if valid and ready:
                taken.append(vector)

    return monitor


# Reset values and widths


def test_every_register_has_its_reset_value():
    """Trap 19: MSIX-DEV-07.  PCI-CC-DEV-08, PCI-CC-DEV-P01, PCI-CC-DEV-P02."""

    async def bench(ctx, bar, core):
        image = b"".join([(await bar.read(offset, 4)).to_bytes(4, "little") for offset in range(0, 64, 4)])
        expected = bytearray(64)
        expected[4:8] = OFFERED_LOW.to_bytes(4, "little")
        expected[16:18] = b"\xff\xff"
        expected[18] = QUEUES
        expected[24] = MAX_SIZE
        expected[26:28] = b"\xff\xff"
        assert image == bytes(expected)

    design(Dut).run(bench)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_every_field_reads_alike_at_every_width(size):
    async def bench(ctx, bar, core):
        await negotiate(bar, low=0b1001)
        await bar.write(DRIVER_FEATURE_SELECT, 4, 0)
        await bar.write(QUEUE_SELECT, 2, 2)
        await bar.write(QUEUE_VECTOR, 2, 3)
        await bar.write(CONFIG_VECTOR, 2, 1)
        await bar.write(QUEUE_SIZE, 2, 16)
        for offset, value in ((32, 0x11223344), (36, 0x55667788), (44, 0x99AABBCC), (48, 0xDDEEFF00)):
            await bar.write(offset, 4, value)
        await bar.write(QUEUE_ENABLE, 2, 1)
        expected = bytes.fromhex(
            "00000000 29000000 00000000 09000000 0100 0300 0b 00 0200"
            "1000 0300 0100 0200 4433221188776655 00000000ccbbaa99 00ffeedd00000000 0200000000000000"
        )
        image = b""
        for offset in range(0, 64, size):
            image += (await bar.read(offset, size)).to_bytes(size, "little")
        assert image == expected

    design(Dut).run(bench)


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("offset, length", [(0, 4), (8, 4), (12, 4), (32, 8), (40, 8), (48, 8)])
def test_wide_fields_are_written_at_every_width(size, offset, length):
    """Trap 22: PCI-LAY-DEV-01."""

    async def bench(ctx, bar, core):
        value = bytes(random.Random(offset).randbytes(length))
        if offset in (0, 8):
            value = b"\x00\x34\x56\x78"
        # Highest piece first: the pieces do not depend on each other.
        for at in reversed(range(0, length, size)):
            await bar.write(offset + at, size, int.from_bytes(value[at : at + size], "little"))
        found = b""
        for at in range(0, length, 4):
            found += (await bar.read(offset + at, 4)).to_bytes(4, "little")
        assert found == value

    design(Dut).run(bench)


@pytest.mark.parametrize("offset", [QUEUE_DESC, QUEUE_DRIVER, QUEUE_DEVICE])
@pytest.mark.parametrize("half", [0, 4])
def test_a_half_of_an_address_is_written_alone(offset, half):
    """Trap 22: PCI-LAY-DEV-01."""

    async def bench(ctx, bar, core):
        await bar.write(offset, 4, 0x1111_1111)
        await bar.write(offset + 4, 4, 0x2222_2222)
        await bar.write(offset + half, 4, 0x3333_3333)
        assert await bar.read(offset + half, 4) == 0x3333_3333
        assert await bar.read(offset + 4 - half, 4) == (0x2222_2222 if half == 0 else 0x1111_1111)

    design(Dut).run(bench)


@pytest.mark.parametrize("size", [1, 2])
def test_vectors_are_written_at_every_width(size):
    async def bench(ctx, bar, core):
        for offset in (CONFIG_VECTOR, QUEUE_VECTOR):
            for at in range(0, 2, size):
                await bar.write(offset + at, size, 0x0002 >> 8 * at & (0xFF if size == 1 else 0xFFFF))
            assert await bar.read(offset, 2) == 2

    design(Dut).run(bench)


def test_one_dword_write_reaches_both_of_its_fields():
    async def bench(ctx, bar, core):
        await bar.write(QUEUE_SIZE, 4, 0x0003_0008)
        assert await bar.read(QUEUE_SIZE, 2) == 8
        assert await bar.read(QUEUE_VECTOR, 2) == 3

    design(Dut).run(bench)


@pytest.mark.parametrize("enable", range(16))
def test_byte_enables_choose_the_bytes_of_an_address(enable):
    async def bench(ctx, bar, core):
        await bar.write(QUEUE_DRIVER, 4, 0xAABBCCDD)
        await bar.write_enabled(QUEUE_DRIVER, enable, 0x11223344)
        old, new = (0xAABBCCDD).to_bytes(4, "little"), (0x11223344).to_bytes(4, "little")
        expected = bytes(new[i] if enable >> i & 1 else old[i] for i in range(4))
        assert (await bar.read(QUEUE_DRIVER, 4)).to_bytes(4, "little") == expected

    design(Dut).run(bench)


def test_read_only_fields_and_holes_ignore_writes():
    async def bench(ctx, bar, core):
        offsets = [4, 18, 21, 30, 56, 58, 60, 62, 64, 0x7FC, 0x800, 0x804, 0x808, 0x80C, 0x810, 0xFFC, 0x1004]
        for offset in offsets:
            size = 1 if offset == 21 else 2 if offset < 64 and offset != 4 else 4
            before = await bar.read(offset, size)
            await bar.write(offset, size, 0x5A5A5A5A & ((1 << 8 * size) - 1))
            assert await bar.read(offset, size) == before, hex(offset)
        for offset in (64, 0x7FC, 0x810, 0xFFC, 0x1004, 0x3000):
            assert await bar.read(offset, 4) == 0
        assert await bar.read(0x800, 4) == int.from_bytes(b"VIDE", "little")

    design(Dut).run(bench)


# Status and features


def test_the_status_shows_each_step():
    async def bench(ctx, bar, core):
        seen = []
        for step in (ACKNOWLEDGE, DRIVER):
            await bar.write(STATUS, 1, (seen[-1] if seen else 0) | step)
            seen.append(await bar.read(STATUS, 1))
        await negotiate(bar)
        seen.append(await bar.read(STATUS, 1))
        await bar.write(STATUS, 1, 0x0F)
        seen.append(await bar.read(STATUS, 1))
        assert seen == [0x01, 0x03, 0x0B, 0x0F]
        assert ctx.get(core.running) == 1

    design(Dut).run(bench)


def test_a_status_bit_is_never_dropped_by_the_driver():
    async def bench(ctx, bar, core):
        await start(bar)
        await bar.write(STATUS, 1, ACKNOWLEDGE)
        assert await bar.read(STATUS, 1) == 0x0F

    design(Dut).run(bench)


def test_bits_of_the_device_and_unknown_bits_are_not_taken_from_the_driver():
    async def bench(ctx, bar, core):
        await bar.write(STATUS, 1, ACKNOWLEDGE | 0x70)
        assert await bar.read(STATUS, 1) == ACKNOWLEDGE

    design(Dut).run(bench)


@pytest.mark.parametrize("written", [0x04, 0x07, 0x07 | FAILED])
def test_driver_ok_without_features_ok_does_not_start_the_device(written):
    """Trap 8: STATUS-DEV-01."""

    async def bench(ctx, bar, core):
        await bar.write(STATUS, 1, written)
        assert await bar.read(STATUS, 1) == written & ~DRIVER_OK
        assert ctx.get(core.running) == 0

    design(Dut).run(bench)


def test_queues_alone_do_not_start_the_device():
    """Trap 8: STATUS-DEV-01, no kick and no run before DRIVER_OK although the queue is enabled."""
    kicks = []

    async def bench(ctx, bar, core):
        await negotiate(bar)
        await bar.write(QUEUE_ENABLE, 2, 1)
        await bar.write(NOTIFY, 2, 0)
        assert ctx.get(core.running) == 0
        assert kicks == []
        await bar.write(STATUS, 1, 0x0F)
        await bar.write(NOTIFY, 2, 0)
        await ctx.tick()
        assert kicks == [0]

    async def monitor(ctx, bar, core):
        async for _, _, valid, queue in ctx.tick().sample(core.kick.valid, core.kick.p):
            if valid:
                kicks.append(queue)

    design(Dut).run(bench, background=[monitor])


def test_failed_stops_the_device():
    async def bench(ctx, bar, core):
        await start(bar)
        await bar.write(STATUS, 1, 0x0F | FAILED)
        assert await bar.read(STATUS, 1) == 0x0F | FAILED
        assert ctx.get(core.running) == 0

    design(Dut).run(bench)


@pytest.mark.parametrize(
    "low, high, accepted",
    [
        (0, 1, True),  # VERSION_1 alone
        (0b000001, 1, True),
        (0b101001, 1, True),  # all
        (0b001000, 1, True),  # a prerequisite without what needs it
        (0, 0, False),  # VERSION_1 is missing
        (0b101001, 0, False),
        (0b000010, 1, False),  # not offered
        (0b101001, 3, False),  # not offered, high word
        (0, 1 | 1 << 31, False),
        (1 << 31, 1, False),
        (0b100000, 1, False),  # without its prerequisite
        (0b100001, 1, False),
    ],
)
def test_features_ok_sticks_only_for_an_acceptable_subset(low, high, accepted):
    """Trap 10: FEAT-DEV-03.  FEAT-DEV-02."""

    async def bench(ctx, bar, core):
        await negotiate(bar, low, high)
        assert await bar.read(STATUS, 1) == (0x0B if accepted else 0x03)
        assert ctx.get(core.features) == (low | high << 32 if accepted else 0)
        await bar.write(STATUS, 1, 0x0F)
        assert await bar.read(STATUS, 1) == (0x0F if accepted else 0x03)

    design(Dut).run(bench)


def test_a_refused_subset_can_be_corrected():
    async def bench(ctx, bar, core):
        await negotiate(bar, low=0b10)
        await negotiate(bar, low=0b1)
        assert await bar.read(STATUS, 1) == 0x0B
        assert ctx.get(core.features) == 1 << 32 | 1

    design(Dut).run(bench)


def test_features_are_frozen_after_features_ok():
    async def bench(ctx, bar, core):
        await negotiate(bar, low=1)
        await bar.write(DRIVER_FEATURE_SELECT, 4, 0)
        await bar.write(DRIVER_FEATURE, 4, 0b1001)
        assert await bar.read(DRIVER_FEATURE, 4) == 1
        assert ctx.get(core.features) == 1 << 32 | 1

    design(Dut).run(bench)


@pytest.mark.parametrize(
    "select, word", [(0, OFFERED_LOW), (1, OFFERED_HIGH), (2, 0), (3, 0), (0x8000_0000, 0)]
)
def test_feature_windows_beyond_the_known_ones_read_zero(select, word):
    """PCI-CC-DEV-03, PCI-CC-DEV-04."""

    async def bench(ctx, bar, core):
        await bar.write(DEVICE_FEATURE_SELECT, 4, select)
        assert await bar.read(DEVICE_FEATURE, 4) == word
        await bar.write(DRIVER_FEATURE_SELECT, 4, select)
        await bar.write(DRIVER_FEATURE, 4, 0x29)
        assert await bar.read(DRIVER_FEATURE, 4) == (0x29 if select < 2 else 0)
        for other in {0, 1} - {select}:
            await bar.write(DRIVER_FEATURE_SELECT, 4, other)
            assert await bar.read(DRIVER_FEATURE, 4) == 0

    design(Dut).run(bench)


# Queues


def test_queues_are_set_up_apart_from_each_other():
    async def bench(ctx, bar, core):
        await negotiate(bar)
        for queue in range(QUEUES):
            await bar.write(QUEUE_SELECT, 2, queue)
            await bar.write(QUEUE_SIZE, 2, 1 << queue)
            await bar.write(QUEUE_VECTOR, 2, queue)
            for field in range(6):
                await bar.write(QUEUE_DESC + 4 * field, 4, 0x1000 * queue + field)
            if queue != 1:
                await bar.write(QUEUE_ENABLE, 2, 1)
        for queue in (1, 0, 2):
            await bar.write(QUEUE_SELECT, 2, queue)
            assert await bar.read(QUEUE_SIZE, 2) == 1 << queue
            assert await bar.read(QUEUE_VECTOR, 2) == queue
            assert await bar.read(QUEUE_ENABLE, 2) == (queue != 1)
            assert await bar.read(QUEUE_NOTIFY_OFF, 2) == queue
            for port in range(3):
                ctx.set(core.lookup[port].queue, queue)
            await ctx.tick()
            for port in range(3):
                context = core.lookup[port].context
                assert ctx.get(context.size) == 1 << queue
                assert ctx.get(context.enable) == (queue != 1)
                for number, name in enumerate(("desc", "driver", "device")):
                    low = 0x1000 * queue + 2 * number
                    assert ctx.get(context[name]) == low | (low + 1) << 32

    design(Dut).run(bench)


@pytest.mark.parametrize("queue", [QUEUES, 255, 256, 0x100 + QUEUES - 1, 0xFFFF])
def test_a_queue_that_does_not_exist_reads_size_zero_and_ignores_writes(queue):
    """PCI-CC-DEV-14."""

    async def bench(ctx, bar, core):
        await negotiate(bar)
        await bar.write(QUEUE_SELECT, 2, queue)
        assert await bar.read(QUEUE_SELECT, 2) == queue
        await bar.write(QUEUE_SIZE, 4, 0x0001_0004)
        await bar.write(QUEUE_ENABLE, 2, 1)
        await bar.write(QUEUE_DESC, 4, 0x1000)
        assert await bar.read(QUEUE_SIZE, 4) == 0xFFFF_0000
        assert await bar.read(QUEUE_ENABLE, 2) == 0
        assert await bar.read(QUEUE_DESC, 4) == 0
        for known in range(QUEUES):
            await bar.write(QUEUE_SELECT, 2, known)
            assert await bar.read(QUEUE_SIZE, 4) == 0xFFFF_0000 | MAX_SIZE
            assert await bar.read(QUEUE_ENABLE, 2) == 0
            assert await bar.read(QUEUE_DESC, 4) == 0

    design(Dut).run(bench)


def test_an_illegal_queue_size_leaves_the_last_legal_one():
    """PCI-CC-DEV-15."""

    async def bench(ctx, bar, core):
        last = MAX_SIZE
        for size in (0, 3, 65, 128, 0x8000, 0x4040, 32, 31, 0xFFFF, 1, 0, 64):
            await bar.write(QUEUE_SIZE, 2, size)
            last = size if size in (1, 2, 4, 8, 16, 32, 64) else last
            assert await bar.read(QUEUE_SIZE, 2) == last, size

    design(Dut).run(bench)


@pytest.mark.parametrize("value", [0, 2, 3, 0x0100, 0x0101, 0xFFFE])
def test_only_one_enables_a_queue(value):
    async def bench(ctx, bar, core):
        await negotiate(bar)
        await bar.write(QUEUE_ENABLE, 2, value)
        assert await bar.read(QUEUE_ENABLE, 2) == 0
        await bar.write(QUEUE_ENABLE, 2, 1)
        await bar.write(QUEUE_ENABLE, 2, value)
        assert await bar.read(QUEUE_ENABLE, 2) == 1

    design(Dut).run(bench)


def test_a_queue_is_not_enabled_before_features_ok():
    async def bench(ctx, bar, core):
        await bar.write(STATUS, 1, 0x03)
        await bar.write(QUEUE_ENABLE, 2, 1)
        assert await bar.read(QUEUE_ENABLE, 2) == 0

    design(Dut).run(bench)


def test_an_enabled_queue_is_frozen_but_for_its_vector():
    async def bench(ctx, bar, core):
        await negotiate(bar)
        await bar.write(QUEUE_SIZE, 2, 8)
        for offset in range(32, 56, 4):
            await bar.write(offset, 4, offset)
        await bar.write(QUEUE_ENABLE, 2, 1)
        for offset in range(32, 56, 4):
            await bar.write(offset, 4, 0xFFFF_FFFF)
        await bar.write(QUEUE_SIZE, 4, 0x0002_0010)
        assert await bar.read(QUEUE_SIZE, 4) == 0x0002_0008
        for offset in range(32, 56, 4):
            assert await bar.read(offset, 4) == offset

    design(Dut).run(bench)


@pytest.mark.parametrize("offset", [CONFIG_VECTOR, QUEUE_VECTOR])
def test_a_vector_reads_back_only_if_the_function_has_it(offset):
    """Trap 18: MSIX-DEV-06, MSIX-DEV-09.  MSIX-DEV-05."""

    async def bench(ctx, bar, core):
        for vector in (0, 3, 4, 2, 0x0102, 1, 0xFFFF, 0, 0x07FF, 3, 0xFFFE):
            await bar.write(offset, 2, vector)
            assert await bar.read(offset, 2) == (vector if vector < VECTORS else 0xFFFF)

    design(Dut).run(bench)


# Notifications


def test_the_address_of_a_notification_names_the_queue():
    """The value and the width do not count; a kick for a queue that does not exist is dropped."""
    kicks = []

    async def bench(ctx, bar, core):
        await start(bar)
        await bar.write(NOTIFY + 4 * 2, 2, 0)
        await bar.write(NOTIFY + 4 * 1, 4, 0xFFFF_FFFF)
        await bar.write(NOTIFY + 4 * 0, 1, 7)
        await bar.write(NOTIFY + 4 * 1 + 2, 2, 0)
        await bar.write(NOTIFY + 4 * QUEUES, 2, 0)
        await bar.write(NOTIFY + 0xFFC, 2, 0)
        await bar.write_enabled(NOTIFY + 4 * 2, 0, 0)
        assert await bar.read(NOTIFY, 4) == 0
        assert kicks == [2, 1, 0, 1]

    async def monitor(ctx, bar, core):
        async for _, _, valid, queue in ctx.tick().sample(core.kick.valid, core.kick.p):
            if valid:
                kicks.append(queue)

    design(Dut).run(bench, background=[monitor])


# Reset


@pytest.mark.parametrize("way", ["status", "function"])
@pytest.mark.parametrize("busy_for", [1, 2, 40])
def test_status_reads_zero_only_when_everything_is_at_rest(way, busy_for):
    """Trap 7: PCI-CC-DEV-07.  Trap 6: RESET-DEV-02.  RESET-DEV-01."""
    log = []

    async def bench(ctx, bar, core):
        await start(bar)
        await bar.write(QUEUE_ENABLE, 2, 1)
        if way == "status":
            await bar.write(STATUS, 1, 0)
        else:
            ctx.set(core.function_reset, 1)
            await ctx.tick().until(core.function_reset_done)
            ctx.set(core.function_reset, 0)
            log.append("done")
        await wait_reset(bar)
        log.append("zero")
        assert ctx.get(core.reset) == 0

    async def client(ctx, bar, core):
        await ctx.tick().until(core.running)
        ctx.set(core.idle, 0)
        while not ctx.get(core.reset):
            await ctx.tick()
        assert ctx.get(core.running) == 0
        await ctx.tick().repeat(busy_for)
        log.append("at rest")
        ctx.set(core.idle, 1)

    design(Dut).run(bench, client)
    assert log == ["at rest", *(["done"] if way == "function" else []), "zero"]


def test_until_the_reset_is_done_status_keeps_its_value_and_writes_are_ignored():
    """Trap 7: PCI-CC-DEV-07."""

    async def bench(ctx, bar, core):
        await start(bar)
        ctx.set(core.idle, 0)
        await bar.write(STATUS, 1, 0)
        for _ in range(10):
            assert await bar.read(STATUS, 1) == 0x0F
        assert ctx.get(core.running) == 0
        await bar.write(STATUS, 1, 0x8F)
        await bar.write(QUEUE_DESC, 4, 1)
        await bar.write(CONFIG_VECTOR, 2, 1)
        assert await bar.read(STATUS, 1) == 0x0F
        assert await bar.read(QUEUE_DESC, 4) == 0
        ctx.set(core.idle, 1)
        await wait_reset(bar)
        assert await bar.read(CONFIG_VECTOR, 2) == 0xFFFF

    design(Dut).run(bench)


@pytest.mark.parametrize("way", ["status", "function"])
def test_a_reset_returns_every_register_to_its_initial_value(way):
    """Trap 19: MSIX-DEV-07.  FEAT-DEV-05: a set once accepted is accepted again."""

    async def bench(ctx, bar, core):
        initial = [await bar.read(offset, 4) for offset in range(0, 64, 4)]
        for _ in range(2):
            await negotiate(bar, low=0b1001)
            assert await bar.read(STATUS, 1) == 0x0B
            await bar.write(CONFIG_VECTOR, 2, 2)
            await bar.write(DEVICE_FEATURE_SELECT, 4, 1)
            for queue in range(QUEUES):
                await bar.write(QUEUE_SELECT, 2, queue)
                await bar.write(QUEUE_SIZE, 4, 0x0001_0002)
                for offset in range(32, 56, 4):
                    await bar.write(offset, 4, 0xFFFF_FFFF)
                await bar.write(QUEUE_ENABLE, 2, 1)
            await bar.write(STATUS, 1, 0x0F)
            if way == "status":
                await bar.write(STATUS, 1, 0)
            else:
                ctx.set(core.function_reset, 1)
                await ctx.tick().until(core.function_reset_done)
                ctx.set(core.function_reset, 0)
            await wait_reset(bar)
            for queue in (2, 1, 0):
                await bar.write(QUEUE_SELECT, 2, queue)
                for offset in range(24, 56, 4):
                    if offset != 28:
                        assert await bar.read(offset, 4) == initial[offset // 4]
                assert await bar.read(QUEUE_ENABLE, 2) == 0
            assert [await bar.read(offset, 4) for offset in range(0, 64, 4)] == initial

    design(Dut).run(bench)


def test_a_write_right_after_a_needless_reset_is_not_lost():
    async def bench(ctx, bar, core):
        await bar.write(STATUS, 1, 0)
        await bar.write(STATUS, 1, ACKNOWLEDGE)
        assert await bar.read(STATUS, 1) == ACKNOWLEDGE

    design(Dut).run(bench)


# Device configuration


def config_value(ctx: Any, core: Any, raw: bytes) -> None:
    ctx.set(core.config.a, int.from_bytes(raw[:8], "little"))
    ctx.set(core.config.b, int.from_bytes(raw[8:], "little"))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_device_configuration_is_readable_from_the_start(size):
    """Trap 26: CFG-DEV-01, before any status bit, and zeros behind its end."""
    raw = bytes(range(0x41, 0x41 + CONFIG_BYTES))

    async def bench(ctx, bar, core):
        config_value(ctx, core, raw)
        found = b""
        for offset in range(0, 32, size):
            found += (await bar.read(CONFIG + offset, size)).to_bytes(size, "little")
        assert found == raw.ljust(32, b"\0")
        assert await bar.read(CONFIG + 0xFFC, 4) == 0
        await bar.write(CONFIG, 4, 0)
        assert await bar.read(CONFIG, 4) == int.from_bytes(raw[:4], "little")

    design(Dut).run(bench)


def test_a_device_without_configuration_reads_zeros():
    async def bench(ctx, bar, core):
        assert await bar.read(CONFIG, 4) == 0
        assert await bar.read(GENERATION, 1) == 0

    design(Dut, config=False).run(bench)


async def change_config(ctx: Any, core: Any) -> None:
    ctx.set(core.config_changed, 1)
    await ctx.tick()
    ctx.set(core.config_changed, 0)


def test_the_generation_follows_the_drivers_reads():
    """Trap 5: PCI-CC-DEV-06: it counts at a change only if something was read since it last counted."""

    async def bench(ctx, bar, core):
        seen = []

        async def note():
            seen.append(await bar.read(GENERATION, 1))

        await note()
        await change_config(ctx, core)  # nothing was read yet
        await note()
        await bar.read(CONFIG, 4)
        await note()
        await change_config(ctx, core)
        await change_config(ctx, core)
        await note()
        await bar.read_enabled(CONFIG, 0)  # reads nothing
        await change_config(ctx, core)
        await note()
        await bar.read(CONFIG + 8, 1)
        await change_config(ctx, core)
        await note()
        assert seen == [0, 0, 0, 1, 1, 2]

    design(Dut).run(bench)


def test_a_torn_read_is_never_taken_for_a_whole_one():
    """Trap 5: PCI-CC-DEV-06, with changes at every distance from the reads."""

    async def bench(ctx, bar, core):
        torn = whole = 0
        for _ in range(120):
            before = await bar.read(GENERATION, 1)
            low, high = await bar.read(CONFIG, 4), await bar.read(CONFIG + 4, 4)
            if before == await bar.read(GENERATION, 1):
                assert low == high
                whole += 1
            else:
                torn += 1
        assert torn > 10 and whole > 10

    async def device(ctx, bar, core):
        rng = random.Random(5)
        for value in itertools.count(1):
            ctx.set(core.config.a, value << 32 | value)
            await change_config(ctx, core)
            await ctx.tick().repeat(rng.randrange(1, 40))

    design(Dut).run(bench, background=[device])


# Interrupts


async def interrupt(ctx: Any, core: Any, queue: int) -> None:
    ctx.set(core.interrupt.p, queue)
    ctx.set(core.interrupt.valid, 1)
    await ctx.tick().until(core.interrupt.ready)
    ctx.set(core.interrupt.valid, 0)


def test_each_event_goes_to_its_own_vector():
    """MSIX-DEV-04, MSIX-DEV-P01."""
    taken = []

    async def bench(ctx, bar, core):
        for queue, vector in ((0, 2), (1, 0), (2, 2)):
            await bar.write(QUEUE_SELECT, 2, queue)
            await bar.write(QUEUE_VECTOR, 2, vector)
        await bar.write(CONFIG_VECTOR, 2, 3)
        await start(bar)
        for queue in (1, 0, 2, 1):
            await interrupt(ctx, core, queue)
        await change_config(ctx, core)
        await ctx.tick().repeat(10)
        assert taken == [0, 2, 2, 0, 3]

    design(Dut).run(bench, background=[vectors_of(taken)])


def test_no_vector_means_silence_but_the_isr_status_is_set():
    """Trap 20: PCI-UBN-DEV-01, PCI-CCN-DEV-02."""
    taken = []

    async def bench(ctx, bar, core):
        await start(bar)
        await interrupt(ctx, core, 0)
        await bar.write(QUEUE_VECTOR, 2, VECTORS)  # not a vector of the function
        await interrupt(ctx, core, 0)
        await change_config(ctx, core)
        await ctx.tick().repeat(10)
        assert taken == []
        assert await bar.read(ISR, 1) == 3
        assert ctx.get(core.interrupt_status) == 0

    design(Dut).run(bench, background=[vectors_of(taken)])


@pytest.mark.parametrize("event, bit", [("queue", 1), ("config", 2)])
def test_the_isr_status_is_set_before_the_vector_leaves(event, bit):
    """Trap 2: PCI-ISR-DEV-02, PCI-ISR-DEV-03."""

    async def bench(ctx, bar, core):
        await bar.write(QUEUE_VECTOR, 2, 1)
        await bar.write(CONFIG_VECTOR, 2, 1)
        await start(bar)
        if event == "queue":
            ctx.set(core.interrupt.p, 0)
            ctx.set(core.interrupt.valid, 1)
            await ctx.tick().until(core.interrupt.ready)
            ctx.set(core.interrupt.valid, 0)
        else:
            await change_config(ctx, core)
        while not ctx.get(core.vector.valid):
            await ctx.tick()
        assert ctx.get(core.isr) == bit
        assert ctx.get(core.vector.p) == 1

    design(Dut).run(bench)


def test_without_msix_the_interrupt_status_mirrors_the_isr_status():
    """Trap 4: PCI-ISR-DEV-04.  PCI-ISR-DEV-P01: a read of the ISR status takes it away."""
    taken = []

    async def bench(ctx, bar, core):
        ctx.set(core.msix_enable, 0)
        await bar.write(QUEUE_VECTOR, 2, 0)
        await start(bar)
        assert ctx.get(core.interrupt_status) == 0
        for bit in (1, 2):
            await (interrupt(ctx, core, 0) if bit == 1 else change_config(ctx, core))
            await ctx.tick().repeat(5)
            assert ctx.get(core.interrupt_status) == 1
            assert await bar.read(ISR, 1) == bit
            assert ctx.get(core.interrupt_status) == 0
        await interrupt(ctx, core, 0)
        await ctx.tick()
        ctx.set(core.msix_enable, 1)
        assert ctx.get(core.isr) == 1
        assert ctx.get(core.interrupt_status) == 0
        assert taken == []

    design(Dut).run(bench, background=[vectors_of(taken)])


def test_a_read_clears_the_isr_status_only_if_its_byte_is_enabled():
    """PCI-ISR-DEV-05."""

    async def bench(ctx, bar, core):
        await start(bar)
        await interrupt(ctx, core, 0)
        await ctx.tick()
        for enable in (0b0000, 0b1110, 0b0010):
            assert await bar.read_enabled(ISR, enable) & 0xFF == 1
        await bar.read(ISR + 4, 4)
        await bar.write(ISR, 1, 0xFF)
        assert await bar.read(ISR, 1) == 1
        assert await bar.read(ISR, 1) == 0
        await interrupt(ctx, core, 0)
        assert await bar.read(ISR, 4) == 1
        assert await bar.read(ISR, 4) == 0

    design(Dut).run(bench)


@pytest.mark.parametrize("event", ["queue", "config"])
@pytest.mark.parametrize("distance", range(1, 9))
def test_an_event_around_an_isr_read_is_seen_exactly_once(event, distance):
    """Trap 3: PCI-ISR-DEV-05, with the event in every cycle of the read."""
    seen = []

    async def bench(ctx, bar, core):
        await start(bar)
        for _ in range(8):
            seen.append(await bar.read(ISR, 1))

    async def device(ctx, bar, core):
        await ctx.tick().until(core.running)
        await ctx.tick().repeat(distance)
        if event == "queue":
            await interrupt(ctx, core, 0)
        else:
            await change_config(ctx, core)

    design(Dut).run(bench, device)
    bit = {"queue": 1, "config": 2}[event]
    assert sorted(seen) == [0] * 7 + [bit]


def test_a_configuration_change_before_driver_ok_is_told_afterwards():
    taken = []

    async def bench(ctx, bar, core):
        await bar.write(CONFIG_VECTOR, 2, 1)
        await change_config(ctx, core)
        await negotiate(bar)
        await ctx.tick().repeat(10)
        assert taken == []
        await bar.write(STATUS, 1, 0x0F)
        await ctx.tick().repeat(10)
        assert taken == [1]

    design(Dut).run(bench, background=[vectors_of(taken)])


def test_a_vector_that_waits_holds_up_the_reset_and_nothing_follows_it():
    """Trap 6: RESET-DEV-02."""
    taken = []

    async def bench(ctx, bar, core):
        await bar.write(QUEUE_VECTOR, 2, 1)
        await start(bar)
        ctx.set(core.vector.ready, 0)
        await interrupt(ctx, core, 0)
        await change_config(ctx, core)
        await ctx.tick().repeat(3)
        await bar.write(STATUS, 1, 0)
        for _ in range(5):
            assert await bar.read(STATUS, 1) == 0x0F
        ctx.set(core.vector.ready, 1)
        await wait_reset(bar)
        assert await bar.read(ISR, 1) == 0
        await ctx.tick().repeat(20)
        assert taken == [1]

    design(Dut).run(bench, background=[vectors_of(taken)])


# Errors


async def report(ctx: Any, core: Any, cause: int, queue: int, head: int, descriptor: int) -> None:
    ctx.set(core.error.p, {"cause": cause, "queue": queue, "head": head, "descriptor": descriptor})
    ctx.set(core.error.valid, 1)
    await ctx.tick()
    ctx.set(core.error.valid, 0)


def test_a_broken_ring_needs_a_reset_and_its_first_cause_stands():
    """STATUS-DEV-02, STATUS-DEV-03."""
    taken = []

    async def bench(ctx, bar, core):
        await bar.write(CONFIG_VECTOR, 2, 2)
        await start(bar)
        await report(ctx, core, 4, 2, 0x1234, 0x5678)
        await report(ctx, core, 5, 1, 1, 1)
        assert ctx.get(core.running) == 0
        assert await bar.read(STATUS, 1) == 0x0F | NEEDS_RESET
        words = [await bar.read(DIAGNOSTICS + offset, 4) for offset in range(0, 16, 4)]
        assert words == [0x45444956, 0x0002_0004, 0x5678_1234, 0]
        assert await bar.read(DIAGNOSTICS + 4, 2) == 4
        assert await bar.read(DIAGNOSTICS + 0xA, 2) == 0x5678
        assert await bar.read(ISR, 1) == 2
        await ctx.tick().repeat(10)
        assert taken == [2]
        await bar.write(STATUS, 1, 0)
        await wait_reset(bar)
        assert [await bar.read(DIAGNOSTICS + offset, 4) for offset in range(4, 16, 4)] == [0, 0, 0]
        await start(bar)
        assert ctx.get(core.running) == 1

    design(Dut).run(bench, background=[vectors_of(taken)])


# Shape


@pytest.mark.parametrize("queues", [1, 2, 5, 256])
def test_any_number_of_queues_works(queues):
    async def bench(ctx, bar, core):
        assert await bar.read(NUM_QUEUES, 2) == queues
        await bar.write(QUEUE_SELECT, 2, queues - 1)
        await bar.write(QUEUE_DESC, 4, 0x1000)
        await bar.write(QUEUE_SELECT, 2, queues)
        assert await bar.read(QUEUE_SIZE, 2) == 0
        await bar.write(QUEUE_SELECT, 2, queues - 1)
        assert await bar.read(QUEUE_DESC, 4) == 0x1000
        assert await bar.read(QUEUE_NOTIFY_OFF, 2) == queues - 1

    design(Dut, queues=queues).run(bench)


# What the core is told, with one in plain Python


def run_alone(bench: Any) -> None:
    """Run a bench that takes (ctx, bar, stub)."""
    transport: Any = design(ModernTransport, queues=QUEUES)
    stub = CoreStub(transport.core, queues=QUEUES, config=bytes(range(0x40, 0x60)))

    async def bound(ctx: Any) -> None:
        await bench(ctx, Bar(ctx, transport.bus), stub)

    simulate(transport, bound, background=[stub.run, stub.answer_config])


@pytest.mark.parametrize("enable", range(16))
def test_the_core_is_told_which_bytes_of_the_configuration_are_accessed(enable):
    async def bench(ctx, bar, stub):
        value = await bar.read_enabled(CONFIG + 8, enable)
        assert value == 0x4B4A4948
        await bar.write_enabled(CONFIG + 12, enable, 0x44332211)
        kept = sum(0xFF << 8 * lane for lane in range(4) if enable >> lane & 1)
        read = [("config read", 2, enable)]
        write = [("config write", 3, enable, 0x44332211 & kept), ("write",)]
        assert await stub.take(ctx) == (read + write if enable else [])

    run_alone(bench)


def test_the_core_is_told_when_the_generation_is_read():
    async def bench(ctx, bar, stub):
        ctx.set(stub.core.generation, 7)
        for enable in range(16):
            value = await bar.read_enabled(STATUS, enable)
            assert value >> 8 & 0xFF == 7
            assert await stub.take(ctx) == ([("generation read",)] if enable & 0b10 else [])
        await bar.write(GENERATION, 1, 1)
        assert await stub.take(ctx) == []

    run_alone(bench)


def test_locked_it_passes_reads_and_a_status_of_zero_only():
    async def bench(ctx, bar, stub):
        await bar.write(QUEUE_SELECT, 2, 1)
        await bar.write(DEVICE_FEATURE_SELECT, 4, 1)
        ctx.set(stub.core.locked, 1)
        ctx.set(stub.core.offered, 5 << 32)
        await stub.take(ctx)
        for offset in (*range(0, 64, 4), CONFIG, CONFIG + 8, NOTIFY, NOTIFY + 4):
            await bar.write(offset, 4, 0x0101_0101)
        await bar.write(STATUS, 1, FAILED)
        assert await stub.take(ctx) == []
        assert await bar.read(QUEUE_SELECT, 2) == 1
        assert await bar.read(DEVICE_FEATURE_SELECT, 4) == 1
        assert await bar.read(DEVICE_FEATURE, 4) == 5
        assert await bar.read(DRIVER_FEATURE_SELECT, 4) == 0
        await bar.write(STATUS, 1, 0)
        await bar.write(STATUS, 4, 0x0002_0000)  # with another queue selected
        assert await bar.read(QUEUE_SELECT, 2) == 1
        assert await bar.read(ISR, 1) == 0
        assert await stub.take(ctx) == [("status", 0), ("status", 0), ("isr read",)]

    run_alone(bench)

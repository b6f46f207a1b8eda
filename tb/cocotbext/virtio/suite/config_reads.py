"""The device configuration in pieces: several reads are one value of one instant, whatever changes between.

A field is changed at every place between two accesses in turn. It is the capacity of a disk, or the time
of a vmmci whose seconds carry into their upper word.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from virtio_spec.blk import BlkConfig
from virtio_spec.vmmci import VmmciConfig
from virtio_spec.wire import field_offset

from ..devices.vmmci import VirtioVmmci
from ..transport import Transport
from .helpers import modern, same
from .registry import LEGACY, MODERN, Bench, case

__all__: list[str] = []

#: Offset and size of each access, in order.
Plan = list[tuple[int, int]]

DEVICES = ("blk", "vmmci")
#: Accesses by the number of bytes of each, lowest first.
WIDTHS = ((1,) * 8, (2,) * 4, (4,) * 2, (1, 1, 2, 4), (4, 2, 2), (1, 2, 1, 4), (2, 1, 1, 1, 1, 2))
BEFORE, AFTER = (0x7FFF_FFFF_FFFF, 999_999), (0x8000_0000_0000, 0)


@dataclass(frozen=True)
class Field:
    """A 64-bit field that a bench can change: where it is, and two of its values."""

    offset: int
    old: int
    new: int


def fields(bench: Bench) -> list[Field]:
    """Those of the device type; their two values differ in both halves where that is possible."""
    if bench.device == "blk":
        return [Field(field_offset(BlkConfig, "capacity"), 255, 256)]
    return [
        Field(field_offset(VmmciConfig, "time_sec"), 0xFFFF_FFFF, 0x1_0000_0000),
        Field(field_offset(VmmciConfig, "time_sec"), -1, 0),
        Field(field_offset(VmmciConfig, "time_sec"), *BEFORE[:1], *AFTER[:1]),
    ]


def put(bench: Bench, value: int) -> None:
    """Change the field."""
    if bench.device == "blk":
        bench.disk.resize(value)
    else:
        bench.clock.set(value, 999_999 if value % 2 else 0)


def accesses(widths: tuple[int, ...], offset: int) -> Plan:
    """One behind the other."""
    found = []
    for width in widths:
        found.append((offset, width))
        offset += width
    return found


async def read(bench: Bench, transport: Transport, plan: Plan, field: Field, tick: int) -> int:
    """Read the field by ``plan``; it changes before access ``tick``."""
    put(bench, field.old)
    value, first = 0, min(offset for offset, _ in plan)
    for number, (offset, size) in enumerate(plan):
        if number == tick:
            put(bench, field.new)
        value |= await transport.config_read(offset, size) << 8 * (offset - first)
    return value


async def sweep(bench: Bench, transport: Transport, plan: Plan, field: Field) -> None:
    """``AssertionError`` unless the field is whole wherever the change falls, and new if it was first."""
    for tick in range(len(plan) + 1):
        expected = (field.old if tick else field.new) & (1 << 64) - 1
        what = f"the field, read as {plan} and changed before access {tick}"
        same(await read(bench, transport, plan, field, tick), expected, what)


def orders(bench: Bench, widths: tuple[int, ...], offset: int) -> Iterator[Plan]:
    """Upwards, downwards, and shuffled."""
    plan = accesses(widths, offset)
    yield plan
    yield plan[::-1]
    if len(plan) > 2:
        yield bench.rng.sample(plan, len(plan))


@case(
    needs=("robust",),
    devices=DEVICES,
    proves=("PCI-LEG-DEV-05", "CFG-DEV-01", "PCI-CC-DEV-P03"),
    traps=(5, 24),
)
async def a_field_is_whole_in_every_width_and_order(bench: Bench) -> None:
    transport, size = (await bench.start(interrupts=False)).transport, bench.disk.capacity
    try:
        for number, widths in enumerate(WIDTHS):
            known = fields(bench)
            field = known[number % len(known)]
            for plan in orders(bench, widths, field.offset):
                await sweep(bench, transport, plan, field)
    finally:
        bench.disk.resize(size)


@case(needs=("robust",), devices=DEVICES, proves=("PCI-LEG-DEV-05",), traps=(24,))
async def a_field_is_whole_in_random_pieces(bench: Bench) -> None:
    """Of 1, 2 or 4 bytes inside a dword, in any order; it changes again and again."""
    transport, size = (await bench.start(interrupts=False)).transport, bench.disk.capacity
    field = fields(bench)[0]
    try:
        for _ in range(6):
            cuts = {0, 4, 8} | {bench.rng.randrange(8) for _ in range(bench.rng.randrange(7))}
            plan = []
            for start, end in pairwise(sorted(cuts)):
                widths = (1, 2) if end - start == 3 else (end - start,)
                plan += accesses(widths, field.offset + start)
            bench.rng.shuffle(plan)
            values = [bench.rng.randrange(1, 300) for _ in plan]
            found = 0
            for (offset, width), value in zip(plan, values, strict=True):
                put(bench, value)
                found |= await transport.config_read(offset, width) << 8 * (offset - field.offset)
            same(found, values[0], f"the field, read as {plan} while it was {values}")
    finally:
        bench.disk.resize(size)


@case(devices=DEVICES, proves=("PCI-LEG-DEV-05",), traps=(24,))
async def who_reads_only_a_half_gets_the_value_of_now(bench: Bench) -> None:
    """As a driver for vmd does that never looks at the high words."""
    transport, size = (await bench.start(interrupts=False)).transport, bench.disk.capacity
    at = fields(bench)[0].offset
    try:
        for value in (17, 255, 256, 3):
            put(bench, value)
            same(await transport.config_read(at, 4), value, "the low word")
        for value in (100, 200, 300):
            put(bench, value)
            halves = await transport.config_read(at, 2), await transport.config_read(at + 2, 2)
            same(halves, (value, 0), "the low word in two halves")
    finally:
        bench.disk.resize(size)


@case(needs=("robust",), devices=DEVICES, proves=("PCI-LEG-DEV-05",), traps=(24,))
async def a_read_that_stops_half_way_spoils_none_after_it(bench: Bench) -> None:
    """Not after a reset, nor after a while; a byte that was read already starts anew at once."""
    device, size = await bench.start(interrupts=False), bench.disk.capacity
    at, transport = fields(bench)[0].offset, device.transport

    async def stop_half_way() -> None:
        put(bench, 255)
        for offset in range(3):
            await transport.config_read(at + offset, 1)
        put(bench, 256)

    try:
        await stop_half_way()
        same(await transport.config_read(at, 1), 0, "the first byte, read anew")
        rest = [await transport.config_read(at + offset, 1) for offset in range(1, 8)]
        same(rest, [1, *[0] * 6], "the bytes behind it")
        put(bench, 255)
        await transport.config_read(at, 1)
        put(bench, 256)
        await device.reset()
        rest = [await transport.config_read(at + offset, 1) for offset in range(1, 8)]
        same(rest, [1, *[0] * 6], "all but the first byte, after a reset")
        await transport.config_read(at, 1)
        await stop_half_way()
        await bench.host.sleep(bench.config_hold_ns + 1_000)
        same(await transport.config_read(at + 4, 4), 0, "the upper half, after a while")
        put(bench, 300)
        same(await transport.config_read(at, 4), 256, "the lower half behind it")
    finally:
        bench.disk.resize(size)


@case(
    needs=("robust",), devices=("blk",), proves=("PCI-CC-DEV-06", "CFG-DEV-01"), traps=(5,), transports=MODERN
)
async def reading_the_generation_starts_anew(bench: Bench) -> None:
    device, size = await bench.start(interrupts=False), bench.disk.capacity
    transport = modern(device)
    try:
        bench.disk.resize(255)
        same(await transport.config_read(0, 4), 255, "the low word of the capacity")
        bench.disk.resize(256)
        before = await transport.common("config_generation")
        await transport.config_read(4, 4)
        bench.disk.resize(300)
        same(await transport.config_read(0, 4), 256, "the low word, of the instant of the high one")
        if await transport.common("config_generation") == before:
            raise AssertionError("the generation is the same before and after the change")
        same((await transport.config(BlkConfig, "capacity")).capacity, 300, "capacity")
    finally:
        bench.disk.resize(size)


@case(devices=("blk",), proves=("PCI-DCFG-DEV-01", "PCI-CC-DEV-P03"), traps=(24,), transports=MODERN)
async def eight_bytes_at_once_are_one_value(bench: Bench) -> None:
    transport, size = modern(await bench.start(interrupts=False)), bench.disk.capacity
    try:
        for value in (255, 256, 255):
            bench.disk.resize(value)
            same(await transport.config_read(0, 8), value, "capacity in one access")
    finally:
        bench.disk.resize(size)


@case(devices=("vmmci",), proves=("PCI-LEG-DEV-05",), traps=(24,), transports=LEGACY)
async def seconds_and_microseconds_are_one_instant(bench: Bench) -> None:
    """Read as two fields in every width and order, with the tick anywhere between."""
    transport = (await bench.start()).transport
    at, expected = field_offset(VmmciConfig, "time_sec"), {}
    for old, new in ((BEFORE, AFTER), ((0xFFFF_FFFF, 999_999), (0x1_0000_0000, 0)), ((-1, 999_999), (0, 0))):
        for seconds, microseconds in (old, new):
            whole = (seconds & (1 << 64) - 1) | microseconds << 64
            expected[seconds, microseconds] = whole
        for widths in ((4,) * 4, (2,) * 8) + (((1,) * 16,) if old is BEFORE else ()):
            for plan in orders(bench, widths, at):
                ticks = range(len(plan) + 1) if len(plan) <= 4 else bench.rng.sample(range(len(plan) + 1), 5)
                for tick in ticks:
                    bench.clock.set(*old)
                    found = 0
                    for number, (offset, size) in enumerate(plan):
                        if number == tick:
                            bench.clock.set(*new)
                        found |= await transport.config_read(offset, size) << 8 * (offset - at)
                    wanted = expected[old if tick else new]
                    same(found, wanted, f"the time, read as {plan} with the tick before access {tick}")


@case(devices=("vmmci",), proves=("PCI-LEG-DEV-05",), traps=(24,), transports=LEGACY)
async def a_running_clock_reads_the_same_in_both_habits(bench: Bench) -> None:
    """It ticks each microsecond, over the end of a second and of the low word of the seconds."""
    habits = {habit: await bench.probe(habit=habit) for habit in ("natural", "bytes")}
    await habits["natural"].start()
    bench.clock.set(0xFFFF_FFFF, 999_990)
    bench.host.clocks.append(bench.clock)
    try:
        for _ in range(12):
            for habit, device in habits.items():
                before = bench.clock.now()
                found = await VirtioVmmci(device).time()
                if not before <= found <= (after := bench.clock.now()):
                    raise AssertionError(
                        f"{found}, read in the habit {habit}, is not from {before} to {after}"
                    )
    finally:
        bench.host.clocks.remove(bench.clock)
    same(bench.clock.now() >= (0x1_0000_0000, 0), True, "whether the upper word has changed")

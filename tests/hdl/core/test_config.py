"""Reads and writes of the device configuration: every mix of widths sees one value of one instant."""

import itertools
import random
from typing import Any

import pytest
from amaranth.lib import data
from amaranth_virtio.core.config import DeviceConfig, config_groups
from helpers.simulation import simulate

# A value of two 8-byte fields that are one, not aligned to 8, as a clock is; neighbours on both sides.
LAYOUT = data.StructLayout({"before": 32, "upper": 64, "lower": 64, "after": 32, "tiny": 8, "short": 16})
TOGETHER = (("upper", "lower"),)
CLOCK = range(4, 20)
AFTER, TINY, SHORT = 20, 24, 25
HOLD = 400

# Orders in which the 16 bytes of the clock are read, as (offset in it, size), each byte once.
BYTES = [(offset, 1) for offset in range(16)]
HALVES = [(offset, 2) for offset in range(0, 16, 2)]
WORDS = [(offset, 4) for offset in range(0, 16, 4)]
ORDERS = {
    "bytes upwards": BYTES,
    "bytes downwards": BYTES[::-1],
    "bytes from the middle": BYTES[8:] + BYTES[:8],
    "halves upwards": HALVES,
    "halves downwards": HALVES[::-1],
    "words low first": WORDS,
    "words high first": WORDS[::-1],
    "second field first": WORDS[2:] + WORDS[:2],
    "mixed": [(0, 4), (6, 2), (5, 1), (4, 1), (12, 4), (8, 1), (9, 1), (10, 2)],
}


class Config:
    """The configuration as a driver reads it, one access per cycle."""

    def __init__(self, ctx: Any, dut: Any):
        self.ctx = ctx
        self.dut = dut
        self.cycle = 0

    async def tick(self, cycles: int = 1) -> None:
        for _ in range(cycles):
            self.cycle += 1
            await self.ctx.tick()

    async def read(self, offset: int, size: int) -> int:
        """Read inside one dword."""
        lane = offset % 4
        self.ctx.set(self.dut.index, offset // 4)
        self.ctx.set(self.dut.read, ((1 << size) - 1) << lane)
        found = self.ctx.get(self.dut.data) >> 8 * lane & (1 << 8 * size) - 1
        await self.tick()
        self.ctx.set(self.dut.read, 0)
        return found

    async def strobe(self, signal: Any) -> None:
        self.ctx.set(signal, 1)
        await self.tick()
        self.ctx.set(signal, 0)

    async def write(self, offset: int, size: int, value: int) -> Any:
        """Write inside one dword; returns what the device is told, or ``None`` if that is nothing."""
        lane = offset % 4
        self.ctx.set(self.dut.index, offset // 4)
        self.ctx.set(self.dut.enable, ((1 << size) - 1) << lane)
        self.ctx.set(self.dut.write_data, value << 8 * lane)
        enable = self.ctx.get(self.dut.write.enable)
        image = self.ctx.get(self.dut.write.data.as_value())
        await self.tick()
        self.ctx.set(self.dut.enable, 0)
        return {byte: image >> 8 * byte & 0xFF for byte in range(27) if enable >> byte & 1}

    def set_clock(self, value: int) -> None:
        """Both fields as one 128-bit number, first field in the low half."""
        self.ctx.set(self.dut.config.upper, value & (1 << 64) - 1)
        self.ctx.set(self.dut.config.lower, value >> 64)


def run(bench: Any, **arguments: Any) -> None:
    dut: Any = DeviceConfig(**{"layout": LAYOUT, "together": TOGETHER, "hold": HOLD, **arguments})

    async def bound(ctx: Any) -> None:
        await bench(Config(ctx, dut))

    simulate(dut, bound)


# Both fields carry into their upper words: every byte of the value differs before and after.
OLD = 0x00000000_FFFFFFFF_00000007_FFFFFFFE | 0x01020304 << 96
NEW = 0x11121314_00000000_10000008_0F0F0F0F


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_a_value_read_in_parts_is_that_of_its_first_read_whenever_it_changes(order):
    """PCI-LEG-DEV-05.  The change falls before, between and after the reads, at every cycle."""

    async def bench(config):
        for gap in (0, 2):
            length = len(order) * (1 + gap)
            for change in range(length + 2):
                config.set_clock(OLD)
                start = config.cycle

                def step(start=start, change=change):
                    if config.cycle - start == change:
                        config.set_clock(NEW)

                value = 0
                for offset, size in order:
                    step()
                    value |= await config.read(CLOCK.start + offset, size) << 8 * offset
                    for _ in range(gap):
                        step()
                        await config.tick()
                assert value == (NEW if change == 0 else OLD), f"torn at cycle {change} of {length}"

    run(bench)


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_a_value_that_changes_in_every_cycle_is_read_whole(order):
    """What is put together was true at one instant between the first read and the last."""

    def clock(cycle: int) -> int:
        return sum((cycle * 37 + byte * 101 & 0xFF) << 8 * byte for byte in range(16))

    async def bench(config):
        for _ in range(20):
            began = config.cycle
            value = 0
            for offset, size in order:
                config.set_clock(clock(config.cycle))
                value |= await config.read(CLOCK.start + offset, size) << 8 * offset
            assert value in [clock(cycle) for cycle in range(began, config.cycle)]

    run(bench)


def test_low_words_alone_are_fresh_each_time():
    """vmd's guests read the low words of the time only, over and over."""

    async def bench(config):
        for now in range(5):
            config.set_clock(now << 64 | now + 100)
            assert await config.read(CLOCK.start, 4) == now + 100
            assert await config.read(CLOCK.start + 8, 4) == now

    run(bench)


@pytest.mark.parametrize("again", [(0, 1), (3, 1), (2, 2), (0, 4)])
def test_a_byte_that_is_read_twice_is_fresh(again):
    """An abandoned read does not show in the next one that starts at the same place."""

    async def bench(config):
        config.set_clock(OLD)
        await config.read(CLOCK.start, 4)
        config.set_clock(NEW)
        offset, size = again
        mask = (1 << 8 * size) - 1
        assert await config.read(CLOCK.start + offset, size) == NEW >> 8 * offset & mask
        # It opens a new value, of which the rest is read later.
        config.set_clock(0)
        assert await config.read(CLOCK.start + 8, 4) == NEW >> 64 & 0xFFFFFFFF

    run(bench)


def test_a_new_sample_holds_for_the_bytes_that_were_read_before_it_too():
    async def bench(config):
        config.set_clock(OLD)
        await config.read(CLOCK.start + 4, 4)
        await config.read(CLOCK.start, 4)
        config.set_clock(NEW)
        assert await config.read(CLOCK.start, 4) == NEW & 0xFFFFFFFF
        config.set_clock(0)
        assert await config.read(CLOCK.start + 4, 4) == NEW >> 32 & 0xFFFFFFFF

    run(bench)


def test_a_partly_repeated_read_is_fresh_as_a_whole():
    async def bench(config):
        config.set_clock(OLD)
        await config.read(CLOCK.start + 1, 1)
        config.set_clock(NEW)
        assert await config.read(CLOCK.start, 4) == NEW & 0xFFFFFFFF

    run(bench)


@pytest.mark.parametrize("pause", [0, 1, HOLD // 2, HOLD - 2, HOLD - 1])
def test_an_unfinished_value_holds_for_the_time_it_should(pause):
    async def bench(config):
        config.set_clock(OLD)
        await config.read(CLOCK.start, 4)
        await config.tick(pause)
        config.set_clock(NEW)
        assert await config.read(CLOCK.start + 4, 4) == OLD >> 32 & 0xFFFFFFFF

    run(bench)


def test_an_unfinished_value_does_not_outlast_its_time():
    async def bench(config):
        for pause in (HOLD, HOLD + 1, 2 * HOLD):
            config.set_clock(OLD)
            await config.read(CLOCK.start, 4)
            await config.tick(pause)
            config.set_clock(NEW)
            assert await config.read(CLOCK.start + 4, 4) == NEW >> 32 & 0xFFFFFFFF
            await config.strobe(config.dut.release)

    run(bench)


@pytest.mark.parametrize("hold", [1, 2, 3])
def test_the_shortest_times_are_exact(hold):
    async def bench(config):
        for pause in range(5):
            config.set_clock(OLD)
            await config.read(CLOCK.start, 4)
            await config.tick(pause)
            config.set_clock(NEW)
            expected = OLD if pause < hold else NEW
            assert await config.read(CLOCK.start + 4, 4) == expected >> 32 & 0xFFFFFFFF
            await config.strobe(config.dut.release)

    run(bench, hold=hold)


def test_every_read_of_the_configuration_extends_the_time():
    async def bench(config):
        config.set_clock(OLD)
        await config.read(CLOCK.start, 4)
        config.set_clock(NEW)
        for offset in (AFTER, 0, CLOCK.start + 4, TINY):
            await config.tick(HOLD - 1)
            await config.read(offset, 1)
        await config.tick(HOLD - 1)
        assert await config.read(CLOCK.start + 8, 4) == OLD >> 64 & 0xFFFFFFFF

    run(bench)


def test_a_release_forgets_every_unfinished_value():
    async def bench(config):
        config.set_clock(OLD)
        config.ctx.set(config.dut.config.after, 0x11111111)
        await config.read(CLOCK.start, 4)
        await config.read(AFTER, 2)
        await config.strobe(config.dut.release)
        config.set_clock(NEW)
        config.ctx.set(config.dut.config.after, 0x22222222)
        assert await config.read(CLOCK.start + 4, 4) == NEW >> 32 & 0xFFFFFFFF
        assert await config.read(AFTER + 2, 2) == 0x2222

    run(bench)


def test_no_group_disturbs_another():
    """Reads of the neighbours, in each gap and even of the same dword, leave the value alone."""

    async def bench(config):
        ctx, dut = config.ctx, config.dut
        ctx.set(dut.config.short, 0xAAAA)
        for gap in range(1, 4):
            config.set_clock(OLD)
            ctx.set(dut.config.before, 0x01010101)
            value = 0
            for place, (offset, size) in enumerate(WORDS):
                if place == gap:
                    config.set_clock(NEW)
                    assert await config.read(0, 2) == 0x0101
                    ctx.set(dut.config.before, 0x02020202)
                    # Two groups in one dword: a byte on its own, and two thirds of it with the next.
                    assert await config.read(TINY, 1) == gap
                    assert await config.read(SHORT, 1) == 0xAA
                    ctx.set(dut.config.short, 0xBBBB)
                    ctx.set(dut.config.tiny, gap + 1)
                value |= await config.read(CLOCK.start + offset, size) << 8 * offset
            assert value == OLD
            assert await config.read(2, 2) == 0x0101
            assert await config.read(TINY, 1) == gap + 1
            assert await config.read(SHORT + 1, 1) == 0xAA
            ctx.set(dut.config.short, 0xAAAA)

    async def with_tiny(config):
        config.ctx.set(config.dut.config.tiny, 1)
        await bench(config)

    run(with_tiny)


def test_one_read_over_two_groups_answers_each_on_its_own():
    """Of one dword, one group is in the middle of a value and the other is not."""

    async def bench(config):
        ctx, dut = config.ctx, config.dut
        ctx.set(dut.config.tiny, 0x11)
        ctx.set(dut.config.short, 0x2222)
        assert await config.read(SHORT, 1) == 0x22
        ctx.set(dut.config.tiny, 0x33)
        ctx.set(dut.config.short, 0x4444)
        # Lanes 0 and 2: the byte on its own, and the other half of the value that is open.
        ctx.set(dut.index, TINY // 4)
        ctx.set(dut.read, 0b0101)
        assert ctx.get(dut.data) & 0xFF00FF == 0x220033
        await config.tick()
        ctx.set(dut.read, 0)
        assert await config.read(TINY, 4) == 0x444433

    run(bench)


class Rule:
    """The rule of coherent reads in Python, for one group of bytes."""

    def __init__(self, place: range):
        self.place = place
        self.seen: set[int] = set()
        self.sample = b""

    def read(self, image: bytes, touched: set[int]) -> dict[int, int]:
        touched = touched & set(self.place)
        if touched and (not self.seen or touched & self.seen):
            self.sample, self.seen = image, set()
        self.seen |= touched
        answer = {byte: self.sample[byte] for byte in touched}
        if self.seen == set(self.place):
            self.seen = set()
        return answer


@pytest.mark.parametrize("seed", range(3))
def test_any_mixture_of_reads_follows_the_rule(seed):
    """Bytes in any combination, in any order, with releases and pauses in between."""
    rng = random.Random(seed)
    hold = 6

    async def bench(config):
        ctx, dut = config.ctx, config.dut
        rules = [Rule(place) for place in (range(0, 4), CLOCK, range(20, 24), range(24, 25), range(25, 27))]
        idle = hold
        image = bytes(27)
        for _ in range(1500):
            if rng.random() < 0.7:
                image = rng.randbytes(27)
                ctx.set(dut.config.as_value(), int.from_bytes(image, "little"))
            action = rng.choices(["read", "release", "pause"], [90, 1, 9])[0]
            if action == "release":
                await config.strobe(dut.release)
                idle += 1
            elif action == "pause":
                cycles = rng.randrange(1, 2 * hold)
                await config.tick(cycles)
                idle += cycles
            if action == "release" or idle >= hold:
                for rule in rules:
                    rule.seen.clear()
            if action != "read":
                continue
            idle = 0
            dword, lanes = rng.randrange(7), rng.randrange(1, 16)
            touched = {4 * dword + lane for lane in range(4) if lanes >> lane & 1} & set(range(27))
            ctx.set(dut.index, dword)
            ctx.set(dut.read, lanes)
            found = ctx.get(dut.data)
            for rule in rules:
                for byte, value in rule.read(image, touched).items():
                    assert found >> 8 * (byte % 4) & 0xFF == value
            await config.tick()
            ctx.set(dut.read, 0)

    run(bench, hold=hold)


def test_nothing_is_read_behind_the_end():
    async def bench(config):
        config.ctx.set(config.dut.config.as_value(), (1 << 216) - 1)
        assert await config.read(24, 4) == 0xFFFFFF
        for dword in (7, 8, 64, 1023):
            assert await config.read(4 * dword, 4) == 0

    run(bench)


def test_a_read_without_bytes_is_none():
    async def bench(config):
        config.set_clock(OLD)
        await config.read(CLOCK.start, 4)
        config.set_clock(NEW)
        await config.read(CLOCK.start, 0)
        await config.strobe(config.dut.changed)
        assert await config.read(CLOCK.start + 4, 4) == OLD >> 32 & 0xFFFFFFFF

    run(bench)


# Generation


def test_the_generation_counts_a_change_only_of_what_was_read():
    async def bench(config):
        ctx, dut = config.ctx, config.dut
        await config.strobe(dut.changed)
        assert ctx.get(dut.generation) == 0
        await config.read(AFTER, 1)
        await config.strobe(dut.changed)
        await config.strobe(dut.changed)
        assert ctx.get(dut.generation) == 1
        # Reading a held value is reading too.
        await config.read(AFTER + 1, 1)
        await config.strobe(dut.changed)
        assert ctx.get(dut.generation) == 2

    run(bench)


# Writes


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_write_reaches_the_bytes_of_writable_fields_and_no_other(size):
    writable = {**{byte: 0 for byte in range(4)}, TINY: 0}

    async def bench(config):
        for offset in range(0, 28, size):
            value = int.from_bytes(bytes(range(0x81 + offset, 0x81 + offset + size)), "little")
            expected = {byte: 0x81 + byte for byte in range(offset, offset + size) if byte in writable}
            assert await config.write(offset, size, value) == expected

    run(bench, writable=("before", "tiny"))


def test_a_write_behind_the_end_reaches_nothing():
    async def bench(config):
        for dword in (7, 8, 1023):
            assert await config.write(4 * dword, 4, 0xFFFFFFFF) == {}

    run(bench, writable=("before", "tiny", "short"))


def test_a_configuration_without_writable_fields_has_no_write_port():
    dut: Any = DeviceConfig(layout=LAYOUT, hold=1)
    assert "write" not in dut.signature.members


# Acknowledgement


async def acknowledges(config: Config, offset: int, size: int, *, write: bool = False) -> int:
    """Whether an access acknowledges."""
    ctx, dut = config.ctx, config.dut
    enable = dut.enable if write else dut.read
    ctx.set(dut.index, offset // 4)
    ctx.set(enable, ((1 << size) - 1) << offset % 4)
    found = ctx.get(dut.acknowledged)
    await config.tick()
    ctx.set(enable, 0)
    return found


@pytest.mark.parametrize("field, start", [("before", 0), ("after", AFTER), ("tiny", TINY), ("short", SHORT)])
def test_an_access_to_the_first_byte_acknowledges_and_no_other_does(field, start):
    async def bench(config):
        for write, size in itertools.product((False, True), (1, 2, 4)):
            for offset in range(0, 28, size):
                expected = offset <= start < offset + size
                assert await acknowledges(config, offset, size, write=write) == expected

    run(bench, acknowledge=field)


def test_a_byte_of_an_old_sample_does_not_acknowledge_a_change_that_it_does_not_show():
    """A driver that reads the last byte first would lose the event."""

    async def bench(config):
        for offset in (3, 2, 1):
            assert not await acknowledges(config, offset, 1)
        await config.strobe(config.dut.changed)
        assert not await acknowledges(config, 0, 1)
        # The next round sees it.
        for offset in (3, 2, 1):
            assert not await acknowledges(config, offset, 1)
        assert await acknowledges(config, 0, 1)

    run(bench, acknowledge="before")


def test_a_sample_in_the_cycle_of_a_change_shows_it():
    async def bench(config):
        config.ctx.set(config.dut.changed, 1)
        assert not await acknowledges(config, 3, 1)
        config.ctx.set(config.dut.changed, 0)
        assert await acknowledges(config, 0, 1)

    run(bench, acknowledge="before")


def test_nothing_acknowledges_where_no_field_does():
    async def bench(config):
        for offset, write in itertools.product(range(28), (False, True)):
            assert not await acknowledges(config, offset, 1, write=write)

    run(bench)


# Groups


def test_a_field_is_a_group_unless_it_belongs_together_with_its_neighbours():
    groups = config_groups(LAYOUT, together=TOGETHER, writable=(), acknowledge=None)
    assert groups == [range(0, 4), range(4, 20), range(20, 24), range(24, 25), range(25, 27)]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"hold": 0}, "hold must be at least 1 cycle, not 0"),
        (
            {"together": (("upper", "nothing"),)},
            "together names 'nothing', which is no field of the configuration",
        ),
        ({"writable": ("nothing",)}, "writable names 'nothing', which is no field of the configuration"),
        ({"acknowledge": "nothing"}, "acknowledge names 'nothing', which is no field of the configuration"),
        ({"together": (("upper", "lower"), ("lower", "after"))}, "together names 'lower' twice"),
        ({"writable": ("tiny", "tiny")}, "writable names 'tiny' twice"),
        (
            {"together": (("upper", "after"),)},
            "together has 'after' after 'upper', but it does not follow it",
        ),
        (
            {"together": (("lower", "upper"),)},
            "together has 'upper' after 'lower', but it does not follow it",
        ),
        (
            {"layout": data.StructLayout({"a": 8, "b": 12, "c": 4}), "together": ()},
            "field 'c' starts at bit 20, not on a byte",
        ),
    ],
)
def test_an_impossible_configuration_is_refused(arguments, message):
    with pytest.raises(ValueError) as caught:
        DeviceConfig(**{"layout": LAYOUT, "together": TOGETHER, "hold": HOLD, **arguments})
    assert str(caught.value) == message

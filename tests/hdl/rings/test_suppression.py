"""A driver that suppresses interrupts, looks once more, and sleeps: it is never left asleep.

Traps 11 and 12: SPLIT-DEV-11, SPLIT-DEV-13, PACKED-DEV-P10. The driver does what the standard has it do
[virtio 1.4 §2.7.14.1, §2.8.21.3]: want an interrupt, fence, look at the ring, and sleep only if it is empty.
"""

import enum
from typing import Any

import pytest
from helpers.used_bench import UsedBench

FORMATS = pytest.mark.parametrize(("packed", "event_idx"), [(0, 0), (0, 1), (1, 0), (1, 1)])


class Step(enum.Enum):
    """Where the driver is; each step takes a cycle."""

    BUSY = enum.auto()  # does something else, with interrupts off
    WANT = enum.auto()
    LOOK = enum.auto()
    ASLEEP = enum.auto()


class Driver:
    """One queue's driver. It looks at the ring at its own pace, not in every cycle."""

    def __init__(self, bench: UsedBench, *, gap: int):
        self.bench, self.gap = bench, gap
        self.step, self.wait = Step.BUSY, 0
        self.ring = bench.queues[0]
        self.heard = 0
        bench.drive = self.drive  # in place of the one that looks in every cycle

    def look(self) -> bool:
        """Take what is used."""
        new = self.ring.take(self.bench.by_id[0])
        self.bench.seen[0] += new
        for id, _ in new:
            del self.bench.by_id[0][id]
        return bool(new)

    def go(self, step: Step, wait: int = 0) -> None:
        """Be at ``step`` after ``wait`` cycles."""
        self.step, self.wait = step, wait

    async def drive(self, ctx: Any) -> None:
        """Background bench."""
        while True:
            await ctx.tick()
            if self.wait:
                self.wait -= 1
                continue
            match self.step:
                case Step.WANT:
                    self.ring.open()
                    self.go(Step.LOOK, self.gap)
                case Step.LOOK:
                    # What came in between is handled, and interrupts are wanted again after that.
                    self.go(Step.WANT if self.look() else Step.ASLEEP)
                case Step.ASLEEP:
                    if len(self.bench.interrupts) > self.heard:
                        self.heard = len(self.bench.interrupts)
                        self.ring.shut()
                        self.look()
                        self.go(Step.WANT)
                case Step.BUSY:
                    pass


@FORMATS
def test_a_driver_that_goes_to_sleep_at_any_time_hears_of_what_was_used(
    packed: bool, event_idx: bool
) -> None:
    """Every cycle around the writes and the read of the event structure, with one chain and with two."""
    bench = UsedBench(sizes=[8], packed=packed, event_idx=event_idx)
    bench.server.latency = 3
    driver = Driver(bench, gap=0)
    woken = set()

    async def test(ctx: Any) -> None:
        for second in (0, 4):
            for offset in range(18):
                # The driver is awake, wants no interrupt, and nothing is under way.
                driver.ring.shut()
                driver.heard = before = len(bench.interrupts)
                driver.go(Step.WANT, offset)
                await bench.complete(ctx, bench.post(0))
                if second:
                    await ctx.tick().repeat(second)
                    await bench.complete(ctx, bench.post(0))
                await bench.rest(ctx, 20)
                assert len(bench.seen[0]) == len(bench.done[0]), f"asleep for ever: {second}, {offset}"
                assert driver.step is Step.ASLEEP
                woken.add(driver.heard > before)
                driver.go(Step.BUSY)

    bench.run(test, deadline=5_000)
    assert woken == {False, True}


@FORMATS
def test_a_driver_that_is_at_it_all_the_time_is_never_left_asleep(packed: bool, event_idx: bool) -> None:
    """Chains at random times, and answers that take their time."""
    bench = UsedBench(sizes=[8], packed=packed, event_idx=event_idx, stall=0.4, seed=8)
    bench.server.latency = 15
    driver = Driver(bench, gap=2)

    async def test(ctx: Any) -> None:
        driver.go(Step.WANT)
        for _ in range(80):
            while not bench.may_post(0):
                await ctx.tick()
            await bench.complete(ctx, bench.post(0))
            await ctx.tick().repeat(bench.rng.choice([1, 2, 5, 20]))
        await bench.rest(ctx, 80)
        assert bench.seen[0] == [(chain.id, chain.written) for chain in bench.done[0]]

    bench.run(test)
    assert 5 < len(bench.interrupts)

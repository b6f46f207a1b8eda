"""Health tests against a model written from NIST SP 800-90B §4.4."""

import random
from fractions import Fraction
from math import comb
from typing import Any

import pytest
from amaranth_virtio.devices.health import HealthMonitor, proportion_cutoff, repetition_cutoff
from helpers.simulation import design, simulate


@pytest.mark.parametrize("min_entropy, cutoff", [(8, 4), (4, 6), (3, 8), (2, 11), (1, 21), (0.5, 41)])
def test_the_repetition_cutoff_is_that_of_the_standard(min_entropy, cutoff):
    """C = 1 + ceil(20 / H) at a false positive rate of 2**-20."""
    assert repetition_cutoff(min_entropy) == cutoff


@pytest.mark.parametrize("min_entropy, cutoff", [(8, 13), (4, 62), (2, 177), (1, 311), (0.5, 410)])
def test_the_proportion_cutoff_is_that_of_the_standard(min_entropy, cutoff):
    """C = 1 + critbinom(512, 2**-H, 1 - 2**-20)."""
    assert proportion_cutoff(min_entropy) == cutoff
    if min_entropy >= 1:  # exact
        p = Fraction(1, 2**min_entropy)

        def at_most(count: int) -> Fraction:
            return sum((comb(512, k) * p**k * (1 - p) ** (512 - k) for k in range(count + 1)), Fraction(0))

        critical = 1 - Fraction(1, 2**20)
        assert at_most(cutoff - 1) >= critical > at_most(cutoff - 2)


def model(samples: bytes, repetitions: int, proportion: int) -> tuple[bytes, list[bool]]:
    """What may pass, and the alarm after each sample."""
    passed, alarms = bytearray(), []
    window: list[int] = []
    good_windows = run = 0
    previous = None
    alarm = False
    for sample in samples:
        run = run + 1 if sample == previous else 1
        previous = sample
        window.append(sample)
        if run >= repetitions or window.count(window[0]) >= proportion:
            window, good_windows, previous, alarm = [], 0, None, True
        elif len(window) == 512:
            if good_windows >= 2:
                passed += bytes(window)
            good_windows += 1
            window = []
            if good_windows >= 2:
                alarm = False
        alarms.append(alarm)
    return bytes(passed), alarms


def run(samples: bytes, *, stall: float = 0.5, slow: float = 0.0) -> tuple[bytes, list[bool]]:
    """Feed ``samples``; return what came out, and the alarm after each.

    ``stall`` is the source's, ``slow`` the taker's.
    """
    dut: Any = design(HealthMonitor, min_entropy=4.0)
    rng = random.Random(1)
    found = bytearray()
    alarms: list[bool] = []

    async def feed(ctx):
        for sample in samples:
            while rng.random() < stall:
                await ctx.tick()
            ctx.set(dut.i.p, sample)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            alarms.append(bool(ctx.get(dut.alarm)))
        await ctx.tick().repeat(1500 if not slow else 4000)

    async def take(ctx):
        while True:
            ready = rng.random() >= slow
            ctx.set(dut.o.ready, ready)
            *_, valid, value, alarm = await ctx.tick().sample(dut.o.valid, dut.o.p, dut.alarm)
            assert not (valid and alarm), "a byte is offered during an alarm"
            if valid and ready:
                found.append(value)

    simulate(dut, feed, background=[take], deadline=50_000)
    return bytes(found), alarms


def noise(count: int, seed: int = 0) -> bytes:
    return random.Random(f"noise {seed}").randbytes(count)


@pytest.mark.parametrize("stall, slow", [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.2, 0.7)])
def test_a_good_source_passes_after_its_start_up_test(stall, slow):
    samples = noise(1024 + 3 * 512 + 100)
    found, alarms = run(samples, stall=stall, slow=slow)
    assert found == samples[1024 : 1024 + 3 * 512]
    assert not any(alarms)


def test_nothing_passes_before_the_start_up_test_has_succeeded():
    found, _ = run(noise(1024 + 511))
    assert found == b""


@pytest.mark.parametrize("at", [10, 1024 + 100, 1024 + 512 + 300])
def test_a_stuck_source_is_cut_off_and_comes_back_after_a_new_start_up_test(at):
    """The window of the failure is dropped whole; so are the samples of the next start-up test."""
    samples = noise(at, 1) + b"\x55" * 40 + noise(1024 + 2 * 512 + 50, 2)
    found, alarms = run(samples)
    expected, expected_alarms = model(samples, 6, 62)
    assert found == expected
    assert alarms == expected_alarms
    # The sixth equal sample is the failure.
    assert alarms.index(True) in (at + 5, at + 4) and alarms[-1] is False


def test_five_equal_samples_are_no_failure_but_six_are():
    good = bytes(range(256)) * 4
    for length, fails in ((5, False), (6, True)):
        _, alarms = run(good + b"\x07" * length + good[8:100])
        assert any(alarms) is fails


def test_a_biased_source_is_cut_off():
    """62 samples of 512 equal to the window's first, never two in a row."""
    bias = bytearray(noise(512, 3))
    for index in range(0, 512, 8):
        bias[index] = 0xA5
    samples = noise(1024 + 512, 4) + bytes(bias) + noise(100, 5)
    found, alarms = run(samples)
    expected, expected_alarms = model(samples, 6, 62)
    assert found == expected == samples[1024:1536]
    assert alarms == expected_alarms
    assert any(alarms)


def test_a_source_that_fails_again_and_again_never_passes():
    samples = (noise(900, 6) + b"\0" * 10) * 4
    found, alarms = run(samples)
    assert found == b""
    assert alarms[-1] is True


def test_what_was_good_but_not_yet_taken_is_dropped_at_a_failure():
    dut: Any = design(HealthMonitor, min_entropy=4.0)

    async def bench(ctx):
        for sample in noise(1024 + 512, 7) + b"\x11" * 7:
            ctx.set(dut.i.p, sample)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.o.ready, 1)
        for _ in range(20):
            assert ctx.get(dut.o.valid) == 0
            await ctx.tick()
        assert ctx.get(dut.alarm) == 1

    simulate(dut, bench)


@pytest.mark.parametrize("value", [0, -1, 8.5])
def test_an_impossible_entropy_is_refused(value):
    with pytest.raises(ValueError) as caught:
        HealthMonitor(min_entropy=value)
    assert str(caught.value) == f"min_entropy must be more than 0 and at most 8 bits, not {value}"

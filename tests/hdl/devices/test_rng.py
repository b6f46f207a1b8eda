import random
from typing import Any

import pytest
from amaranth_virtio.devices.rng import RngDevice
from helpers.chains import ChainHost, Job
from helpers.simulation import design, simulate, stalled


def source(device: Any, samples: bytes, *, stall: float = 0.0):
    """Give out ``samples``, one after another."""
    rng = random.Random(2)

    async def bench(ctx):
        for sample in samples:
            while rng.random() < stall:
                await ctx.tick()
            ctx.set(device.entropy.p, sample)
            ctx.set(device.entropy.valid, 1)
            await ctx.tick().until(device.entropy.ready)
            ctx.set(device.entropy.valid, 0)

    return bench


NOISE = random.Random("rng").randbytes(1024 + 6 * 512)


@pytest.mark.parametrize(("width", "stall"), stalled(64, 128, 256))
def test_every_chain_is_filled_with_consecutive_good_samples(width, stall):
    """ENT-DEV-01."""
    device: Any = design(RngDevice, width=width)
    host = ChainHost(device, stall=stall)
    lengths = [1, 7, 8, 0, 9, 64, 200, 33]

    async def bench(ctx):
        jobs = [host.put(Job(b"", length)) for length in lengths]
        for job in jobs:
            await host.until(ctx, job)
            assert len(job.written) == job.writable
        found = b"".join(bytes(job.written) for job in jobs)
        assert found == NOISE[1024 : 1024 + sum(lengths)]

    simulate(device, bench, background=[*host.benches, source(device, NOISE)], deadline=20_000)


def test_no_byte_leaves_while_a_test_fails_and_the_request_goes_on_after_recovery():
    stuck = b"\x33" * 2000
    good = random.Random("good").randbytes(1024 + 512)
    samples = NOISE[: 1024 + 512] + stuck + good
    device: Any = design(RngDevice, width=64)
    host = ChainHost(device)
    alarmed = []

    async def bench(ctx):
        first = host.put(Job(b"", 3))
        await host.until(ctx, first)
        assert first.written == NOISE[1024:1027]
        while not ctx.get(device.entropy_alarm):
            await ctx.tick()
        second = host.put(Job(b"", 13))
        empty = 0
        while ctx.get(device.entropy_alarm):
            assert not second.written
            empty += 1
            await ctx.tick()
        alarmed.append(empty)
        await host.until(ctx, second)
        # Every sixth stuck sample is a failure, the last of them number 1997; behind it the source
        # starts up again, which takes 1024 samples.
        assert bytes(second.written) == (stuck + good)[1998 + 1024 :][:13]

    simulate(device, bench, background=[*host.benches, source(device, samples)], deadline=20_000)
    assert alarmed[0] > 1500


@pytest.mark.parametrize("after", [0, 3, 20])
def test_a_reset_ends_a_chain_that_waits_for_entropy(after):
    device: Any = design(RngDevice, width=128)
    host = ChainHost(device)

    async def bench(ctx):
        host.put(Job(b"", 1000))
        await ctx.tick().repeat(10 + after)
        ctx.set(device.chains.reset, 1)
        await ctx.tick()
        host.forget()
        await ctx.tick().repeat(2)
        assert ctx.get(device.chains.idle) == 1
        assert ctx.get(device.chains.writable.valid) == 0
        ctx.set(device.chains.reset, 0)
        again = host.put(Job(b"", 20))
        await host.until(ctx, again)
        assert bytes(again.written) in NOISE

    simulate(device, bench, background=[*host.benches, source(device, NOISE)])


@pytest.mark.parametrize("after", [0, 3, 20])
def test_a_queue_that_is_retired_gets_its_chains_back_though_the_source_is_silent(after):
    """QRST-DEV-01."""
    device: Any = RngDevice(width=64)
    host = ChainHost(device)

    async def bench(ctx):
        jobs = [host.put(Job(bytes(readable), 1000)) for readable in (0, 20, 0)]
        await ctx.tick().repeat(10 + after)
        ctx.set(device.chains.retire, 1)
        for job in jobs:
            await host.until(ctx, job)
        ctx.set(device.chains.retire, 0)
        again = host.put(Job(b"", 20))
        await ctx.tick().repeat(40)
        assert not again.done and again.written == b""

    simulate(device, bench, background=host.benches)


def test_the_table_says_what_the_standard_says():
    table = RngDevice(width=64).table
    assert (table.device_type, table.queues, table.features, table.config) == (4, 1, 0, None)

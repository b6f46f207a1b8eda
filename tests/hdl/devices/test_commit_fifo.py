import random
from typing import Any

import pytest
from amaranth_virtio.devices.commit_fifo import CommitFifo
from helpers.simulation import STALLS, simulate


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("depth", [2, 8])
def test_only_committed_entries_come_out_and_in_order(depth, stall):
    dut: Any = CommitFifo(shape=16, depth=depth)
    rng = random.Random(f"{depth} {stall}")
    expected: list[int] = []
    found: list[int] = []

    async def write(ctx):
        pending: list[int] = []
        for number in range(500):
            valid = rng.random() >= stall
            full = len(pending) == depth  # only a commit or a discard helps
            what = rng.random()
            commit, discard = what < 0.3 or full, 0.3 <= what < 0.4 and not full
            ctx.set(dut.i.p, number)
            ctx.set(dut.i.valid, valid)
            ctx.set(dut.commit, commit)
            ctx.set(dut.discard, discard)
            *_, ready = await ctx.tick().sample(dut.i.ready)
            if valid and ready:
                pending.append(number)
            if commit:
                expected.extend(pending)
            if commit or discard:
                pending.clear()
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.commit, 0)
        ctx.set(dut.discard, 0)
        await ctx.tick().repeat(3)
        while not ctx.get(dut.empty):
            await ctx.tick()
        await ctx.tick()

    async def read(ctx):
        while True:
            ready = rng.random() >= stall
            ctx.set(dut.o.ready, ready)
            *_, valid, value = await ctx.tick().sample(dut.o.valid, dut.o.p)
            if valid and ready:
                found.append(value)
                assert len(found) <= len(expected)

    simulate(dut, write, background=[read])
    assert found == expected
    assert len(found) > 20


def test_a_clear_withdraws_everything():
    dut: Any = CommitFifo(shape=8, depth=4)

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.commit, 1)
        await ctx.tick().repeat(6)
        assert ctx.get(dut.o.valid) == 1
        assert ctx.get(dut.i.ready) == 0
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        for _ in range(4):
            assert ctx.get(dut.o.valid) == 0
            assert ctx.get(dut.empty) == 1
            assert ctx.get(dut.i.ready) == 1
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_depth_that_is_no_power_of_two_is_refused(depth):
    with pytest.raises(ValueError, match=f"^depth must be a power of two of at least 2, not {depth}$"):
        CommitFifo(shape=8, depth=depth)

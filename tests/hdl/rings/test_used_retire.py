"""Queues that are reset, or broken."""

from typing import Any

import pytest
from helpers.simulation import send
from helpers.used_bench import UsedBench

BOTH = pytest.mark.parametrize("packed", [False, True])


@pytest.mark.parametrize("in_order", [False, True])
def test_a_broken_chain_ends_its_queue_and_no_other(in_order: bool) -> None:
    bench = UsedBench(sizes=[8, 8], in_order=in_order)

    async def test(ctx: Any) -> None:
        chains = [bench.post(queue) for queue in (0, 1, 0, 1, 0, 1)]
        for chain in chains[:2]:
            await bench.complete(ctx, chain)
        await bench.rest(ctx)
        await send(ctx, bench.dut.broken, [chains[3].token])
        for chain in chains[2:]:
            await bench.complete(ctx, chain)
        await bench.rest(ctx)

    bench.run(test)
    assert [len(seen) for seen in bench.seen] == [3, 1]
    assert sorted(bench.finished) == [0, 1, 2, 8, 9, 10]


@BOTH
@pytest.mark.parametrize("delay", range(0, 21, 4))
def test_a_retired_queue_is_forgotten_and_begins_anew(packed: bool, delay: int) -> None:
    """Trap 27: QRST-DEV-01, QRST-DEV-02. Retired in any state of its writes and of the read behind them."""
    bench = UsedBench(sizes=[6 if packed else 8, 8], packed=packed, event_idx=True, stall=0.3, seed=delay)
    ring = bench.queues[0]

    async def test(ctx: Any) -> None:
        dut = bench.dut
        for _ in range(9):
            for queue in (0, 1):
                await bench.complete(ctx, bench.post(queue, skip=1))
        await bench.rest(ctx)
        before = len(bench.interrupts)
        late, late_closing = bench.post(0, skip=1), bench.post(0, skip=1)
        ring.open()
        await bench.complete(ctx, bench.post(0, skip=1))
        await bench.complete(ctx, late, more=True)
        await ctx.tick().repeat(1 + delay)
        ctx.set(dut.retire_queue, 0)
        ctx.set(dut.retire, 1)
        told = bench.interrupts[before:].count(0)
        for _ in range(3):
            bench.queues[1].open()
            await bench.complete(ctx, bench.post(1, skip=1))
        await bench.complete(ctx, late_closing)
        while not ctx.get(dut.forgotten):
            await ctx.tick()
        writes = len(bench.writes_to(ring))
        seen = len(bench.seen[0])
        await bench.rest(ctx)
        assert ctx.get(dut.forgotten)
        # What was on offer when the queue was retired may still come.
        assert bench.interrupts[before:].count(0) <= told + 1
        assert len(bench.writes_to(ring)) == writes
        assert len(bench.seen[0]) == seen
        assert len(bench.seen[1]) == 12
        assert not bench.flight[0]
        ctx.set(dut.retire, 0)
        await ctx.tick()

        # The driver sets the queue up anew.
        bench.anew(0)
        for _ in range(5):
            await bench.complete(ctx, bench.post(0, skip=1))
        await bench.rest(ctx)
        assert bench.seen[0] == [(chain.id, chain.written) for chain in bench.done[0]]

    bench.run(test)


@BOTH
def test_a_retired_queue_is_forgotten_when_its_last_question_is_answered(packed: bool) -> None:
    """QRST-DEV-01. Without an interrupt, and however many questions about others are under way."""
    bench = UsedBench(sizes=[8, 8], packed=packed)
    bench.server.latency = latency = 60

    async def test(ctx: Any) -> None:
        dut = bench.dut
        await ctx.tick().repeat(5)
        for queue in (1, 0):
            await bench.complete(ctx, bench.post(queue))
            await ctx.tick().repeat(10)
        asked = bench.marks["request"][-1]
        ctx.set(dut.retire_queue, 0)
        ctx.set(dut.retire, 1)
        while bench.cycle < asked + 2 * latency:
            await bench.complete(ctx, bench.post(1))
            for _ in range(15):
                await ctx.tick()
                if ctx.get(dut.forgotten):
                    assert bench.cycle > asked + latency
                else:
                    assert bench.cycle < asked + latency + 8
        await bench.rest(ctx, latency + 20)

    bench.run(test)
    assert len(bench.server.requests) > 5
    assert bench.interrupts == [1] * (len(bench.server.requests) - 1)


def test_a_retired_queue_is_not_forgotten_while_an_interrupt_for_it_is_on_offer() -> None:
    bench = UsedBench(sizes=[8, 8])
    bench.deaf = True

    async def test(ctx: Any) -> None:
        dut = bench.dut
        await bench.complete(ctx, bench.post(0))
        await ctx.tick().until(dut.interrupt.valid)
        ctx.set(dut.retire, 1)
        for _ in range(30):
            await ctx.tick()
            assert not ctx.get(dut.forgotten)
        bench.deaf = False
        await ctx.tick().repeat(5)
        assert bench.interrupts == [0]
        assert ctx.get(dut.forgotten)

    bench.run(test)

"""How long it takes to give chains back."""

from typing import Any

import pytest
from helpers.used_bench import UsedBench

BOTH = pytest.mark.parametrize("packed", [False, True])


@BOTH
def test_an_idle_engine_writes_within_five_cycles_and_asks_at_once(packed: bool) -> None:
    bench = UsedBench(sizes=[8, 8], packed=packed)

    async def test(ctx: Any) -> None:
        await ctx.tick().repeat(10)
        await bench.complete(ctx, bench.post(1, skip=1))
        await bench.rest(ctx)

    bench.run(test)
    (done,) = bench.marks["done"]
    marks = {name: [cycle - done for cycle in cycles] for name, cycles in bench.marks.items()}
    # Written at once; the bench takes an event as soon as it is offered.
    assert marks["write"] == marks["taken"] == ([5] if packed else [5, 6])
    assert marks["request"] == [7]


@pytest.mark.parametrize(
    ("queues", "quota", "packed", "most"), [(1, 64, False, 3.0), (1, 64, True, 3.0), (32, 2, False, 8.0)]
)
def test_the_cost_of_a_chain_under_load(queues: int, quota: int, packed: bool, most: float) -> None:
    """In cycles, with event structures that take 250; the bench accepts a beat per cycle."""
    bench = UsedBench(sizes=[128] * queues, quota=quota, queue_size=128, packed=packed)
    bench.server.latency = 250
    chains = 120

    async def test(ctx: Any) -> None:
        await ctx.tick().repeat(queues + 5)
        completed = 0
        while completed < chains:
            for queue in range(queues):
                if bench.may_post(queue):
                    await bench.complete(ctx, bench.post(queue, skip=1))
                    completed += 1
        await bench.rest(ctx, 300)

    bench.run(test)
    assert bench.seen == [[(chain.id, chain.written) for chain in chains] for chains in bench.done]
    assert len(bench.interrupts) == len(bench.server.requests)
    begin = bench.marks["done"][0]
    assert bench.marks["taken"][-1] - begin < most * len(bench.marks["done"])


def test_a_slow_answer_about_one_queue_holds_up_no_write() -> None:
    bench = UsedBench(sizes=[8, 8])
    bench.server.latency = 400

    async def test(ctx: Any) -> None:
        for queue in (0, 1, 0, 0, 1):
            await bench.complete(ctx, bench.post(queue))
            await ctx.tick().repeat(20)
        assert [len(seen) for seen in bench.seen] == [3, 2]
        assert len(bench.server.requests) == 5 and not bench.interrupts
        await bench.rest(ctx, 500)

    bench.run(test)
    assert bench.seen == [[(chain.id, chain.written) for chain in chains] for chains in bench.done]
    assert len(bench.interrupts) == len(bench.server.requests)

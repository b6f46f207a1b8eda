"""From completed chains to used rings and interrupts."""

import struct
from typing import Any

import pytest
from amaranth_virtio.rings.options import RingOptions
from amaranth_virtio.rings.used_side import UsedSide
from helpers.used_bench import UsedBench
from virtio_spec.layout import Cause

FORMATS = [(False, False), (False, True), (True, False), (True, True)]
BOTH = pytest.mark.parametrize("packed", [False, True])


async def traffic(bench: UsedBench, ctx: Any, chains: int, *, groups: float = 0.0) -> None:
    """Complete ``chains`` chains of all queues, in any order; drivers want what they want."""
    rng, queues = bench.rng, len(bench.queues)
    waiting: list[list[Any]] = [[] for _ in range(queues)]
    grouped = [0] * queues
    completed = 0
    while completed < chains or any(grouped):
        for queue in range(queues):
            while bench.may_post(queue) and rng.random() < 0.7:
                waiting[queue].append(bench.post(queue))
        able = [queue for queue in range(queues) if waiting[queue] and (completed < chains or grouped[queue])]
        if not able:
            await ctx.tick()
            continue
        queue = rng.choice(able)
        ring = bench.queues[queue]
        ring.open(rng.choice([0, 0, 1, 5])) if rng.random() < 0.7 else ring.shut()
        chain = waiting[queue].pop(rng.randrange(len(waiting[queue])))
        more = bool(waiting[queue]) and rng.random() < groups
        grouped[queue] = grouped[queue] + 1 if more else 0
        await bench.complete(ctx, chain, more=more)
        completed += 1
    while waiting[0] and bench.features["in_order"]:
        await bench.complete(ctx, waiting[0].pop())
    await bench.rest(ctx)


def check(bench: UsedBench) -> None:
    """Every chain was seen used, finished, and told where that was wanted."""
    used = bench.posted if bench.features["in_order"] else bench.done
    assert bench.seen == [[(chain.id, chain.written) for chain in chains] for chains in used]
    assert sorted(bench.finished) == sorted(chain.token for chains in used for chain in chains)
    assert sorted(bench.interrupts) == sorted(bench.expected)
    assert bench.errors == []


@pytest.mark.parametrize(("width", "stall"), [(64, 0.0), (128, 0.5), (256, 0.9)])
@pytest.mark.parametrize(("packed", "event_idx"), FORMATS)
def test_each_chain_is_used_once_in_order_of_completion_and_told_if_wanted(
    packed: bool, event_idx: bool, width: int, stall: float
) -> None:
    """Traps 1, 11, 17 and 28: SPLIT-DEV-09 to -16, SPLIT-DEV-P01 to P03, PACKED-DEV-02, P01 to P05, P10."""
    bench = UsedBench(sizes=[16, 4, 8], packed=packed, event_idx=event_idx, width=width, stall=stall, seed=9)

    async def test(ctx: Any) -> None:
        await traffic(bench, ctx, 60 if stall < 0.9 else 40)

    bench.run(test)
    check(bench)
    assert 0 < len(bench.interrupts) < len(bench.server.requests)


@pytest.mark.parametrize("stall", [0.0, 0.5])
@BOTH
def test_chains_that_belong_together_become_visible_together(packed: bool, stall: float) -> None:
    """NET-DEV-039, PACKED-DEV-P09: the driver looks at the ring in every cycle."""
    bench = UsedBench(sizes=[16, 12 if packed else 8], packed=packed, stall=stall, seed=4)

    async def test(ctx: Any) -> None:
        await traffic(bench, ctx, 50, groups=0.6)

    bench.run(test)
    check(bench)


@pytest.mark.parametrize("stall", [0.0, 0.5])
@BOTH
def test_with_in_order_chains_are_used_in_ring_order(packed: bool, stall: float) -> None:
    """RFB-DEV-05."""
    bench = UsedBench(sizes=[16], packed=packed, in_order=True, stall=stall, seed=5)

    async def test(ctx: Any) -> None:
        await traffic(bench, ctx, 50)

    bench.run(test)
    check(bench)
    assert bench.done != bench.posted


def test_with_in_order_chains_that_belong_together_stay_together() -> None:
    bench = UsedBench(sizes=[16], packed=True, in_order=True)

    async def test(ctx: Any) -> None:
        chains = [bench.post(0, skip=1) for _ in range(4)]
        for chain, more in zip(chains, (True, True, False, True), strict=True):
            await bench.complete(ctx, chain, more=more)
        await bench.rest(ctx)

    bench.run(test)
    assert len(bench.seen[0]) == 3
    # The first one last.
    assert [at - bench.queues[0].desc - 8 for at, _ in bench.writes] == [16, 0]


@pytest.mark.parametrize(
    ("packed", "page_offset"),
    [(False, 4096 - 4 - 8 * 5), (False, 4096 - 8 * 5), (False, 4096 - 8), (True, 4096 - 16 * 5)],
)
def test_no_write_crosses_a_page(packed: bool, page_offset: int) -> None:
    """The bench looks at each write. Page boundaries between elements, inside one, and before the first."""
    bench = UsedBench(sizes=[16], packed=packed, quota=16, page_offset=page_offset)

    async def test(ctx: Any) -> None:
        for _ in range(3):
            chains = [bench.post(0, skip=1) for _ in range(11)]
            for chain in chains:
                await bench.complete(ctx, chain, more=chain is not chains[-1] and not packed)
            await bench.rest(ctx)

    bench.run(test)
    check(bench)


def test_a_packed_ring_of_any_size_wraps() -> None:
    """PACKED-DEV-P11, Trap 28: PACKED-DEV-P01."""
    bench = UsedBench(sizes=[7, 11, 1], packed=True, event_idx=True)

    async def test(ctx: Any) -> None:
        for round in range(16):
            for queue in range(3):
                bench.queues[queue].open(round % 4)
                await bench.complete(ctx, bench.post(queue))
            await bench.rest(ctx, 20)

    bench.run(test)
    check(bench)
    assert bench.interrupts


@pytest.mark.parametrize("event_idx", [False, True])
def test_the_used_index_wraps_at_16_bits(event_idx: bool) -> None:
    """SPLIT-DEV-P01, Trap 11: SPLIT-DEV-13."""
    bench = UsedBench(sizes=[1], event_idx=event_idx)
    (ring,) = bench.queues
    ring.next_used = 65533
    ring.memory.write(ring.device + 2, struct.pack("<H", 65533))
    bench.places[0] = [65533, 65533]

    async def test(ctx: Any) -> None:
        await ctx.tick().repeat(4)  # the places were cleared
        ctx.set(bench.dut.writer.places.data[0], 65533)
        ring.open(2)
        for _ in range(5):
            await bench.complete(ctx, bench.post(0))
            await bench.rest(ctx, 20)

    bench.run(test)
    indices = [struct.unpack("<H", content)[0] for _, content in bench.writes if len(content) == 2]
    assert indices == [65534, 65535, 0, 1, 2]
    assert len(bench.seen[0]) == 5
    assert bench.interrupts == ([0] if event_idx else [0] * 5)


@BOTH
def test_an_event_structure_that_cannot_be_read_is_an_error_and_no_interrupt(packed: bool) -> None:
    bench = UsedBench(sizes=[4, 4], packed=packed)
    bench.server.fails = lambda address: address == bench.queues[1].event_address

    async def test(ctx: Any) -> None:
        for queue in (0, 1, 0):
            await bench.complete(ctx, bench.post(queue, skip=1))
            await bench.rest(ctx)

    bench.run(test)
    assert bench.errors == [(Cause.DMA_ERROR, 1)]
    assert bench.interrupts == [0, 0]
    assert [len(seen) for seen in bench.seen] == [2, 1]


@pytest.mark.parametrize("options", [RingOptions(False, False, False, False), RingOptions(packed=False)])
def test_what_is_left_out_is_not_missed(options: RingOptions) -> None:
    bench = UsedBench(
        sizes=[8], event_idx=options.event_idx, in_order=options.in_order, options=options, quota=1, seed=3
    )

    async def test(ctx: Any) -> None:
        await traffic(bench, ctx, 20)

    bench.run(test)
    check(bench)


def test_wrong_arguments_are_named() -> None:
    good = {"width": 64, "queues": 2, "queue_size": 8, "quota": 4, "options": RingOptions()}
    for wrong, message in (
        ({"width": 32}, "width must be one of 64, 128, 256, 512, not 32"),
        ({"queues": 257}, "Number of queues must be an integer from 1 to 256, not 257"),
        ({"queue_size": 12}, "Queue size must be a power of two from 2 to 1024, not 12"),
        ({"quota": 3}, "Quota must be a power of two from 1 to 256, not 3"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            UsedSide(**(good | wrong))

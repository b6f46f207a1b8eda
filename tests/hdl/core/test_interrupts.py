"""From events to vectors."""

import random
from typing import Any

import pytest
from amaranth_virtio.core.interrupts import InterruptDispatch
from helpers.ring import taken
from helpers.simulation import STALLS, receive, send, simulate, steady

NO_VECTOR = 0xFFFF


async def serve(ctx: Any, dut: Any) -> None:
    """Queue 7 has no vector, the others their number and 100."""
    while True:
        *_, queue = await ctx.tick().sample(dut.vector_queue)
        ctx.set(dut.queue_vector, NO_VECTOR if queue == 7 else 100 + queue)


def run(dut: InterruptDispatch, *benches: Any) -> None:
    async def serving(ctx: Any) -> None:
        await serve(ctx, dut)

    simulate(dut, *benches, background=[serving, steady(dut.vector)])


@pytest.mark.parametrize("stall", STALLS)
def test_every_event_becomes_its_vector_in_order(stall: float) -> None:
    dut = InterruptDispatch()
    rng = random.Random(7)
    queues = [rng.randrange(10) for _ in range(40)]
    expected = [100 + queue for queue in queues if queue != 7]

    async def source(ctx: Any) -> None:
        ctx.set(dut.msix_enable, 1)
        await send(ctx, dut.interrupt, queues, stall=stall, rng=rng)

    async def sink(ctx: Any) -> None:
        assert [await receive(ctx, dut.vector, stall=stall, rng=rng) for _ in expected] == expected

    run(dut, source, sink)


def test_an_event_takes_two_cycles() -> None:
    dut = InterruptDispatch()

    async def bench(ctx: Any) -> None:
        ctx.set(dut.msix_enable, 1)
        ctx.set(dut.vector.ready, 1)
        ctx.set(dut.interrupt.payload, 3)
        ctx.set(dut.interrupt.valid, 1)
        ready = [(await ctx.tick().sample(dut.interrupt.ready))[-1] for _ in range(20)]
        assert sum(ready) == 10

    run(dut, bench)


def test_the_isr_bit_is_set_before_the_vector_is_offered() -> None:
    """Trap 2: PCI-ISR-DEV-02, PCI-ISR-DEV-03. Bit 0 for queues, bit 1 for configuration changes."""
    dut = InterruptDispatch()

    async def bench(ctx: Any) -> None:
        ctx.set(dut.msix_enable, 1)
        ctx.set(dut.enabled, 1)
        ctx.set(dut.config_vector, 5)
        await send(ctx, dut.interrupt, [2])
        assert ctx.get(dut.isr) == 1 and not ctx.get(dut.vector.valid)
        assert await receive(ctx, dut.vector) == 102
        ctx.set(dut.config_changed, 1)
        await ctx.tick()
        ctx.set(dut.config_changed, 0)
        while ctx.get(dut.isr) == 1:
            assert not ctx.get(dut.vector.valid)
            await ctx.tick()
        assert ctx.get(dut.isr) == 3
        assert await receive(ctx, dut.vector) == 5

    run(dut, bench)


def test_events_in_reset_are_dropped_and_an_offered_vector_stays() -> None:
    """Trap 6: RESET-DEV-02."""
    dut = InterruptDispatch()

    async def bench(ctx: Any) -> None:
        ctx.set(dut.msix_enable, 1)
        await send(ctx, dut.interrupt, [1])
        await ctx.tick().until(dut.vector.valid)
        ctx.set(dut.reset, 1)
        await send(ctx, dut.interrupt, [2, 3, 4])
        assert ctx.get(dut.vector.valid) and ctx.get(dut.vector.payload) == 101
        assert not ctx.get(dut.idle)
        assert await receive(ctx, dut.vector) == 101
        ctx.set(dut.reset, 0)
        assert ctx.get(dut.idle)
        await send(ctx, dut.interrupt, [6])
        assert await taken(ctx, dut.vector) == 106

    run(dut, bench)


def test_a_configuration_change_waits_until_it_may_be_told() -> None:
    dut = InterruptDispatch()

    async def bench(ctx: Any) -> None:
        ctx.set(dut.config_vector, NO_VECTOR)
        ctx.set(dut.config_changed, 1)
        await ctx.tick()
        ctx.set(dut.config_changed, 0)
        await ctx.tick().repeat(10)
        assert ctx.get(dut.isr) == 0
        ctx.set(dut.enabled, 1)
        await ctx.tick().repeat(4)
        assert ctx.get(dut.isr) == 2
        ctx.set(dut.isr_read, 1)
        await ctx.tick()
        assert ctx.get(dut.isr) == 0

    run(dut, bench)

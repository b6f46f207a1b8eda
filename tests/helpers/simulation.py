"""Amaranth simulation for unit tests: one clock, a deadline, and seeded stalls."""

import random
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from amaranth.sim import Simulator

__all__ = ["STALLS", "receive", "send", "simulate", "steady"]

#: Probability that a stream's end holds back in a cycle.
STALLS = (0.0, 0.5, 0.9)


def simulate(
    dut: Any,
    *testbenches: Callable[[Any], Coroutine[Any, Any, None]],
    background: Iterable[Callable[[Any], Coroutine[Any, Any, None]]] = (),
    deadline: int = 10_000,
) -> None:
    """Run ``testbenches`` to their end; more than ``deadline`` cycles is an ``AssertionError``.

    ``background`` benches (monitors, responders) run along and are not waited for.
    """
    simulator = Simulator(dut)
    simulator.add_clock(4e-9)
    unfinished = {number: bench.__qualname__ for number, bench in enumerate(testbenches)}

    def tracked(number: int, bench: Callable[[Any], Coroutine[Any, Any, None]]) -> Any:
        async def run(ctx: Any) -> None:
            await bench(ctx)
            del unfinished[number]

        return run

    def abandoned(bench: Callable[[Any], Coroutine[Any, Any, None]]) -> Any:
        async def run(ctx: Any) -> None:
            try:
                await bench(ctx)
            except RuntimeError:
                # Amaranth's triggers complain when a bench that waits on one is given up at the end.
                if not ended:
                    raise

        return run

    ended = False

    async def watchdog(ctx: Any) -> None:
        try:
            await ctx.tick().repeat(deadline)
        except RuntimeError:
            # As above: garbage collection may come to this one before the one that waits for it.
            if ended:
                return
            raise
        raise AssertionError(f"deadlock: {', '.join(unfinished.values())} not finished in {deadline} cycles")

    for number, bench in enumerate(testbenches):
        simulator.add_testbench(tracked(number, abandoned(bench)))
    for bench in background:
        simulator.add_testbench(abandoned(bench), background=True)
    simulator.add_testbench(abandoned(watchdog), background=True)
    try:
        simulator.run()
    finally:
        ended = True


async def send(
    ctx: Any,
    source: Any,
    payloads: Iterable[Any],
    *,
    stall: float = 0.0,
    rng: random.Random | None = None,
) -> None:
    """Offer ``payloads`` one after another on stream ``source``; pauses with probability ``stall``."""
    rng = rng or random.Random(0)
    for payload in payloads:
        while rng.random() < stall:
            await ctx.tick()
        ctx.set(source.payload, payload)
        ctx.set(source.valid, 1)
        await ctx.tick().until(source.ready)
        ctx.set(source.valid, 0)


async def receive(ctx: Any, sink: Any, *, stall: float = 0.0, rng: random.Random | None = None) -> Any:
    """Take one payload from stream ``sink``; pauses with probability ``stall`` before.

    Over many payloads hand in one ``rng``, or the pauses are the same each time.
    """
    rng = rng or random.Random(0)
    while rng.random() < stall:
        await ctx.tick()
    ctx.set(sink.ready, 1)
    (payload,) = await ctx.tick().sample(sink.payload).until(sink.valid)
    ctx.set(sink.ready, 0)
    return payload


def steady(source: Any) -> Callable[[Any], Coroutine[Any, Any, None]]:
    """Background bench: what stream ``source`` offers stays as it is until it is taken."""

    async def bench(ctx: Any) -> None:
        offer = None
        async for *_, valid, ready, payload in ctx.tick().sample(source.valid, source.ready, source.payload):
            if offer is not None:
                assert valid, "an offer was withdrawn"
                assert payload == offer, "an offer was changed"
            offer = payload if valid and not ready else None

    return bench

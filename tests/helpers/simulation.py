"""Amaranth simulation for unit tests: one clock, a deadline, and seeded stalls."""

import random
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from functools import lru_cache
from typing import Any

from amaranth.sim import Simulator

from .shapes import remember_shapes

__all__ = ["KEPT", "STALLS", "design", "receive", "send", "simulate", "stalled", "steady"]

#: Probability that a stream's end holds back in a cycle.
STALLS = (0.0, 0.5, 0.9)
#: Of the clock, in seconds.
PERIOD = 4e-9
#: Designs, and simulators of designs, that are kept for the next test.
KEPT = 8
#: Places for benches that are waited for and for others, in a simulator; another number of benches fits too.
PLACES = 4, 12

Testbench = Callable[[Any], Coroutine[Any, Any, None]]

remember_shapes()


def stalled(*widths: int) -> list[tuple[int, float]]:
    """Pairs of width and :data:`STALLS`, where what they do has little to do with each other.

    Every width with pauses, the narrowest and the widest at full rate too, and the narrowest also almost
    standing still.
    """
    none, some, most = STALLS
    full = {min(widths), max(widths)}
    return [(width, stall) for width in widths for stall in (none, some) if stall or width in full] + [
        (min(widths), most)
    ]


@lru_cache(maxsize=KEPT, typed=True)
def design(component: Callable[..., Any], **arguments: Any) -> Any:
    """``component(**arguments)``; the same object again for the tests that follow.

    Most of a short simulation's time is elaboration. :func:`simulate` does that once for each object, so
    whoever gets the design from here shares it. Nothing but its signals and memories may change.
    """
    return component(**arguments)


class _Simulator:
    """A simulator of ``dut`` for any number of runs, each from the reset state, with other benches.

    Its benches cannot be taken back, so it has places that run whatever bench is there; ``places`` of them
    are waited for, and for others.
    """

    def __init__(self, dut: Any, places: tuple[int, int]):
        self._benches: list[list[Testbench]] = []
        self._simulator = Simulator(dut)
        self._simulator.add_clock(PERIOD)
        for kind, count in enumerate(places):
            for number in range(count):
                self._simulator.add_testbench(self._place(kind, number), background=kind == 1)
        self._used = False

    def _place(self, kind: int, number: int) -> Testbench:
        async def run(ctx: Any) -> None:
            benches = self._benches[kind]
            if number < len(benches):
                await benches[number](ctx)

        return run

    def run(self, *benches: list[Testbench]) -> None:
        """Run the first until their end, and the second with them."""
        self._benches = [*benches]
        if self._used:
            self._simulator.reset()
        self._used = True
        self._simulator.run()


#: By design and places; the one used last at the end.
_simulators: OrderedDict[tuple[Any, tuple[int, int]], _Simulator] = OrderedDict()


def simulate(
    dut: Any,
    *testbenches: Testbench,
    background: Iterable[Testbench] = (),
    deadline: int = 10_000,
) -> None:
    """Run ``testbenches`` to their end; more than ``deadline`` cycles is an ``AssertionError``.

    ``background`` benches (monitors, responders) run along and are not waited for.
    """
    unfinished = {number: bench.__qualname__ for number, bench in enumerate(testbenches)}

    def tracked(number: int, bench: Testbench) -> Testbench:
        async def run(ctx: Any) -> None:
            await bench(ctx)
            del unfinished[number]

        return run

    def abandoned(bench: Testbench) -> Testbench:
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
        await ctx.delay(deadline * PERIOD)  # rather than cycle by cycle
        raise AssertionError(f"deadlock: {', '.join(unfinished.values())} not finished in {deadline} cycles")

    waited_for = [tracked(number, abandoned(bench)) for number, bench in enumerate(testbenches)]
    others = [abandoned(bench) for bench in (*background, watchdog)]
    key = dut, (max(PLACES[0], len(waited_for)), max(PLACES[1], len(others)))
    # One that ends with an error is not used again.
    simulator = _simulators.pop(key, None) or _Simulator(*key)
    try:
        simulator.run(waited_for, others)
    finally:
        ended = True
    _simulators[key] = simulator
    while len(_simulators) > KEPT:
        _simulators.popitem(last=False)


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

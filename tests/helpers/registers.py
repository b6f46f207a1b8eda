"""Targets on the register bus and on the configuration bus."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Access", "Target", "default_word"]


def default_word(bar: int, address: int) -> int:
    """What a word reads that was never written; another one everywhere."""
    return (bar << 28 | address) * 0x9E3779B1 & 0xFFFFFFFF


@dataclass(frozen=True)
class Access:
    """One access as a target saw it; ``bar`` is 0 and ``address`` a dword number on a configuration bus."""

    bar: int
    address: int
    write: bool
    byte_enable: int
    data: int  # of a write, disabled bytes 0


@dataclass
class Target:
    """Serves a register bus, or a configuration bus, from ``words`` and keeps a log.

    ``stall`` is the probability that it is not ready in a cycle, ``delay`` the cycles (or a function
    that gives them) a response takes beyond the first.
    """

    stall: float = 0.0
    delay: int | Callable[[], int] = 0
    seed: int = 0
    words: dict[tuple[int, int], int] = field(default_factory=dict)
    log: list[Access] = field(default_factory=list)

    @property
    def writes(self) -> list[Access]:
        """The writes of the log."""
        return [access for access in self.log if access.write]

    @property
    def reads(self) -> list[Access]:
        """The reads of the log."""
        return [access for access in self.log if not access.write]

    def access(self, request: Any) -> int:
        """Carry out ``request`` and return the word as it was."""
        on_bar = hasattr(request.shape(), "members") and "bar" in request.shape().members
        place = (int(request.bar), int(request.address)) if on_bar else (0, int(request.register))
        word = self.words.get(place, default_word(*place))
        enabled = sum(0xFF << 8 * byte for byte in range(4) if int(request.byte_enable) >> byte & 1)
        data = int(request.data) & enabled if request.write else 0
        self.log.append(Access(*place, bool(request.write), int(request.byte_enable), data))
        if request.write:
            self.words[place] = word & ~enabled | data
        return word

    def serve(self, bus: Any, *, answer_writes: bool = False) -> Any:
        """Background bench on ``bus``; ``answer_writes`` as a configuration bus asks for."""
        rng = random.Random(self.seed)

        async def bench(ctx: Any) -> None:
            waiting: int | None = None
            due = 0
            while True:
                ctx.set(bus.request.ready, rng.random() >= self.stall)
                answers = waiting is not None and due == 0
                ctx.set(bus.response.valid, answers)
                if answers:
                    ctx.set(bus.response.payload, waiting)
                    waiting = None
                due -= 1
                *_, valid, ready, payload = await ctx.tick().sample(
                    bus.request.valid, bus.request.ready, bus.request.payload
                )
                if valid and ready:
                    word = self.access(payload)
                    if answer_writes or not payload.write:
                        assert waiting is None, "one access at a time needs an answer"
                        waiting = word
                        due = self.delay if isinstance(self.delay, int) else self.delay()

        return bench

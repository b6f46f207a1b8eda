"""Configuration accesses for unit tests, and a target on the register bus with side effects."""

import random
from types import SimpleNamespace
from typing import Any

__all__ = ["RegisterTarget", "config_read", "config_write"]


async def _access(ctx: Any, bus: Any, offset: int, write: int, byte_enable: int, value: int) -> int:
    ctx.set(
        bus.request.payload,
        {"register": offset // 4, "write": write, "byte_enable": byte_enable, "data": value},
    )
    ctx.set(bus.request.valid, 1)
    await ctx.tick().until(bus.request.ready)
    ctx.set(bus.request.valid, 0)
    (answer,) = await ctx.tick().sample(bus.response.payload).until(bus.response.valid)
    return answer


async def config_read(ctx: Any, bus: Any, offset: int, size: int = 4) -> int:
    """Read 1, 2 or 4 bytes at ``offset``, aligned."""
    lane = offset % 4
    answer = await _access(ctx, bus, offset, 0, (1 << size) - 1 << lane, 0)
    return answer >> 8 * lane & (1 << 8 * size) - 1


async def config_write(
    ctx: Any, bus: Any, offset: int, value: int, size: int = 4, byte_enable: int | None = None
) -> None:
    """Write 1, 2 or 4 bytes at ``offset``, aligned, or just the bytes of the dword in ``byte_enable``."""
    lane = offset % 4
    lanes = (1 << size) - 1 << lane if byte_enable is None else byte_enable
    await _access(ctx, bus, offset, 1, lanes, value << 8 * lane)


class RegisterTarget:
    """Bytes behind a register bus; ``clear_on_read`` addresses read once, then 0.

    ``seen`` lists the requests as they were taken.
    """

    def __init__(self, bus: Any, *, stall: float = 0.0, clear_on_read: tuple[tuple[int, int], ...] = ()):
        self.bus = bus
        self.stall = stall
        self.clear_on_read = clear_on_read
        self.rng = random.Random(7)
        self.bytes: dict[tuple[int, int], int] = {}
        self.seen: list[SimpleNamespace] = []

    async def run(self, ctx: Any) -> None:
        """Background testbench."""
        request, response = self.bus.request, self.bus.response
        while True:
            while self.rng.random() < self.stall:
                await ctx.tick()
            ctx.set(request.ready, 1)
            (p,) = await ctx.tick().sample(request.payload).until(request.valid)
            ctx.set(request.ready, 0)
            self.seen.append(
                SimpleNamespace(
                    bar=p.bar, address=p.address, write=p.write, byte_enable=p.byte_enable, data=p.data
                )
            )
            value = 0
            for lane in range(4):
                place = (p.bar, p.address + lane)
                value |= self.bytes.get(place, 0) << 8 * lane
                if p.byte_enable >> lane & 1:
                    if p.write:
                        self.bytes[place] = p.data >> 8 * lane & 0xFF
                    elif place in self.clear_on_read:
                        self.bytes[place] = 0
            if not p.write:
                while self.rng.random() < self.stall:
                    await ctx.tick()
                ctx.set(response.payload, value)
                ctx.set(response.valid, 1)
                await ctx.tick()
                ctx.set(response.valid, 0)

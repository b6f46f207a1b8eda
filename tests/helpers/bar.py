"""8-, 16- and 32-bit accesses on a register bus, as a master makes them from requests of the host."""

from typing import Any

__all__ = ["Bar"]


class Bar:
    """The master of a register bus: one access after another."""

    def __init__(self, ctx: Any, bus: Any, *, bar: int = 4):
        self.ctx = ctx
        self.bus = bus
        self.bar = bar

    async def _request(self, offset: int, enable: int, data: int, write: bool) -> None:
        request = {
            "bar": self.bar,
            "address": offset & ~3,
            "write": int(write),
            "byte_enable": enable,
            "data": data,
        }
        self.ctx.set(self.bus.request.p, request)
        self.ctx.set(self.bus.request.valid, 1)
        await self.ctx.tick().until(self.bus.request.ready)
        self.ctx.set(self.bus.request.valid, 0)

    async def write_enabled(self, offset: int, enable: int, data: int) -> None:
        """Write the enabled bytes of a dword."""
        await self._request(offset, enable, data, True)

    async def read_enabled(self, offset: int, enable: int) -> int:
        """Read a dword; side effects on the enabled bytes only."""
        await self._request(offset, enable, 0, False)
        while not self.ctx.get(self.bus.response.valid):
            await self.ctx.tick()
        return self.ctx.get(self.bus.response.p)

    async def write(self, offset: int, size: int, value: int) -> None:
        """Write ``size`` (1, 2, 4) bytes, naturally aligned."""
        lane = offset % 4
        await self.write_enabled(offset, ((1 << size) - 1) << lane, value << 8 * lane)

    async def read(self, offset: int, size: int) -> int:
        """Read ``size`` (1, 2, 4) bytes, naturally aligned."""
        lane = offset % 4
        found = await self.read_enabled(offset, ((1 << size) - 1) << lane)
        return found >> 8 * lane & ((1 << 8 * size) - 1)

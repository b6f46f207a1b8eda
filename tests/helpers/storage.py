"""A storage in Python on the other side of a block device's storage ports."""

import random
from collections.abc import Callable
from typing import Any

__all__ = ["PythonStorage"]


class PythonStorage:
    """Holds sectors in ``data``, logs what it was asked for, and fails where it is told to.

    Parameters
    ----------
    device
        Has the ``storage`` member.
    sectors
        Capacity.
    stall
        Probability of a pause of every stream, in each cycle.
    fails
        Tells of an operation (name, sector, count) whether it fails.
    """

    def __init__(
        self,
        device: Any,
        *,
        sectors: int,
        stall: float = 0.0,
        seed: int = 0,
        fails: Callable[[str, int, int], bool] = lambda *_: False,
    ):
        self.ports = device.storage
        self.lanes = device.width // 8
        self.sectors = sectors
        self.data = bytearray(random.Random("content").randbytes(512 * sectors))
        self.durable = bytes(self.data)
        self.log: list[tuple[Any, ...]] = []
        self.busy = False
        self.stall = stall
        self.fails = fails
        self._rng = random.Random(f"storage {seed}")

    async def _pause(self, ctx: Any) -> None:
        while self._rng.random() < self.stall:
            await ctx.tick()

    async def _take(self, ctx: Any, port: Any) -> Any:
        """One payload; what is offered must stay."""
        held = None
        while True:
            ready = self._rng.random() >= self.stall
            ctx.set(port.ready, ready)
            *_, valid, p = await ctx.tick().sample(port.valid, port.p)
            assert held is None or (valid and repr(p) == held), "the payload changed while it waited"
            if valid and ready:
                ctx.set(port.ready, 0)
                return p
            held = repr(p) if valid else None

    async def _give(self, ctx: Any, port: Any, payload: Any) -> None:
        await self._pause(ctx)
        ctx.set(port.p, payload)
        ctx.set(port.valid, 1)
        await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)

    async def run(self, ctx: Any) -> None:
        """Bench for the background."""
        ctx.set(self.ports.capacity, self.sectors)
        while True:
            request = await self._take(ctx, self.ports.request)
            self.busy = True
            name = request.operation.name
            place = (request.sector, request.count) if name != "FLUSH" else (0, 0)
            error = self.fails(name, *place)
            if name != "FLUSH":
                assert request.count >= 1 and sum(place) <= self.sectors
            if name == "READ":
                await self._read(ctx, *place, error)
            elif name == "WRITE":
                error |= await self._write(ctx, *place, error)
            elif not error:
                self.durable = bytes(self.data)
            self.log.append((name, *place))
            await self._give(ctx, self.ports.response, {"error": error})
            self.busy = False

    async def _read(self, ctx: Any, sector: int, count: int, error: bool) -> None:
        for at in range(512 * sector, 512 * (sector + count), self.lanes):
            word = int.from_bytes(self.data[at : at + self.lanes], "little")
            await self._give(ctx, self.ports.read_data, {"data": word, "error": 0})

    async def _write(self, ctx: Any, sector: int, count: int, error: bool) -> bool:
        content = bytearray()
        while True:
            beat = await self._take(ctx, self.ports.write_data)
            if beat.abort:
                assert beat.last
                self.log.append(("abort", len(content)))
                return True
            content += beat.data.to_bytes(self.lanes, "little")
            if beat.last:
                break
        assert len(content) == 512 * count
        if not error:
            self.data[512 * sector : 512 * (sector + count)] = content
        return False

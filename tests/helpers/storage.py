"""A storage in Python on the other side of a block device's storage ports."""

import random
from collections.abc import Callable
from typing import Any

__all__ = ["PythonStorage"]


class PythonStorage:
    """Holds sectors in ``data``, logs what it was asked for, and fails where it is told to.

    Requests are taken at once, and carried out and answered one by one: without ``stall`` in the order in
    which they came, otherwise in one that ``seed`` makes.

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
    shuffle
        Whether the order is by ``seed``; by default if there are stalls.
    """

    def __init__(
        self,
        device: Any,
        *,
        sectors: int,
        stall: float = 0.0,
        seed: int = 0,
        fails: Callable[[str, int, int], bool] = lambda *_: False,
        shuffle: bool | None = None,
    ):
        self.ports = device.storage
        self.lanes = device.width // 8
        self.sectors = sectors
        self.data = bytearray(random.Random("content").randbytes(512 * sectors))
        self.durable = bytearray(self.data)
        self.log: list[tuple[Any, ...]] = []
        self.flags: list[tuple[int, int]] = []  # durable and unmap of the log's entries
        self.most = 0  # requests under way at a time
        self.stall = stall
        self.fails = fails
        self._shuffle = stall > 0 if shuffle is None else shuffle
        self._rng = random.Random(f"storage {seed}")
        self._waiting: list[tuple[Any, bytes | None]] = []  # requests that can be carried out, and data
        self._writes: list[Any] = []  # WRITEs whose data has not come
        self._data: list[bytes | None] = []  # of WRITEs; None is an abort
        self._reads: list[tuple[Any, int]] = []
        self._answers: list[tuple[Any, int]] = []
        self._tags: set[int] = set()

    @property
    def busy(self) -> bool:
        """Whether anything is under way."""
        return bool(self._tags)

    @property
    def benches(self) -> list[Any]:
        """For the background."""
        return [self._take_requests, self._take_data, self._work, self._give_data, self._give_answers]

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

    async def _take_requests(self, ctx: Any) -> None:
        ctx.set(self.ports.capacity, self.sectors)
        while True:
            request = await self._take(ctx, self.ports.request)
            assert request.tag not in self._tags, "the tag is in use"
            self._tags.add(request.tag)
            self.most = max(self.most, len(self._tags))
            name = request.operation.name
            if name != "FLUSH":
                assert request.count >= 1 and request.sector + request.count <= self.sectors
            if name == "WRITE":
                self._writes.append(request)
                self._match()
            else:
                # A FLUSH is for what was there when it came.
                self._waiting.append((request, bytes(self.data) if name == "FLUSH" else b""))

    async def _take_data(self, ctx: Any) -> None:
        content = bytearray()
        while True:
            if not self._writes:  # no data is taken before its request
                await ctx.tick()
                continue
            beat = await self._take(ctx, self.ports.write_data)
            if beat.abort:
                assert beat.last
                self.log.append(("abort", len(content)))
                self.flags.append((0, 0))
                self._data.append(None)
                content = bytearray()
                self._match()
                continue
            content += beat.data.to_bytes(self.lanes, "little")
            if beat.last:
                self._data.append(bytes(content))
                content = bytearray()
                self._match()

    def _match(self) -> None:
        while self._writes and self._data:
            request, content = self._writes.pop(0), self._data.pop(0)
            assert content is None or len(content) == 512 * request.count
            self._waiting.append((request, content))

    async def _work(self, ctx: Any) -> None:
        while True:
            await self._pause(ctx)
            if not self._waiting:
                await ctx.tick()
                continue
            position = self._rng.randrange(len(self._waiting)) if self._shuffle else 0
            self._carry_out(*self._waiting.pop(position))

    def _carry_out(self, request: Any, content: bytes | None) -> None:
        name = request.operation.name
        place = (request.sector, request.count) if name != "FLUSH" else (0, 0)
        span = slice(512 * place[0], 512 * sum(place))
        error = self.fails(name, *place) or content is None
        if name in ("WRITE", "WRITE_ZEROES") and request.durable:
            error |= self.fails("FLUSH", 0, 0)
        if name == "READ":
            self._reads.append((request, error))
        else:
            if not error:
                if name in ("WRITE", "WRITE_ZEROES"):
                    self.data[span] = content if name == "WRITE" else bytes(512 * request.count)
                    if request.durable:
                        self.durable[span] = self.data[span]
                elif name == "DISCARD":
                    self.data[span] = b"\xdd" * 512 * request.count
                else:
                    self.durable = bytearray(content)
            self._answers.append((request, error))
        if content is not None:
            self.log.append((name, *place))
            self.flags.append((request.durable, request.unmap))

    async def _give_data(self, ctx: Any) -> None:
        while True:
            if not self._reads:
                await ctx.tick()
                continue
            request, error = self._reads.pop(0)
            end = 512 * (request.sector + request.count)
            for at in range(512 * request.sector, end, self.lanes):
                word = int.from_bytes(self.data[at : at + self.lanes], "little")
                last = at + self.lanes == end
                bad = int(error and self._rng.random() < 0.5) if not last else int(error)
                beat = {"data": word, "error": bad, "last": int(last), "tag": request.tag}
                await self._give(ctx, self.ports.read_data, beat)
            self._tags.remove(request.tag)

    async def _give_answers(self, ctx: Any) -> None:
        while True:
            if not self._answers:
                await ctx.tick()
                continue
            request, error = self._answers.pop(0)
            await self._give(ctx, self.ports.response, {"error": int(error), "tag": request.tag})
            self._tags.remove(request.tag)

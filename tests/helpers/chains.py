"""The virtqueue engine's side of a device type: hand out chains, collect what is written."""

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ChainHost", "Job"]


@dataclass
class Job:
    """A chain, and after its completion what the device wrote."""

    readable: bytes
    writable: int
    fails_at: int | None = None  # the readable bytes break off before this one
    queue: int = 0
    written: bytearray = field(default_factory=bytearray)
    done: bool = False


class ChainHost:
    """Drives the chain streams of ``device`` as the engine does; run ``benches`` in the background."""

    def __init__(self, device: Any, *, stall: float = 0.0, seed: int = 0):
        self.chains = device.chains
        self.lanes = device.width // 8
        self.stall = stall
        self._seed = seed
        self._announced: deque[tuple[int, Job]] = deque()
        self._reads: deque[tuple[int, Job]] = deque()
        self._open: dict[int, Job] = {}
        self._token = 0
        self._resets = 0

    def put(self, job: Job) -> Job:
        """Make a chain available."""
        self._token = (self._token + 1) % 256
        self._announced.append((self._token, job))
        self._open[self._token] = job
        if job.readable or job.fails_at is not None:
            self._reads.append((self._token, job))
        return job

    def forget(self) -> None:
        """As a reset does: no chain is known any more."""
        self._announced.clear()
        self._reads.clear()
        self._open.clear()
        self._resets += 1

    @property
    def benches(self) -> list[Any]:
        """The three streams."""
        return [self._announce, self._read, self._write]

    async def until(self, ctx: Any, job: Job) -> None:
        """Wait until ``job`` is completed."""
        while not job.done:
            await ctx.tick()

    async def _offer(self, ctx: Any, port: Any, payload: Any, rng: random.Random) -> bool:
        """Offer one beat; False if a reset came in between."""
        resets = self._resets
        while rng.random() < self.stall:
            await ctx.tick()
        if ctx.get(self.chains.reset) or resets != self._resets:
            return False
        ctx.set(port.p, payload)
        ctx.set(port.valid, 1)
        ready = reset = 0
        while not (ready or reset):
            *_, ready, reset = await ctx.tick().sample(port.ready, self.chains.reset)
        ctx.set(port.valid, 0)
        return not reset

    async def _announce(self, ctx: Any) -> None:
        rng = random.Random(f"announce {self._seed}")
        while True:
            if self._announced and not ctx.get(self.chains.reset):
                token, job = self._announced[0]
                length = len(job.readable)
                payload = {"token": token, "queue": job.queue, "readable": length, "writable": job.writable}
                if await self._offer(ctx, self.chains.chain, payload, rng) and self._announced:
                    self._announced.popleft()
            else:
                await ctx.tick()

    async def _read(self, ctx: Any) -> None:
        rng = random.Random(f"read {self._seed}")
        while True:
            if not self._reads:
                await ctx.tick()
                continue
            token, job = self._reads.popleft()
            length = len(job.readable) if job.fails_at is None else job.fails_at
            beats = []
            for at in range(0, length, self.lanes):
                piece = job.readable[at : min(at + self.lanes, length)]
                rubbish = rng.getrandbits(8 * (self.lanes - len(piece))) if len(piece) < self.lanes else 0
                beats.append(
                    {
                        "data": int.from_bytes(piece, "little") | rubbish << 8 * len(piece),
                        "count": len(piece),
                        "last": int(at + self.lanes >= length and job.fails_at is None),
                        "error": 0,
                        "token": token,
                    }
                )
            if job.fails_at is not None:
                # What came before the error is full beats only.
                beats = [beat for beat in beats if beat["count"] == self.lanes]
                beats.append({"data": 0, "count": 0, "last": 1, "error": 1, "token": token})
            for beat in beats:
                if not await self._offer(ctx, self.chains.readable, beat, rng):
                    break

    async def _write(self, ctx: Any) -> None:
        rng = random.Random(f"write {self._seed}")
        port = self.chains.writable
        held = None
        while True:
            ready = int(rng.random() >= self.stall)
            ctx.set(port.ready, ready)
            *_, valid, p, reset = await ctx.tick().sample(port.valid, port.p, self.chains.reset)
            if reset:
                held = None
                continue
            if held is not None:
                assert valid and repr(p) == held, "the payload changed while it waited"
            held = repr(p) if valid and not ready else None
            if not (valid and ready):
                continue
            job = self._open[p.token]
            assert not job.done
            assert p.count <= self.lanes
            job.written += p.data.to_bytes(self.lanes, "little")[: p.count]
            assert len(job.written) <= job.writable
            if p.last:
                job.done = True
                del self._open[p.token]

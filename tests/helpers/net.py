"""A network device between a driver's chains and a wire in Python."""

import random
from collections import deque
from collections.abc import Iterable
from typing import Any

from amaranth_virtio.devices.net import NetDevice
from virtio_models.net import Net
from virtio_models.network import Network
from virtio_spec.virtio import feature_mask

from .chains import ChainHost, Job
from .simulation import design, simulate, steady

__all__ = [
    "ALL",
    "CSUM",
    "CTRL_MAC_ADDR",
    "CTRL_RX",
    "CTRL_VQ",
    "GUEST_CSUM",
    "MAC",
    "MQ",
    "MRG_RXBUF",
    "NetBench",
    "NetHost",
    "header",
    "reference",
]

MAC = bytes.fromhex("02aabbccddee")
CSUM, GUEST_CSUM, MRG_RXBUF, CTRL_VQ, CTRL_RX, MQ, CTRL_MAC_ADDR = 0, 1, 15, 17, 18, 22, 23
ALL = (CSUM, GUEST_CSUM, MRG_RXBUF, CTRL_VQ, CTRL_RX, MQ, CTRL_MAC_ADDR)


def header(flags: int = 0, start: int = 0, offset: int = 0, buffers: int = 0) -> bytes:
    """``struct virtio_net_hdr`` of VIRTIO 1.4 §5.1.6."""
    return bytes([flags, 0, 0, 0, 0, 0]) + b"".join(n.to_bytes(2, "little") for n in (start, offset, buffers))


def reference(*features: int, pairs: int = 1, **arguments: Any) -> Net:
    """The reference device, running, with these features accepted."""
    made = Net(Network(), mac=MAC, pairs=pairs, **arguments)
    made.accepted = feature_mask(*features)
    made.driver_ok = True
    made.in_use = lambda queue: True
    return made


class NetHost(ChainHost):
    """Chains of several queues: at most ``quota`` of each here at a time, with tokens as in the engine."""

    def __init__(self, device: Any, *, quota: int, **arguments: Any):
        super().__init__(device, **arguments)
        self.quota = quota
        self.waiting: dict[int, deque[Job]] = {}
        self.sequence: dict[int, int] = {}

    def put(self, job: Job) -> Job:
        """Make a chain available."""
        self.waiting.setdefault(job.queue, deque()).append(job)
        return job

    def forget(self) -> None:
        """As a reset does: no chain is known any more."""
        super().forget()
        self.waiting.clear()
        self.sequence.clear()

    async def _announce(self, ctx: Any) -> None:
        rng = random.Random(f"announce {self._seed}")
        while True:
            able = [
                queue
                for queue, jobs in self.waiting.items()
                if jobs and (queue * self.quota + self.sequence.get(queue, 0)) not in self._open
            ]
            if not able or ctx.get(self.chains.reset):
                await ctx.tick()
                continue
            queue = rng.choice(able)
            job = self.waiting[queue].popleft()
            sequence = self.sequence.get(queue, 0)
            token = queue * self.quota + sequence
            self.sequence[queue] = (sequence + 1) % self.quota
            self._open[token] = job
            length = len(job.readable)
            payload = {"token": token, "queue": queue, "readable": length, "writable": job.writable}
            if await self._offer(ctx, self.chains.chain, payload, rng) and length:
                self._reads.append((token, job))


class NetBench:
    """The device, with ``wire`` as what comes from the network and ``sent`` what went there.

    An entry of ``wire`` is a frame, or a frame and a dict of what is special: ``error``, ``checked``. One of
    ``sent`` is a frame, or ``None`` for one that ended with an error.
    """

    def __init__(
        self,
        width: int,
        *features: int,
        stall: float = 0.0,
        wire_stall: float | None = None,
        seed: int = 0,
        quota: int = 16,
        **arguments: Any,
    ):
        self.device = design(NetDevice, width=width, mac=MAC, quota=quota, **arguments)
        self.host = NetHost(self.device, quota=quota, stall=stall, seed=seed)
        self.features = feature_mask(*features)
        self.lanes = width // 8
        self.stall = stall if wire_stall is None else wire_stall
        self.seed = seed
        self.wire: deque[Any] = deque()
        self.sent: list[bytes | None] = []
        self.cycle = 0
        self.ends: list[int] = []  # cycles in which frames were sent
        self.blocked = False  # the MAC takes nothing
        self.coming = False
        self.watchers: list[Any] = []  # more benches that run in the background

    def put(self, queue: int, readable: bytes = b"", writable: int = 0, **special: Any) -> Job:
        """Make a chain available."""
        return self.host.put(Job(readable, writable, queue=queue, **special))

    def send(self, frame: bytes, *, pair: int = 0, head: bytes = header(), **special: Any) -> Job:
        """Have a frame sent."""
        return self.put(2 * pair + 1, head + frame, **special)

    async def done(self, ctx: Any, jobs: Iterable[Job]) -> None:
        """Wait until all of ``jobs`` are completed."""
        for job in jobs:
            await self.host.until(ctx, job)

    async def command(self, ctx: Any, data: bytes, queue: int | None = None) -> int:
        """Have a command carried out; its answer."""
        queue = 2 * self.device.pairs if queue is None else queue
        job = self.put(queue, data, 1)
        await self.host.until(ctx, job)
        (answer,) = job.written
        return answer

    async def rest(self, ctx: Any, cycles: int = 60) -> None:
        """Wait until all frames came in, and some time."""
        while self.wire or self.coming:
            await ctx.tick()
        await ctx.tick().repeat(cycles)

    async def _count(self, ctx: Any) -> None:
        async for _ in ctx.tick():
            self.cycle += 1

    async def _from_wire(self, ctx: Any) -> None:
        rng = random.Random(f"wire {self.seed}")
        port = self.device.mac_port.receive
        while True:
            if not self.wire:
                await ctx.tick()
                continue
            self.coming = True
            entry = self.wire.popleft()
            frame, special = entry if isinstance(entry, tuple) else (entry, {})
            for at in range(0, len(frame), self.lanes):
                while rng.random() < self.stall:
                    await ctx.tick()
                piece = frame[at : at + self.lanes]
                last = at + self.lanes >= len(frame)
                rubbish = rng.getrandbits(8 * (self.lanes - len(piece))) if len(piece) < self.lanes else 0
                beat = {
                    "data": int.from_bytes(piece, "little") | rubbish << 8 * len(piece),
                    "keep": (1 << len(piece)) - 1,
                    "first": at == 0,
                    "last": last,
                }
                ctx.set(port.payload, beat | (special if last else {}))
                ctx.set(port.valid, 1)
                *_, ready = await ctx.tick().sample(port.ready)
                assert ready, "frames are taken at any rate"
                ctx.set(port.valid, 0)
            self.coming = False

    async def _to_wire(self, ctx: Any) -> None:
        rng = random.Random(f"sink {self.seed}")
        port = self.device.mac_port.transmit
        frame, fresh, promised = b"", True, False
        while True:
            ready = not self.blocked and rng.random() >= self.stall
            ctx.set(port.ready, ready)
            *_, valid, beat = await ctx.tick().sample(port.valid, port.payload)
            assert valid or not promised, "a gap within a frame"
            promised = promised or bool(valid)
            if not (valid and ready):
                continue
            assert beat.first == fresh
            count = beat.keep.bit_count()
            assert beat.keep == (1 << count) - 1 and count
            assert beat.last or count == self.lanes
            frame += beat.data.to_bytes(self.lanes, "little")[:count]
            fresh = bool(beat.last)
            promised = not fresh
            if fresh:
                self.sent.append(None if beat.error else frame)
                self.ends.append(self.cycle)
                frame = b""

    def run(self, main: Any, deadline: int = 20_000) -> None:
        """Simulate until ``main`` is through."""

        async def settled(ctx: Any) -> None:
            ctx.set(self.device.features, self.features)
            ctx.set(self.device.driver_ok, 1)
            await ctx.tick()
            await main(ctx)

        simulate(
            self.device,
            settled,
            background=[
                self._count,
                self._from_wire,
                self._to_wire,
                *self.host.benches,
                *self.watchers,
                steady(self.device.mac_port.transmit),
            ],
            deadline=deadline,
        )

    async def reset(self, ctx: Any) -> None:
        """A reset of the device, as its core does it."""
        chains = self.device.chains
        ctx.set(self.device.driver_ok, 0)
        ctx.set(chains.reset, 1)
        await ctx.tick()
        self.host.forget()
        await ctx.tick()
        while not ctx.get(chains.idle):
            await ctx.tick()
        ctx.set(chains.reset, 0)
        ctx.set(self.device.driver_ok, 1)
        await ctx.tick()

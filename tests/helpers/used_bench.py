"""Queues as a driver sees their used side, and everything else round a :class:`UsedSide`.

Independent of the code under test: formats are the standard's, as literals.  [virtio 1.4 §2.7.8, §2.8]
"""

import random
import struct
from collections import deque
from dataclasses import dataclass
from typing import Any

from amaranth_virtio.rings.options import RingOptions
from amaranth_virtio.rings.used_side import UsedSide
from helpers.ring import HostMemory, InMemory, ReadServer, serve_contexts, taken
from helpers.simulation import design, send, simulate, steady
from virtio_spec.layout import Cause

__all__ = ["Chain", "PackedQueue", "SplitQueue", "UsedBench"]


@dataclass
class Chain:
    """One chain in flight."""

    queue: int
    token: int
    id: int
    skip: int
    written: int = 0
    more: bool = False


def place(memory: HostMemory, size: int, align: int, page_offset: int | None) -> int:
    """Memory for a ring, anywhere or at an offset in a page."""
    if page_offset is None:
        return memory.allocate(size, align=align)
    return memory.allocate(page_offset + size, align=4096) + page_offset


class SplitQueue(InMemory):
    """The used ring and what the driver says about interrupts, in split format.  [§2.7]"""

    packed = False
    event_bytes = 2

    def __init__(self, memory: HostMemory, size: int, *, event_idx: bool, page_offset: int | None = None):
        self.memory, self.size, self.event_idx = memory, size, event_idx
        self.desc = memory.allocate(16 * size, align=16)
        self.driver = memory.allocate(6 + 2 * size, align=2)
        self.device = place(memory, 6 + 8 * size, 4, page_offset)
        self.next_used = 0

    @property
    def event_address(self) -> int:
        """Of what says whether the driver wants an interrupt."""
        return self.driver + (4 + 2 * self.size if self.event_idx else 0)

    def skip(self, rng: random.Random) -> int:
        """What the record says besides the id means nothing."""
        return rng.randrange(1, 9)

    def post(self, chain: Chain) -> None:
        """The available side is not looked at."""

    def room(self, chains: list[Chain]) -> int:
        """Chains that the driver may add to those in flight."""
        return self.size - len(chains)

    def take(self, chains: dict[int, Chain]) -> list[tuple[int, int]]:
        """New used elements ``(id, len)``."""
        (index,) = struct.unpack("<H", self.memory.read(self.device + 2, 2))
        elements = []
        while self.next_used % 65536 != index:
            slot = self.device + 4 + 8 * (self.next_used % self.size)
            elements.append(struct.unpack("<II", self.memory.read(slot, 8)))
            self.next_used += 1
        return elements

    def length(self, chain: Chain) -> int:
        """Places that the chain takes in the ring."""
        return 1

    def shut(self) -> None:
        """Want no interrupt."""
        if self.event_idx:  # as far away as it goes
            self.memory.write(self.event_address, struct.pack("<H", (self.next_used - 1) % 65536))
        else:
            self.memory.write(self.event_address, struct.pack("<H", 1))

    def open(self, ahead: int = 0) -> None:
        """Want an interrupt at the next used chain, or ``ahead`` ones later."""
        event = (self.next_used + ahead) % 65536 if self.event_idx else 0
        self.memory.write(self.event_address, struct.pack("<H", event))

    def wants(self, old: int, new: int) -> bool:
        """Whether the step from ``old`` to ``new`` used chains is to be told.  [§2.7.7.2]"""
        (event,) = struct.unpack("<H", self.memory.read(self.event_address, 2))
        if self.event_idx:
            return (new - event - 1) % 65536 < (new - old) % 65536
        return event & 1 == 0


class PackedQueue(InMemory):
    """The descriptor ring and what the driver says about interrupts, in packed format.  [§2.8]"""

    packed = True
    event_bytes = 4

    def __init__(self, memory: HostMemory, size: int, *, event_idx: bool, page_offset: int | None = None):
        self.memory, self.size, self.event_idx = memory, size, event_idx
        self.desc = place(memory, 16 * size, 16, page_offset)
        self.driver = memory.allocate(4, align=4)
        self.device = memory.allocate(4, align=4)
        self.next_avail = self.next_used = 0

    @property
    def event_address(self) -> int:
        """Of the driver's event suppression structure."""
        return self.driver

    def wrap(self, place: int) -> int:
        """Wrap counter at ``place``, which counts from the first lap on."""
        return 1 - place // self.size % 2

    def skip(self, rng: random.Random) -> int:
        """Descriptors of a chain."""
        return min(rng.choice([1, 1, 1, 1, 2, 3]), self.size)

    def post(self, chain: Chain) -> None:
        """Make its descriptors available."""
        for _ in range(chain.skip):
            wrap = self.wrap(self.next_avail)
            flags = wrap << 7 | (1 - wrap) << 15
            address = self.desc + 16 * (self.next_avail % self.size)
            self.memory.write(address, struct.pack("<QIHH", 0, 0xDEAD_BEEF, chain.id, flags))
            self.next_avail += 1

    def room(self, chains: list[Chain]) -> int:
        """Descriptors that the driver may add to those in flight."""
        return self.size - (self.next_avail - self.next_used)

    def take(self, chains: dict[int, Chain]) -> list[tuple[int, int]]:
        """New used descriptors ``(id, len)``."""
        elements = []
        while True:
            address = self.desc + 16 * (self.next_used % self.size)
            length, buffer, flags = struct.unpack("<IHH", self.memory.read(address + 8, 8))
            wrap = self.wrap(self.next_used)
            if (flags >> 7 & 1, flags >> 15) != (wrap, wrap) or self.next_used == self.next_avail:
                return elements
            assert flags & ~0x8082 == 0
            elements.append((buffer, length if flags & 2 else 0))
            self.next_used += chains[buffer].skip

    def length(self, chain: Chain) -> int:
        """Places that the chain takes in the ring."""
        return chain.skip

    def shut(self) -> None:
        """Want no interrupt."""
        self.memory.write(self.driver, struct.pack("<HH", 0, 1))

    def open(self, ahead: int = 0) -> None:
        """Want an interrupt at the next used chain, or ``ahead`` places later."""
        place = self.next_used + ahead
        event = place % self.size | self.wrap(place) << 15
        self.memory.write(self.driver, struct.pack("<HH", event, 2) if self.event_idx else bytes(4))

    def wants(self, old: int, new: int) -> bool:
        """Whether the step from place ``old`` to ``new`` is to be told.  [§2.8.14]"""
        event, flags = struct.unpack("<HH", self.memory.read(self.driver, 4))
        if flags & 3 != 2:
            return flags & 3 == 0
        return any(place % self.size | self.wrap(place) << 15 == event for place in range(old, new))


class LateServer(ReadServer):
    """Data comes ``latency`` cycles after its request was taken; it is as old as that."""

    latency = 0

    async def give(self, ctx: Any) -> None:
        """Background bench: returns data."""
        late: deque[tuple[int, dict[str, Any]]] = deque()
        offered, cycle = False, 0
        while True:
            late.extend((cycle + self.latency, beat) for beat in self._beats)
            self._beats.clear()
            if not offered and late and late[0][0] <= cycle and self.rng.random() >= self.stall:
                ctx.set(self.data.payload, late.popleft()[1])
                offered = True
            ctx.set(self.data.valid, offered)
            *_, ready = await ctx.tick().sample(self.data.ready)
            cycle += 1
            offered = offered and not ready


class UsedBench:
    """A :class:`UsedSide` with its host, its device and its poller."""

    def __init__(
        self,
        *,
        sizes: list[int],
        packed: bool = False,
        event_idx: bool = False,
        in_order: bool = False,
        width: int = 64,
        quota: int = 8,
        queue_size: int = 16,
        options: RingOptions | None = None,
        stall: float = 0.0,
        seed: int = 1,
        page_offset: int | None = None,
    ):
        self.memory = HostMemory(seed=seed)
        kind = PackedQueue if packed else SplitQueue
        self.queues = [
            kind(self.memory, size, event_idx=event_idx, page_offset=page_offset) for size in sizes
        ]
        self.contexts = [ring.context for ring in self.queues]
        self.quota, self.stall, self.rng = quota, stall, random.Random(seed)
        self.dut = design(
            UsedSide,
            width=width,
            queues=len(sizes),
            queue_size=queue_size,
            quota=quota,
            options=options or RingOptions(),
        )
        self.features = {"packed": packed, "event_idx": event_idx, "in_order": in_order, "indirect": 0}
        self.server = LateServer(
            self.memory, self.dut.request, self.dut.data, width=width, stall=stall, seed=seed
        )
        self.records: dict[int, Chain] = {}
        self.flight: list[list[Chain]] = [[] for _ in sizes]  # per queue, in ring order
        self.sequences = [0] * len(sizes)
        self.by_id: list[dict[int, Chain]] = [{} for _ in sizes]
        self.posted: list[list[Chain]] = [[] for _ in sizes]  # in ring order
        self.done: list[list[Chain]] = [[] for _ in sizes]  # in order of completion
        self.seen: list[list[tuple[int, int]]] = [[] for _ in sizes]  # by the driver
        self.finished: list[int] = []
        self.released: set[int] = set()
        self.places = [[0, 0] for _ in sizes]  # at the last question and now
        self.expected: list[int] = []  # interrupts
        self.interrupts: list[int] = []
        self.errors: list[tuple[Cause, int]] = []
        self.writes: list[tuple[int, bytes]] = []
        self.deaf = False  # no interrupt is taken
        self.cycle = 0
        self.marks: dict[str, list[int]] = {"write": [], "taken": [], "request": [], "done": []}

    # What the poller and the walker do

    def post(self, queue: int, *, skip: int | None = None, id: int | None = None) -> Chain:
        """A new chain in flight."""
        ring = self.queues[queue]
        token = queue * self.quota + self.sequences[queue] % self.quota
        self.sequences[queue] += 1
        if id is None:
            id = self.rng.choice([i for i in range(ring.size) if i not in self.by_id[queue]])
        chain = Chain(queue, token, id, skip or ring.skip(self.rng))
        ring.post(chain)
        self.by_id[queue][id] = self.records[token] = chain
        self.flight[queue].append(chain)
        self.posted[queue].append(chain)
        return chain

    def may_post(self, queue: int) -> bool:
        """Quota and ring have room."""
        flight = self.flight[queue]
        return len(flight) < self.quota and self.queues[queue].room(list(self.by_id[queue].values())) >= 3

    def anew(self, queue: int) -> None:
        """The driver set up ``queue`` again after its reset."""
        kind, ring = type(self.queues[queue]), self.queues[queue]
        ring = self.queues[queue] = kind(self.memory, ring.size, event_idx=ring.event_idx)
        self.contexts[queue].update(ring.context)
        self.places[queue] = [0, 0]
        self.by_id[queue].clear()
        for log in (self.posted, self.done, self.seen):
            log[queue].clear()

    def writes_to(self, ring: Any) -> list[tuple[int, bytes]]:
        """Ring writes of one queue."""
        begin = ring.desc if ring.packed else ring.device
        return [(at, content) for at, content in self.writes if begin <= at < begin + 16 * ring.size]

    async def serve_chains(self, ctx: Any) -> None:
        while True:
            *_, token = await ctx.tick().sample(self.dut.chain.token)
            chain = self.records.get(token)
            ctx.set(
                self.dut.chain.record,
                {"id": chain.id, "skip": chain.skip} if chain else {"id": 0xDEAD, "skip": 0xBEEF},
            )

    # What the device does

    async def complete(
        self, ctx: Any, chain: Chain, *, written: int | None = None, more: bool = False
    ) -> None:
        """Hand ``chain`` in as completed."""
        chain.written = self.rng.choice([0, 1, 4096, 0xFFFF_FFFF]) if written is None else written
        chain.more = more
        self.done[chain.queue].append(chain)
        payload = {"token": chain.token, "written": chain.written, "more": more}
        await send(ctx, self.dut.done, [payload], stall=self.stall, rng=self.rng)

    # What the host does

    async def count(self, ctx: Any) -> None:
        dut = self.dut
        while True:
            _, _, write, ready, last, request, asked, done = await ctx.tick().sample(
                dut.write.valid,
                dut.write.ready,
                dut.write.payload.last,
                dut.request.valid,
                dut.request.ready,
                dut.done.valid & dut.done.ready,
            )
            for name, event in (
                ("write", write),
                ("taken", write and ready and last),
                ("request", request and asked),
                ("done", done),
            ):
                if event:
                    self.marks[name].append(self.cycle)
            self.cycle += 1

    async def take_writes(self, ctx: Any) -> None:
        at = None
        content = b""
        while True:
            while self.rng.random() < self.stall:
                await ctx.tick()
            ctx.set(self.dut.write.ready, 1)
            write = await taken(ctx, self.dut.write)
            ctx.set(self.dut.write.ready, 0)
            if at is None:
                at, content = write.address, b""
            assert write.address == at, "the address stays"
            beat = write.data.to_bytes(8, "little")[: write.count]
            assert len(beat) == 8 or write.last
            self.memory.write(at + len(content), beat)
            content += beat
            if write.last:
                assert len(content) <= 64
                assert at // 4096 == (at + len(content) - 1) // 4096
                assert (len(content) == 2 and at % 2 == 0) or (len(content) % 4 == 0 and at % 4 == 0)
                self.writes.append((at, content))
                at = None

    async def drive(self, ctx: Any) -> None:
        """Look at the rings in every cycle: what is used, is used in whole groups."""
        while True:
            await ctx.tick()
            for queue, ring in enumerate(self.queues):
                new = ring.take(self.by_id[queue])
                self.seen[queue] += new
                for id, _ in new:
                    del self.by_id[queue][id]
                if new and self.done[queue] and not self.features["in_order"]:
                    assert not self.done[queue][len(self.seen[queue]) - 1].more, "a group is not whole"

    async def take_finished(self, ctx: Any) -> None:
        while True:
            token = await taken(ctx, self.dut.finished)
            self.finished.append(token)
            self.released.add(token)
            queue = token // self.quota
            flight = self.flight[queue]
            chain = self.records[token]
            self.places[queue][1] += self.queues[queue].length(chain)
            while flight and flight[0].token in self.released:
                self.released.remove(flight.pop(0).token)

    async def judge(self, ctx: Any) -> None:
        """What interrupt is due, by the structure as it is when the request is taken."""
        while True:
            *_, valid, ready, request = await ctx.tick().sample(
                self.dut.request.valid, self.dut.request.ready, self.dut.request.payload
            )
            if valid and ready:
                queue = request.context.queue
                ring = self.queues[queue]
                assert (request.address, request.length) == (ring.event_address, ring.event_bytes)
                old, new = self.places[queue]
                self.places[queue][0] = new
                assert old < new
                if ring.wants(old, new) and not self.server.fails(request.address):
                    self.expected.append(queue)

    async def take_interrupts(self, ctx: Any) -> None:
        while True:
            while self.deaf or self.rng.random() < self.stall:
                await ctx.tick()
            ctx.set(self.dut.interrupt.ready, 1)
            self.interrupts.append(await taken(ctx, self.dut.interrupt))
            ctx.set(self.dut.interrupt.ready, 0)

    async def take_errors(self, ctx: Any) -> None:
        while True:
            error = await taken(ctx, self.dut.error)
            self.errors.append((Cause(error.cause), error.queue))

    def run(self, test: Any, **options: Any) -> None:
        """Simulate ``test`` with everything round it."""

        async def negotiated(ctx: Any) -> None:
            ctx.set(self.dut.features, self.features)
            await test(ctx)

        simulate(
            self.dut,
            negotiated,
            background=[
                serve_contexts(self.dut.lookup, self.contexts),
                *self.server.benches,
                self.serve_chains,
                self.take_finished,
                self.judge,
                self.take_writes,
                self.take_interrupts,
                self.take_errors,
                self.drive,
                self.count,
                steady(self.dut.write),
                steady(self.dut.request),
                steady(self.dut.interrupt),
            ],
            **options,
        )

    async def rest(self, ctx: Any, cycles: int = 60) -> None:
        """Wait until nothing happens any more."""
        quiet = 0
        while quiet < cycles:
            before = len(self.writes), len(self.interrupts), len(self.finished), len(self.server.requests)
            await ctx.tick()
            after = len(self.writes), len(self.interrupts), len(self.finished), len(self.server.requests)
            quiet = quiet + 1 if before == after else 0

"""A Poller between host memory with latency, drivers that follow the standard, and a device."""

import random
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from helpers.ring import HostMemory, InMemory
from helpers.simulation import simulate

__all__ = ["PackedDriver", "PollBench", "SplitDriver"]


class SplitDriver(InMemory):
    """Driver's side of a split queue: makes heads available and says when a kick is due.

    [virtio 1.4 §2.7.10, §2.7.13] Nothing is ever used: the test sees to it that no more than ``size`` heads
    are available and not yet taken.
    """

    def __init__(self, memory: HostMemory, size: int, *, start: int = 0, offset: int = 0):
        self.memory, self.size, self.index = memory, size, start
        # ``offset`` in bytes moves the available ring within its 128-byte block.
        self.driver = memory.allocate(6 + 2 * size + offset, align=128) + offset
        self.device = memory.allocate(6 + 8 * size, align=4)
        self.desc = memory.allocate(16, align=16)
        self.added: list[int] = []
        self._checked = start
        memory.write(self.driver, struct.pack("<HH", 0, start))
        memory.write(self.device + 4 + 8 * size, struct.pack("<H", start))

    def add(self, head: int) -> None:
        """Make ``head`` available."""
        self.memory.write(self.driver + 4 + 2 * (self.index % self.size), struct.pack("<H", head))
        self.index = (self.index + 1) % 65536
        self.memory.write(self.driver + 2, struct.pack("<H", self.index))
        self.added.append(head)

    def kick_due(self, event_idx: bool) -> bool:
        """What the driver finds when it looks at the suppression structure after adding."""
        old, self._checked = self._checked, self.index
        if not event_idx:
            return struct.unpack("<H", self.memory.read(self.device, 2))[0] & 1 == 0
        (event,) = struct.unpack("<H", self.memory.read(self.device + 4 + 8 * self.size, 2))
        return (self.index - event - 1) % 65536 < (self.index - old) % 65536


class PackedDriver(InMemory):
    """Driver's side of a packed queue: makes chains available and says when a kick is due.

    [virtio 1.4 §2.8.1, §2.8.10, §2.8.14, §2.8.21] Nothing is ever used: what is added overwrites what
    was taken before, so the test sees to it that no more than ``size`` descriptors are available and not
    yet taken.
    """

    def __init__(self, memory: HostMemory, size: int, *, offset: int = 0):
        self.memory, self.size = memory, size
        # ``offset`` in bytes moves the descriptor ring within its 128-byte block.
        self.desc = memory.allocate(16 * size + offset, align=128) + offset
        self.driver = memory.allocate(4, align=4)
        self.device = memory.allocate(4, align=4)
        self.position, self.wrap, self.total = 0, 1, 0
        self.added: list[dict[str, int]] = []  # descriptors, in ring order
        self._checked = 0

    def chain(self, length: int, rng: random.Random) -> Callable[[], None]:
        """Write ``length`` descriptors, all but the flags of the first; the returned call writes those."""
        identity, head = rng.getrandbits(16), self.position
        head_flags = 0
        for number in range(length):
            more = number < length - 1
            descriptor = {
                "start": number == 0,
                "next": more,
                "writable": rng.getrandbits(1),
                "indirect": not more and rng.random() < 0.3,
                "table": 0,
                "id": identity if not more else rng.getrandbits(16),
                "index": self.position,
                "address": rng.getrandbits(64),
                "length": rng.getrandbits(32),
            }
            bits = (
                descriptor["next"]
                | descriptor["writable"] << 1
                | descriptor["indirect"] << 2
                | self.wrap << 7
                | (not self.wrap) << 15
            )
            place = self.desc + 16 * self.position
            fields = struct.pack("<QIH", descriptor["address"], descriptor["length"], descriptor["id"])
            self.memory.write(place, fields)
            if number:
                self.memory.write(place + 14, struct.pack("<H", bits))
            else:
                head_flags = bits
            self.added.append(descriptor)
            self.position = (self.position + 1) % self.size
            self.wrap ^= self.position == 0
        self.total += length

        def publish() -> None:
            self.memory.write(self.desc + 16 * head + 14, struct.pack("<H", head_flags))

        return publish

    def add(self, length: int, rng: random.Random) -> None:
        """Make a chain available."""
        self.chain(length, rng)()

    def kick_due(self, event_idx: bool) -> bool:
        """What the driver finds when it looks at the suppression structure after adding."""
        old, new, self._checked = self._checked, self.total, self.total
        place, flags = struct.unpack("<HH", self.memory.read(self.device, 4))
        if flags & 3 == 2:
            assert event_idx, "DESC without EVENT_IDX"
            # Which descriptors were added, as places with their wrap counters
            return any(
                place == (number % self.size | (1 - number // self.size % 2) << 15)
                for number in range(old, new)
            )
        return flags & 3 == 0


class PollBench:
    """One bench that serves all ports of a Poller, cycle by cycle.

    ``latency`` cycles pass from a request to its first beat; memory is read, and ring writes arrive in it,
    half way, in posted order. ``hold(queue)`` says how many cycles the device keeps a chain; ``None``
    keeps it until ``release`` is called.
    """

    def __init__(
        self,
        dut: Any,
        memory: HostMemory,
        drivers: list[Any],
        *,
        latency: int = 8,
        stall: float = 0.0,
        seed: int = 1,
        event_idx: bool = False,
        packed: bool = False,
        hold: Callable[[int], int | None] = lambda queue: 0,
        fails: Callable[[int], bool] = lambda address: False,
    ):
        self.dut, self.memory, self.drivers = dut, memory, drivers
        self.latency, self.stall, self.rng = latency, stall, random.Random(seed)
        self.event_idx, self.packed, self.hold, self.fails = event_idx, packed, hold, fails
        self.contexts = [driver.context for driver in drivers]
        self.lanes = dut.width // 8
        self.cycle = 0
        self.kicks: deque[int] = deque()
        self.kicked: list[int] = []  # cycles
        self.releases: deque[int] = deque()
        self.requests: list[tuple[int, int, int]] = []  # cycle, address, length
        self.arms: list[tuple[int, int, bytes]] = []  # cycle, address, bytes
        self.heads: list[list[int]] = [[] for _ in drivers]
        self.items: list[list[Any]] = [[] for _ in drivers]
        self.out: list[tuple[int, int, int]] = []  # cycle, token, head
        self.errors: list[tuple[int, int, int]] = []
        self.in_flight = [0] * len(drivers)
        self.most_in_flight = [0] * len(drivers)
        self._expected = [0] * len(drivers)  # sequence of the next token
        self._posted: deque[tuple[int, Callable[[], None]]] = deque()  # what reaches memory, and when
        self._beats: deque[tuple[int, dict[str, Any]]] = deque()
        self._held: list[tuple[int, int]] = []

    def token(self, queue: int, sequence: int) -> int:
        """A token as the engine has it."""
        return queue * self.dut.quota + sequence % self.dut.quota

    def release(self, token: int) -> None:
        """The device is done with a chain."""
        self.in_flight[token // self.dut.quota] -= 1
        self.releases.append(token)

    def release_next(self, queue: int) -> None:
        """The device is done with the oldest chain of a queue that it keeps."""
        self.release(self.token(queue, self._expected[queue] - self.in_flight[queue]))

    async def retire(self, ctx: Any, queue: int) -> None:
        """Retire a queue, and give back its chains until it is forgotten; its driver kicks meanwhile."""
        dut, items = self.dut, self.items[queue]
        ctx.set(dut.retire_queue, queue)
        ctx.set(dut.retire, 1)
        self.kicks.append(queue)
        while not ctx.get(dut.forgotten):
            half = bool(items and items[-1]["next"])
            if self.in_flight[queue] > half:
                self.kicks.append(queue)
                self.release_next(queue)
            assert self.cycle < 10_000, "it is not forgotten"
            await ctx.tick().repeat(self.rng.choice((1, 2, 7)))
        assert not self.in_flight[queue] and not self.releases

    def _cut(self, address: int, length: int, context: Any, due: int) -> None:
        def sample() -> None:
            if self.fails(address):
                beat = {"data": self.rng.getrandbits(8 * self.lanes), "start": address % self.lanes}
                self._beats.append((due, {**beat, "count": 1, "last": 1, "error": 1, "context": context}))
                return
            content = self.memory.read(address, length)
            position, end = address, address + length
            while position < end:
                start = position % self.lanes
                count = min(self.lanes - start, end - position)
                beat = bytearray(self.rng.randbytes(self.lanes))
                beat[start : start + count] = content[position - address :][:count]
                position += count
                fields = {"start": start, "count": count, "last": position == end, "error": 0}
                word = int.from_bytes(beat, "little")
                self._beats.append((due, {"data": word, "context": context, **fields}))

        self._posted.append((self.cycle + self.latency // 2, sample))

    def chain_taken(self, token: int) -> int:
        """Check a token that starts a chain; return its queue."""
        queue, sequence = divmod(token, self.dut.quota)
        assert sequence == self._expected[queue] % self.dut.quota, "tokens are not in ring order"
        self._expected[queue] += 1
        self.in_flight[queue] += 1
        self.most_in_flight[queue] = max(self.most_in_flight[queue], self.in_flight[queue])
        assert self.in_flight[queue] <= self.dut.quota
        cycles = self.hold(queue)
        if cycles is not None:
            self._held.append((self.cycle + cycles, token))
        return queue

    async def serve(self, ctx: Any) -> None:
        """Background bench. Ports are looked at between clock edges, when all inputs of the cycle stand."""
        dut, rng = self.dut, self.rng
        ctx.set(dut.running, 1)
        ctx.set(dut.features.event_idx, self.event_idx)
        ctx.set(dut.features.packed, self.packed)
        offered, queue, context = None, 0, None
        sinks: list[tuple[Any, Callable[[Any], None]]] = [
            (dut.request, self._request),
            (dut.head, self._head),
        ]
        if dut.options.packed:
            sinks.append((dut.item, self._item))
        if dut.options.event_idx:
            sinks.append((dut.arm, self._arm))
        for port, _ in sinks:
            ctx.set(port.ready, 1)
        offers: dict[int, Any] = {}
        while True:
            while self._posted and self._posted[0][0] <= self.cycle:
                self._posted.popleft()[1]()
            if (
                offered is None
                and self._beats
                and self._beats[0][0] <= self.cycle
                and rng.random() >= self.stall
            ):
                offered = self._beats.popleft()[1]
                ctx.set(dut.data.payload, offered)
                ctx.set(dut.data.valid, 1)
            if self.stall:
                for port, _ in sinks:
                    ctx.set(port.ready, rng.random() >= self.stall)
            for due, token in [held for held in self._held if held[0] <= self.cycle]:
                self._held.remove((due, token))
                self.release(token)
            if self.kicks:
                self.kicked.append(self.cycle)
            for port, waiting in ((dut.kick, self.kicks), (dut.released, self.releases)):
                ctx.set(port.valid, bool(waiting))
                if waiting:
                    ctx.set(port.payload, waiting.popleft())

            for port, taken in sinks:
                valid, ready = ctx.get(port.valid), ctx.get(port.ready)
                payload = ctx.get(port.payload) if valid else None
                assert offers.pop(id(port), payload) == payload, "an offer was changed or withdrawn"
                if valid and ready:
                    taken(payload)
                elif valid:
                    offers[id(port)] = payload
            if ctx.get(dut.error.valid):
                error = ctx.get(dut.error.payload)
                self.errors.append((error.cause, error.queue, error.head))
            ended = offered is not None and ctx.get(dut.data.ready)
            looked_up = ctx.get(dut.lookup.queue)
            await ctx.tick()
            if ended:
                offered = None
                ctx.set(dut.data.valid, 0)
            if looked_up != queue or context is not self.contexts[queue]:
                queue = min(looked_up, len(self.contexts) - 1)
                context = self.contexts[queue]
                ctx.set(dut.lookup.context, context)
            self.cycle += 1

    def _request(self, request: Any) -> None:
        address, length = request.address, request.length
        self.requests.append((self.cycle, address, length))
        assert 1 <= length <= 128 and address // 128 == (address + length - 1) // 128, "not in one block"
        self._cut(address, length, request.context, self.cycle + self.latency)

    def _head(self, head: Any) -> None:
        self.out.append((self.cycle, head.token, head.head))
        self.heads[self.chain_taken(head.token)].append(head.head)

    def _arm(self, write: Any) -> None:
        assert write.last and 1 <= write.count <= 8
        content = (write.data & ((1 << 8 * write.count) - 1)).to_bytes(write.count, "little")
        self.arms.append((self.cycle, write.address, content))
        address = write.address
        self._posted.append((self.cycle + self.latency // 2, lambda: self.memory.write(address, content)))

    def _item(self, item: Any) -> None:
        queue = self.chain_taken(item.token) if item.start else item.token // self.dut.quota
        sequence = item.token % self.dut.quota
        assert sequence == (self._expected[queue] - 1) % self.dut.quota, "an item of another chain"
        names = ("start", "next", "writable", "indirect", "table", "id", "index", "address", "length")
        self.items[queue].append({name: getattr(item, name) for name in names})
        self.out.append((self.cycle, item.token, item.index))

    async def until(self, ctx: Any, condition: Callable[[], bool], cycles: int = 5000) -> None:
        """Wait for ``condition``."""
        for _ in range(cycles):
            if condition():
                return
            await ctx.tick()
        raise AssertionError("it does not happen")

    def run(self, test: Callable[[Any], Any], **options: Any) -> None:
        """Run ``test`` beside the bench."""
        simulate(self.dut, test, background=[self.serve], **options)

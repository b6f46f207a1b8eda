"""A split virtqueue as a driver sees it, in Python memory, and host memory behind read channels.

Independent of the code under test: formats are the standard's, as literals.  [virtio 1.4 §2.7]
"""

import random
import struct
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["NEXT", "WRITE", "INDIRECT", "HostMemory", "ReadServer", "SplitRing", "serve_contexts", "taken"]

NEXT, WRITE, INDIRECT = 1, 2, 4


class HostMemory:
    """Allocations at scattered addresses; an access outside of them is an ``AssertionError``."""

    def __init__(self, *, seed: int = 0):
        self._rng = random.Random(seed)
        self._next = 0x0012_3450_0000
        self._blocks: list[tuple[int, bytearray]] = []

    def allocate(self, size: int, *, align: int = 1, fill: bytes = b"") -> int:
        """Address of ``size`` new bytes, with a gap of its own before them."""
        address = self._next + self._rng.randrange(1, 200)
        address += -address % align
        self._next = address + size
        self._blocks.append((address, bytearray(fill.ljust(size, b"\0"))))
        return address

    def release(self) -> None:
        """Give up all allocations; the next ones lie elsewhere."""
        self._blocks.clear()

    def take_back(self, *addresses: int) -> None:
        """Give up the allocations at these addresses."""
        self._blocks = [block for block in self._blocks if block[0] not in addresses]

    def _find(self, address: int, length: int) -> tuple[bytearray, int]:
        for base, block in reversed(self._blocks):
            if base <= address and address + length <= base + len(block):
                return block, address - base
        raise AssertionError(f"stray access: {length} bytes at {address:#x}")

    def read(self, address: int, length: int) -> bytes:
        """Bytes at ``address``."""
        block, offset = self._find(address, length)
        return bytes(block[offset : offset + length])

    def write(self, address: int, content: bytes) -> None:
        """Store ``content`` at ``address``."""
        block, offset = self._find(address, len(content))
        block[offset : offset + len(content)] = content


class InMemory:
    """A ring in host memory; ``driver`` and ``device`` are 0 where nobody looks at those areas."""

    size: int
    desc: int
    driver: int = 0
    device: int = 0

    @property
    def context(self) -> dict[str, int]:
        """The queue's context for the engine."""
        return {
            "size": self.size,
            "enable": 1,
            "desc": self.desc,
            "driver": self.driver,
            "device": self.device,
        }


class SplitRing(InMemory):
    """One queue; every step can also be done wrong by hand through ``memory``."""

    def __init__(self, memory: HostMemory, size: int, *, seed: int = 0, start: int = 0):
        self.memory, self.size = memory, size
        self.desc = memory.allocate(16 * size, align=16)
        self.driver = memory.allocate(6 + 2 * size, align=2)
        self.device = memory.allocate(6 + 8 * size, align=4)
        self._free = list(range(size))
        random.Random(seed).shuffle(self._free)
        self._chains: dict[int, list[int]] = {}
        self.avail_idx = self.used_idx = start
        self.publish()
        memory.write(self.device, struct.pack("<HH", 0, start))

    @property
    def free(self) -> int:
        """Descriptors that no chain holds."""
        return len(self._free)

    def put_descriptor(self, index: int, address: int, length: int, flags: int, link: int) -> None:
        """Fill one descriptor."""
        self.memory.write(self.desc + 16 * index, struct.pack("<QIHH", address, length, flags, link))

    def put_avail(self, head: int) -> None:
        """Add ``head`` to the available ring, without publishing it."""
        self.memory.write(self.driver + 4 + 2 * (self.avail_idx % self.size), struct.pack("<H", head))
        self.avail_idx = (self.avail_idx + 1) % 65536

    def publish(self, index: int | None = None) -> None:
        """Write ``avail.idx``."""
        self.memory.write(self.driver + 2, struct.pack("<H", self.avail_idx if index is None else index))

    def set_flags(self, flags: int) -> None:
        """Write ``avail.flags``."""
        self.memory.write(self.driver, struct.pack("<H", flags))

    def chain(self, segments: Iterable[tuple[int, int, bool]]) -> int:
        """Describe ``(address, length, writable)`` segments; return the head."""
        segments = list(segments)
        indices = [self._free.pop() for _ in segments]
        for position, (index, (address, length, writable)) in enumerate(zip(indices, segments, strict=True)):
            more = position + 1 < len(indices)
            # An unused ``next`` means nothing: fill it with what would be caught if it were followed.
            link = indices[position + 1] if more else 0xFFFF
            self.put_descriptor(index, address, length, NEXT * more | WRITE * writable, link)
        self._chains[indices[0]] = indices
        return indices[0]

    def offer(self, segments: Iterable[tuple[int, int, bool]]) -> int:
        """Describe a chain and make it available; return its head."""
        head = self.chain(segments)
        self.put_avail(head)
        self.publish()
        return head

    def used(self) -> list[tuple[int, int]]:
        """New used elements ``(id, len)``; their descriptors are free again."""
        (index,) = struct.unpack("<H", self.memory.read(self.device + 2, 2))
        elements = []
        while self.used_idx != index:
            slot = self.device + 4 + 8 * (self.used_idx % self.size)
            head, length = struct.unpack("<II", self.memory.read(slot, 8))
            self._free.extend(self._chains.pop(head))
            elements.append((head, length))
            self.used_idx = (self.used_idx + 1) % 65536
        return elements


class ReadServer:
    """Answers a read channel's client from memory, with random latency and pauses.

    Memory is sampled when the request is taken. ``fails(address)`` ends a read with an error.
    ``requests`` lists ``(address, length)``. While ``flushing`` is set, requests are dropped, and no
    data comes any more.
    """

    def __init__(
        self,
        memory: HostMemory,
        request: Any,
        data: Any,
        *,
        width: int,
        stall: float = 0.0,
        seed: int = 0,
        fails: Callable[[int], bool] = lambda address: False,
    ):
        self.memory, self.request, self.data = memory, request, data
        self.lanes, self.stall, self.fails = width // 8, stall, fails
        self.rng = random.Random(seed)
        self.requests: list[tuple[int, int]] = []
        self.flushing = False
        self._beats: deque[dict[str, Any]] = deque()

    def _answer(self, address: int, length: int, context: Any) -> None:
        end = address + length
        content = b"" if self.fails(address) else self.memory.read(address, length)
        position = address
        while position < end and content:
            start = position % self.lanes
            count = min(self.lanes - start, end - position)
            chunk = content[position - address :][:count]
            # What is beside the valid lanes is nobody's business: noise.
            beat = bytearray(self.rng.randbytes(self.lanes))
            beat[start : start + count] = chunk
            position += count
            self._beats.append(
                {
                    "data": int.from_bytes(beat, "little"),
                    "start": start,
                    "count": count,
                    "last": position == end,
                    "error": 0,
                    "context": context,
                }
            )
        if not content:
            start = address % self.lanes
            noise = self.rng.getrandbits(8 * self.lanes)
            self._beats.append(
                {"data": noise, "start": start, "count": 1, "last": 1, "error": 1, "context": context}
            )

    async def take(self, ctx: Any) -> None:
        """Background bench: takes requests."""
        while True:
            ctx.set(self.request.ready, self.flushing or self.rng.random() >= self.stall)
            ready, valid, request = (
                await ctx.tick().sample(self.request.ready, self.request.valid, self.request.payload)
            )[-3:]
            if ready and valid and not self.flushing:
                self.requests.append((request.address, request.length))
                self._answer(request.address, request.length, request.context)

    async def give(self, ctx: Any) -> None:
        """Background bench: returns data."""
        offered = False
        while True:
            if self.flushing:
                self._beats.clear()
                offered = False
            elif not offered and self._beats and self.rng.random() >= self.stall:
                ctx.set(self.data.payload, self._beats.popleft())
                offered = True
            ctx.set(self.data.valid, offered)
            *_, ready = await ctx.tick().sample(self.data.ready)
            offered = offered and not ready

    @property
    def benches(self) -> tuple[Any, Any]:
        """Both background benches."""
        return self.take, self.give


async def taken(ctx: Any, sink: Any) -> Any:
    """The next payload that ``sink`` offers, sampled cycle by cycle: fit for background benches."""
    while True:
        *_, valid, payload = await ctx.tick().sample(sink.valid, sink.payload)
        if valid:
            return payload


def serve_contexts(lookup: Any, contexts: list[dict[str, int]]) -> Any:
    """Background bench that answers a queue lookup in the cycle after."""

    async def serve(ctx: Any) -> None:
        while True:
            *_, queue = await ctx.tick().sample(lookup.queue)
            ctx.set(lookup.context, contexts[queue] if queue < len(contexts) else {})

    return serve

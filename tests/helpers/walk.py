"""Rings laid out at random, what a walk must make of them, and a host and a device round a walker.

Independent of the code under test: formats are the standard's, as literals.  [virtio 1.4 §2.7, §2.8]
"""

import random
import struct
from collections import deque
from typing import Any

from helpers.ring import HostMemory, InMemory

__all__ = ["NEXT", "WRITE", "INDIRECT", "PackedQueue", "SplitQueue", "WalkBench", "walk_split"]

NEXT, WRITE, INDIRECT = 1, 2, 4
BLOCK = 128


class SplitQueue(InMemory):
    """A driver's descriptor table, whose chains are laid out as ``style`` says."""

    def __init__(self, memory: HostMemory, size: int, rng: random.Random):
        self.memory, self.size, self.rng = memory, size, rng
        self.desc = memory.allocate(16 * size, align=16)
        self.free = deque(range(size))
        self.segments: dict[int, list[tuple[int, int, int]]] = {}  # by head
        self.held: dict[int, list[int]] = {}

    def put(self, base: int, index: int, address: int, length: int, flags: int, link: int) -> None:
        """Write one descriptor."""
        self.memory.write(base + 16 * index, struct.pack("<QIHH", address, length, flags, link))

    def lay(self, base: int, places: list[int], segments: Any, tail: tuple[int, int, int] | None) -> None:
        """Chain ``segments`` over ``places``; ``tail`` is an indirect descriptor behind them."""
        for number, place in enumerate(places):
            more = number + 1 < len(places)
            # An unused ``next`` means nothing: fill it with what would be caught if it were followed.
            link = places[number + 1] if more else self.rng.getrandbits(16)
            if number < len(segments):
                address, length, writable = segments[number]
                reserved = self.rng.choice((0, 0xFFF8)) & 0xFFF8
                self.put(base, place, address, length, NEXT * more | WRITE * writable | reserved, link)
            else:
                assert tail is not None
                self.put(base, place, *tail, link)

    def offer(
        self, segments: Any, *, direct: int | None = None, shuffled: bool = False, spare: int = 0
    ) -> Any:
        """Lay a chain out, its first ``direct`` segments without an indirect table; None if there is no room.

        ``shuffled``: its links go anywhere. ``spare``: entries of the table that are not used.
        """
        segments = list(segments)
        direct = len(segments) if direct is None else direct
        need = direct + (direct < len(segments))
        if need > len(self.free):
            return None
        if shuffled:
            self.rng.shuffle(self.free)
        places = [self.free.popleft() for _ in range(need)]
        tail = None
        if direct < len(segments):
            entries = len(segments) - direct
            table = self.memory.allocate(
                16 * (entries + spare), align=16, fill=self.rng.randbytes(16 * (entries + spare))
            )
            order = [0, *range(1, entries)]
            if shuffled:
                order = [0, *self.rng.sample(range(1, entries + spare), entries - 1)]
            self.lay(table, order, segments[direct:], None)
            tail = (table, 16 * (entries + spare), INDIRECT | WRITE * self.rng.getrandbits(1))
        self.lay(self.desc, places, segments[:direct], tail)
        head = places[0]
        self.segments[head], self.held[head] = segments, places
        return head

    def take_back(self, head: int) -> None:
        """The chain was used."""
        self.free.extend(self.held.pop(head))


class PackedQueue(InMemory):
    """Descriptors of a packed ring as the poller gives them out; the ring itself is the poller's business."""

    def __init__(self, memory: HostMemory, size: int, rng: random.Random):
        self.memory, self.size, self.rng = memory, size, rng
        self.desc = memory.allocate(16 * size, align=16)
        self.position, self.room = 0, size
        self.held: dict[int, int] = {}

    def offer(self, token: int, segments: Any, *, direct: int | None = None, identity: int) -> Any:
        """Items of a chain, or None if there is no room."""
        segments = list(segments)
        direct = len(segments) if direct is None else direct
        rows = [(a, n, WRITE * w) for a, n, w in segments[:direct]]
        if direct < len(segments):
            entries = segments[direct:]
            table = self.memory.allocate(16 * len(entries), align=16)
            for index, (address, length, writable) in enumerate(entries):
                # Nothing but WRITE counts.
                flags = WRITE * writable | self.rng.getrandbits(16) & ~WRITE
                self.memory.write(
                    table + 16 * index,
                    struct.pack("<QIHH", address, length, self.rng.getrandbits(16), flags),
                )
            rows.append((table, 16 * len(entries), INDIRECT | WRITE * self.rng.getrandbits(1)))
        if len(rows) > self.room:
            return None
        self.room -= len(rows)
        self.held[token] = len(rows)
        items = []
        for number, (address, length, flags) in enumerate(rows):
            last = number + 1 == len(rows)
            items.append(
                {
                    "token": token,
                    "start": number == 0,
                    "next": not last,
                    "writable": bool(flags & WRITE),
                    "indirect": bool(flags & INDIRECT),
                    "id": identity if last else self.rng.getrandbits(16),
                    "index": self.position,
                    "address": address,
                    "length": length,
                }
            )
            self.position = (self.position + 1) % self.size
        return items

    def take_back(self, token: int) -> None:
        """The chain was used."""
        self.room += self.held.pop(token)


def walk_split(memory: HostMemory, queue: SplitQueue, head: int, most: int) -> tuple[Any, set[Any], set[int]]:
    """A chain's segments, all that is wrong with it, and the descriptors it takes of the queue's table.

    What is wrong is ``(cause, descriptor)``, causes by their names; of several, any may be found first. The
    walk goes on past it as long as it can. ``most``: entries of an indirect table.
    """
    found: list[tuple[int, int, int]] = []
    wrong: set[Any] = set()
    taken: set[int] = set()
    base, size, index, inside, seen = queue.desc, queue.size, head, False, 0
    while True:
        address, length, flags, link = struct.unpack("<QIHH", memory.read(base + 16 * index, 16))
        if not inside:
            if index in taken:
                wrong.add(("CHAIN_LOOP", index))
                return found, wrong, taken
            taken.add(index)
        seen += 1
        if flags & INDIRECT:
            if inside:
                wrong.add(("INDIRECT_NESTED", index))
                return found, wrong, taken
            if flags & NEXT:
                wrong.add(("INDIRECT_NESTED", index))
            elif length % 16 or address % 16 or not 0 < length <= 16 * most:
                wrong.add(("INDIRECT_TABLE", index))
            if wrong & {("INDIRECT_NESTED", index), ("INDIRECT_TABLE", index)}:
                return found, wrong, taken
            base, size, index, inside, seen = address, length // 16, 0, True, 0
            continue
        writable = flags >> 1 & 1
        if length == 0:
            wrong.add(("ZERO_LENGTH", index))
        if not writable and any(w for _, _, w in found):
            wrong.add(("READABLE_AFTER_WRITABLE", index))
        found.append((address, length, writable))
        if sum(n for _, n, w in found if w == writable) >> 32:
            wrong.add(("TOTAL_LENGTH", index))
        if not flags & NEXT:
            return found, wrong, taken
        if link >= size:
            wrong.add(("NEXT_INDEX", index))
            return found, wrong, taken
        if inside and seen == size:
            wrong.add(("CHAIN_LOOP", index))
            return found, wrong, taken
        index = link


class WalkBench:
    """Host, driver, device and used side of a walker, all in one bench that counts its cycles.

    ``sources[queue]`` is a list of functions: each lays out a chain and returns ``(payloads, segments, id,
    skip)`` for the given token, ``None`` if it must wait; ``payloads`` go to the head or item stream. A chain
    whose segments are None is broken: it must not be announced.
    """

    def __init__(
        self,
        dut: Any,
        memory: HostMemory,
        queues: Any,
        *,
        seed: int = 0,
        stall: float = 0.0,
        latency: int = 0,
        packed: bool = False,
        indirect: bool = True,
        stuck: Any = (),
        fails: Any = lambda address: False,
        faults: Any = lambda token: False,
    ):
        self.dut, self.memory, self.queues = dut, memory, queues
        self.packed, self.stall, self.latency = packed, stall, latency
        self.indirect = indirect and dut.options.indirect
        self.rng = random.Random(seed)
        self.stuck = set(stuck)  # queues whose chains the device keeps
        self.fails, self.faults = fails, faults
        self.sources: list[deque[Any]] = [deque() for _ in queues]
        self.allocated, self.released = [0] * len(queues), [0] * len(queues)
        self.expected: dict[int, Any] = {}  # by token
        self.order: list[deque[int]] = [deque() for _ in queues]  # tokens, to be announced
        self.announced: list[int] = []
        self.cycle = 0
        self.announced_at: list[int] = []
        self.reads: list[tuple[int, int]] = []
        self.errors: list[tuple[int, int, int, int]] = []
        self.running, self.retire = True, None
        self.finished_tokens: list[int] = []
        self.dropped: list[int] = []
        self.early: deque[Any] = deque()  # readable bytes that were asked for before the announcement

    # The parts of one cycle; each sees what was sampled at its end.

    async def run(self, ctx: Any, done: Any, *, settle: int = 0) -> None:
        """Until ``done(self)``, and ``settle`` cycles more."""
        dut, rng, quota = self.dut, self.rng, self.dut.quota
        lanes = dut.width // 8
        ctx.set(dut.features, {"packed": self.packed, "indirect": self.indirect})
        offers: list[deque[Any]] = [deque() for _ in self.queues]
        stream = dut.item if self.packed else dut.head
        offered: Any = None
        beats: deque[tuple[int, dict[str, Any]]] = deque()
        data_offered = False
        wanted: deque[tuple[int, int, int, int]] = deque()  # data requests to come
        reading: dict[int, Any] = {}
        to_fetch: deque[tuple[int, int]] = deque()
        fetched: set[int] = set()
        held: list[int] = []  # announced, and not completed
        writing: list[Any] = []
        completed: deque[Any] = deque()
        complete_offered = False
        asked: Any = None
        finish: deque[tuple[int, int]] = deque()
        lookup = 0

        def pause() -> bool:
            return rng.random() < self.stall

        while settle >= 0:
            if done(self):
                settle -= 1
            # Driver: chains of random queues, as far as tokens and room go.
            for queue in rng.sample(range(len(self.queues)), len(self.queues)):
                source = self.sources[queue]
                if source and not offers[queue] and self.allocated[queue] - self.released[queue] < quota:
                    token = queue * quota + self.allocated[queue] % quota
                    made = source[0](token)
                    if made is not None:
                        source.popleft()
                        payloads, segments, identity, skip = made
                        self.allocated[queue] += 1
                        offers[queue].extend(payloads)
                        self.expected[token] = (segments, identity, skip)
                        self.order[queue].append(token)
            if offered is None and not pause():
                some = [queue for queue in range(len(offers)) if offers[queue]]
                if some:
                    offered = offers[rng.choice(some)].popleft()
                    ctx.set(stream.payload, offered)
            ctx.set(stream.valid, offered is not None)
            ctx.set(dut.running, self.running)
            ctx.set(dut.retire, self.retire is not None)
            ctx.set(dut.retire_queue, self.retire or 0)
            ctx.set(dut.lookup.context, self.queues[lookup].context if lookup < len(self.queues) else {})
            ctx.set(dut.table_request.ready, not pause())
            if not data_offered and beats and beats[0][0] <= self.cycle and not pause():
                ctx.set(dut.table_data.payload, beats[0][1])
                data_offered = True
            ctx.set(dut.table_data.valid, data_offered)
            ctx.set(dut.chain.ready, not pause())
            ctx.set(dut.data_request.ready, not pause())
            # Readable bytes
            come = to_fetch and to_fetch[0][0] <= self.cycle and not pause()
            ctx.set(dut.fetched.valid, 0)
            ctx.set(dut.fault.valid, 0)
            if come:
                token = to_fetch.popleft()[1]
                if self.faults(token):
                    ctx.set(dut.fault.payload, token)
                    ctx.set(dut.fault.valid, 1)
                else:
                    ctx.set(dut.fetched.payload, token)
                    ctx.set(dut.fetched.valid, 1)
                    fetched.add(token)
            # Writable segments: [token, those that it takes, how many more, state]
            if not writing:
                can = [token for token in held if token // quota not in self.stuck]
                if can and not pause():
                    token = rng.choice(can)
                    held.remove(token)
                    want = [s[:2] for s in self.expected[token][0] if s[2]]
                    some_ = rng.choice((len(want) + 1, rng.randint(0, len(want) + 1)))
                    writing = [token, deque(want), some_, "begin"]
            state = writing[3] if writing else ""
            ctx.set(dut.begin.valid, state == "begin")
            if state == "begin":
                ctx.set(dut.begin.payload, writing[0])
            ends = state == "take" and not writing[2]
            ctx.set(dut.end, ends)
            ctx.set(
                dut.segment.ready, state == "take" and bool(writing[2]) and bool(writing[1]) and not pause()
            )
            # Used side
            if not complete_offered and completed and not pause():
                ctx.set(dut.completed.payload, completed[0])
                complete_offered = True
            ctx.set(dut.completed.valid, complete_offered)
            ctx.set(dut.done.ready, asked is None and not pause())
            ctx.set(dut.finished.valid, 0)
            if finish and finish[0][0] <= self.cycle:
                _, token = finish.popleft()
                ctx.set(dut.finished.payload, token)
                ctx.set(dut.finished.valid, 1)
                self.finished_tokens.append(token)
                queue = token // quota
                if self.packed:
                    self.queues[queue].take_back(token)
                else:
                    self.queues[queue].take_back(self.expected[token][1])

            sample = await ctx.tick().sample(
                stream.ready,
                dut.lookup.queue,
                dut.table_request.valid,
                dut.table_request.ready,
                dut.table_request.payload,
                dut.table_data.ready,
                dut.chain.valid,
                dut.chain.ready,
                dut.chain.payload,
                dut.data_request.valid,
                dut.data_request.ready,
                dut.data_request.payload,
                dut.begin.ready,
                dut.segment.valid,
                dut.segment.ready,
                dut.segment.payload,
                dut.completed.ready,
                dut.done.valid,
                dut.done.ready,
                dut.done.payload,
                dut.released.valid,
                dut.released.payload,
                dut.error.valid,
                dut.error.payload,
                dut.record.record,
            )
            (
                stream_ready,
                lookup,
                request_valid,
                request_ready,
                request,
                data_ready,
                chain_valid,
                chain_ready,
                chain,
                want_valid,
                want_ready,
                want,
                begin_ready,
                segment_valid,
                segment_ready,
                segment,
                completed_ready,
                done_valid,
                done_ready,
                finished,
                released_valid,
                released,
                error_valid,
                error,
                record,
            ) = sample[2:]
            self.cycle += 1

            if offered is not None and stream_ready:
                offered = None
            if request_valid and request_ready:
                self.reads.append((request.address, request.length))
                assert 1 <= request.length <= BLOCK
                assert request.address // BLOCK == (request.address + request.length - 1) // BLOCK
                beats.extend((self.cycle + self.latency, beat) for beat in self.answer(request, lanes))
            if data_offered and data_ready:
                beats.popleft()
                data_offered = False
            if chain_valid and chain_ready:
                queue = chain.queue
                token = chain.token
                while self.order[queue][0] in self.dropped:
                    self.dropped.remove(self.order[queue].popleft())
                assert self.order[queue].popleft() == token, "announced out of order"
                segments = self.expected[token][0]
                assert segments is not None, "a broken chain was announced"
                assert chain.readable == sum(n for _, n, w in segments if not w)
                assert chain.writable == sum(n for _, n, w in segments if w)
                self.announced.append(token)
                self.announced_at.append(self.cycle)
                held.append(token)
                sides = [s for s in segments if not s[2]]
                reading[token] = len(sides)
                for number, (address, length, _) in enumerate(sides):
                    wanted.append((token, address, length, number + 1 == len(sides)))
            if want_valid and want_ready:
                # The mover may be ahead of the announcement.
                early = (want.context.token, want.address, want.length, want.context.last)
                self.early.append(early)
                if want.context.last:
                    to_fetch.append((self.cycle + self.latency, want.context.token))
            while wanted and self.early:
                assert self.early.popleft() == wanted.popleft(), "readable bytes in the wrong order"
            if state == "begin" and begin_ready:
                writing[3] = "take"
            elif ends:
                completed.append({"token": writing[0], "written": writing[0] * 77 + 5})
                writing = []
            elif state == "take" and segment_valid:
                if segment.exists:
                    if segment_ready:
                        assert writing[1], "a segment too many"
                        assert writing[1].popleft() == (segment.segment.address, segment.segment.length)
                        writing[2] -= 1
                elif not writing[1]:
                    writing[2] = 0
                else:
                    raise AssertionError("a segment too few")
            if complete_offered and completed_ready:
                completed.popleft()
                complete_offered = False
            if asked is not None:
                token, when = asked
                if when == self.cycle:
                    assert (record.id, record.skip if self.packed else 0) == self.expected[token][1:], token
                    finish.append((self.cycle + rng.choice((0, 3, 60 if self.stall else 0)), token))
                    asked = None
            if done_valid and done_ready:
                token = finished.token
                if token in reading:
                    assert finished.written == token * 77 + 5
                    assert not reading.pop(token) or token in fetched, "used before its bytes were fetched"
                    fetched.discard(token)
                    ctx.set(dut.record.token, token)
                    asked = (token, self.cycle + 2)
                else:
                    assert token // quota == self.retire, "not announced, and done"
                    self.dropped.append(token)
                    finish.append((self.cycle, token))
            if released_valid:
                queue = released // quota
                assert released == queue * quota + self.released[queue] % quota, "released out of order"
                assert released in self.finished_tokens
                self.finished_tokens.remove(released)
                self.released[queue] += 1
            if error_valid:
                self.errors.append((error.cause, error.queue, error.head, error.descriptor))

    def answer(self, request: Any, lanes: int) -> list[dict[str, Any]]:
        """Beats of one read."""
        address, end = request.address, request.address + request.length
        beats = []
        if self.fails(address):
            return [{"data": 0, "start": 0, "count": 1, "last": 1, "error": 1, "context": request.context}]
        content = self.memory.read(address, request.length)
        position = address
        while position < end:
            start = position % lanes
            count = min(lanes - start, end - position)
            beat = bytearray(self.rng.randbytes(lanes))
            beat[start : start + count] = content[position - address :][:count]
            position += count
            beats.append(
                {
                    "data": int.from_bytes(beat, "little"),
                    "start": start,
                    "count": count,
                    "last": position == end,
                    "error": 0,
                    "context": request.context,
                }
            )
        return beats

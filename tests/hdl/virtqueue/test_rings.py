import random

import pytest
from amaranth_virtio.virtqueue.rings import SplitRings
from helpers.ring import NEXT, WRITE, HostMemory, ReadServer, SplitRing, serve_contexts, taken
from helpers.simulation import STALLS, send, simulate
from virtio_spec.layout import Cause

BUFFER = 0x7_0000_0000


class Bench:
    """SplitRings between rings in memory and a device that completes chains in any order."""

    def __init__(self, *, sizes, width=64, slots=4, queue_size=16, stall=0.0, seed=1):
        self.memory = HostMemory(seed=seed)
        self.sizes, self.stall, self.rng = sizes, stall, random.Random(seed)
        self.dut = dut = SplitRings(width=width, queues=len(sizes), queue_size=queue_size, slots=slots)
        self.servers = [
            ReadServer(self.memory, request, data, width=width, stall=stall, seed=seed + position)
            for position, (request, data) in enumerate(
                [
                    (dut.avail_request, dut.avail_data),
                    (dut.descriptor_request, dut.descriptor_data),
                    (dut.flags_request, dut.flags_data),
                ]
            )
        ]
        self.contexts = [{} for _ in sizes]
        self.hold = lambda chain: False  # which chains the device keeps
        self.hold_chains = False  # whether the device takes none
        self.hold_data = False  # whether the data channel takes no requests
        self.start()

    def start(self):
        """New rings, and nothing has happened yet."""
        self.rings = [SplitRing(self.memory, size, seed=self.rng.getrandbits(16)) for size in self.sizes]
        self.contexts[:] = [ring.context for ring in self.rings]
        self.pending, self.announced, self.interrupts, self.errors, self.data = [], [], [], [], []
        self.completed = {queue: [] for queue in range(len(self.sizes))}
        self.writes = 0

    def random_segments(self, room):
        readable = self.rng.randint(0, room)
        writable = self.rng.randint(0 if readable else 1, room - readable) if room > readable else 0
        return [
            (BUFFER + self.rng.getrandbits(30), self.rng.randint(1, 9000), position >= readable)
            for position in range(readable + writable)
        ]

    # The device

    async def device(self, ctx):
        chain = self.dut.chain
        while True:
            ctx.set(chain.ready, not self.hold_chains and self.rng.random() >= self.stall)
            ready, valid, payload = (await ctx.tick().sample(chain.ready, chain.valid, chain.payload))[-3:]
            if ready and valid:
                item = (payload.token, payload.queue, payload.readable, payload.writable)
                self.pending.append(item)
                self.announced.append(item)

    async def complete(self, ctx):
        done, current = self.dut.done, None
        while True:
            ready = [chain for chain in self.pending if not self.hold(chain)]
            if current is None and ready and self.rng.random() < 0.2:
                current = self.rng.choice(ready)
                self.pending.remove(current)
                written = self.rng.randint(0, current[3])
                ctx.set(done.payload, {"token": current[0], "written": written})
            ctx.set(done.valid, current is not None)
            *_, taken_now = await ctx.tick().sample(done.ready)
            if current is not None and taken_now:
                self.completed[current[1]].append(written)
                current = None

    # The host

    async def take_writes(self, ctx):
        write, offered = self.dut.write, None
        while True:
            ctx.set(write.ready, self.rng.random() >= self.stall)
            ready, valid, payload = (await ctx.tick().sample(write.ready, write.valid, write.payload))[-3:]
            assert offered is None or (valid and payload == offered), "a write on offer stays, in a reset too"
            offered = payload if valid and not ready else None
            if ready and valid:
                content = payload.data.to_bytes(8, "little")[: payload.length]
                self.memory.write(payload.address, content)
                self.writes += 1

    async def take_data_requests(self, ctx):
        request = self.dut.data_request
        while True:
            ctx.set(request.ready, not self.hold_data and self.rng.random() >= self.stall)
            ready, valid, payload = (await ctx.tick().sample(request.ready, request.valid, request.payload))[
                -3:
            ]
            if ready and valid:
                context = payload.context
                self.data.append((context.token, payload.address, payload.length, context.last))

    async def take_interrupts(self, ctx):
        interrupt = self.dut.interrupt
        while True:
            ctx.set(interrupt.ready, self.rng.random() >= self.stall)
            ready, valid, queue = (
                await ctx.tick().sample(interrupt.ready, interrupt.valid, interrupt.payload)
            )[-3:]
            if ready and valid:
                self.interrupts.append(queue)

    async def take_errors(self, ctx):
        while True:
            error = await taken(ctx, self.dut.error)
            self.errors.append((Cause(error.cause), error.queue, error.head))

    # The driver

    async def kick(self, ctx, *queues):
        await send(ctx, self.dut.kick, queues)

    async def until(self, ctx, condition):
        while not condition():
            await ctx.tick()

    async def work(self, ctx, count):
        """Have ``count`` chains used; check what the driver sees of each."""
        outstanding = [{} for _ in self.rings]
        used = offered = 0
        data = []
        while used < count:
            for queue, ring in enumerate(self.rings):
                for head, length in ring.used():
                    segments = outstanding[queue].pop(head)
                    assert length == self.completed[queue].pop(0)
                    assert length <= sum(n for _, n, writable in segments if writable)
                    used += 1
                burst = self.rng.randint(0, 2)
                for _ in range(burst):
                    room = ring.free
                    if room and offered < count:
                        segments = self.random_segments(self.rng.randint(1, min(room, 5)))
                        outstanding[queue][ring.offer(segments)] = segments
                        data += [(queue, a, n) for a, n, writable in segments if not writable]
                        offered += 1
                if burst:
                    await self.kick(ctx, queue)
            await ctx.tick().repeat(self.rng.randint(1, 30))
        assert not any(outstanding)
        await self.until(ctx, lambda: len(self.interrupts) == used)
        # Readable segments are fetched once each, in ring order per queue.
        queue_of = [queue for _, queue, readable, _ in self.announced if readable]
        fetched = []
        for _, address, length, last in self.data:
            fetched.append((queue_of[0], address, length))
            del queue_of[: bool(last)]
        for queue in range(len(self.rings)):
            assert [item for item in fetched if item[0] == queue] == [d for d in data if d[0] == queue]

    async def reset(self, ctx):
        """Reset as the engine around does; afterwards the old rings are out of bounds."""
        ctx.set(self.dut.running, 0)
        ctx.set(self.dut.reset, 1)
        for server in self.servers:
            server.flushing = True
        self.hold = lambda chain: True
        await ctx.tick().repeat(2)
        while ctx.get(self.dut.writing):
            await ctx.tick()
        self.pending.clear()
        await ctx.tick().repeat(3)
        for server in self.servers:
            server.flushing = False
            server.requests.clear()
        self.memory.release()
        self.start()
        self.hold = lambda chain: False
        self.hold_chains = self.hold_data = False
        ctx.set(self.dut.reset, 0)
        await ctx.tick().repeat(self.rng.randint(1, 60))
        self.assert_silent()
        ctx.set(self.dut.running, 1)

    def assert_silent(self):
        assert [server.requests for server in self.servers] == [[], [], []]
        assert (self.writes, self.data, self.announced, self.interrupts, self.errors) == (0, [], [], [], [])

    def run(self, test, *, deadline=20_000):
        async def bench(ctx):
            ctx.set(self.dut.running, 1)
            await test(ctx)

        simulate(
            self.dut,
            bench,
            background=[
                *(serve_contexts(port, self.contexts) for port in self.dut.lookup),
                *(bench for server in self.servers for bench in server.benches),
                self.device,
                self.complete,
                self.take_writes,
                self.take_data_requests,
                self.take_interrupts,
                self.take_errors,
            ],
            deadline=deadline,
        )


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("width", [64, 128, 256])
def test_chains_of_several_queues_are_used_whatever_the_order_of_completion(width, stall):
    """Traps 13, 16, 17: SPLIT-DEV-01, SPLIT-DEV-22, SPLIT-DEV-P03."""
    bench = Bench(sizes=[16, 4, 2], width=width, stall=stall, seed=width)
    bench.run(lambda ctx: bench.work(ctx, 20 if stall > 0.5 else 40))
    assert bench.errors == []


def test_no_more_chains_are_in_flight_than_there_are_slots():
    bench = Bench(sizes=[16, 16], slots=3)
    bench.hold = lambda chain: True

    async def test(ctx):
        for ring in bench.rings:
            for _ in range(5):
                ring.offer([(BUFFER, 1, True)])
        await bench.kick(ctx, 0, 1)
        await ctx.tick().repeat(200)
        assert len(bench.announced) == 3
        assert len({token for token, *_ in bench.announced}) == 3
        bench.hold = lambda chain: False
        await bench.until(ctx, lambda: len(bench.interrupts) == 10)

    bench.run(test)


def test_a_chain_completed_before_its_bytes_were_requested_keeps_its_segments():
    bench = Bench(sizes=[16], slots=2)
    bench.hold_data = True
    wanted = []

    async def test(ctx):
        for number in range(5):
            segments = [(BUFFER + 4096 * (2 * number + side), 5, False) for side in range(2)]
            bench.rings[0].offer(segments)
            wanted.extend(address for address, *_ in segments)
        await bench.kick(ctx, 0)
        await bench.until(ctx, lambda: len(bench.interrupts) == 2)
        await ctx.tick().repeat(100)
        assert len(bench.announced) == 2
        bench.hold_data = False
        await bench.until(ctx, lambda: len(bench.data) == 10)

    bench.run(test)
    assert [address for _, address, *_ in bench.data] == wanted


BROKEN = {
    Cause.AVAIL_INDEX: lambda ring: ring.publish(ring.avail_idx + 1 + ring.size),
    Cause.HEAD_INDEX: lambda ring: (ring.put_avail(ring.size), ring.publish()),
    Cause.NEXT_INDEX: lambda ring: bad_chain(ring, 8, NEXT, ring.size),
    Cause.CHAIN_LOOP: lambda ring: bad_chain(ring, 8, NEXT, 0),
    Cause.ZERO_LENGTH: lambda ring: bad_chain(ring, 0, 0, 0),
    Cause.READABLE_AFTER_WRITABLE: lambda ring: (
        bad_chain(ring, 8, NEXT | WRITE, 1),
        ring.put_descriptor(1, BUFFER, 8, 0, 0),
    ),
    Cause.INDIRECT: lambda ring: bad_chain(ring, 16, 4, 0),
    Cause.TOTAL_LENGTH: lambda ring: (
        bad_chain(ring, 0xFFFF_FFFF, NEXT, 1),
        ring.put_descriptor(1, BUFFER, 8, 0, 0),
    ),
}


def bad_chain(ring, length, flags, link):
    ring.put_descriptor(0, BUFFER, length, flags, link)
    ring.put_avail(0)
    ring.publish()


@pytest.mark.parametrize("cause", BROKEN, ids=lambda cause: cause.name)
def test_a_broken_ring_stops_new_chains_but_not_those_in_flight_until_reset(cause):
    bench = Bench(sizes=[8, 8], seed=cause)

    async def test(ctx):
        bench.hold = lambda chain: True
        good, bad = bench.rings
        good.offer([(BUFFER, 8, False), (BUFFER, 8, True)])
        await bench.kick(ctx, 0)
        await bench.until(ctx, lambda: bench.announced)
        BROKEN[cause](bad)
        await bench.kick(ctx, 1)
        await bench.until(ctx, lambda: bench.errors)
        good.offer([(BUFFER, 8, True)])
        await bench.kick(ctx, 0, 1)
        await ctx.tick().repeat(100)
        bench.hold = lambda chain: False
        await bench.until(ctx, lambda: bench.interrupts)
        await ctx.tick().repeat(100)
        assert len(good.used()) == 1 and bad.used() == []
        assert [queue for _, queue, *_ in bench.announced] == [0]
        head = {Cause.AVAIL_INDEX: 0, Cause.HEAD_INDEX: 8}.get(cause, 0)
        assert bench.errors == [(cause, 1, head)]
        await bench.reset(ctx)
        await bench.work(ctx, 10)
        assert bench.errors == []

    bench.run(test)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_failed_read_of_a_ring_stops_new_chains_until_reset(channel):
    bench = Bench(sizes=[8])

    async def test(ctx):
        bench.servers[channel].fails = lambda address: True
        bench.rings[0].offer([(BUFFER, 8, True)])
        await bench.kick(ctx, 0)
        await bench.until(ctx, lambda: bench.errors)
        reads = [len(server.requests) for server in bench.servers]
        bench.rings[0].offer([(BUFFER, 8, True)])
        await bench.kick(ctx, 0)
        await ctx.tick().repeat(100)
        assert [len(server.requests) for server in bench.servers] == reads
        assert [(cause, queue) for cause, queue, _ in bench.errors] == [(Cause.DMA_ERROR, 0)]
        bench.servers[channel].fails = lambda address: False
        await bench.reset(ctx)
        await bench.work(ctx, 10)
        assert bench.errors == []

    bench.run(test)


def test_a_chain_whose_bytes_cannot_be_read_never_becomes_used():
    bench = Bench(sizes=[8, 8])

    async def test(ctx):
        bench.hold = lambda chain: True
        other, ring = bench.rings
        bad = ring.offer([(BUFFER, 8, False), (BUFFER, 8, True)])
        await bench.kick(ctx, 1)
        await bench.until(ctx, lambda: bench.announced)
        good = other.offer([(BUFFER, 8, True)])
        await bench.kick(ctx, 0)
        await bench.until(ctx, lambda: len(bench.announced) == 2)
        await send(ctx, bench.dut.fault, [bench.announced[0][0]])
        bench.hold = lambda chain: False
        await bench.until(ctx, lambda: bench.interrupts)
        await ctx.tick().repeat(100)
        assert bench.pending == []
        assert [head for head, _ in other.used()] == [good]
        assert ring.used() == []
        assert bench.errors == [(Cause.DMA_ERROR, 1, bad)]

    bench.run(test)


@pytest.mark.parametrize("stall", STALLS)
def test_after_a_reset_in_any_phase_nothing_of_before_happens_and_all_starts_anew(stall):
    """Trap 6: RESET-DEV-02."""
    bench = Bench(sizes=[8, 4], stall=stall)

    async def test(ctx):
        for turn in range(10):
            # What the device or the data channel did not take yet must go too.
            bench.hold_chains, bench.hold_data = turn % 4 == 2, turn % 4 == 3
            for queue, ring in enumerate(bench.rings):
                for _ in range(ring.size // 2):
                    ring.offer(bench.random_segments(2))
                await bench.kick(ctx, queue)
            await ctx.tick().repeat(bench.rng.randint(1, 120 if stall < 0.9 else 600))
            await bench.reset(ctx)
        await bench.work(ctx, 10)

    bench.run(test)
    assert bench.errors == []

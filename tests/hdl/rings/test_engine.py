import random

import pytest
from amaranth_virtio.rings.engine import Engine
from amaranth_virtio.rings.options import RingOptions
from helpers.ring import HostMemory, ReadServer, SplitRing, serve_contexts, taken
from helpers.simulation import design, send, simulate, stalled
from helpers.tlp import from_tlp_beats, parse
from virtio_spec.layout import Cause

SETTINGS = {"requester_id": 0x0100, "bus_master": 1, "max_payload": 0, "max_read_request": 0}
FILL = 0xA5
PLAIN = RingOptions(packed=False, indirect=False, event_idx=False, in_order=False)


async def step(ctx, stream):
    """One cycle of a stream; its payload if it was transferred."""
    *_, valid, ready, payload = await ctx.tick().sample(stream.valid, stream.ready, stream.payload)
    return payload if valid and ready else None


class Device:
    """Takes chains and bytes from the engine, and completes the chains in any order."""

    def __init__(self, chains, *, width, stall, rng, reads):
        self.reads = reads
        self.chains, self.lanes, self.stall, self.rng = chains, width // 8, stall, rng
        self.hold = lambda chain: False
        self.forget()

    def forget(self):
        """Nothing is under way, nothing has happened."""
        self.reading, self.ready, self.announced = [], [], []
        self.completed = {}  # by queue: (bytes got, bytes sent), in order
        self.failed = 0
        self.epoch = object()  # another one after each reset

    async def take_chains(self, ctx):
        while True:
            ctx.set(self.chains.chain.ready, self.rng.random() >= self.stall)
            chain = await step(ctx, self.chains.chain)
            if chain is not None and not ctx.get(self.chains.reset):
                item = {"token": chain.token, "queue": chain.queue, "got": b"", "left": chain.readable}
                item["writable"] = chain.writable
                self.announced.append(chain.queue)
                (self.reading if chain.readable and self.reads else self.ready).append(item)

    async def take_bytes(self, ctx):
        while True:
            ctx.set(self.chains.readable.ready, self.rng.random() >= self.stall)
            beat = await step(ctx, self.chains.readable)
            if beat is None or ctx.get(self.chains.reset):
                continue
            assert self.reading, "a chain is announced before its bytes come"
            chain = self.reading[0]
            assert beat.token == chain["token"]
            chain["got"] += beat.data.to_bytes(self.lanes, "little")[: beat.count]
            chain["left"] -= beat.count
            if beat.error:
                assert beat.last and beat.count == 0
                self.failed += 1
                chain["writable"] = 0
            else:
                assert beat.last == (chain["left"] == 0)
                assert beat.count == self.lanes or beat.last
            if beat.last:
                self.ready.append(self.reading.pop(0))

    async def give_bytes(self, ctx):
        writable = self.chains.writable
        while True:
            choice = [chain for chain in self.ready if not self.hold(chain)]
            if not choice or self.rng.random() < self.stall:
                await ctx.tick()
                continue
            chain, epoch = self.rng.choice(choice), self.epoch
            self.ready.remove(chain)
            # Any number of bytes, sometimes more than there is room for.
            content = self.rng.randbytes(self.rng.randint(0, chain["writable"] + self.rng.choice([0, 0, 9])))
            rest, last = content, False
            while not last and epoch is self.epoch:
                count = self.rng.choice([self.lanes, self.rng.randint(0, self.lanes)])
                beat, rest = rest[:count], rest[count:]
                last = not rest and self.rng.random() < 0.7
                data = int.from_bytes(beat, "little")
                ctx.set(
                    writable.payload,
                    {"data": data, "count": len(beat), "last": last, "token": chain["token"]},
                )
                if last:
                    record = chain["got"], content[: chain["writable"]]
                    self.completed.setdefault(chain["queue"], []).append(record)
                ctx.set(writable.valid, 1)
                while await step(ctx, writable) is None and epoch is self.epoch:
                    pass
                ctx.set(writable.valid, 0)

    async def obey_reset(self, ctx):
        while True:
            await ctx.tick()
            if ctx.get(self.chains.reset):
                await ctx.tick().repeat(self.rng.randint(1, 20))
                self.forget()
                await ctx.tick().repeat(2)
                ctx.set(self.chains.idle, 1)
                while ctx.get(self.chains.reset):
                    await ctx.tick()
                ctx.set(self.chains.idle, 0)

    @property
    def benches(self):
        return self.take_chains, self.take_bytes, self.give_bytes, self.obey_reset


class Bench:
    """An engine between host memory with split rings and a device."""

    def __init__(self, *, sizes, width, stall=0.0, seed=1, options=PLAIN, reads=True):
        self.rng, self.stall, self.width, self.sizes = random.Random(seed), stall, width, sizes
        self.memory = HostMemory(seed=seed)
        self.dut = dut = design(
            Engine,
            width=width,
            queues=len(sizes),
            queue_size=16,
            quota=4,
            options=options,
            reads=reads,
        )
        self.device = Device(dut.chains, width=width, stall=stall, rng=self.rng, reads=reads)
        self.servers = {
            name: ReadServer(
                self.memory,
                getattr(dut, f"{name}_request"),
                getattr(dut, f"{name}_data"),
                width=width,
                stall=stall,
                seed=seed,
            )
            for name in dut.contexts
        }
        self.contexts = [{} for _ in sizes]
        self.start()

    def start(self):
        """New rings elsewhere, and nothing has happened yet."""
        self.resetting = False
        self.memory.release()
        self.rings = [SplitRing(self.memory, size, seed=self.rng.getrandbits(16)) for size in self.sizes]
        self.contexts[:] = [ring.context for ring in self.rings]
        self.outstanding = [{} for _ in self.sizes]
        self.used, self.activity, self.interrupts, self.errors = [], 0, [], []
        self.unheard = set()  # queues with used chains that there was no interrupt for

    # The host

    def store(self, tlp):
        enables = [*[0xF] * (len(tlp.payload) - 1), tlp.last_be]
        enables[0] = tlp.first_be
        for position, (dword, enable) in enumerate(zip(tlp.payload, enables, strict=True)):
            for byte in range(4):
                if enable >> byte & 1:
                    value = dword >> 8 * byte & 0xFF
                    self.memory.write(tlp.address + 4 * position + byte, bytes([value]))
        if self.resetting:  # the end of a packet that was started before; nobody looks any more
            return
        for queue, ring in enumerate(self.rings):
            # Trap 1: whatever the driver can see used is complete at once.
            for head, length in ring.used():
                self.check(queue, head, length)

    def check(self, queue, head, length):
        segments = self.outstanding[queue].pop(head)
        got, sent = self.device.completed[queue].pop(0)
        readable = [self.memory.read(a, n) for a, n, writable in segments if not writable]
        written = b"".join(self.memory.read(a, n) for a, n, writable in segments if writable)
        assert got == (b"".join(readable) if self.device.reads else b"")
        assert length == len(sent)
        assert written == sent.ljust(len(written), bytes([FILL]))
        self.used.append((queue, head))
        self.unheard.add(queue)

    def take_packets(self, source):
        async def take(ctx):
            beats = []
            while True:
                ctx.set(source.ready, self.rng.random() >= self.stall)
                beat = await step(ctx, source)
                if beat is not None:
                    self.activity += 1
                    beats.append(beat)
                    if beat.last:
                        self.store(parse(from_tlp_beats(beats, self.width)[0]))
                        beats = []

        return take

    async def flush(self, ctx):
        while True:
            await ctx.tick()
            flushing = bool(ctx.get(self.dut.flush))
            for server in self.servers.values():
                server.flushing = flushing
            if flushing:
                await ctx.tick().repeat(self.rng.randint(2, 20))
            ctx.set(self.dut.channels_idle, flushing)

    async def take_interrupts(self, ctx):
        while True:
            ctx.set(self.dut.interrupt.ready, self.rng.random() >= self.stall)
            queue = await step(ctx, self.dut.interrupt)
            if queue is not None:
                self.interrupts.append(queue)
                self.unheard.discard(queue)
                assert len(self.interrupts) <= len(self.used)

    async def take_errors(self, ctx):
        while True:
            error = await taken(ctx, self.dut.error)
            self.errors.append((Cause(error.cause), error.queue, error.head))

    # The driver

    def segments(self, room):
        readable = self.rng.randint(0, room)
        writable = self.rng.randint(0 if readable else 1, room - readable) if room > readable else 0
        segments = []
        for position in range(readable + writable):
            length = self.rng.choice([self.rng.randint(1, 20), self.rng.randint(1, 200)])
            fill = bytes([FILL]) * length if position >= readable else self.rng.randbytes(length)
            segments.append((self.memory.allocate(length, fill=fill), length, position >= readable))
        return segments

    def offer(self, queue, segments):
        head = self.rings[queue].offer(segments)
        self.outstanding[queue][head] = segments
        return head

    async def kick(self, ctx, *queues):
        await send(ctx, self.dut.kick, queues)

    async def until(self, ctx, condition):
        while not condition():
            await ctx.tick()

    async def work(self, ctx, count):
        """Have ``count`` chains used, each with its interrupt."""
        before, offered = len(self.used), 0
        while len(self.used) - before < count:
            for queue, ring in enumerate(self.rings):
                if ring.free and offered < count and self.rng.random() < 0.5:
                    self.offer(queue, self.segments(self.rng.randint(1, min(ring.free, 5))))
                    offered += 1
                    await self.kick(ctx, queue)
            await ctx.tick().repeat(self.rng.randint(1, 20))
        assert not any(self.outstanding)
        # One interrupt may be for several chains, but none is before the last of its queue's.
        await self.until(ctx, lambda: not self.unheard)

    async def reset(self, ctx):
        """Trap 6: from idle on there is no access to host memory, and the old one is gone."""
        self.resetting = True
        ctx.set(self.dut.running, 0)
        ctx.set(self.dut.reset, 1)
        await ctx.tick()
        await self.until(ctx, lambda: ctx.get(self.dut.idle))
        await ctx.tick()  # the benches behind this one have stored what was accepted before idle
        for server in self.servers.values():
            server.requests.clear()
        self.start()
        await ctx.tick().repeat(3)
        ctx.set(self.dut.reset, 0)
        await ctx.tick().repeat(40)
        assert not any(server.requests for server in self.servers.values())
        assert (self.activity, self.interrupts, self.errors, self.device.announced) == (0, [], [], [])
        ctx.set(self.dut.running, 1)

    async def reset_queue(self, ctx, queue):
        """Trap 27: when it is retired, neither ring nor device has anything of it; then it is made anew."""
        ctx.set(self.dut.retire_queue, queue)
        ctx.set(self.dut.retire, 1)
        await ctx.tick().repeat(2)
        await self.until(ctx, lambda: ctx.get(self.dut.retired))
        assert not any(chain["queue"] == queue for chain in self.device.reading + self.device.ready)
        await ctx.tick()  # the benches behind this one have stored what was accepted before
        ring = self.rings[queue]
        self.memory.take_back(ring.desc, ring.driver, ring.device)
        self.outstanding[queue] = {}
        self.device.completed.pop(queue, None)
        self.rings[queue] = SplitRing(self.memory, self.sizes[queue], seed=self.rng.getrandbits(16))
        self.contexts[queue] = {}
        await ctx.tick().repeat(self.rng.randint(2, 40))
        self.contexts[queue] = self.rings[queue].context
        ctx.set(self.dut.retire, 0)
        await ctx.tick()

    def run(self, test, *, deadline=20_000):
        async def bench(ctx):
            ctx.set(self.dut.settings, SETTINGS)
            ctx.set(self.dut.running, 1)
            await test(ctx)

        simulate(
            self.dut,
            bench,
            background=[
                *(serve_contexts(port, self.contexts) for port in self.dut.lookup),
                *(bench for server in self.servers.values() for bench in server.benches),
                *self.device.benches,
                self.take_packets(self.dut.data_write),
                self.take_packets(self.dut.ring_write),
                self.flush,
                self.take_interrupts,
                self.take_errors,
            ],
            deadline=deadline,
        )


@pytest.mark.parametrize(("width", "stall"), stalled(64, 128, 256))
def test_every_chain_is_used_with_its_bytes_in_place(width, stall):
    """Traps 1, 13 and 17: SPLIT-DEV-01, SPLIT-DEV-15, SPLIT-DEV-16, SPLIT-DEV-P03."""
    bench = Bench(sizes=[16, 4], width=width, stall=stall, seed=width)
    bench.run(lambda ctx: bench.work(ctx, 8 if stall > 0.5 else 12))
    assert bench.errors == []


def test_for_a_device_that_wants_no_bytes_none_are_read_and_every_chain_is_used():
    bench = Bench(sizes=[16, 4], width=64, stall=0.5, seed=7, reads=False)
    bench.run(lambda ctx: bench.work(ctx, 12))
    assert bench.errors == []
    assert not hasattr(bench.dut, "data_request")


@pytest.mark.parametrize(("width", "stall"), [(64, 0.9), (128, 0.5), (256, 0.0)])
def test_after_a_reset_in_any_phase_nothing_of_before_happens_and_all_starts_anew(width, stall):
    """Trap 6: RESET-DEV-02."""
    bench = Bench(sizes=[8, 4], width=width, stall=stall, seed=width)

    async def test(ctx):
        for _ in range(6):
            for queue in range(2):
                for _ in range(2):
                    bench.offer(queue, bench.segments(2))
                await bench.kick(ctx, queue)
            await ctx.tick().repeat(bench.rng.randint(1, 150 if stall < 0.9 else 500))
            await bench.reset(ctx)
        await bench.work(ctx, 6)

    bench.run(test)
    assert bench.errors == []


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_queue_is_reset_again_and_again_while_another_works(stall):
    """Trap 27: QRST-DEV-02."""
    bench = Bench(sizes=[8, 8], width=64, stall=stall, seed=3)

    def offer(queue):
        while bench.rings[queue].free > 4:
            bench.offer(queue, bench.segments(2))

    async def test(ctx):
        for _ in range(10):
            for queue in range(2):
                offer(queue)
                await bench.kick(ctx, queue)
            await ctx.tick().repeat(bench.rng.randint(1, 150))
            before = sum(queue == 1 for queue, _ in bench.used)
            await bench.reset_queue(ctx, 0)
        assert before >= 10
        await bench.until(ctx, lambda: not bench.outstanding[1])
        await bench.work(ctx, 6)

    bench.run(test)
    assert bench.errors == []


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_chain_whose_bytes_cannot_be_read_is_given_up_and_not_used(failing):
    bench = Bench(sizes=[8, 8], width=64)

    async def test(ctx):
        bench.device.hold = lambda chain: True
        segments = [(bench.memory.allocate(30, fill=b"?" * 30), 30, False) for _ in range(3)]
        segments.append((bench.memory.allocate(5), 5, True))
        bench.servers["data"].fails = lambda address: address == segments[failing][0]
        bad = bench.offer(0, segments)
        await bench.kick(ctx, 0)
        await bench.until(ctx, lambda: bench.device.failed)
        await bench.until(ctx, lambda: bench.errors)
        assert bench.errors == [(Cause.DMA_ERROR, 0, bad)]
        bench.device.hold = lambda chain: False
        await ctx.tick().repeat(100)
        assert bench.device.ready == [] and bench.device.reading == []
        assert bench.used == []
        await bench.reset(ctx)
        bench.device.hold = lambda chain: False
        await bench.work(ctx, 4)

    bench.run(test)


def test_a_reset_ends_although_bus_mastering_was_turned_off_before():
    bench = Bench(sizes=[8], width=64)

    async def test(ctx):
        for delay in (40, 60, 80, 100, 120):
            for _ in range(4):
                bench.offer(0, bench.segments(2))
            await bench.kick(ctx, 0)
            await ctx.tick().repeat(delay)
            ctx.set(bench.dut.settings.bus_master, 0)
            await ctx.tick().repeat(100)
            await bench.reset(ctx)
            ctx.set(bench.dut.settings.bus_master, 1)
        await bench.work(ctx, 4)

    bench.run(test)

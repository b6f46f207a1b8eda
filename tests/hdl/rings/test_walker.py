import random

import pytest
from amaranth_virtio.rings.options import RingOptions
from amaranth_virtio.rings.walker import Walker
from helpers.ring import HostMemory
from helpers.simulation import STALLS, simulate
from helpers.walk import PackedQueue, SplitQueue, WalkBench

BUFFER = 0x5_0000_0000


def options(*names):
    return RingOptions(**{name: name in names for name in ("packed", "indirect", "event_idx", "in_order")})


def segments(rng, most):
    readable = rng.randint(0, most)
    writable = rng.randint(0 if readable else 1, max(most - readable, 0 if readable else 1))
    return [
        (rng.getrandbits(64), rng.randint(1, 5000), int(position >= readable))
        for position in range(readable + writable)
    ]


def split_source(queue, chain, **layout):
    def make(token):
        head = queue.offer(chain, **layout)
        return None if head is None else ([{"token": token, "head": head}], chain, head, 0)

    return make


def packed_source(queue, chain, identity, direct):
    def make(token):
        items = queue.offer(token, chain, identity=identity, direct=direct)
        skip = (direct or 0) + 1 if direct is not None and direct < len(chain) else len(chain)
        return None if items is None else (items, chain, identity, skip)

    return make


def run(bench, dut, done=None, *, settle=60, deadline=30_000):
    total = sum(map(len, bench.sources))
    done = done or (lambda bench: sum(bench.released) == total)

    async def test(ctx):
        await bench.run(ctx, done, settle=settle)

    simulate(dut, test, deadline=deadline)


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("width", [64, 128, 256])
def test_chains_of_any_framing_come_out_whole_and_in_ring_order(width, stall):
    """Traps 13, 14 and 15: SPLIT-DEV-01, SPLIT-DEV-08, SPLIT-DEV-07."""
    rng = random.Random(width + int(10 * stall))
    memory = HostMemory(seed=width)
    sizes = [16, 4, 2]
    queues = [SplitQueue(memory, size, rng) for size in sizes]
    dut = Walker(width=width, queues=3, queue_size=16, quota=4, options=options("indirect"))
    bench = WalkBench(dut, memory, queues, seed=width, stall=stall, latency=rng.choice((0, 30)))
    for queue, source in zip(queues, bench.sources, strict=True):
        for _ in range(4 if stall == 0.9 else 10):
            if rng.random() < 0.5:
                chain = segments(rng, min(queue.size, 6))
                layout = {}
            else:
                chain = segments(rng, 12)
                direct = rng.randint(0, min(queue.size - 1, len(chain) - 1, 3))
                layout = {"direct": direct, "spare": rng.randint(0, 2)}
            source.append(split_source(queue, chain, shuffled=rng.random() < 0.5, **layout))
    run(bench, dut)
    assert bench.errors == []


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("width", [64, 256])
def test_packed_chains_come_out_whole_and_in_ring_order(width, stall):
    """Trap 15 in its packed form: PACKED-DEV-P07; and PACKED-DEV-P06."""
    rng = random.Random(width + int(10 * stall))
    memory = HostMemory(seed=width)
    queues = [PackedQueue(memory, size, rng) for size in (16, 7, 3)]
    dut = Walker(width=width, queues=3, queue_size=16, quota=4, options=options("indirect", "packed"))
    bench = WalkBench(dut, memory, queues, seed=width, stall=stall, latency=20, packed=True)
    for queue, source in zip(queues, bench.sources, strict=True):
        for _ in range(4 if stall == 0.9 else 10):
            if rng.random() < 0.5:
                chain, direct = segments(rng, min(queue.size, 6)), None
            else:
                chain = segments(rng, 12)
                direct = rng.randint(0, min(queue.size - 1, len(chain) - 1, 2))
            source.append(packed_source(queue, chain, rng.getrandbits(16), direct))
    run(bench, dut)
    assert bench.errors == []

"""Many chains of many buffers in flight at once, so that what belongs to one can be taken for another's."""

from virtio_spec.blk import SECTOR_BYTES, BlkReqType

from ..devices.blk import VirtioBlk
from ..devices.rng import VirtioRng
from ..memory import Buffer
from ..packed import PackedQueue
from ..split import SplitQueue
from .blk import fill
from .helpers import in_order, prepared, same, small
from .registry import MODERN, Bench, case

__all__: list[str] = []

CHAINS, BUFFERS, ROUNDS, SIZE = 5, 12, 3, 64
PAGE = 4096


def fitting(size: int) -> tuple[int, int]:
    """How many chains, and buffers of each, fit into a queue, which may be shorter than was asked for."""
    buffers = min(BUFFERS, size // 2)
    return min(CHAINS, size // buffers), buffers


@case(
    devices=("rng",), proves=("ENT-DEV-01", "SPLIT-DEV-01", "PACKED-DEV-10"), traps=(13,), transports=MODERN
)
async def long_chains_that_are_written_keep_to_themselves(bench: Bench) -> None:
    rng = VirtioRng(await bench.start(queue_size=SIZE))
    device = rng.device
    chains, buffers = fitting(device.queues[rng.QUEUE].size)
    for _ in range(ROUNDS):
        start = max(len(bench.entropy.history) - 4096, 0)  # what was fetched ahead is still good
        lengths = [[bench.rng.randrange(1, 20) for _ in range(buffers)] for _ in range(chains)]
        requests = [device.prepare(rng.QUEUE, writable=each) for each in lengths]
        await device.kick(rng.QUEUE)
        await rng.wait(*requests)
        for request, each in zip(requests, lengths, strict=True):
            same(request.used, sum(each), "used length")
            in_order(bench, request.written, start)


@case(devices=("blk",), proves=("SPLIT-DEV-01", "PACKED-DEV-10"), traps=(13,), transports=MODERN)
async def long_chains_that_are_read_and_written_keep_to_themselves(bench: Bench) -> None:
    blk = VirtioBlk(await bench.start(queue_size=SIZE))
    chains, buffers = fitting(blk.device.queues[0].size)
    for _ in range(ROUNDS):
        sectors = bench.rng.sample(range(bench.disk.capacity), chains)
        expected = [fill(bench, sector) for sector in sectors]
        requests = []
        for sector in sectors:
            header = sorted(bench.rng.sample(range(1, 16), 2))
            room = sorted(bench.rng.sample(range(1, SECTOR_BYTES + 1), buffers - 4))
            requests.append(blk.prepare(BlkReqType.IN, sector, room=SECTOR_BYTES, framing=(header, room)))
        await blk.device.kick(0)
        await blk.wait(*requests)
        for request, sector, content in zip(requests, sectors, expected, strict=True):
            same(request.result(), content, f"sector {sector}")


@case(proves=("SPLIT-DEV-15", "SPLIT-DEV-16", "PACKED-DEV-P02"), transports=MODERN)
async def rings_may_cross_pages(bench: Bench) -> None:
    """Behind an entry, and within one of the used ring, of a chain that comes back together with others."""
    for halves in (5, 6, 7, 8):
        device = await prepared(bench)
        ring = device.make_ring(bench.queue, min(await device.transport.queue_size(bench.queue), 16))
        if isinstance(ring, SplitQueue):
            ring.desc = across(bench, ring.desc.size, 16 * halves)
            ring.avail = across(bench, ring.avail.size, 4 + 2 * halves)
            ring.used = across(bench, ring.used.size, 4 + 4 * halves)
        else:
            assert isinstance(ring, PackedQueue)
            ring.desc = across(bench, ring.desc.size, 16 * halves)
        device.queues[bench.queue] = ring
        await device.transport.set_up_queue(bench.queue, ring.size, *(area.address for area in ring.areas))
        await device.transport.enable_queue(bench.queue)
        await device.driver_ok()
        for _ in range(2):
            requests = [device.prepare(bench.queue, *small(bench)) for _ in range(ring.size // 2)]
            await device.kick(bench.queue, always=True)
            await device.wait(*requests)
        await device.reset()


def across(bench: Bench, size: int, before: int) -> Buffer:
    """Memory for part of a ring, ``before`` bytes of it in front of the end of a page."""
    found = bench.host.memory.alloc(size, align=PAGE, offset=PAGE - before)
    bench.host.memory.grant(found.address, size, readable=True, writable=True)
    return found

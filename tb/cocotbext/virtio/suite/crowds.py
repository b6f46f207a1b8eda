"""Many chains of many buffers in flight at once, so that what belongs to one can be taken for another's."""

from virtio_spec.blk import SECTOR_BYTES, BlkReqType

from ..devices.blk import VirtioBlk
from ..devices.rng import VirtioRng
from .blk import fill
from .helpers import in_order, same
from .registry import MODERN, Bench, case

__all__: list[str] = []

CHAINS, BUFFERS, ROUNDS, SIZE = 5, 12, 3, 64


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

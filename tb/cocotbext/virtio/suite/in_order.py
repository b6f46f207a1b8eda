"""Chains that come back in the order in which they were made available."""

from virtio_spec.blk import SECTOR_BYTES, BlkReqType

from ..devices.blk import VirtioBlk
from ..driver import Request, VirtioDevice
from .blk import anywhere, content, fill
from .helpers import in_order, same, small
from .registry import Bench, case

__all__: list[str] = []


async def collected(bench: Bench, device: VirtioDevice, count: int) -> list[Request]:
    """The next ``count`` requests in the order in which they come back."""
    found: list[Request] = []
    while len(found) < count:
        await device.host.until(lambda: device.queues[bench.queue].has_used, timeout_ns=500_000)
        found += device.collect(bench.queue)
    return found


@case(devices=("blk",), proves=("RFB-DEV-05", "SPLIT-DEV-P04", "PACKED-DEV-P08"))
async def requests_of_all_kinds_come_back_in_order(bench: Bench) -> None:
    """Short and long ones, errors among them, and with everything that was read and written in place."""
    blk, rng = VirtioBlk(await bench.start(queue_size=32)), bench.rng
    for _ in range(3):
        made, expected = [], []
        for sector in rng.sample(range(bench.disk.capacity), 8):
            match rng.randrange(4):
                case 0:
                    made.append(blk.prepare(BlkReqType.GET_ID, room=20))
                    expected.append(None)
                case 1:
                    made.append(blk.prepare(BlkReqType.OUT, sector, rng.randbytes(SECTOR_BYTES)))
                    expected.append(b"")
                case 2:
                    made.append(blk.prepare(BlkReqType.IN, sector, room=SECTOR_BYTES))
                    expected.append(fill(bench, sector))
                case _:
                    made.append(blk.prepare(BlkReqType.IN, 1 << 50, room=SECTOR_BYTES))
                    expected.append(None)
            if rng.random() < 0.5:
                await blk.device.kick()
        await blk.device.kick()
        found = await collected(bench, blk.device, len(made))
        same([request.head for request in found], [request.request.head for request in made], "order")
        for request, data in zip(made, expected, strict=True):
            if data is not None:
                same(request.result(), data, "what was read")


@case(devices=("blk",), proves=("RFB-DEV-05", "SPLIT-DEV-16"), traps=(1,))
async def writes_are_done_when_they_come_back_in_order(bench: Bench) -> None:
    blk = VirtioBlk(await bench.start(queue_size=32))
    for _ in range(2):
        sectors = bench.rng.sample(range(bench.disk.capacity), 5)
        data = [bench.rng.randbytes(SECTOR_BYTES) for _ in sectors]
        made = [blk.prepare(BlkReqType.OUT, *pair) for pair in zip(sectors, data, strict=True)]
        await blk.device.kick()
        for request in made:
            await blk.wait(request)
            done = [number for number, other in enumerate(made) if other.done]
            same([content(bench, sectors[n]) for n in done], [data[n] for n in done], "sectors written")
    sector = anywhere(bench)
    same(await blk.read(sector, 1), content(bench, sector), f"sector {sector}")


@case(devices=("rng",), proves=("RFB-DEV-05", "SPLIT-DEV-P04", "PACKED-DEV-P08"))
async def buffers_come_back_in_order(bench: Bench) -> None:
    device = await bench.start(queue_size=8)
    start = max(len(bench.entropy.history) - 4096, 0)
    for _ in range(4):
        lengths = [bench.rng.choice((1, 5, 40, 130)) for _ in range(6)]
        made = []
        for length in lengths:
            made.append(device.prepare(bench.queue, [], [length]))
            if bench.rng.random() < 0.5:
                await device.kick(bench.queue)
        await device.kick(bench.queue)
        found = await collected(bench, device, len(made))
        same([request.head for request in found], [request.head for request in made], "order")
        for request in made:
            in_order(bench, request.written, start)


@case(proves=("RFB-DEV-05", "SPLIT-DEV-P01", "PACKED-DEV-P01"))
async def the_order_lasts_round_after_round(bench: Bench) -> None:
    """With as many chains in the ring as there can be, of different numbers of descriptors."""
    device = await bench.start(queue_size=4 if not bench.variant.packed else 5)
    ring, made, found = device.queues[bench.queue], [], []
    for _ in range(20):
        readable, writable = small(bench)
        if bench.device == "rng":
            writable = [3] * bench.rng.randrange(1, 4)
        else:
            cut = bench.rng.randrange(len(readable[0]))
            readable = [part for part in (readable[0][:cut], readable[0][cut:]) if part]
        while ring.free < len(readable) + len(writable):
            found += await collected(bench, device, 1)
        made.append(await device.submit(bench.queue, readable, writable))
    found += await collected(bench, device, len(made) - len(found))
    same([request.head for request in found], [request.head for request in made], "order")

"""Several virtqueues of a block device: each alone, all at once, and one of them wrong."""

from collections.abc import Sequence
from functools import partial

from virtio_spec.blk import SECTOR_BYTES, BlkConfig, BlkFeature, BlkReqType
from virtio_spec.virtio import NO_VECTOR
from virtio_spec.virtio_pci import CfgType

from ..devices.blk import BlkRequest, VirtioBlk
from ..driver import Request, VirtioDevice
from .blk import anywhere, content, fill
from .broken import needs_reset, spoil
from .helpers import QUIET_NS, modern, prepared, same, small
from .registry import MODERN, Bench, case

__all__: list[str] = []

several = partial(case, devices=("blk",), profile="queues")


#: For how many queues a case does what takes time for each of the others.
SOME = 3


def shuffled(bench: Bench) -> list[int]:
    """All queues, in random order."""
    return bench.rng.sample(range(bench.queues), bench.queues)


async def read(bench: Bench, device: VirtioDevice, queue: int) -> None:
    """One sector through a queue, checked."""
    sector = anywhere(bench)
    expected = fill(bench, sector)
    found = await VirtioBlk(device).read(sector, 1, queue=queue)
    same(found, expected, f"sector {sector} through queue {queue}")


def messages(bench: Bench) -> list[int]:
    """How many there were so far: configuration, then queue by queue."""
    return [bench.host.interrupts(vector) for vector in range(bench.queues + 1)]


async def told(bench: Bench, before: Sequence[int], used: Sequence[int]) -> None:
    """Wait a while; ``AssertionError`` unless there were messages of just the queues that used chains.

    One message may stand for several of them, but there are never more messages than chains.
    """
    await bench.host.sleep(QUIET_NS)
    found = [now - then for now, then in zip(messages(bench), before, strict=True)]
    if found[0] or any(
        min(count, 1) > got or got > count for got, count in zip(found[1:], used, strict=True)
    ):
        raise AssertionError(f"messages of the configuration and of every queue are {found} for {[0, *used]}")


@several(proves=("BLK-DEV-P04", "PCI-CC-DEV-P02", "MSIX-DEV-01"))
async def the_number_of_queues_is_told(bench: Bench) -> None:
    device = await bench.start()
    same(device.accepted >> BlkFeature.MQ & 1, 1, "VIRTIO_BLK_F_MQ")
    same(await device.transport.num_queues(), bench.queues, "num_queues")
    config = await device.transport.config(BlkConfig, "num_queues")
    same(config.num_queues, bench.queues, "num_queues of the block device")
    if await device.transport.vectors() <= bench.queues:
        raise AssertionError("there are not enough vectors for every queue and the configuration")


@several(proves=("BLK-DEV-P04", "PCI-CC-DEV-P01"))
async def without_mq_the_first_queue_works(bench: Bench) -> None:
    device = await bench.start(features=~(1 << BlkFeature.MQ), queues={0: 8})
    same(device.accepted >> BlkFeature.MQ & 1, 0, "VIRTIO_BLK_F_MQ")
    await read(bench, device, 0)


@several(proves=("BLK-DEV-P04", "MSIX-DEV-P01"))
async def each_queue_works_alone(bench: Bench) -> None:
    for queue in shuffled(bench):
        device = await bench.start(queues={queue: 8})
        before = messages(bench)
        for _ in range(3):
            await read(bench, device, queue)
        same(device.queues[queue].returned, 3, f"chains that came back in queue {queue}")
        await told(bench, before, [3 if number == queue else 0 for number in range(bench.queues)])


@several(proves=("BLK-DEV-P04", "MSIX-DEV-P01", "SPLIT-DEV-16", "SPLIT-DEV-22"), traps=(1, 16))
async def all_queues_work_at_once(bench: Bench) -> None:
    device = await bench.start(queue_size=32)
    blk, before = VirtioBlk(device), messages(bench)
    counts = [0] * bench.queues
    sectors = bench.rng.sample(range(bench.disk.capacity), 24)
    for first in range(0, len(sectors), 8):
        batch: list[tuple[BlkRequest, int, bytes, bool]] = []
        for sector in sectors[first : first + 8]:
            queue, writes = bench.rng.randrange(bench.queues), bench.rng.random() < 0.5
            counts[queue] += 1
            if writes:
                data = bench.rng.randbytes(SECTOR_BYTES)
                request = blk.prepare(BlkReqType.OUT, sector, data, queue=queue)
            else:
                data = fill(bench, sector)
                request = blk.prepare(BlkReqType.IN, sector, room=SECTOR_BYTES, queue=queue)
            batch.append((request, sector, data, writes))
            if bench.rng.random() < 0.5:
                await device.kick(queue)
        for queue in shuffled(bench):
            await device.kick(queue)
        await blk.wait(*(request for request, *_ in batch))
        for request, sector, data, writes in batch:
            found = request.result()
            same(content(bench, sector) if writes else found, data, f"sector {sector}")
    for number, queue in device.queues.items():
        same(queue.returned, counts[number], f"chains that came back in queue {number}")
    await told(bench, before, counts)


@several(proves=("SPLIT-DEV-22", "MSIX-DEV-P01"), traps=(16,))
async def kicks_of_all_queues_in_one_go_are_all_heard(bench: Bench) -> None:
    device = await bench.start()
    before = messages(bench)
    for _ in range(3):
        requests = [device.prepare(queue, *small(bench)) for queue in 2 * shuffled(bench)]
        for queue in shuffled(bench) + shuffled(bench):
            await device.kick(queue)
        await device.wait(*requests)
    await told(bench, before, [6] * bench.queues)


@several(proves=("STATUS-DEV-01", "SPLIT-DEV-22"), transports=MODERN)
async def a_queue_left_disabled_among_others_is_left_alone(bench: Bench) -> None:
    for idle in shuffled(bench)[:SOME]:
        device = await bench.start(queues={queue: 8 for queue in shuffled(bench) if queue != idle})
        before, grants = messages(bench), list(bench.host.memory.grants)
        queue = device.make_ring(idle, 8)
        bench.host.memory.grants[:] = grants  # so that an access to its rings is a violation
        await device.transport.set_up_queue(idle, 8, *(area.address for area in queue.areas))
        queue.put_available(queue.link([(0x1000, 4)], [], expose=False, direct=1))
        queue.publish()
        await device.kick(idle)
        for other in device.queues:
            await read(bench, device, other)
        await device.kick(idle)
        await told(bench, before, [int(number != idle) for number in range(bench.queues)])
        same(queue.returned, 0, f"chains that came back in queue {idle}, which is disabled")


@several(proves=("PCI-CC-DEV-P01", "SPLIT-DEV-P05"), transports=MODERN)
async def queues_have_sizes_of_their_own(bench: Bench) -> None:
    sizes = [*((3, 7) if bench.variant.packed else (2, 8)), *[None] * (bench.queues - 2)]
    bench.rng.shuffle(sizes)
    device = await bench.start(queues=dict(enumerate(sizes)))
    asked: list[Request] = []
    order = 17 * list(range(bench.queues))
    bench.rng.shuffle(order)
    for queue in order:
        waiting = [request for request in asked if request.queue == queue and not request.done]
        if device.queues[queue].free < 2:
            await device.wait(waiting[0])
        asked.append(await device.submit(queue, *small(bench)))
    await device.wait(*asked)
    same({request.written for request in asked}, {asked[0].written}, "serial numbers")
    for number, queue in device.queues.items():
        same(queue.returned, 17, f"chains that came back in queue {number} of {queue.size} entries")


@several(proves=("STATUS-DEV-02", "STATUS-DEV-03", "PCI-ISR-DEV-02"), traps=(2,))
async def a_broken_ring_is_named_and_harms_no_other_queue(bench: Bench) -> None:
    for broken in shuffled(bench)[:SOME]:
        device = await bench.start(queue_size=8)
        blk, ring, before = VirtioBlk(device), device.queues[broken], bench.host.interrupts(0)
        await read(bench, device, broken)
        index, others = ring.returned, [queue for queue in shuffled(bench) if queue != broken][:SOME]
        sectors = bench.rng.sample(range(bench.disk.capacity), 2 * len(others))
        halves = sectors[: len(others)], sectors[len(others) :]
        expected = [fill(bench, sector) for sector in halves[0]]
        old, new = [content(bench, n) for n in halves[1]], [bench.rng.randbytes(SECTOR_BYTES) for _ in others]
        reads, writes = [], []
        for queue, source, target, data in zip(others, *halves, new, strict=True):
            reads.append(blk.prepare(BlkReqType.IN, source, room=SECTOR_BYTES, queue=queue))
            writes.append(blk.prepare(BlkReqType.OUT, target, data, queue=queue))
        cause = spoil(ring)
        for queue in shuffled(bench):
            await device.kick(queue, always=True)
        await device.wait_interrupt(0, before)
        await needs_reset(bench, device, cause, broken)
        await bench.host.sleep(QUIET_NS)
        same(ring.returned, index, f"chains that came back in queue {broken}, which is broken")
        for queue in others:
            device.collect(queue)
        for request, data in zip(reads, expected, strict=True):
            if request.done:
                same(request.result(), data, "what was read through another queue")
        for request, sector, *data in zip(writes, halves[1], old, new, strict=True):
            if content(bench, sector) not in data[request.done :]:
                raise AssertionError(
                    f"sector {sector}, written through another queue, is neither old nor new"
                )
    device = await bench.start(queue_size=8)
    for queue in shuffled(bench):
        await read(bench, device, queue)


@several(proves=("SPLIT-DEV-10", "SPLIT-DEV-11"), traps=(12,))
async def no_interrupt_concerns_one_queue(bench: Bench) -> None:
    device = await bench.start()
    for silent in shuffled(bench)[:SOME]:
        before = messages(bench)
        device.queues[silent].want_interrupts(False)
        await device.wait(*[await device.submit(queue, *small(bench)) for queue in 2 * shuffled(bench)])
        await told(bench, before, [0 if queue == silent else 2 for queue in range(bench.queues)])
        device.queues[silent].want_interrupts(True)
        before = messages(bench)
        await device.wait(await device.submit(silent, *small(bench)))
        await told(bench, before, [int(queue == silent) for queue in range(bench.queues)])


@several(proves=("PCI-ID-DEV-01", "MSIX-DEV-P01"))
async def a_mask_concerns_one_queue(bench: Bench) -> None:
    device = await bench.start()
    masked = bench.rng.randrange(bench.queues)
    await device.transport.mask_vector(masked + 1, True)
    same(await device.transport.pending(masked + 1), False, "pending bit before")
    before = messages(bench)
    await device.wait(*[await device.submit(queue, *small(bench)) for queue in shuffled(bench)])
    await told(bench, before, [int(queue != masked) for queue in range(bench.queues)])
    found = [await device.transport.pending(vector) for vector in range(bench.queues + 1)]
    same(found, [vector == masked + 1 for vector in range(bench.queues + 1)], "pending bits")
    await device.transport.mask_vector(masked + 1, False)
    await told(bench, before, [1] * bench.queues)


@several(proves=("MSIX-DEV-04", "MSIX-DEV-05", "MSIX-DEV-P01", "PCI-UBN-DEV-01"), traps=(20,))
async def any_queue_can_use_any_vector_or_none(bench: Bench) -> None:
    device = await bench.start()
    everything = [*range(bench.queues + 1), NO_VECTOR]
    together = bench.rng.randrange(bench.queues + 1)
    for vectors in (bench.rng.sample(everything, bench.queues), [together] * bench.queues):
        for queue in shuffled(bench):
            found = await device.transport.set_queue_vector(queue, vectors[queue])
            same(found, vectors[queue], f"vector of queue {queue}")
        before = messages(bench)
        await device.wait(*[await device.submit(queue, *small(bench)) for queue in shuffled(bench)])
        await bench.host.sleep(QUIET_NS)
        found = [now - then for now, then in zip(messages(bench), before, strict=True)]
        same(found, [vectors.count(vector) for vector in range(bench.queues + 1)], "messages by vector")


@several(proves=("PCI-ISR-DEV-03", "PCI-ISR-DEV-05"))
async def without_msix_the_isr_tells_of_every_queue(bench: Bench) -> None:
    device = await bench.start(interrupts=False)
    await device.transport.isr()
    for queue in shuffled(bench):
        await device.wait(await device.submit(queue, *small(bench)))
        await bench.host.sleep(QUIET_NS)
        same([await device.transport.isr(), await device.transport.isr()], [1, 0], f"ISR for queue {queue}")


@several(proves=("PCI-NTF-DEV-05", "PCI-NTF-DEV-06"), transports=MODERN)
async def the_address_says_which_queue_is_kicked(bench: Bench) -> None:
    device = await bench.start()
    transport, offsets = modern(device), []
    for queue in range(bench.queues):
        await transport.select(queue)
        offsets.append(await transport.common("queue_notify_off") * transport.notify_multiplier)
    if max(offsets) + 2 > transport.structure(CfgType.NOTIFY).length:
        raise AssertionError(f"notify addresses {offsets} are not inside their structure")
    same(len(set(offsets)), bench.queues, "number of notify addresses")
    requests = [device.prepare(queue, *small(bench)) for queue in range(bench.queues)]
    for queue in shuffled(bench):
        await transport.write(CfgType.NOTIFY, offsets[queue], 2, (queue + 1) % bench.queues)
        await device.wait(requests[queue])
    requests = [device.prepare(queue, *small(bench)) for queue in range(bench.queues)]
    for queue in shuffled(bench):
        await transport.write(CfgType.NOTIFY, offsets[queue], bench.rng.choice((1, 2, 4)), 0xFF)
        await device.wait(requests[queue])


@several(
    proves=("PCI-CC-DEV-P01", "PCI-CC-DEV-08", "MSIX-DEV-07", "RESET-DEV-01"),
    traps=(7, 19),
    transports=MODERN,
)
async def registers_belong_to_the_selected_queue(bench: Bench) -> None:
    device = await prepared(bench)
    transport, names = modern(device), ("queue_desc", "queue_driver", "queue_device")

    async def found(queue: int) -> list[int]:
        await transport.select(queue)
        fields = ("queue_size", "queue_msix_vector", "queue_enable", *names)
        return [await transport.common(name) for name in fields]

    written = {}
    for queue in shuffled(bench):
        addresses = [bench.rng.getrandbits(64) & ~0xF for _ in names]
        written[queue] = [2 << queue % 3, bench.queues - queue, 0, *addresses]
        await transport.select(queue)
        await transport.set_common("queue_size", written[queue][0])
        await transport.set_common("queue_msix_vector", written[queue][1])
        for name, address in zip(names, addresses, strict=True):
            await transport.set_common(name, address)
    for enabled in shuffled(bench):
        for queue in shuffled(bench):
            same(await found(queue), written[queue], f"registers of queue {queue}")
        await transport.enable_queue(enabled)
        written[enabled][2] = 1
    for queue in shuffled(bench):
        same(await found(queue), written[queue], f"registers of queue {queue}, enabled")
    await device.reset()
    for queue in shuffled(bench):
        initial = [bench.queue_size, NO_VECTOR, 0, 0, 0, 0]
        same(await found(queue), initial, f"registers of queue {queue} after the reset")


@several(proves=("RESET-DEV-01", "RESET-DEV-02"), traps=(6, 7))
async def a_reset_ends_the_work_of_all_queues(bench: Bench) -> None:
    for _ in range(3):
        device = await bench.start()
        for queue in 3 * shuffled(bench):
            device.prepare(queue, *small(bench))
        for queue in shuffled(bench):
            await device.kick(queue)
        await bench.host.sleep(bench.rng.randrange(1500))
        rings = [area for ring in device.queues.values() for area in (ring.areas[0], ring.areas[2])]
        await device.reset()
        bench.host.memory.grants.clear()
        parts, before = [area.read() for area in rings], messages(bench)
        await told(bench, before, [0] * bench.queues)
        same([area.read() for area in rings], parts, "what the device may write, after the reset")
    device, before = await bench.start(), messages(bench)
    for queue in shuffled(bench):
        await read(bench, device, queue)
        same(device.queues[queue].returned, 1, f"chains that came back in queue {queue}")
    await told(bench, before, [1] * bench.queues)


@several(proves=("SPLIT-DEV-22",), backends=("cocotb", "native"))
async def a_busy_queue_does_not_starve_another(bench: Bench) -> None:
    """The standard leaves the order to the device; ours takes the queues in turn."""
    device = await bench.start(queue_size=None)
    busy, other = shuffled(bench)[:2]
    requests = [device.prepare(busy, *small(bench)) for _ in range(bench.queue_size // 2)]
    await device.kick(busy)
    await device.wait(await device.submit(other, *small(bench)))
    left = len(requests) - device.queues[busy].returned
    if not left:
        raise AssertionError(f"queue {other} had to wait for all {len(requests)} requests of queue {busy}")
    await device.wait(*requests, timeout_ns=1_000_000)

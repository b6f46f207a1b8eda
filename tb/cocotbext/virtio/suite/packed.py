"""Packed rings: their rounds, what is available in them, and what a driver must not do there."""

from itertools import pairwise

from virtio_spec import wire
from virtio_spec.blk import BlkReqHeader, BlkReqType
from virtio_spec.layout import Cause
from virtio_spec.packed import PackedFlag

from ..driver import VirtioDevice
from ..packed import PackedQueue
from ..ring import DESCRIPTOR_BYTES
from .broken import BROKEN, broken, buffer, offer
from .helpers import exercise, quiet, same, settle, small
from .registry import MODERN, Bench, case

__all__: list[str] = []

NEXT, WRITE = PackedFlag.NEXT, PackedFlag.WRITE
BOTH = PackedFlag.AVAIL | PackedFlag.USED


def ring_of(bench: Bench, device: VirtioDevice) -> PackedQueue:
    """The queue that is worked on."""
    ring = device.queues[bench.queue]
    assert isinstance(ring, PackedQueue)
    return ring


def chain_of(bench: Bench, descriptors: int) -> tuple[list[bytes], list[int]]:
    """Buffers of a small request, as many as wanted, but at least :func:`least`; all writable ones are used.

    A network device says of it that it is an error, a block device returns part of its serial number.
    """
    if bench.device == "rng":
        return [], [bench.rng.randrange(1, 9) for _ in range(descriptors)]
    net = bench.device == "net"
    content = b"\xff" + bytes(15) if net else wire.pack(BlkReqHeader, type=BlkReqType.GET_ID)
    count = descriptors - 1 if net else bench.rng.randrange(1, descriptors)
    cuts = [0, *sorted(bench.rng.sample(range(1, len(content)), count - 1)), len(content)]
    return [content[a:b] for a, b in pairwise(cuts)], [1] * (descriptors - count)


def least(bench: Bench) -> int:
    """Descriptors of a request that is one."""
    return 1 if bench.device == "rng" else 2


@case(proves=("PACKED-DEV-P03",))
async def a_used_descriptor_says_whether_something_was_written(bench: Bench) -> None:
    device = await bench.start()
    ring = ring_of(bench, device)
    await device.submit(bench.queue, *small(bench))
    await bench.host.until(lambda: ring.has_used, timeout_ns=200_000)
    flags = int.from_bytes(ring.desc.read(DESCRIPTOR_BYTES - 2, 2), "little")
    same(bool(flags & WRITE), True, "WRITE in the first used descriptor")
    device.collect(bench.queue)


@case(proves=("PACKED-DEV-P11", "PACKED-DEV-P01", "PACKED-DEV-P05", "PACKED-DEV-08"), traps=(28,))
async def chains_of_any_length_go_round_in_rings_of_any_size(bench: Bench) -> None:
    for size in (least(bench), 3, bench.rng.randrange(4, 10), bench.queue_size - 1):
        device = await bench.start(queue_size=size)
        ring = ring_of(bench, device)
        same(ring.size, size, "queue size")
        for _ in range(7):
            descriptors = bench.rng.randrange(least(bench), min(size, 6) + 1)
            request = await device.submit(bench.queue, *chain_of(bench, descriptors), direct=descriptors)
            await device.wait(request)
            same(request.used, len(request.content), "used length")


@case(proves=("PACKED-DEV-02", "PACKED-DEV-P02", "PACKED-DEV-P05", "PACKED-DEV-07"), traps=(28,))
async def chains_of_different_lengths_come_back_in_any_order(bench: Bench) -> None:
    """A used descriptor stands where the ones before it ended, and not where its chain was."""
    device = await bench.start(queue_size=13)
    ring, waiting, done = ring_of(bench, device), [], 0
    for _ in range(24):
        descriptors = bench.rng.randrange(least(bench), 5)
        while ring.free < descriptors:
            await device.wait(waiting.pop(bench.rng.randrange(len(waiting))))
        waiting.append(await device.submit(bench.queue, *chain_of(bench, descriptors)))
        done += 1
    await device.wait(*waiting)
    same((ring.returned, ring.free), (done, ring.size), "chains that came back, and free descriptors")


@case(proves=("PACKED-DEV-06",), traps=(28,), breaks=("PACKED-DRV-P02",))
async def a_descriptor_of_another_round_is_not_available(bench: Bench) -> None:
    device = await bench.start(queue_size=3)
    ring = ring_of(bench, device)
    for _ in range(4):
        readable, writable = small(bench)
        request = device.prepare(bench.queue, readable, writable, publish=False)
        ((head, flags),) = ring.unpublished
        for wrong in (flags ^ BOTH, flags | BOTH, flags & ~BOTH):
            ring.set_descriptor_flags(head, wrong)
            await device.kick(bench.queue, always=True)
            await quiet(bench, device)
        ring.publish()
        await device.kick(bench.queue, always=True)
        await device.wait(request)
        await settle(bench)


@case(proves=("PACKED-DEV-06", "PACKED-DEV-10"))
async def a_chain_is_not_available_before_its_head_is(bench: Bench) -> None:
    device = await bench.start(queue_size=7)
    ring = ring_of(bench, device)
    for _ in range(4):
        request = device.prepare(bench.queue, *chain_of(bench, 3), direct=3, publish=False)
        await device.kick(bench.queue, always=True)
        await quiet(bench, device)
        ring.publish()
        await device.kick(bench.queue, always=True)
        await device.wait(request)
        await settle(bench)


@case(proves=("PACKED-DEV-P05", "PACKED-DEV-10"))
async def buffer_ids_are_any_numbers(bench: Bench) -> None:
    device, count = await bench.start(queue_size=4 * least(bench)), least(bench)
    ring = ring_of(bench, device)
    ring.unused_ids[:] = [0, 0xFFFF, ring.size, 0x8000]
    for _ in range(3):
        requests = [device.prepare(bench.queue, *chain_of(bench, count), direct=count) for _ in range(4)]
        await device.kick(bench.queue)
        await device.wait(*requests)
        same({request.head for request in requests}, {0, 0xFFFF, ring.size, 0x8000}, "ids")


@case(proves=("PCI-CC-DEV-P01", "PACKED-DEV-P11"), transports=MODERN)
async def a_queue_size_need_not_be_a_power_of_two(bench: Bench) -> None:
    device = await bench.probe()
    await device.acknowledge()
    await device.negotiate()
    await device.features_ok()
    for size in (3, bench.queue_size - 1, 1, bench.queue_size):
        await device.transport.set_up_queue(0, size, 0, 0, 0)
        same(await device.transport.queue_size(0), size, f"queue_size after writing {size}")


@case(proves=BROKEN, breaks=("PACKED-DRV-09", "PACKED-DRV-10"))
async def a_chain_that_goes_on_where_nothing_is_available_breaks_the_ring(bench: Bench) -> None:
    def spoil(ring: PackedQueue) -> None:
        at = buffer(ring)
        offer(ring, *((at, 8, NEXT | WRITE) for _ in range(bench.rng.randrange(1, 4))))

    await broken(bench, Cause.CHAIN_INCOMPLETE, PackedQueue, spoil)


@case(proves=BROKEN, breaks=("PACKED-DRV-11", "PACKED-DRV-P03"))
async def a_chain_with_a_part_of_another_round_breaks_the_ring(bench: Bench) -> None:
    def spoil(ring: PackedQueue) -> None:
        at, place = buffer(ring), (ring.next_avail + 1) % ring.size
        wrong = ring.wrap_flags(place) ^ BOTH
        numbers = offer(ring, (at, 8, NEXT | WRITE), (at, 8, NEXT | WRITE), (at, 8, WRITE))
        ring.set_descriptor_flags(numbers[1], NEXT | WRITE | wrong)

    await broken(bench, Cause.CHAIN_INCOMPLETE, PackedQueue, spoil)


@case(proves=("STATUS-DEV-02", "PACKED-DEV-06"), breaks=("PACKED-DRV-P01",))
async def a_driver_that_forgets_to_change_its_wrap_counter_is_not_heard(bench: Bench) -> None:
    """In the second round the descriptors look as if they were still used ones, or of the first."""
    count = least(bench)
    device = await bench.start(queue_size=3 * count)
    ring = ring_of(bench, device)
    for _ in range(3):
        await device.wait(await device.submit(bench.queue, *chain_of(bench, count), direct=count))
    await settle(bench)
    at = buffer(ring)
    ring.write_descriptor(0, at, 8, 7, WRITE | PackedFlag.AVAIL)
    await device.kick(bench.queue, always=True)
    await quiet(bench, device)
    await device.start()
    await exercise(bench, device)

"""Split virtqueues: order, lengths, notifications, and everything a driver can get wrong."""

from collections.abc import Callable

from virtio_spec import split
from virtio_spec.layout import Cause
from virtio_spec.split import DescriptorFlag, descriptor_table_size
from virtio_spec.virtio import DeviceStatus

from ..driver import VirtioDevice
from ..split import SplitQueue
from .helpers import QUIET_NS, exercise, prepared, quiet, same, small
from .registry import LEGACY, MODERN, Bench, case

__all__: list[str] = []

NEXT, WRITE, INDIRECT = DescriptorFlag.NEXT, DescriptorFlag.WRITE, DescriptorFlag.INDIRECT
FAR_AWAY = 0x7F00_0000_0000_0000  # no memory there on any backend
NO_PAGE = 0x0F00_0000_0000  # nor there, and a legacy queue can have that address


@case(
    proves=("SPLIT-DEV-15", "SPLIT-DEV-16", "SPLIT-DEV-P01", "SPLIT-DEV-P02", "SPLIT-DEV-P03"), traps=(1, 17)
)
async def what_is_used_is_complete(bench: Bench) -> None:
    """Ids, lengths and data are looked at as soon as ``used.idx`` moves."""
    device = await bench.start()
    readable, writable = small(bench)
    for _ in range(4):
        request = await device.submit(0, readable, writable)
        await device.wait(request)
        same(request.used, sum(writable), "used length")
        if request.content == b"\xa5" * sum(writable):
            raise AssertionError("the used index came before the data")


@case(proves=("SPLIT-DEV-22", "SPLIT-DEV-P02", "SPLIT-DEV-23"), traps=(16,))
async def one_kick_announces_many(bench: Bench) -> None:
    device = await bench.start()
    requests = [device.prepare(0, *small(bench)) for _ in range(6)]
    await device.kick()
    await device.wait(*requests)
    same(device.queues[0].used_index, 6, "used.idx")


@case(proves=("SPLIT-DEV-22",), traps=(16,))
async def kicks_without_a_reason_are_harmless(bench: Bench) -> None:
    device = await bench.start()
    for _ in range(3):
        await device.kick()
    await quiet(bench, device)
    request = await device.submit(0, *small(bench))
    await device.kick()
    await device.kick()
    await device.wait(request)
    await quiet(bench, device, vectors=1)
    await exercise(bench, device)


@case(proves=("SPLIT-DEV-22", "SPLIT-DEV-23"), traps=(16,))
async def a_kick_while_it_works_is_not_lost(bench: Bench) -> None:
    device = await bench.start()
    requests = []
    for _ in range(6):
        requests.append(await device.submit(0, *small(bench)))
        await bench.host.sleep(bench.rng.randrange(400))
    await device.wait(*requests)


@case(proves=("SPLIT-DEV-10", "SPLIT-DEV-11"), traps=(12,))
async def no_interrupt_is_honoured_and_can_be_taken_back(bench: Bench) -> None:
    device = await bench.start()
    queue = device.queues[0]
    before = bench.host.interrupts(1)
    queue.want_interrupts(False)
    await device.wait(await device.submit(0, *small(bench)))
    await bench.host.sleep(QUIET_NS)
    same(bench.host.interrupts(1), before, "messages while NO_INTERRUPT is set")
    for count in (1, 2):
        queue.want_interrupts(True)
        await device.submit(0, *small(bench))
        await device.wait_interrupt(1, before + count - 1)
        device.collect()
    await bench.host.sleep(QUIET_NS)
    same(bench.host.interrupts(1), before + 2, "messages")


@case(proves=("SPLIT-DEV-P01", "SPLIT-DEV-P05"))
async def the_ring_goes_round(bench: Bench) -> None:
    for size in (2, 4) if bench.transport == "modern" else (None,):
        device = await bench.start(queue_size=size)
        queue = device.queues[0]
        for _ in range(2 * queue.size + 1):
            await device.wait(await device.submit(0, *small(bench)))
        same(queue.used_index, 2 * queue.size + 1, f"used.idx of a queue of {queue.size}")


@case(devices=("rng",), proves=("SPLIT-DEV-P05",), transports=MODERN)
async def a_queue_of_one_works(bench: Bench) -> None:
    device = await bench.start(queue_size=1)
    for _ in range(3):
        await device.wait(await device.submit(0, [], [5]))


@case(proves=("SPLIT-DEV-P05", "PCI-CC-DEV-P01"))
async def the_largest_queue_can_be_full(bench: Bench) -> None:
    device = await bench.start(queue_size=None)
    readable, writable = small(bench)
    queue = device.queues[0]
    same(queue.size, bench.queue_size, "size of the queue")
    each = len(readable) + len(writable)
    requests = [device.prepare(0, readable, writable) for _ in range(min(queue.size // each, 64))]
    await device.kick()
    await device.wait(*requests, timeout_ns=1_000_000)


@case(proves=("SPLIT-DEV-03", "SPLIT-DEV-P03", "BLK-DEV-21"), traps=(17,))
async def nothing_is_written_into_a_readable_chain(bench: Bench) -> None:
    device = await bench.start()
    content = bench.rng.randbytes(24)
    request = await device.submit(0, [content[:16], content[16:]], [])
    await device.wait(request)
    same(request.used, 0, "used length of a chain without writable bytes")
    await exercise(bench, device)


@case(devices=("rng",), proves=("SPLIT-DEV-16", "SPLIT-DEV-P03", "SPLIT-DEV-04"))
async def writable_buffers_are_filled_from_the_first(bench: Bench) -> None:
    device = await bench.start()
    request = await device.submit(0, [b"ignored"], [1, 3, 17, 2, 40])
    await device.wait(request)
    if not request.used:
        raise AssertionError("nothing was written")
    same(request.content[request.used :], b"\xa5" * (63 - request.used), "what lies behind the used length")


@case(proves=("SPLIT-DEV-16",))
async def buffers_may_cross_pages(bench: Bench) -> None:
    device = await bench.start()
    memory, queue = bench.host.memory, device.queues[0]
    readable, writable = small(bench)
    sources = [memory.alloc(len(content), align=4096, offset=4093) for content in readable]
    for buffer, content in zip(sources, readable, strict=True):
        buffer.write(content)
    sinks = [memory.alloc(length, align=4096, offset=4093) for length in writable]
    queue.add_chain([(b.address, b.size) for b in sources], [(b.address, b.size) for b in sinks])
    await device.kick()
    await bench.host.until(lambda: queue.has_used, timeout_ns=200_000)
    used = queue.get_used()
    same(used.length if used else None, sum(writable), "used length")


# -- a broken ring -----------------------------------------------------------------------------------


async def broken(bench: Bench, cause: Cause, spoil: Callable[[SplitQueue], None]) -> VirtioDevice:
    """Do to a running device's queue what a driver must not, and expect DEVICE_NEEDS_RESET."""
    device = await bench.start(queue_size=8)
    await exercise(bench, device)
    queue, before = device.queues[0], bench.host.interrupts(0)
    index = queue.used_index
    await device.transport.isr()
    spoil(queue)
    await device.kick()
    await device.wait_interrupt(0, before)
    same(await device.transport.isr() & 2, 2, "configuration bit of the ISR")
    status = await device.transport.status()
    same(status & DeviceStatus.DEVICE_NEEDS_RESET, DeviceStatus.DEVICE_NEEDS_RESET, "DEVICE_NEEDS_RESET")
    diagnostics = await device.diagnostics()
    same((Cause(diagnostics.cause), diagnostics.queue), (cause, 0), "cause and queue")
    await device.kick()
    await quiet(bench, device)
    same(queue.used_index, index, "used.idx after the broken chain")
    await device.reset()
    same((await device.diagnostics()).cause, Cause.NONE, "cause after the reset")
    await device.start()
    await exercise(bench, device)
    return device


def buffer(queue: SplitQueue, length: int = 64) -> int:
    """Address of memory that the device may read and write."""
    allocated = queue.memory.alloc(length)
    queue.memory.grant(allocated.address, length, readable=True, writable=True)
    return allocated.address


def offer(queue: SplitQueue, *descriptors: tuple[int, int, int, int, int]) -> None:
    """Write descriptors ``(number, address, length, flags, next)`` and make the first available."""
    for descriptor in descriptors:
        queue.write_descriptor(*descriptor)
    queue.put_available(descriptors[0][0])
    queue.publish()


@case(proves=("STATUS-DEV-02", "STATUS-DEV-03", "PCI-ISR-DEV-02"), traps=(2,))
async def an_available_index_too_far_ahead_breaks_the_ring(bench: Bench) -> None:
    await broken(bench, Cause.AVAIL_INDEX, lambda queue: queue.publish(queue.next_avail + queue.size + 1))


@case(proves=("STATUS-DEV-02", "STATUS-DEV-03"))
async def an_available_index_that_goes_back_breaks_the_ring(bench: Bench) -> None:
    await broken(bench, Cause.AVAIL_INDEX, lambda queue: queue.publish(queue.next_avail - 1))


@case(proves=("STATUS-DEV-02", "STATUS-DEV-03"))
async def a_head_outside_the_table_breaks_the_ring(bench: Bench) -> None:
    def spoil(queue: SplitQueue) -> None:
        queue.put_available(bench.rng.choice((queue.size, 0x8000, 0xFFFF)))
        queue.publish()

    await broken(bench, Cause.HEAD_INDEX, spoil)


@case(proves=("STATUS-DEV-02", "STATUS-DEV-03"))
async def a_next_outside_the_table_breaks_the_ring(bench: Bench) -> None:
    def spoil(queue: SplitQueue) -> None:
        offer(queue, (3, buffer(queue), 16, NEXT, bench.rng.choice((queue.size, 0x8000, 0xFFFF))))

    await broken(bench, Cause.NEXT_INDEX, spoil)


@case(proves=("STATUS-DEV-02", "STATUS-DEV-03"))
async def a_descriptor_that_follows_itself_breaks_the_ring(bench: Bench) -> None:
    await broken(bench, Cause.CHAIN_LOOP, lambda queue: offer(queue, (5, buffer(queue), 16, NEXT, 5)))


@case(proves=("STATUS-DEV-02", "STATUS-DEV-03"))
async def a_loop_of_several_descriptors_breaks_the_ring(bench: Bench) -> None:
    def spoil(queue: SplitQueue) -> None:
        at = buffer(queue)
        offer(queue, (1, at, 16, NEXT, 6), (6, at, 8, NEXT | WRITE, 2), (2, at, 8, NEXT | WRITE, 6))

    await broken(bench, Cause.CHAIN_LOOP, spoil)


@case(proves=("STATUS-DEV-02", "STATUS-DEV-03"))
async def a_chain_longer_than_the_queue_breaks_the_ring(bench: Bench) -> None:
    def spoil(queue: SplitQueue) -> None:
        at, last = buffer(queue), queue.size - 1
        offer(queue, *((n, at, 4, NEXT | WRITE, 0 if n == last else n + 1) for n in range(queue.size)))

    await broken(bench, Cause.CHAIN_LOOP, spoil)


@case(proves=("STATUS-DEV-02", "STATUS-DEV-03"))
async def a_descriptor_of_length_zero_breaks_the_ring(bench: Bench) -> None:
    def spoil(queue: SplitQueue) -> None:
        at = buffer(queue)
        offer(queue, (0, at, 16, NEXT, 7), (7, at, 0, WRITE, 0))

    await broken(bench, Cause.ZERO_LENGTH, spoil)


@case(proves=("STATUS-DEV-02", "STATUS-DEV-03"))
async def a_readable_descriptor_after_a_writable_one_breaks_the_ring(bench: Bench) -> None:
    def spoil(queue: SplitQueue) -> None:
        at = buffer(queue)
        offer(queue, (4, at, 16, NEXT, 2), (2, at, 16, NEXT | WRITE, 3), (3, at, 16, 0, 0))

    await broken(bench, Cause.READABLE_AFTER_WRITABLE, spoil)


@case(proves=("STATUS-DEV-02", "STATUS-DEV-03"))
async def an_indirect_descriptor_not_negotiated_breaks_the_ring(bench: Bench) -> None:
    await broken(bench, Cause.INDIRECT, lambda queue: offer(queue, (2, buffer(queue), 32, INDIRECT, 0)))


@case(proves=("STATUS-DEV-02", "STATUS-DEV-03"))
async def a_chain_of_more_than_4_gib_breaks_the_ring(bench: Bench) -> None:
    def spoil(queue: SplitQueue) -> None:
        at = buffer(queue)
        offer(queue, (1, at, 0xFFFF_FFFF, NEXT | WRITE, 2), (2, at, 1, WRITE, 0))

    await broken(bench, Cause.TOTAL_LENGTH, spoil)


@case(proves=("STATUS-DEV-02", "STATUS-DEV-03"), transports=MODERN)
async def a_table_that_cannot_be_read_breaks_the_ring(bench: Bench) -> None:
    device = await prepared(bench)
    await device.set_up_interrupts()
    queue = SplitQueue(bench.host.memory, 0, 4, rng=bench.rng)
    bench.host.memory.grant(FAR_AWAY, descriptor_table_size(4), readable=True)
    await device.transport.set_up_queue(0, 4, FAR_AWAY, queue.avail.address, queue.used.address)
    await device.transport.enable_queue(0)
    await device.driver_ok()
    before = bench.host.interrupts(0)
    queue.put_available(0)
    queue.publish()
    await device.kick()
    await device.wait_interrupt(0, before)
    same(Cause((await device.diagnostics()).cause), Cause.DMA_ERROR, "cause")
    same(queue.used_index, 0, "used.idx")
    await device.reset()
    await device.start()
    await exercise(bench, device)


@case(proves=("STATUS-DEV-02", "STATUS-DEV-03", "PCI-LEG-DEV-P04"), transports=LEGACY)
async def a_queue_that_cannot_be_read_breaks_the_ring(bench: Bench) -> None:
    """The parts of a legacy queue are in one piece, and all of them are nowhere here."""
    device = await prepared(bench)
    await device.set_up_interrupts()
    size = await device.transport.queue_size(0)
    place = split.legacy_layout(size)
    bench.host.memory.grant(NO_PAGE, place.total, readable=True)
    await device.transport.set_up_queue(0, size, NO_PAGE, NO_PAGE + place.avail, NO_PAGE + place.used)
    await device.transport.enable_queue(0)
    await device.driver_ok()
    before = bench.host.interrupts(0)
    await device.kick()
    await device.wait_interrupt(0, before)
    same(Cause((await device.diagnostics()).cause), Cause.DMA_ERROR, "cause")
    await device.reset()
    await device.start()
    await exercise(bench, device)


@case(proves=("STATUS-DEV-02",))
async def the_cause_names_the_head_and_the_descriptor(bench: Bench) -> None:
    device = await bench.start(queue_size=8)
    queue, before = device.queues[0], bench.host.interrupts(0)
    at = buffer(queue)
    offer(queue, (6, at, 16, NEXT, 3), (3, at, 0, WRITE, 0))
    await device.kick()
    await device.wait_interrupt(0, before)
    diagnostics = await device.diagnostics()
    found = Cause(diagnostics.cause), diagnostics.head, diagnostics.descriptor
    same(found, (Cause.ZERO_LENGTH, 6, 3), "cause, head and descriptor")


@case(proves=("STATUS-DEV-02",))
async def a_broken_ring_is_told_in_the_isr_without_msix(bench: Bench) -> None:
    device = await bench.start(queue_size=8, interrupts=False)
    offer(device.queues[0], (2, buffer(device.queues[0]), 0, WRITE, 0))
    await device.kick()
    await bench.host.sleep(QUIET_NS)
    same(await device.transport.isr() & 2, 2, "configuration bit of the ISR")

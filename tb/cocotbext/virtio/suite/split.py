"""Split rings that a driver must not make: indices and links."""

from collections.abc import Callable

from virtio_spec import split
from virtio_spec.layout import Cause
from virtio_spec.split import DescriptorFlag

from ..driver import VirtioDevice
from ..split import SplitQueue
from ..variant import RingVariant
from .broken import BROKEN, buffer, needs_reset
from .broken import broken as broken_ring
from .helpers import exercise, prepared, same
from .registry import LEGACY, SPLIT, Bench, case

__all__: list[str] = []

NEXT, WRITE = DescriptorFlag.NEXT, DescriptorFlag.WRITE
NO_PAGE = 0x0F00_0000_0000  # no memory there on any backend, and a legacy queue can have that address


def LINKED(variant: RingVariant) -> bool:
    """For split rings whose descriptors may follow each other in any order."""
    return SPLIT(variant) and not variant.in_order


async def broken(bench: Bench, cause: Cause, spoil: Callable[[SplitQueue], None]) -> VirtioDevice:
    """See :func:`.broken.broken`."""
    return await broken_ring(bench, cause, SplitQueue, spoil)


def offer(queue: SplitQueue, *descriptors: tuple[int, int, int, int, int]) -> None:
    """Write descriptors ``(number, address, length, flags, next)`` and make the first available."""
    for descriptor in descriptors:
        queue.write_descriptor(*descriptor)
    queue.put_available(descriptors[0][0])
    queue.publish()


@case(proves=(*BROKEN, "PCI-ISR-DEV-02"), traps=(2,))
async def an_available_index_too_far_ahead_breaks_the_ring(bench: Bench) -> None:
    await broken(bench, Cause.AVAIL_INDEX, lambda queue: queue.publish(queue.next_avail + queue.size + 1))


@case(proves=BROKEN, breaks=("SPLIT-DRV-11",))
async def an_available_index_that_goes_back_breaks_the_ring(bench: Bench) -> None:
    await broken(bench, Cause.AVAIL_INDEX, lambda queue: queue.publish(queue.next_avail - 1))


@case(proves=BROKEN)
async def a_head_outside_the_table_breaks_the_ring(bench: Bench) -> None:
    def spoil(queue: SplitQueue) -> None:
        queue.put_available(bench.rng.choice((queue.size, 0x8000, 0xFFFF)))
        queue.publish()

    await broken(bench, Cause.HEAD_INDEX, spoil)


@case(needs=("diagnostics",), proves=("STATUS-DEV-02",))
async def the_cause_names_a_head_outside_the_table(bench: Bench) -> None:
    """With all of its bits, as far as they are not those of the table's size: the driver may look for it."""
    for head in (0x5555 | bench.queue_size, 0xAAAA | bench.queue_size):
        device = await bench.start()
        queue, before = device.queues[bench.queue], bench.host.interrupts(0)
        assert isinstance(queue, SplitQueue)
        queue.put_available(head)
        queue.publish()
        await device.kick(bench.queue, always=True)
        await device.wait_interrupt(0, before)
        diagnostics = await device.diagnostics()
        found = Cause(diagnostics.cause), diagnostics.queue, diagnostics.head
        same(found, (Cause.HEAD_INDEX, bench.queue, head), "cause, queue and head")


@case(proves=BROKEN, variants=LINKED)
async def a_next_outside_the_table_breaks_the_ring(bench: Bench) -> None:
    def spoil(queue: SplitQueue) -> None:
        offer(queue, (3, buffer(queue), 16, NEXT, bench.rng.choice((queue.size, 0x8000, 0xFFFF))))

    await broken(bench, Cause.NEXT_INDEX, spoil)


@case(proves=BROKEN, variants=LINKED)
async def a_descriptor_that_follows_itself_breaks_the_ring(bench: Bench) -> None:
    await broken(bench, Cause.CHAIN_LOOP, lambda queue: offer(queue, (5, buffer(queue), 16, NEXT, 5)))


@case(proves=BROKEN, variants=LINKED, breaks=("SPLIT-DRV-04",))
async def a_loop_of_several_descriptors_breaks_the_ring(bench: Bench) -> None:
    def spoil(queue: SplitQueue) -> None:
        at = buffer(queue)
        offer(queue, (1, at, 16, NEXT, 6), (6, at, 8, NEXT | WRITE, 2), (2, at, 8, NEXT | WRITE, 6))

    await broken(bench, Cause.CHAIN_LOOP, spoil)


@case(proves=(*BROKEN, "PCI-LEG-DEV-P04"), transports=LEGACY)
async def a_queue_that_cannot_be_read_breaks_the_ring(bench: Bench) -> None:
    """The parts of a legacy queue are in one piece, and all of them are nowhere here."""
    device = await prepared(bench)
    await device.set_up_interrupts()
    size = await device.transport.queue_size(bench.queue)
    place = split.legacy_layout(size)
    bench.host.memory.grant(NO_PAGE, place.total, readable=True)
    await device.transport.set_up_queue(
        bench.queue, size, NO_PAGE, NO_PAGE + place.avail, NO_PAGE + place.used
    )
    await device.transport.enable_queue(bench.queue)
    await device.driver_ok()
    before = bench.host.interrupts(0)
    await device.kick(bench.queue)
    await device.wait_interrupt(0, before)
    await needs_reset(bench, device, Cause.DMA_ERROR, bench.queue)
    await device.reset()
    await device.start()
    await exercise(bench, device)

"""Descriptors as no driver must write them, in either format of ring."""

from functools import partial

from virtio_spec.layout import Cause
from virtio_spec.split import DescriptorFlag

from ..devices.rng import VirtioRng
from ..packed import PackedQueue
from ..ring import Ring
from ..split import SplitQueue
from .broken import BROKEN, buffer, needs_reset, offer, works_after_a_reset
from .broken import broken as broken_ring
from .helpers import QUIET_NS, ended, exercise, prepared, same
from .registry import DIRECT, MODERN, Bench, case
from .rng import asked_in_vain

__all__: list[str] = []

NEXT, WRITE, INDIRECT = DescriptorFlag.NEXT, DescriptorFlag.WRITE, DescriptorFlag.INDIRECT
FAR_AWAY = 0x7F00_0000_0000_0000  # no memory there on any backend
broken = partial(broken_ring, kind=Ring)


@case(proves=BROKEN)
async def a_descriptor_of_length_zero_breaks_the_ring(bench: Bench) -> None:
    def spoil(ring: Ring) -> None:
        at = buffer(ring)
        offer(ring, (at, 16, NEXT), (at, 0, WRITE))

    await broken(bench, Cause.ZERO_LENGTH, spoil=spoil)


@case(proves=BROKEN, breaks=("SPLIT-DRV-02", "PACKED-DRV-08"))
async def a_readable_descriptor_after_a_writable_one_breaks_the_ring(bench: Bench) -> None:
    def spoil(ring: Ring) -> None:
        at = buffer(ring)
        offer(ring, (at, 16, NEXT), (at, 16, NEXT | WRITE), (at, 16, 0))

    await broken(bench, Cause.READABLE_AFTER_WRITABLE, spoil=spoil)


@case(proves=BROKEN, variants=DIRECT, breaks=("SPLIT-DRV-06", "PACKED-DRV-12"))
async def an_indirect_descriptor_not_negotiated_breaks_the_ring(bench: Bench) -> None:
    await broken(bench, Cause.INDIRECT, spoil=lambda ring: offer(ring, (buffer(ring), 32, INDIRECT)))


@case(proves=BROKEN, breaks=("SPLIT-DRV-04",))
async def a_chain_of_more_than_4_gib_breaks_the_ring(bench: Bench) -> None:
    def spoil(ring: Ring) -> None:
        at = buffer(ring)
        offer(ring, (at, 0xFFFF_FFFF, NEXT | WRITE), (at, 1, WRITE))

    await broken(bench, Cause.TOTAL_LENGTH, spoil=spoil)


@case(proves=BROKEN, breaks=("PACKED-DRV-06", "PACKED-DRV-07"))
async def a_chain_longer_than_the_queue_breaks_the_ring(bench: Bench) -> None:
    """Of a split ring the last descriptor is followed by the first one again."""

    def spoil(ring: Ring) -> None:
        at = buffer(ring)
        offer(ring, *((at, 4, NEXT | WRITE) for _ in range(ring.size)))

    await broken(bench, Cause.CHAIN_LOOP, spoil=spoil)


@case(proves=BROKEN, transports=MODERN, breaks=("RFB-DRV-04",))
async def descriptors_that_cannot_be_read_break_the_ring(bench: Bench) -> None:
    device = await prepared(bench)
    await device.set_up_interrupts()
    ring = device.make_ring(bench.queue, 4)
    driver, part = (area.address for area in ring.areas[1:])
    bench.host.memory.grant(FAR_AWAY, ring.areas[0].size, readable=True)
    await device.transport.set_up_queue(bench.queue, 4, FAR_AWAY, driver, part)
    await device.transport.enable_queue(bench.queue)
    await device.driver_ok()
    before = bench.host.interrupts(0)
    ring.add_chain([(buffer(ring), 16)])
    await device.kick(bench.queue, always=True)
    await device.wait_interrupt(0, before)
    await needs_reset(bench, device, Cause.DMA_ERROR, bench.queue)
    same(ring.returned, 0, "chains that came back")
    await device.reset()
    await device.start()
    await exercise(bench, device)


@case(proves=("STATUS-DEV-02", "RESET-DEV-01"), breaks=("CLEAN-DRV-01", "PACKED-DRV-02", "PACKED-DRV-03"))
async def a_descriptor_changed_while_it_is_in_use_does_no_harm_elsewhere(bench: Bench) -> None:
    """The device sees the old one or the new one, which is broken: both are as it should be."""
    for _ in range(4):
        device = await bench.start(queue_size=8)
        ring = device.queues[bench.queue]
        at = buffer(ring)
        (number,) = offer(ring, (at, 16, WRITE))
        area = ring.areas[0]
        await device.kick(bench.queue, always=True)
        await bench.host.sleep(bench.rng.randrange(1, 600))
        if not ring.has_used:
            area.write(bytes(4), 16 * number + 8)  # the length
        # Whether it breaks, ends or goes on is the device's choice; it has the time for each.
        if await ended(bench, device, lambda ring=ring: ring.has_used):
            await needs_reset(bench, device, Cause.ZERO_LENGTH, bench.queue)
        await works_after_a_reset(bench, device)


@case(devices=("rng",), needs=("health_tests",), proves=BROKEN)
async def more_descriptors_than_there_are_break_the_ring(bench: Bench) -> None:
    """A driver uses them again although the device, whose source gives nothing, still has them."""
    rng = VirtioRng(await bench.start(queue_size=4))
    bench.entropy.stick(0)
    await asked_in_vain(bench, rng)
    device = await bench.start(queue_size=4)
    ring, before = device.queues[bench.queue], bench.host.interrupts(0)
    at, last = buffer(ring, 256), ring.size - 1
    first, *_ = offer(ring, *((at, 256, WRITE | (0 if n == last else NEXT)) for n in range(ring.size)))
    await device.kick(bench.queue, always=True)
    await bench.host.sleep(QUIET_NS)  # until the device has read the chain, which cannot be seen
    if isinstance(ring, PackedQueue):
        ring.write_descriptor(first, at, 16, 0, WRITE | ring.wrap_flags(first))
    else:
        assert isinstance(ring, SplitQueue)
        ring.put_available(first)
        ring.publish()
    await device.kick(bench.queue, always=True)
    await device.wait_interrupt(0, before)
    await needs_reset(bench, device, Cause.DESCRIPTOR_REUSE, bench.queue)
    bench.entropy.heal()
    await works_after_a_reset(bench, device)


@case(needs=("diagnostics",), proves=("STATUS-DEV-02",))
async def the_cause_names_the_head_and_the_descriptor(bench: Bench) -> None:
    """Wherever they are: a bit of a number that is always the same would show."""
    for before in range(6):
        device = await bench.start(queue_size=8)
        for _ in range(before % 3 + 1):
            await exercise(bench, device)
        ring, interrupts = device.queues[bench.queue], bench.host.interrupts(0)
        at = buffer(ring)
        numbers = offer(ring, (at, 16, NEXT), (at, 0, WRITE))
        await device.kick(bench.queue, always=True)
        await device.wait_interrupt(0, interrupts)
        diagnostics = await device.diagnostics()
        found = Cause(diagnostics.cause), diagnostics.head, diagnostics.descriptor
        same(found, (Cause.ZERO_LENGTH, *numbers), "cause, head and descriptor")


@case(proves=("STATUS-DEV-02",))
async def a_broken_ring_is_told_in_the_isr_without_msix(bench: Bench) -> None:
    device = await bench.start(queue_size=8, interrupts=False)
    offer(device.queues[bench.queue], (buffer(device.queues[bench.queue]), 0, WRITE))
    await device.kick(bench.queue, always=True)
    await bench.host.sleep(QUIET_NS)
    same(await device.transport.isr() & 2, 2, "configuration bit of the ISR")

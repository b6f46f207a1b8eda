"""A driver that breaks the rules of rings in ways that need not matter.

Those that cannot be understood are in the modules ``split``, ``packed``, ``descriptors`` and ``indirect``;
these are those that a device may understand, or not notice.
"""

import random

from virtio_spec.packed import EventFlags
from virtio_spec.split import DescriptorFlag, legacy_layout

from ..driver import VirtioDevice
from ..memory import Buffer
from ..packed import PackedQueue
from ..ring import Ring
from ..split import SplitQueue
from .broken import buffer, table
from .events import WITHOUT
from .helpers import QUIET_NS, ended, prepared, small
from .hostile_setup import SURVIVES
from .registry import EVENT_IDX, IN_ORDER, INDIRECT, LEGACY, MODERN, ONCE, PACKED, SPLIT, Bench, case

__all__: list[str] = []

NEXT, WRITE = DescriptorFlag.NEXT, DescriptorFlag.WRITE
INDIRECTLY = DescriptorFlag.INDIRECT
FAR_AWAY = 0x7F00_0000_0000_0000  # no memory there on any backend
LEGACY_PAGE, LEGACY_TOP = 4096, 1 << 44


def exposed(bench: Bench, size: int, *, align: int = 64, below: int = 1 << 64) -> Buffer:
    """Memory that the device may do anything with."""
    found = bench.host.memory.alloc(size, align=align, below=below)
    bench.host.memory.grant(found.address, size, readable=True, writable=True)
    return found


async def answered(bench: Bench, device: VirtioDevice, back: int) -> None:
    """``AssertionError`` unless more than ``back`` chains come back, or the device needs a reset."""
    await device.transport.notify(bench.queue)
    await ended(bench, device, lambda: returned(device.queues[bench.queue]) > back)


def returned(ring: Ring) -> int:
    """How many chains of a split ring the device has returned, whoever made them available."""
    assert isinstance(ring, SplitQueue)
    return ring.used_index


# -- where rings are -----------------------------------------------------------------------------------


@case(proves=SURVIVES, transports=MODERN, variants=SPLIT, breaks=("SPLIT-DRV-01",))
async def the_areas_of_a_split_ring_are_not_aligned(bench: Bench) -> None:
    """A valid chain in rings that begin at odd addresses: it is found, or not, or something is wrong."""
    for table_at, avail_at, used_at in ((8, 0, 0), (0, 1, 0), (0, 0, 2), (4, 1, 1)):
        device = await prepared(bench)
        size = 4
        areas = [exposed(bench, 4096) for _ in range(3)]
        sink = exposed(bench, 64)
        starts = table_at, avail_at, used_at
        if table_at == 0:
            areas[0].write(sink.address.to_bytes(8, "little") + (64).to_bytes(4, "little") + bytes([2]))
        areas[1].write(bytes([0, 0, 1 if table_at == 0 else 0, 0, 0, 0]), avail_at)
        addresses = [area.address + start for area, start in zip(areas, starts, strict=True)]
        await device.transport.set_up_queue(bench.queue, size, *addresses)
        await device.transport.enable_queue(bench.queue)
        await device.driver_ok()
        await device.transport.notify(bench.queue)
        await bench.host.sleep(QUIET_NS)
        await device.reset()


@case(proves=SURVIVES, transports=MODERN, variants=PACKED, breaks=("PACKED-DRV-01",))
async def the_areas_of_a_packed_ring_are_not_aligned(bench: Bench) -> None:
    """What the device finds where it looks is available nowhere."""
    for shifts in ((8, 0, 0), (0, 1, 0), (0, 0, 2), (1, 2, 3)):
        device = await prepared(bench)
        areas = [exposed(bench, 4096) for _ in range(3)]
        addresses = [area.address + shift for area, shift in zip(areas, shifts, strict=True)]
        await device.transport.set_up_queue(bench.queue, 8, *addresses)
        await device.transport.enable_queue(bench.queue)
        await device.driver_ok()
        await device.transport.notify(bench.queue)
        await bench.host.sleep(QUIET_NS)
        await device.reset()


@case(
    devices=("rng", "blk"),
    proves=SURVIVES,
    transports=LEGACY,
    variants=ONCE,
    breaks=("SPLIT-LEG-DRV-01", "SPLIT-LEG-DRV-02", "SPLIT-LEG-DRV-03", "SPLIT-LEG-DRV-04"),
)
async def a_legacy_ring_has_another_size_and_another_byte_order(bench: Bench) -> None:
    """Laid out for half as many entries as the device says, and with an index of the other byte order."""
    for half in (True, False):
        device = await prepared(bench)
        size = bench.queue_size // (2 if half else 1)
        page = exposed(bench, 4 * LEGACY_PAGE + 32 * bench.queue_size, align=LEGACY_PAGE, below=LEGACY_TOP)
        sink = exposed(bench, 64)
        page.write(sink.address.to_bytes(8, "little") + (64).to_bytes(4, "little") + bytes([2]))
        page.write(bytes([0, 0, 1, 0] if half else [0, 0, 0, 1]), 16 * size)
        parts = legacy_layout(bench.queue_size)
        places = page.address, page.address + parts.avail, page.address + parts.used
        await device.transport.set_up_queue(0, bench.queue_size, *places)
        await device.transport.enable_queue(0)
        await device.driver_ok()
        await device.transport.notify(0)
        await bench.host.sleep(QUIET_NS)
        await device.reset()


# -- chains --------------------------------------------------------------------------------------------


@case(
    proves=SURVIVES,
    variants=(IN_ORDER, SPLIT),
    breaks=("SPLIT-DRV-05", "SPLIT-DRV-P01", "SPLIT-DRV-10"),
)
async def descriptors_are_not_in_order_although_that_was_promised(bench: Bench) -> None:
    """In the ring, and in tables where there are such: the device looks where the links lead, or does not."""
    device = await bench.start(queue_size=8)
    ring = device.queues[bench.queue]
    assert isinstance(ring, SplitQueue)
    at, numbers = buffer(ring), bench.rng.sample(range(8), 3)
    for number, following in zip(numbers, [*numbers[1:], None], strict=True):
        flags = WRITE | (DescriptorFlag(0) if following is None else NEXT)
        ring.write_descriptor(number, at, 8, flags, following or 0)
    before = ring.used_index
    ring.put_available(numbers[0])
    ring.publish()
    await answered(bench, device, before)


@case(proves=SURVIVES, variants=(IN_ORDER, SPLIT, INDIRECT), breaks=("SPLIT-DRV-10",))
async def a_table_is_not_in_order_although_that_was_promised(bench: Bench) -> None:
    device = await bench.start(queue_size=8)
    ring = device.queues[bench.queue]
    assert isinstance(ring, SplitQueue)
    at = buffer(ring)
    found = table(ring, [(at, 8, NEXT | WRITE), (at + 8, 8, WRITE), (at + 16, 8, NEXT | WRITE)])
    # Entry 0 is followed by 2, and that by 1.
    for entry, following in ((0, 2), (2, 1)):
        bench.host.memory.write(found + 16 * entry + 14, following.to_bytes(2, "little"))
    ring.write_descriptor(0, found, 48, INDIRECTLY)
    before = ring.used_index
    ring.put_available(0)
    ring.publish()
    await answered(bench, device, before)


@case(proves=SURVIVES, breaks=("RFB-DRV-04", "RFB-DRV-05"))
async def buffers_are_where_the_bus_has_nothing(bench: Bench) -> None:
    """The device gets no data, or its data go nowhere; the chain comes back, or the device gives up."""
    device = await bench.start(queue_size=8)
    ring = device.queues[bench.queue]
    for address in (FAR_AWAY, FAR_AWAY + 0xFFC):
        ring.memory.grant(address, 64, readable=True, writable=True)
        request = ring.link([(address, 16)], [(address + 32, 32)], expose=False, direct=2)
        ring.put_available(request)
        ring.publish()
    await device.transport.notify(bench.queue)
    await bench.host.sleep(2 * QUIET_NS)


@case(proves=SURVIVES, breaks=("SPLIT-DRV-29", "PACKED-DRV-17", "RFB-DRV-08"))
async def a_chain_is_exposed_before_it_is_written(bench: Bench) -> None:
    """As without barriers: the device sees the old descriptor, or the new one, or some of both."""
    for _ in range(4):
        device = await bench.start(queue_size=8)
        ring, at = device.queues[bench.queue], buffer(device.queues[bench.queue])
        if isinstance(ring, SplitQueue):
            ring.put_available(0)
            ring.publish()
        await device.transport.notify(bench.queue)
        await bench.host.sleep(bench.rng.randrange(1, 400))
        if isinstance(ring, SplitQueue):
            ring.write_descriptor(0, at, 16, WRITE, 0)
        else:
            assert isinstance(ring, PackedQueue)
            available = ring.wrap_flags(0) | WRITE
            ring.set_descriptor_flags(0, available)
            await bench.host.sleep(bench.rng.randrange(1, 400))
            ring.write_descriptor(0, at, 16, 3, available)
        await device.transport.notify(bench.queue)
        await bench.host.sleep(QUIET_NS)


# -- what is said about notifications ------------------------------------------------------------------


@case(
    proves=("SPLIT-DEV-22",),
    breaks=(*(f"SPLIT-DRV-{n}" for n in (20, 22, 23, 24, 30)), "PACKED-DRV-18"),
)
async def kicks_are_forgotten(bench: Bench) -> None:
    """As with a look at the wrong field, or too early. A kick in the end is one for all."""
    device = await bench.start(queue_size=16)
    requests = []
    for _ in range(3):
        requests.append(device.prepare(bench.queue, *small(bench)))
        await bench.host.sleep(bench.rng.randrange(1, QUIET_NS // 2))
    await device.kick(bench.queue, always=True)
    await device.wait(*requests)


@case(proves=SURVIVES, variants=SPLIT, breaks=("SPLIT-DRV-12", "SPLIT-DRV-14"))
async def flags_of_the_available_ring_mean_nothing(bench: Bench) -> None:
    device = await bench.start(queue_size=8)
    ring = device.queues[bench.queue]
    assert isinstance(ring, SplitQueue)
    for flags in (0xFFFF, 0xFFFE, 2, random.Random(bench.seed).randrange(2, 1 << 16)):
        ring.set_flags(flags)
        request = device.prepare(bench.queue, *small(bench))
        await device.kick(bench.queue, always=True)
        await device.wait(request)


@case(proves=SURVIVES, transports=MODERN, variants=(SPLIT, WITHOUT), breaks=("SPLIT-DRV-19",))
async def the_used_ring_is_not_cleared(bench: Bench) -> None:
    """It seems to say that the device wants no kicks, which the driver knows better."""
    device = await prepared(bench)
    ring = device.make_ring(bench.queue, 8)
    device.queues[bench.queue] = ring
    ring.areas[2].write(b"\1\0")
    await device.transport.set_up_queue(bench.queue, 8, *(area.address for area in ring.areas))
    await device.transport.enable_queue(bench.queue)
    await device.driver_ok()
    for _ in range(2):
        request = device.prepare(bench.queue, *small(bench))
        await device.kick(bench.queue, always=True)
        await device.wait(request)


@case(proves=SURVIVES, variants=PACKED, breaks=("PACKED-DRV-P04",))
async def event_suppression_means_nothing(bench: Bench) -> None:
    """Flags that are reserved, those of event indices without them, and places that are not in the ring."""
    device = await bench.start(queue_size=8)
    ring = device.queues[bench.queue]
    assert isinstance(ring, PackedQueue)
    for flags, offset in ((EventFlags.DESC, 0), (EventFlags.RESERVED, 3), (EventFlags.DESC, 0x7FFF)):
        ring.set_event(flags, offset, bench.rng.randrange(2))
        request = device.prepare(bench.queue, *small(bench))
        await device.kick(bench.queue, always=True)
        await device.wait(request)
        ring.set_event(EventFlags.ENABLE)


@case(proves=SURVIVES, variants=(EVENT_IDX, SPLIT), breaks=("SPLIT-DRV-14",))
async def an_event_index_is_somewhere(bench: Bench) -> None:
    device = await bench.start(queue_size=8)
    ring = device.queues[bench.queue]
    assert isinstance(ring, SplitQueue)
    for _ in range(3):
        ring.set_flags(0xFFFF)
        ring.set_used_event(bench.rng.getrandbits(16))
        request = device.prepare(bench.queue, *small(bench))
        await device.kick(bench.queue, always=True)
        await device.wait(request)

"""A driver that makes a ring which the standard does not allow, and what has to become of the device."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from virtio_spec.layout import Cause
from virtio_spec.virtio import DeviceStatus

from ..driver import VirtioDevice
from ..packed import PackedQueue
from ..ring import Entry, Ring
from ..split import DescriptorFlag, SplitQueue
from .helpers import exercise, quiet, same
from .registry import Bench

__all__ = [
    "BROKEN",
    "broken",
    "buffer",
    "entries",
    "needs_reset",
    "offer",
    "spoil",
    "table",
    "works_after_a_reset",
]

Format = TypeVar("Format", bound=Ring)

#: What cases with a broken ring prove.
BROKEN = ("STATUS-DEV-02", "STATUS-DEV-03")


async def needs_reset(bench: Bench, device: VirtioDevice, cause: Cause, queue: int) -> None:
    """``AssertionError`` unless the device is in DEVICE_NEEDS_RESET, for this cause on this queue.

    The cause is looked at where devices tell it.
    """
    status = await device.transport.status()
    same(status & DeviceStatus.DEVICE_NEEDS_RESET, DeviceStatus.DEVICE_NEEDS_RESET, "DEVICE_NEEDS_RESET")
    if not bench.has("diagnostics"):
        return
    diagnostics = await device.diagnostics()
    same((Cause(diagnostics.cause), diagnostics.queue), (cause, queue), "cause and queue")


async def works_after_a_reset(bench: Bench, device: VirtioDevice) -> None:
    """A reset takes the cause away, and the device works again."""
    await device.reset()
    if bench.has("diagnostics"):
        same((await device.diagnostics()).cause, Cause.NONE, "cause after the reset")
    await device.start()
    await exercise(bench, device)


async def broken(
    bench: Bench,
    cause: Cause,
    kind: type[Format],
    spoil: Callable[[Format], object],
    *,
    queue_size: int = 8,
) -> VirtioDevice:
    """Do to a running device's ring what a driver must not, and expect DEVICE_NEEDS_RESET."""
    device = await bench.start(queue_size=queue_size)
    await exercise(bench, device)
    queue, before = device.queues[bench.queue], bench.host.interrupts(0)
    assert isinstance(queue, kind)
    returned = queue.returned
    await device.transport.isr()
    spoil(queue)
    await device.kick(bench.queue, always=True)
    await device.wait_interrupt(0, before)
    same(await device.transport.isr() & 2, 2, "configuration bit of the ISR")
    await needs_reset(bench, device, cause, bench.queue)
    await device.kick(bench.queue, always=True)
    await quiet(bench, device)
    same(queue.returned, returned, "chains that came back after the broken one")
    await works_after_a_reset(bench, device)
    return device


def buffer(ring: Ring, length: int = 64) -> int:
    """Address of memory that the device may read and write."""
    allocated = ring.memory.alloc(length)
    ring.memory.grant(allocated.address, length, readable=True, writable=True)
    return allocated.address


def entries(*descriptors: tuple[int, int, int]) -> list[Entry]:
    """Address, length and flags of each."""
    return [Entry(address, length, DescriptorFlag(flags)) for address, length, flags in descriptors]


def offer(ring: Ring, *descriptors: tuple[int, int, int]) -> list[int]:
    """Make descriptors of ``(address, length, flags)`` available as they are, one behind the other.

    Returns where in the table, or in the ring, they are.
    """
    if isinstance(ring, SplitQueue):
        numbers = ring.take_descriptors(len(descriptors))
        following = [*numbers[1:], 0]
        for number, (address, length, flags), next in zip(numbers, descriptors, following, strict=True):
            ring.write_descriptor(number, address, length, flags, next)
        ring.put_available(numbers[0])
        ring.publish()
        return numbers
    assert isinstance(ring, PackedQueue)
    places = [(ring.next_avail + n) % ring.size for n in range(len(descriptors))]
    wraps = [ring.wrap_flags(place) for place in places]
    numbers = ring.take_descriptors(len(descriptors))
    for number, wrap, (address, length, flags) in [*zip(numbers, wraps, descriptors, strict=True)][::-1]:
        ring.write_descriptor(number, address, length, number, flags | wrap)
    return numbers


def spoil(ring: Ring) -> Cause:
    """Break a ring of either format: what the device has to say."""
    if isinstance(ring, SplitQueue):
        ring.put_available(ring.size)
        ring.publish()
        return Cause.HEAD_INDEX
    offer(ring, (buffer(ring), 0, 0))
    return Cause.ZERO_LENGTH


def table(ring: Ring, descriptors: Sequence[tuple[int, int, int]]) -> int:
    """Address of an indirect table of ``(address, length, flags)`` that the device may read."""
    made = ring.table(entries(*descriptors))
    ring.memory.grant(made.address, made.size, readable=True)
    return made.address

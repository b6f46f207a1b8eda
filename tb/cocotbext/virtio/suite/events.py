"""Suppression of kicks and interrupts: who wants silence has it, and nobody sleeps for ever."""

from functools import partial

from ..driver import VirtioDevice
from ..packed import PackedQueue
from ..split import AvailFlags, SplitQueue
from ..variant import RingVariant
from .helpers import QUIET_NS, same, settle, small
from .registry import EVENT_IDX, PACKED, SPLIT, Bench, case

__all__: list[str] = []

#: Longest time between two steps of a driver here: about that of a small request.
PAUSE_NS = 700
placed = partial(case, variants=EVENT_IDX)


def WITHOUT(variant: RingVariant) -> bool:
    """For rings without event indices."""
    return not variant.event_idx


async def pause(bench: Bench) -> None:
    """No time at all, a moment, or longer."""
    longest = bench.rng.choice((0, 60, 200, PAUSE_NS))
    if longest:
        await bench.host.sleep(bench.rng.randrange(1, longest))


async def sleep(bench: Bench, device: VirtioDevice) -> None:
    """As a driver does: enable interrupts, look once more, and only then sleep until one comes."""
    seen = bench.host.interrupts(bench.vector)
    device.queues[bench.queue].want_interrupts(True)
    if not device.queues[bench.queue].has_used:
        await device.wait_interrupt(bench.vector, seen)


@case(
    proves=("SPLIT-DEV-11", "SPLIT-DEV-13", "SPLIT-DEV-16", "PACKED-DEV-P10", "PACKED-DEV-P02"),
    traps=(11, 12),
)
async def a_driver_that_disables_checks_and_sleeps_is_woken(bench: Bench) -> None:
    """Whenever it looks, interrupts or chains that are back are not lost."""
    device = await bench.start(queue_size=4)
    ring, left, waiting = device.queues[bench.queue], 30, 0
    while left or waiting:
        while left and ring.free >= 2 and bench.rng.random() < 0.8:
            await device.submit(bench.queue, *small(bench))
            left, waiting = left - 1, waiting + 1
            await pause(bench)
        if waiting:
            await sleep(bench, device)
            ring.want_interrupts(False)
            await pause(bench)
            waiting -= len(device.collect(bench.queue))
            await pause(bench)


@case(
    proves=("SPLIT-DEV-21", "SPLIT-DEV-22", "SPLIT-DEV-24", "PACKED-DEV-11", "PACKED-DEV-06"), traps=(11, 16)
)
async def a_device_that_does_not_want_kicks_finds_what_comes(bench: Bench) -> None:
    """Whatever passes between a chain that becomes available and the look at whether a kick is wanted."""
    device = await bench.start(queue_size=4)
    ring, requests = device.queues[bench.queue], []
    for _ in range(30):
        while ring.free < 2:
            await device.wait(next(request for request in requests if not request.done))
        requests.append(device.prepare(bench.queue, *small(bench)))
        await pause(bench)
        await device.kick(bench.queue)
        await pause(bench)
        if bench.rng.random() < 0.5:  # no later kick can make up for this one
            await device.wait(requests[-1])
    await device.wait(*requests)


@case(proves=("SPLIT-DEV-21", "SPLIT-DEV-20", "SPLIT-DEV-24", "PACKED-DEV-11"), traps=(11, 16))
async def what_comes_while_the_device_falls_asleep_is_found(bench: Bench) -> None:
    """Between its last look into the ring, its wish for a kick, and the moment at which that wish arrives.

    The times after a chain has come back are gone through in small steps, and then at random.
    """
    device = await bench.start(queue_size=8)
    for step in range(30):
        request = await device.submit(bench.queue, *small(bench))
        await bench.host.until(lambda: device.queues[bench.queue].has_used, timeout_ns=200_000)
        device.collect(bench.queue)
        same(request.done, True, "whether the only chain is back")
        delay = 20 * step if step < 20 else bench.rng.randrange(QUIET_NS)
        if delay:
            await bench.host.sleep(delay)
        await device.wait(await device.submit(bench.queue, *small(bench)))


@placed(proves=("SPLIT-DEV-13", "SPLIT-DEV-14", "PACKED-DEV-P10"), traps=(11,))
async def an_interrupt_comes_when_its_place_is_used_and_not_again(bench: Bench) -> None:
    """Also if it is in the middle of a batch, and in each round of the ring."""
    device = await bench.start(queue_size=16)
    ring = device.queues[bench.queue]
    direct = 0 if bench.variant.indirect else None
    slots = len(small(bench)[0]) + 1 if bench.variant.packed and direct is None else 1
    for count in (1, 3, 4, 3, 4, 2):
        for after in {0, bench.rng.randrange(count), count}:
            ring.want_interrupts(False)
            requests = [device.prepare(bench.queue, *small(bench), direct=direct) for _ in range(count)]
            ring.arm(after * slots)
            before = bench.host.interrupts(bench.vector)
            await device.kick(bench.queue)
            await device.wait(*requests)
            await settle(bench)
            same(
                bench.host.interrupts(bench.vector) - before,
                int(after < count),
                f"messages, {after} of {count}",
            )


@placed(proves=("SPLIT-DEV-13", "PACKED-DEV-P10", "PACKED-DEV-P01"), traps=(11, 28))
async def every_place_of_the_ring_can_be_waited_for(bench: Bench) -> None:
    for size in (2, 3) if bench.variant.packed else (2, 4):
        device = await bench.start(queue_size=size)
        for _ in range(3 * size):
            before = bench.host.interrupts(bench.vector)
            await device.submit(bench.queue, *small(bench))
            await device.wait_interrupt(bench.vector, before)
            await bench.host.until(lambda device=device: device.queues[bench.queue].has_used)
            device.collect(bench.queue)
        same(device.queues[bench.queue].returned, 3 * size, "chains that came back")


@placed(proves=("SPLIT-DEV-14", "PACKED-DEV-P10"), traps=(12,))
async def no_interrupt_comes_for_a_place_that_is_far_away(bench: Bench) -> None:
    device = await bench.start(queue_size=8)
    device.queues[bench.queue].want_interrupts(False)
    before = bench.host.interrupts(bench.vector)
    for _ in range(5):
        await device.wait(await device.submit(bench.queue, *small(bench)))
    await settle(bench)
    same(bench.host.interrupts(bench.vector), before, "messages")


@case(proves=("SPLIT-DEV-12",), variants=(EVENT_IDX, SPLIT), breaks=("SPLIT-DRV-14",))
async def the_flag_for_no_interrupts_means_nothing_with_an_event_index(bench: Bench) -> None:
    device = await bench.start()
    ring = device.queues[bench.queue]
    assert isinstance(ring, SplitQueue)
    for _ in range(3):
        before = bench.host.interrupts(bench.vector)
        ring.set_flags(AvailFlags.NO_INTERRUPT)
        await device.submit(bench.queue, *small(bench))
        await device.wait_interrupt(bench.vector, before)
        device.collect(bench.queue)


@case(proves=("SPLIT-DEV-09", "SPLIT-DEV-11"), variants=(WITHOUT, SPLIT), traps=(12,))
async def a_used_event_means_nothing_without_an_event_index(bench: Bench) -> None:
    device = await bench.start()
    ring = device.queues[bench.queue]
    assert isinstance(ring, SplitQueue)
    for _ in range(3):
        before = bench.host.interrupts(bench.vector)
        ring.set_used_event(ring.next_used + bench.rng.choice((1, 100, -1)))
        await device.submit(bench.queue, *small(bench))
        await device.wait_interrupt(bench.vector, before)
        await bench.host.until(lambda: ring.has_used)
        device.collect(bench.queue)


@case(proves=("PACKED-DEV-P10",), variants=(EVENT_IDX, PACKED))
async def a_packed_ring_has_plain_enable_and_disable_with_an_event_index_too(bench: Bench) -> None:
    device = await bench.start()
    ring = device.queues[bench.queue]
    assert isinstance(ring, PackedQueue)
    for enabled in (True, False, True, False):
        ring.want_interrupts(False)
        before = bench.host.interrupts(bench.vector)
        request = device.prepare(bench.queue, *small(bench))
        ring.set_event(int(not enabled), bench.rng.randrange(ring.size), bench.rng.randrange(2))
        await device.kick(bench.queue)
        await device.wait(request)
        await settle(bench)
        same(bench.host.interrupts(bench.vector), before + enabled, f"messages with interrupts {enabled}")

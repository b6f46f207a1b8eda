"""Chains of any format of ring: order, lengths, notifications."""

from .helpers import QUIET_NS, exercise, quiet, same, settle, small
from .outages import memory_untouched
from .registry import MODERN, Bench, case

__all__: list[str] = []

PAGE = 4096


@case(
    proves=(
        *("SPLIT-DEV-04", "SPLIT-DEV-15", "SPLIT-DEV-16"),
        *("SPLIT-DEV-P01", "SPLIT-DEV-P02", "SPLIT-DEV-P03"),
        *("PACKED-DEV-05", "PACKED-DEV-P02", "PACKED-DEV-P03", "PACKED-DEV-P04", "PACKED-DEV-P05"),
    ),
    traps=(1, 17, 28),
)
async def what_is_used_is_complete(bench: Bench) -> None:
    """Ids, lengths and data are looked at as soon as the ring says that a chain is back."""
    device = await bench.start()
    readable, writable = small(bench)
    for _ in range(4):
        request = await device.submit(bench.queue, readable, writable)
        await device.wait(request)
        same(request.used, sum(writable), "used length")
        if request.content == b"\xa5" * sum(writable):
            raise AssertionError("the used index came before the data")


@case(
    proves=(
        *("SPLIT-DEV-06", "SPLIT-DEV-18", "SPLIT-DEV-22", "SPLIT-DEV-23", "SPLIT-DEV-P02"),
        *("PACKED-DEV-01", "PACKED-DEV-10"),
    ),
    traps=(16,),
)
async def one_kick_announces_many(bench: Bench) -> None:
    device = await bench.start()
    requests = [device.prepare(bench.queue, *small(bench)) for _ in range(6)]
    await device.kick(bench.queue)
    await device.wait(*requests)
    same(device.queues[bench.queue].returned, 6, "chains that came back")


@case(proves=("SPLIT-DEV-22",), traps=(16,))
async def kicks_without_a_reason_are_harmless(bench: Bench) -> None:
    device = await bench.start()
    for _ in range(3):
        await device.kick(bench.queue, always=True)
    await quiet(bench, device)
    request = await device.submit(bench.queue, *small(bench))
    await device.kick(bench.queue, always=True)
    await device.kick(bench.queue, always=True)
    await device.wait(request)
    await quiet(bench, device, vectors=1)
    await exercise(bench, device)


@case(proves=("SPLIT-DEV-22", "SPLIT-DEV-23"), traps=(16,))
async def a_kick_while_it_works_is_not_lost(bench: Bench) -> None:
    device = await bench.start()
    requests = []
    for _ in range(6):
        requests.append(await device.submit(bench.queue, *small(bench)))
        await bench.host.sleep(bench.rng.randrange(400))
    await device.wait(*requests)


@case(proves=("SPLIT-DEV-10", "SPLIT-DEV-11", "SPLIT-DEV-14", "PACKED-DEV-P10"), traps=(12,))
async def no_interrupt_is_honoured_and_can_be_taken_back(bench: Bench) -> None:
    device = await bench.start()
    queue = device.queues[bench.queue]
    before = bench.host.interrupts(bench.vector)
    queue.want_interrupts(False)
    await device.wait(await device.submit(bench.queue, *small(bench)))
    await settle(bench)
    same(bench.host.interrupts(bench.vector), before, "messages while none is wanted")
    for count in (1, 2):
        queue.want_interrupts(True)
        await device.submit(bench.queue, *small(bench))
        await device.wait_interrupt(bench.vector, before + count - 1)
        device.collect(bench.queue)
    await bench.host.sleep(QUIET_NS)
    same(bench.host.interrupts(bench.vector), before + 2, "messages")


@case(proves=("SPLIT-DEV-P01", "SPLIT-DEV-P05", "PACKED-DEV-P01", "PACKED-DEV-P11"), traps=(28,))
async def the_ring_goes_round(bench: Bench) -> None:
    sizes = (3, 5) if bench.variant.packed else (2, 4)
    for size in sizes if bench.transport == "modern" else (None,):
        device = await bench.start(queue_size=size)
        queue = device.queues[bench.queue]
        for _ in range(2 * queue.size + 1):
            await device.wait(await device.submit(bench.queue, *small(bench)))
        same(queue.returned, 2 * queue.size + 1, f"chains that came back in a queue of {queue.size}")


@case(devices=("rng",), proves=("SPLIT-DEV-P05", "PACKED-DEV-P11"), transports=MODERN)
async def a_queue_of_one_works(bench: Bench) -> None:
    device = await bench.start(queue_size=1)
    for _ in range(3):
        await device.wait(await device.submit(bench.queue, [], [5]))


@case(proves=("SPLIT-DEV-P05", "PCI-CC-DEV-P01"))
async def the_largest_queue_can_be_full(bench: Bench) -> None:
    device = await bench.start(queue_size=None)
    readable, writable = small(bench)
    queue = device.queues[bench.queue]
    same(queue.size, bench.queue_size, "size of the queue")
    each = len(readable) + len(writable)
    requests = [device.prepare(bench.queue, readable, writable) for _ in range(min(queue.size // each, 64))]
    await device.kick(bench.queue)
    await device.wait(*requests, timeout_ns=1_000_000)


@case(
    needs=("robust",),
    proves=("SPLIT-DEV-03", "SPLIT-DEV-P03", "PACKED-DEV-04", "PACKED-DEV-P03", "BLK-DEV-21"),
    traps=(17,),
    breaks=("ENT-DRV-01",),
)
async def nothing_is_written_into_a_readable_chain(bench: Bench) -> None:
    device = await bench.start()
    content = bench.rng.randbytes(24)
    request = await device.submit(bench.queue, [content[:16], content[16:]], [])
    await device.wait(request)
    same(request.used, 0, "used length of a chain without writable bytes")
    await exercise(bench, device)


@case(
    devices=("rng",),
    proves=("SPLIT-DEV-16", "SPLIT-DEV-P03", "SPLIT-DEV-04", "PACKED-DEV-05", "PACKED-DEV-08"),
)
async def writable_buffers_are_filled_from_the_first(bench: Bench) -> None:
    device = await bench.start()
    request = await device.submit(bench.queue, [b"ignored"], [1, 3, 17, 2, 40])
    await device.wait(request)
    if not request.used:
        raise AssertionError("nothing was written")
    same(request.content[request.used :], b"\xa5" * (63 - request.used), "what lies behind the used length")


@case(needs=("robust",), proves=("SPLIT-DEV-22",))
async def a_device_at_rest_leaves_memory_alone(bench: Bench) -> None:
    """It looks once for each kick, and there is nothing; after that it waits, and does not look."""
    device = await bench.start()
    await exercise(bench, device)
    await device.kick(bench.queue, always=True)
    await settle(bench)
    async with memory_untouched(bench):
        pass
    await exercise(bench, device)


@case(proves=("SPLIT-DEV-16",))
async def buffers_may_cross_pages(bench: Bench) -> None:
    device = await bench.start()
    memory, queue = bench.host.memory, device.queues[bench.queue]
    readable, writable = small(bench)
    sources = [memory.alloc(len(content), align=PAGE, offset=PAGE - 3) for content in readable]
    for buffer, content in zip(sources, readable, strict=True):
        buffer.write(content)
    sinks = [memory.alloc(length, align=PAGE, offset=PAGE - 3) for length in writable]
    queue.add_chain([(b.address, b.size) for b in sources], [(b.address, b.size) for b in sinks])
    await device.kick(bench.queue)
    await bench.host.until(lambda: queue.has_used, timeout_ns=200_000)
    used = queue.get_used()
    same(used.length if used else None, sum(writable), "used length")

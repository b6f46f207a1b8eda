"""Queues that are reset one by one.  [virtio 1.4 §2.6.1, §4.1.4.3.1]"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from virtio_spec.blk import SECTOR_BYTES, BlkReqType, BlkStatus

from ..devices.blk import BlkRequest, VirtioBlk
from ..devices.rng import VirtioRng
from ..driver import VirtioDevice
from .blk import content, fill
from .helpers import QUIET_NS, exercise, modern, same, small
from .registry import MODERN, Bench
from .registry import case as any_case
from .rng import asked_in_vain

__all__: list[str] = []

case = partial(any_case, needs=("ring_reset",), transports=MODERN)


async def started(bench: Bench, **options: Any) -> VirtioDevice:
    """A device at DRIVER_OK whose queues can be reset."""
    return await bench.start(variant=replace(bench.variant, ring_reset=True), **options)


async def registers(device: VirtioDevice, queue: int) -> list[int]:
    """What the standard has a say in: enable, reset, size."""
    await device.transport.select(queue)
    return [await modern(device).common(name) for name in ("queue_enable", "queue_reset", "queue_size")]


async def silent(bench: Bench, queue: int | None = None) -> None:
    """``AssertionError`` if the device still touches memory, or sends a message, for a queue."""
    queue = bench.queue if queue is None else queue
    before = bench.host.interrupts(queue + 1)
    await bench.host.sleep(QUIET_NS)
    same(bench.host.memory.violations, [], f"accesses of queue {queue} after its reset")
    same(bench.host.interrupts(queue + 1), before, f"messages of queue {queue} after its reset")


@case(proves=tuple(f"PCI-CC-DEV-{n:02}" for n in (9, 10, 11, 12, 13)), traps=(27,))
async def a_queue_that_was_reset_is_as_after_a_reset(bench: Bench) -> None:
    device = await started(bench, queue_size=8)
    same(await registers(device, bench.queue), [1, 0, 8], "enable, reset and size of a queue at work")
    for size in (4, 16, 8):
        await exercise(bench, device)
        await device.reset_queue(bench.queue)
        same(
            await registers(device, bench.queue),
            [0, 0, bench.queue_size],
            "enable, reset and size after the reset",
        )
        size = min(size, bench.queue_size)
        await device.set_up_queue(bench.queue, size)
        same(await registers(device, bench.queue), [1, 0, size], "enable, reset and size of the new queue")
    await exercise(bench, device)
    await device.reset()
    same(
        await registers(device, bench.queue),
        [0, 0, bench.queue_size],
        "enable, reset and size after a device reset",
    )


@case(proves=("QRST-DEV-01", "QRST-DEV-02", "QRST-DEV-03"), traps=(27,))
async def a_queue_is_reset_while_it_works_and_set_up_with_another_size(bench: Bench) -> None:
    device = await started(bench, queue_size=8)
    sizes = (5, 16, 3, 8, 7) if bench.variant.packed else (4, 16, 2, 8, 8)
    for size in sizes:
        requests = [
            device.prepare(bench.queue, *small(bench)) for _ in range(device.queues[bench.queue].free // 2)
        ]
        await device.kick(bench.queue)
        await bench.host.sleep(bench.rng.randrange(1, 1500))
        if bench.rng.random() < 0.5:
            device.collect(bench.queue)
        lost = await device.reset_queue(bench.queue)
        same({request.head for request in requests if not request.done}, {r.head for r in lost}, "lost")
        await silent(bench)
        size = min(size, bench.queue_size)
        queue = await device.set_up_queue(bench.queue, size)
        same((queue.size, queue.returned), (size, 0), "size, and chains that came back")
        for _ in range(size + 1):
            await device.wait(await device.submit(bench.queue, *small(bench)))


@case(proves=("QRST-DEV-01",), traps=(27,))
async def a_queue_that_was_reset_hears_no_kicks(bench: Bench) -> None:
    device = await started(bench)
    await exercise(bench, device)
    await device.reset_queue(bench.queue)
    for _ in range(3):
        await device.transport.notify(bench.queue)
    await silent(bench)
    await device.set_up_queue(bench.queue, 8)
    await silent(bench)
    await exercise(bench, device)


@case(
    devices=("rng",),
    needs=("ring_reset", "health_tests"),
    proves=("QRST-DEV-01", "PCI-CC-DEV-12"),
    traps=(27,),
)
async def the_reset_of_a_queue_does_not_wait_for_the_source(bench: Bench) -> None:
    device = await started(bench)
    bench.entropy.stick(0)
    await asked_in_vain(bench, VirtioRng(device))
    await device.submit(bench.queue, [], [64, 64])
    lost = await device.reset_queue(bench.queue)
    same(len(lost) >= 2, True, "whether chains were with the device")
    await silent(bench)
    bench.entropy.heal()
    await device.set_up_queue(bench.queue, 16)
    await exercise(bench, device)


@case(devices=("blk",), profile="queues", proves=("QRST-DEV-01", "QRST-DEV-02", "QRST-DEV-03"), traps=(27,))
async def the_reset_of_a_queue_leaves_the_others_alone(bench: Bench) -> None:
    device = await started(bench, queue_size=16)
    for victim in bench.rng.sample(range(bench.queues), min(bench.queues, 3)):
        requests = [device.prepare(queue, *small(bench)) for queue in 4 * list(range(bench.queues))]
        for queue in bench.rng.sample(range(bench.queues), bench.queues):
            await device.kick(queue)
        await bench.host.sleep(bench.rng.randrange(1, 1500))
        await device.reset_queue(victim)
        await device.wait(*(request for request in requests if request.queue != victim))
        await silent(bench, victim)
        more = [device.prepare(queue, *small(bench)) for queue in range(bench.queues) if queue != victim]
        for request in more:
            await device.kick(request.queue)
        await device.wait(*more)
        await device.set_up_queue(victim, 8)
        for queue in range(bench.queues):
            await device.wait(await device.submit(queue, *small(bench)))


@case(devices=("blk",), profile="queues", proves=("QRST-DEV-02", "PCI-CC-DEV-13"), traps=(27,))
async def all_queues_are_reset_and_set_up_again(bench: Bench) -> None:
    device = await started(bench, queue_size=8)
    for queue in bench.rng.sample(range(bench.queues), bench.queues):
        await device.submit(queue, *small(bench))
    for queue in bench.rng.sample(range(bench.queues), bench.queues):
        await device.reset_queue(queue)
        same(await registers(device, queue), [0, 0, bench.queue_size], f"registers of queue {queue}")
    same(bench.host.memory.grants, [], "what the device may still touch")
    for queue in bench.rng.sample(range(bench.queues), bench.queues):
        await silent(bench, queue)
        await device.set_up_queue(queue, 4)
        await device.wait(await device.submit(queue, *small(bench)))


class Transfers:
    """Sectors that are read and written through the queues of a device, each by one request at a time."""

    def __init__(self, bench: Bench, device: VirtioDevice):
        self._bench, self._disk = bench, VirtioBlk(device)
        self._idle = list(range(bench.disk.capacity))
        self._busy: list[tuple[BlkRequest, int, bytes, bool]] = []

    async def start(self, queue: int, count: int) -> None:
        """As many as ``count`` transfers through a queue."""
        rng, device = self._bench.rng, self._disk.device
        for _ in range(min(count, device.queues[queue].free // 4)):
            sector = self._idle.pop(rng.randrange(len(self._idle)))
            if reads := rng.random() < 0.5:
                data = fill(self._bench, sector)
                request = self._disk.prepare(BlkReqType.IN, sector, room=SECTOR_BYTES, queue=queue)
            else:
                data = rng.randbytes(SECTOR_BYTES)
                request = self._disk.prepare(BlkReqType.OUT, sector, data, queue=queue)
            self._busy.append((request, sector, data, reads))
        await device.kick(queue)

    async def lose(self, queue: int) -> None:
        """Reset a queue with what is under way there."""
        await self._disk.device.reset_queue(queue)
        self._keep(lambda request: request.request.queue != queue)

    async def check(self, *, wait: bool = False) -> None:
        """``AssertionError`` if a transfer that ended, or any with ``wait``, did not do its work."""
        if wait:
            await self._disk.wait(*(request for request, *_ in self._busy))
        for queue in self._disk.device.queues:
            self._disk.device.collect(queue)
        for request, sector, data, reads in self._busy:
            if request.done:
                same(request.status, BlkStatus.OK, f"status for sector {sector}")
                found = request.data if reads else content(self._bench, sector)
                same(found, data, f"sector {sector}, {'read' if reads else 'written'}")
        self._keep(lambda request: not request.done)

    def _keep(self, wanted: Callable[[BlkRequest], bool]) -> None:
        self._idle.extend(sector for request, sector, *_ in self._busy if not wanted(request))
        self._busy = [busy for busy in self._busy if wanted(busy[0])]


@case(devices=("blk",), profile="queues", proves=("QRST-DEV-01", "QRST-DEV-02", "QRST-DEV-03"), traps=(27,))
async def a_queue_is_reset_again_and_again_while_others_move_data(bench: Bench) -> None:
    device = await started(bench, queue_size=16)
    transfers = Transfers(bench, device)
    victim = bench.rng.randrange(bench.queues)
    others = [queue for queue in range(bench.queues) if queue != victim][:2]
    for _ in range(12):
        for queue in (victim, *others):
            await transfers.start(queue, 4)
        await bench.host.sleep(bench.rng.choice((1, 50, 200, 800, bench.rng.randrange(2_000))))
        await transfers.check()
        await transfers.lose(victim)
        await device.set_up_queue(victim, bench.rng.choice((8, 16)))
    await transfers.start(victim, 4)
    await transfers.check(wait=True)

"""What a device that needs a reset does with what it had already taken."""

from dataclasses import replace

from ..devices.rng import VirtioRng
from .broken import BROKEN, spoil, works_after_a_reset
from .helpers import QUIET_NS, quiet, same, small
from .registry import MODERN, Bench, case
from .rng import asked_in_vain

__all__: list[str] = []


@case(devices=("rng",), needs=("health_tests",), proves=BROKEN)
async def a_chain_in_flight_does_not_come_back_from_a_broken_ring(bench: Bench) -> None:
    """What waits for the source has nothing in it: whoever gave it back would say that it has."""
    rng = VirtioRng(await bench.start())
    device, queue = rng.device, rng.device.queues[rng.QUEUE]
    bench.entropy.stick(0)
    await asked_in_vain(bench, rng)
    returned, before = queue.returned, bench.host.interrupts(0)
    spoil(queue)
    await device.kick(rng.QUEUE, always=True)
    await device.wait_interrupt(0, before)
    bench.entropy.heal()
    await quiet(bench, device)
    same(queue.returned, returned, "chains that came back from the broken ring")
    await works_after_a_reset(bench, device)


@case(needs=("ring_reset", "robust"), transports=MODERN, proves=("QRST-DEV-01", "PCI-CC-DEV-12"), traps=(27,))
async def a_broken_queue_can_be_reset_and_nothing_of_it_comes_later(bench: Bench) -> None:
    """With chains before and behind the one that is broken."""
    device = await bench.start(variant=replace(bench.variant, ring_reset=True), queue_size=16)
    before = bench.host.interrupts(0)
    device.prepare(bench.queue, *small(bench))
    spoil(device.queues[bench.queue])
    await device.kick(bench.queue, always=True)
    await device.wait_interrupt(0, before)
    await device.reset_queue(bench.queue)
    await bench.host.sleep(QUIET_NS)
    same(bench.host.memory.violations, [], "accesses of the queue after its reset")
    await works_after_a_reset(bench, device)

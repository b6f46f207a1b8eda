"""What a device that needs a reset does with what it had already taken."""

from ..devices.rng import VirtioRng
from .broken import BROKEN, spoil, works_after_a_reset
from .helpers import quiet, same
from .registry import Bench, case
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

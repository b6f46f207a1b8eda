"""What happens to the function below a device at work: it sleeps, loses the bus, or its host is gone.

The requests that were under way may come back afterwards, or be lost; memory is left alone meanwhile.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from virtio_spec import layout
from virtio_spec.pci import ConfigOffset

from ..driver import VirtioDevice
from ..host import HostTimeout
from .helpers import QUIET_NS, modern, same, small
from .link import Read
from .packets import Injector, raw_link
from .registry import MODERN, Bench, case
from .survival import as_new, survived, works

__all__: list[str] = []

RESET = ("RESET-DEV-01", "RESET-DEV-02")
QUEUE_RESET = ("QRST-DEV-01", "PCI-CC-DEV-12")
#: Requests at most, and descriptors that each may need.
COUNT, ROOM = 24, 2
#: Until what was on its way when something happened has arrived, where that takes time.
ON_THE_WAY_NS = 500
AT_ONCE = ("model", "native")


async def busy(bench: Bench, *, ring_reset: bool = False) -> VirtioDevice:
    """A device in the middle of more requests than it has served by the time that something happens."""
    variant = replace(bench.variant, ring_reset=True) if ring_reset else bench.variant
    device = await bench.start(queue_size=128, variant=variant)
    for _ in range(COUNT):
        if device.queues[bench.queue].free >= ROOM:
            device.prepare(bench.queue, *small(bench))
    await device.kick(bench.queue, always=True)
    await bench.host.sleep(bench.rng.randrange(300))
    return device


@asynccontextmanager
async def memory_untouched(bench: Bench) -> AsyncIterator[None]:
    """From a little later on until the end of the block, each access of memory is found, and each message."""
    memory, vectors = bench.host.memory, range(bench.queues + 1)
    if bench.backend not in AT_ONCE:
        await bench.host.sleep(ON_THE_WAY_NS)
    exposed, told = list(memory.grants), [bench.host.interrupts(vector) for vector in vectors]
    memory.grants.clear()
    try:
        yield
        await bench.host.sleep(QUIET_NS)
        same([bench.host.interrupts(vector) for vector in vectors], told, "messages meanwhile")
    finally:
        memory.grants[:] = exposed


async def afterwards(bench: Bench, device: VirtioDevice) -> None:
    """The device ends what it had, or has lost it; in any case a reset makes it work again."""
    await bench.host.sleep(QUIET_NS)
    device.collect(bench.queue)
    await survived(bench)


@case(proves=RESET, traps=(6,))
async def asleep_in_the_middle_of_work_it_leaves_memory_alone(bench: Bench) -> None:
    """D3hot: only a wake-up may be sent.  [PCI PM 1.2 §5.4.1]"""
    device = await busy(bench)
    await device.transport.set_power_state(3)
    try:
        async with memory_untouched(bench):
            pass
    finally:
        await device.transport.set_power_state(0)
    await afterwards(bench, device)


@case(proves=RESET, traps=(6,))
async def without_the_bus_in_the_middle_of_work_it_leaves_memory_alone(bench: Bench) -> None:
    """No request follows the answer to the write that ends bus mastering.  [PCIe base 5.0 §7.5.1.1.3]"""
    device = await busy(bench)
    await device.transport.set_command(bus_master=False)
    try:
        async with memory_untouched(bench):
            pass
    finally:
        await device.transport.set_command()
    await afterwards(bench, device)


@case(proves=RESET, traps=(6,))
async def a_reset_in_its_sleep_ends_the_work(bench: Bench) -> None:
    """Asleep in the middle of requests, reset as a function, and awake."""
    device = await busy(bench)
    await device.transport.set_power_state(3)
    await bench.host.sleep(bench.rng.randrange(QUIET_NS))
    await device.function_level_reset()
    bench.host.memory.forget()
    await bench.host.sleep(QUIET_NS)
    await device.transport.set_power_state(0)
    await works(bench)


async def link_comes_back(bench: Bench, device: VirtioDevice) -> None:
    """The link is reset, and the function set up again; nothing is in it of what was before."""
    async with device.transport.restored():
        await raw_link(bench).reset()
    bench.host.memory.forget()
    async with memory_untouched(bench):
        await as_new(bench, await bench.probe())
    await works(bench)


@case(needs=("link",), proves=RESET, traps=(6,))
async def a_hot_reset_in_the_middle_of_work_ends_it(bench: Bench) -> None:
    """Hot Reset, or a link that was gone without a word: what was under way is lost in both directions.

    [PCIe base 5.0 §6.6.1]
    """
    for _ in range(3):
        await link_comes_back(bench, await busy(bench))


@case(needs=("link",), proves=RESET, traps=(6,))
async def a_hot_reset_in_the_middle_of_a_packet_ends_it(bench: Bench) -> None:
    """The end of a packet is lost with the link; the next is one of its own."""
    device, link = await busy(bench), raw_link(bench)
    await link.send_cut(Injector(bench).write(link.bar(layout.MSIX_BAR), [0] * 32))
    await link_comes_back(bench, device)


@case(needs=("link",), proves=RESET, traps=(6,))
async def a_host_that_is_gone_comes_back(bench: Bench) -> None:
    """No read is answered from some moment on; what was on its way comes after the reset, and is no answer.

    Reads that were begun time out, so that the device gives up, or it has begun none.
    """
    link, kept = raw_link(bench), []

    def swallow(read: Read, packet: list[int]) -> Sequence[list[int]]:
        link.lost(read)
        kept.append(packet)
        return []

    device = await busy(bench)
    link.tamper = swallow
    await device.kick(bench.queue, always=True)
    before = bench.host.interrupts(0)
    try:
        await device.wait_interrupt(0, before, timeout_ns=2 * bench.completion_timeout_ns + QUIET_NS)
    except HostTimeout:
        await bench.host.sleep(bench.completion_timeout_ns)
    identity = await bench.host.config_read(ConfigOffset.VENDOR_ID, 2)
    same(identity, 0x1AF4, "vendor id when the host is back")
    link.tamper = None
    await device.function_level_reset()
    bench.host.memory.forget()
    if kept:
        await link.send(*kept[-3:])
    await bench.host.sleep(QUIET_NS)
    await works(bench)


@case(needs=("ring_reset", "robust"), transports=MODERN, proves=QUEUE_RESET, traps=(6, 27))
async def without_the_bus_the_reset_of_a_queue_ends_and_nothing_of_it_comes_later(bench: Bench) -> None:
    """What waits for the bus is given up, by DEVICE_NEEDS_RESET if not without."""
    device = await busy(bench, ring_reset=True)
    await device.transport.set_command(bus_master=False)
    try:
        async with memory_untouched(bench):
            await modern(device).reset_queue(bench.queue)
        await device.reset_queue(bench.queue)  # it is, so that this takes back its memory
    finally:
        await device.transport.set_command()
    await bench.host.sleep(QUIET_NS)
    same(bench.host.memory.violations, [], "accesses of the queue after its reset")
    await survived(bench)

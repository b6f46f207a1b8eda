"""Kicks that say more than their queue, and where they go.  [virtio 1.4 §2.9, §4.1.4.4, §4.1.5.2]"""

from dataclasses import replace

from virtio_spec.virtio import Feature
from virtio_spec.virtio_pci import CfgType

from ..driver import VirtioDevice
from .helpers import exercise, modern, quiet, same, settle, small
from .registry import MODERN, ONCE, Bench, case

__all__: list[str] = []

DATA, CONFIG = ("notification_data",), ("notif_config_data",)


async def work(bench: Bench, device: VirtioDevice) -> None:
    """Requests over several rounds of the ring, each of which needs its kick to be understood."""
    for _ in range(2 * device.queues[bench.queue].size + 1):
        await device.wait(await device.submit(bench.queue, *small(bench)))
        await bench.host.sleep(bench.rng.randrange(1, 400))
    requests = [device.prepare(bench.queue, *small(bench)) for _ in range(2)]
    await device.kick(bench.queue)
    await device.kick(bench.queue, always=True)
    await device.wait(*requests)
    await exercise(bench, device)


@case(needs=DATA, proves=("SPLIT-DEV-22", "PCI-NTF-DEV-08", "PACKED-DEV-01"), transports=MODERN)
async def a_kick_of_four_bytes_is_heard(bench: Bench) -> None:
    device = await bench.start(queue_size=4, variant=replace(bench.variant, notification_data=True))
    await work(bench, device)


@case(needs=CONFIG, proves=("SPLIT-DEV-22", "PCI-NTF-DEV-05", "PACKED-DEV-01"), transports=MODERN)
async def a_kick_with_what_the_device_gave_for_it_is_heard(bench: Bench) -> None:
    device = await bench.start(queue_size=4, variant=replace(bench.variant, notif_config_data=True))
    await work(bench, device)


@case(needs=(*DATA, *CONFIG), proves=("SPLIT-DEV-22", "PCI-NTF-DEV-08", "PACKED-DEV-01"), transports=MODERN)
async def a_kick_of_four_bytes_with_what_the_device_gave_for_it_is_heard(bench: Bench) -> None:
    variant = replace(bench.variant, notification_data=True, notif_config_data=True)
    await work(bench, await bench.start(queue_size=4, variant=variant))


@case(needs=DATA, proves=("SPLIT-DEV-22",), traps=(16,), transports=MODERN)
async def kicks_of_four_bytes_without_a_reason_are_harmless(bench: Bench) -> None:
    device = await bench.start(queue_size=4, variant=replace(bench.variant, notification_data=True))
    for _ in range(3):
        for _ in range(3):
            await device.kick(bench.queue, always=True)
        await quiet(bench, device)
        await exercise(bench, device)
        await settle(bench)


@case(
    needs=DATA,
    proves=(*(f"PCI-NTF-DEV-{n:02}" for n in (1, 7, 8, 9, 10, 11)), "FEAT-DEV-04"),
    transports=MODERN,
    variants=ONCE,
)
async def there_is_room_for_kicks_of_four_bytes(bench: Bench) -> None:
    transport = modern(await bench.probe())
    offered = await transport.offered_features()
    same(offered >> Feature.NOTIFICATION_DATA & 1, 1, "NOTIFICATION_DATA offered")
    place, multiplier = transport.structure(CfgType.NOTIFY), transport.notify_multiplier
    same(place.offset % 4, 0, "offset of the structure modulo 4")
    if multiplier & multiplier - 1 or multiplier % 4:
        raise AssertionError(f"notify_off_multiplier is {multiplier}")
    for queue in range(await transport.num_queues()):
        end = await transport.notify_offset(queue) + 4
        if place.length < end:
            raise AssertionError(f"the kicks of queue {queue} end at {end}, behind {place.length}")


@case(
    devices=("blk",), profile="queues", needs=(*DATA, *CONFIG), proves=("PCI-NTF-DEV-11",), transports=MODERN
)
async def each_queue_is_kicked_as_it_wants(bench: Bench) -> None:
    for data, config in ((True, False), (False, True), (True, True)):
        variant = replace(bench.variant, notification_data=data, notif_config_data=config)
        device = await bench.start(queue_size=8, variant=variant)
        for _ in range(2):
            for queue in bench.rng.sample(range(bench.queues), bench.queues):
                await device.wait(await device.submit(queue, *small(bench)))
        requests = [device.prepare(queue, *small(bench)) for queue in 2 * list(range(bench.queues))]
        for queue in bench.rng.sample(range(bench.queues), bench.queues):
            await device.kick(queue)
        await device.wait(*requests)

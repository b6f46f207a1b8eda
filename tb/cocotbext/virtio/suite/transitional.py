"""A transitional device: both interfaces at once, and which of them decides.

[virtio 1.4 §2.2.3, §2.4.4, §4.1.2.3]
"""

from virtio_spec.virtio import DeviceStatus
from virtio_spec.virtio_pci import Interface

from ..driver import VirtioDevice
from ..split import SplitQueue
from .helpers import exercise, legacy, modern, quiet, same, small
from .registry import LEGACY, Bench, case

__all__: list[str] = []

BOTH = (Interface.TRANSITIONAL,)


async def both(bench: Bench) -> tuple[VirtioDevice, VirtioDevice]:
    """The same device for a legacy and for a modern driver."""
    return await bench.probe(), await bench.probe(transport="modern")


@case(proves=("FEAT-LEG-DEV-02", "PCI-LEG-DEV-11"), transports=LEGACY, interfaces=BOTH)
async def a_transitional_device_has_both_interfaces(bench: Bench) -> None:
    for transport in ("modern", "legacy"):
        device = await bench.probe(transport=transport)
        await device.start()
        await exercise(bench, device)


@case(
    needs=("robust",),
    proves=("PCI-LEG-DEV-07", "FEAT-LEG-DEV-01", "FEAT-LEG-DEV-03"),
    traps=(25,),
    transports=LEGACY,
    interfaces=BOTH,
)
async def high_features_are_void_after_a_change_of_mind(bench: Bench) -> None:
    """A modern driver that accepted VERSION_1, then a legacy one, then a modern one that does not."""
    old, new = await bench.probe(), await bench.probe(transport="modern")
    await new.start()
    same(await new.transport.accepted_features(), new.accepted, "features of the modern driver")
    await old.start()
    same(await old.transport.accepted_features(), old.accepted, "features of the legacy driver")
    await exercise(bench, old)
    await new.reset()
    await new.acknowledge()
    await modern(new).set_common("driver_feature", 0)  # only bits 0 to 31
    status = await new.transport.add_status(DeviceStatus.FEATURES_OK)
    same(status & DeviceStatus.FEATURES_OK, 0, "FEATURES_OK without VERSION_1")
    await new.start()
    await exercise(bench, new)


@case(proves=("INIT-LEG-DEV-02", "FEAT-LEG-DEV-03"), traps=(8, 9), transports=LEGACY, interfaces=BOTH)
async def the_interface_in_use_decides_when_buffers_are_used(bench: Bench) -> None:
    """On one device: not before DRIVER_OK for a modern driver, before it for the legacy one after it."""
    new = await bench.probe(transport="modern")
    await new.acknowledge()
    await new.negotiate()
    await new.features_ok()
    await new.set_up_interrupts()
    queue = await new.set_up_queue(0, 8)
    request = await new.submit(0, *small(bench))
    await quiet(bench, new)
    same((queue.returned, request.done), (0, False), "chains of a modern driver before DRIVER_OK")
    old = await bench.probe()
    await old.reset()
    bench.host.memory.forget()
    await old.set_up_queue(0, interrupts=False)
    await old.wait(await old.submit(0, *small(bench)))


@case(
    needs=("robust",),
    proves=("FEAT-LEG-DEV-03", "FEAT-LEG-DEV-01"),
    traps=(25,),
    transports=LEGACY,
    interfaces=BOTH,
    breaks=("FEAT-LEG-DRV-03",),
)
async def what_the_other_interface_writes_is_ignored_while_the_legacy_one_is_in_use(bench: Bench) -> None:
    old, new = await both(bench)
    await old.start()
    transport, status = modern(new), await old.transport.status()
    ring = SplitQueue(bench.host.memory, 0, 4, rng=bench.rng)
    for name, value in (("driver_feature_select", 1), ("queue_select", 5), ("queue_size", 2)):
        before = await transport.common(name)
        await transport.set_common(name, value)
        same(await transport.common(name), before, f"{name} written through the modern interface")
    await transport.set_status(status | DeviceStatus.FAILED | DeviceStatus.FEATURES_OK)
    same(await old.transport.status(), status, "device status")
    await transport.set_up_queue(0, 4, ring.desc.address, ring.avail.address, ring.used.address)
    await transport.accept_features(0)
    same(await old.transport.accepted_features(), old.accepted, "features of the legacy driver")
    request = old.prepare(0, *small(bench))
    await transport.notify(0)
    await quiet(bench, old)
    await old.kick()
    await old.wait(request)


@case(
    needs=("robust",),
    proves=("FEAT-LEG-DEV-03", "FEAT-LEG-DEV-01"),
    traps=(25,),
    transports=LEGACY,
    interfaces=BOTH,
    breaks=("FEAT-LEG-DRV-03",),
)
async def what_the_other_interface_writes_is_ignored_while_the_modern_one_is_in_use(bench: Bench) -> None:
    old, new = await both(bench)
    await new.start()
    transport, status = legacy(old), await new.transport.status()
    features = await new.transport.accepted_features()
    await transport.accept_features(0)
    await transport.select(5)
    await transport.set_header("queue_address", 0x1000)
    await transport.select(0)
    await transport.set_header("queue_address", 0)
    await transport.set_status(status | DeviceStatus.FAILED)
    same(await new.transport.accepted_features(), features, "features of the modern driver")
    same(await new.transport.status(), status, "device status")
    request = new.prepare(0, *small(bench))
    await transport.notify(0)
    await quiet(bench, new)
    await new.kick()
    await new.wait(request)


@case(proves=("RESET-DEV-01", "FEAT-LEG-DEV-03"), traps=(7, 25), transports=LEGACY, interfaces=BOTH)
async def both_interfaces_can_reset_the_device_and_see_its_state(bench: Bench) -> None:
    old, new = await both(bench)
    for user, other in ((old, new), (new, old)):
        for resets in (user, other):
            await user.start()
            same(await other.transport.status() & DeviceStatus.DRIVER_OK, DeviceStatus.DRIVER_OK, "DRIVER_OK")
            await exercise(bench, user)
            await resets.reset()
            same((await old.transport.status(), await new.transport.status()), (0, 0), "device status")
            bench.host.memory.forget()


@case(
    needs=("robust",),
    proves=("FEAT-LEG-DEV-03", "RESET-DEV-01"),
    traps=(25,),
    transports=LEGACY,
    interfaces=BOTH,
)
async def the_first_write_after_a_reset_chooses_the_interface(bench: Bench) -> None:
    """A selector or a kick counts as well; a status of 0 does not."""
    old, new = await both(bench)
    await new.transport.notify(0)  # the first one selects a queue to find out where to write to
    first = {
        "a selector": (modern(new).set_common, ("queue_select", 0)),
        "a kick": (new.transport.notify, (0,)),
        "a legacy selector": (legacy(old).select, (0,)),
        "a legacy kick": (old.transport.notify, (0,)),
    }
    for what, (write, arguments) in first.items():
        await new.reset()
        await old.transport.set_status(0)
        await write(*arguments)
        await old.transport.set_status(DeviceStatus.ACKNOWLEDGE)
        expected = DeviceStatus.ACKNOWLEDGE if "legacy" in what else 0
        same(
            await old.transport.status(),
            expected,
            f"status written through the legacy interface after {what}",
        )
        await new.transport.set_status(DeviceStatus.ACKNOWLEDGE | DeviceStatus.DRIVER)
        expected = DeviceStatus.ACKNOWLEDGE | (0 if "legacy" in what else DeviceStatus.DRIVER)
        same(
            await new.transport.status(),
            expected,
            f"status written through the modern interface after {what}",
        )

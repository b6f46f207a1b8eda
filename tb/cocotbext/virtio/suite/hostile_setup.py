"""A driver that breaks the rules of initialisation, registers, notifications and resets.

What holds afterwards is the same for all of them, see :mod:`.survival`; a case says here what it does, and
what has to hold besides.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from virtio_spec import layout, wire
from virtio_spec.blk import BlkFeature
from virtio_spec.net import NetFeature
from virtio_spec.pci import Capability
from virtio_spec.virtio import DeviceStatus, Feature
from virtio_spec.virtio_pci import CfgType, CommonCfg

from ..driver import VirtioDevice
from ..function import DriverError
from ..modern import Modern
from .common import negotiated
from .helpers import CONFIG_BYTES, QUIET_NS, exercise, modern, prepared, quiet, same, small
from .registry import EVERY, EVERY_DEVICE, LEGACY, MODERN, Bench, case

__all__ = ["SURVIVES"]

#: What every case shows in which a driver breaks something: a reset ends it.
SURVIVES = ("RESET-DEV-01", "RESET-DEV-02")
WITH_CONFIG = ("blk", "net", "vmmci")
STEPS = ("acknowledge", "driver", "features", "features_ok", "queues", "driver_ok")
ALL = DeviceStatus.ACKNOWLEDGE | DeviceStatus.DRIVER | DeviceStatus.FEATURES_OK | DeviceStatus.DRIVER_OK
READ_ONLY = ("device_feature", "num_queues", "config_generation", "queue_notify_off")


async def step(bench: Bench, device: VirtioDevice, name: str) -> None:
    """One of :data:`STEPS`, whatever was before, and whatever the device says to it."""
    with suppress(DriverError):
        if name == "features":
            await device.negotiate()
        elif name == "features_ok":
            await device.features_ok()
        elif name == "queues":
            if await device.transport.num_queues() > bench.queue:
                await device.set_up_queue(bench.queue, 8, interrupts=False)
        elif name == "driver_ok":
            await device.driver_ok()
        else:
            await device.transport.add_status(DeviceStatus[name.upper()])


async def use(bench: Bench, device: VirtioDevice) -> int:
    """Offer a request in a queue that was set up; how many came back."""
    if bench.queue not in device.queues:
        return 0
    ring = device.queues[bench.queue]
    device.prepare(bench.queue, *small(bench))
    await device.transport.notify(bench.queue)
    await bench.host.sleep(QUIET_NS)
    return ring.returned


async def initialise(bench: Bench, steps: Iterable[str]) -> VirtioDevice:
    """These steps in this order, from a reset."""
    device = await bench.probe()
    await device.reset()
    for name in steps:
        await step(bench, device, name)
    return device


# -- initialisation ------------------------------------------------------------------------------------


@case(
    devices=EVERY_DEVICE,
    proves=("STATUS-DEV-01",),
    breaks=(*(f"INIT-DRV-{n:02}" for n in (1, 3, 4, 5, 6, 8, 9)), "STATUS-DRV-01"),
)
async def steps_of_the_initialisation_are_missing_or_in_another_order(bench: Bench) -> None:
    orders = [[name for name in STEPS if name != missing] for missing in STEPS]
    orders += [bench.rng.sample(STEPS, len(STEPS)) for _ in range(3)]
    for order in orders:
        device = await initialise(bench, order)
        back = await use(bench, device)
        if "driver_ok" not in order and bench.transport == "modern":
            same(back, 0, "chains that came back without DRIVER_OK")


@case(devices=EVERY_DEVICE, proves=SURVIVES, breaks=("STATUS-DRV-01", "INIT-DRV-01"))
async def all_of_the_status_is_written_at_once(bench: Bench) -> None:
    device = await initialise(bench, ["features", "queues"])
    await device.transport.set_status(ALL)
    await use(bench, device)


@case(
    devices=EVERY_DEVICE,
    proves=SURVIVES,
    breaks=("INIT-DRV-02", "INIT-DRV-14", "STATUS-DRV-02", "STATUS-DRV-03"),
)
async def a_driver_starts_again_without_a_reset(bench: Bench) -> None:
    """While a request is under way; after it has given the device up, too."""
    for given_up in (False, True):
        device = await bench.start()
        if device.queues:
            await device.submit(bench.queue, *small(bench))
        if given_up:
            await device.transport.add_status(DeviceStatus.FAILED)
        await device.transport.set_status(DeviceStatus.ACKNOWLEDGE)
        for name in STEPS:
            await step(bench, device, name)
        await use(bench, device)


@case(proves=SURVIVES, transports=MODERN, breaks=("FEAT-DRV-07", "INIT-DRV-07", "INIT-DRV-14", "RFB-DRV-01"))
async def a_driver_that_was_refused_goes_on(bench: Bench) -> None:
    device = await initialise(bench, ["acknowledge", "driver"])
    await device.transport.accept_features(0)
    for name in ("features_ok", "queues", "driver_ok"):
        await step(bench, device, name)
    await use(bench, device)


@case(proves=("FEAT-DEV-03",), transports=MODERN, breaks=("RFB-DRV-10", "FEAT-DRV-01"))
async def virtual_functions_that_are_not_offered_are_refused(bench: Bench) -> None:
    same(await negotiated(bench, 1 << Feature.VERSION_1 | 1 << Feature.SR_IOV), 0, "FEATURES_OK with SR_IOV")


@case(devices=("blk",), proves=("FEAT-DEV-03",), transports=MODERN, breaks=("BLK-DRV-05", "FEAT-DRV-01"))
async def zones_that_are_not_offered_are_refused(bench: Bench) -> None:
    offered = await (await bench.probe()).transport.offered_features()
    if not offered >> BlkFeature.ZONED & 1:
        same(await negotiated(bench, offered | 1 << BlkFeature.ZONED), 0, "FEATURES_OK with ZONED")


@case(devices=("net",), proves=SURVIVES, breaks=("FEAT-DRV-02",))
async def features_are_accepted_without_those_that_they_need(bench: Bench) -> None:
    """The device may refuse, or do without; the driver does not look."""
    for feature in (NetFeature.CTRL_RX, NetFeature.MQ, NetFeature.CTRL_MAC_ADDR, NetFeature.GUEST_TSO4):
        device = await initialise(bench, ["acknowledge", "driver"])
        offered = await device.transport.offered_features()
        await device.transport.accept_features(offered & (1 << feature) | 1 << Feature.VERSION_1)
        for name in ("features_ok", "queues", "driver_ok"):
            await step(bench, device, name)
        await use(bench, device)


@case(
    devices=EVERY_DEVICE,
    proves=("FEAT-LEG-DEV-03",),
    transports=LEGACY,
    breaks=("FEAT-DRV-01", "FEAT-DRV-04", "FEAT-DRV-05"),
)
async def a_legacy_driver_accepts_whatever_there_could_be(bench: Bench) -> None:
    device = await initialise(bench, ["acknowledge", "driver"])
    offered = await device.transport.offered_features()
    await device.transport.accept_features(~offered & 0xFFFF_FFFF)
    for name in ("queues", "driver_ok"):
        await step(bench, device, name)
    await use(bench, device)


@case(devices=("rng", "blk", "vmmci"), proves=SURVIVES, transports=LEGACY, breaks=("RFB-LEG-DRV-01",))
async def a_legacy_driver_does_not_accept_any_layout(bench: Bench) -> None:
    device = await bench.start(features=~(1 << Feature.ANY_LAYOUT))
    same(device.accepted >> Feature.ANY_LAYOUT & 1, 0, "ANY_LAYOUT, accepted")
    await exercise(bench, device)


# -- device configuration ------------------------------------------------------------------------------


@case(
    devices=WITH_CONFIG,
    proves=SURVIVES,
    breaks=("CFG-DRV-01", "CFG-DRV-03", "NET-DRV-001", "PCI-LAY-DRV-01", "INIT-DRV-11"),
)
async def the_configuration_is_read_and_written_as_it_must_not(bench: Bench) -> None:
    """Fields without their features, accesses of every size, and of none of the fields; at every time."""

    async def touch(device: VirtioDevice) -> None:
        end = CONFIG_BYTES[bench.device]
        for size in (1, 2, 4, *((8,) if bench.transport == "modern" else ())):
            offsets = range(0, end // size * size, size)
            for offset in bench.rng.sample(offsets, min(3, len(offsets))):
                await device.transport.config_read(offset, size)
                await device.transport.config_write(offset, size, bench.rng.getrandbits(8 * size))

    await touch(await initialise(bench, ["acknowledge", "driver"]))
    device = await bench.start(features=0)
    await touch(device)
    await bench.host.sleep(bench.config_hold_ns)  # then no read that stopped half-way is waited for
    await exercise(bench, device)


@case(devices=("blk", "vmmci"), proves=SURVIVES, transports=LEGACY, breaks=("PCI-LEG-DRV-03",))
async def the_configuration_is_looked_for_where_it_is_not(bench: Bench) -> None:
    """As if MSI-X was off while it is on, and the other way round; writes reach the vectors, if any."""
    for msix in (True, False):
        await bench.start(interrupts=msix)
        start = 20 if msix else 24
        for offset in range(start, start + 16, 4):
            await bench.host.bar_read(layout.LEGACY_BAR, offset, 4)
            await bench.host.bar_write(layout.LEGACY_BAR, offset, 4, bench.rng.getrandbits(32))


# -- registers -----------------------------------------------------------------------------------------


@case(proves=SURVIVES, transports=MODERN, breaks=("PCI-CC-DRV-01", "PCI-LAY-DRV-01"))
async def registers_are_written_that_are_none_and_in_sizes_that_are_wrong(bench: Bench) -> None:
    """Read-only ones with anything; the others, but the status, with what they hold, in parts."""
    device = await bench.start()
    transport, host = modern(device), bench.host
    for name in READ_ONLY:
        before, at = await transport.common(name), wire.field_offset(CommonCfg, name)
        for size in (1, 2, 4):
            await transport.write(CfgType.COMMON, at & -size, size, await _beside(bench, transport, at, size))
        await transport.set_common(name, bench.rng.getrandbits(8))
        same(await transport.common(name), before, f"{name} after it was written")
    for name in ("queue_desc", "queue_driver", "queue_device", "queue_select"):
        at = layout.COMMON_OFFSET + wire.field_offset(CommonCfg, name)
        for offset in range(at, at + 2):
            octet = await host.bar_read(layout.MODERN_BAR, offset, 1)
            await host.bar_write(layout.MODERN_BAR, offset, 1, octet)
    await exercise(bench, device)


async def _beside(bench: Bench, transport: Modern, at: int, size: int) -> int:
    """Something for a write that covers ``at``: its neighbours get what they hold."""
    raw = (await transport.read(CfgType.COMMON, at & -size, size)).to_bytes(size, "little")
    changed = bytearray(raw)
    changed[at % size] ^= bench.rng.randrange(1, 256)
    return int.from_bytes(changed, "little")


@case(proves=SURVIVES, transports=MODERN, breaks=("PCI-CFGA-DRV-01", "PCI-CFGA-DRV-02", "PCI-CFGA-DRV-03"))
async def the_window_is_used_askew(bench: Bench) -> None:
    """It may do nothing, or something near; none of that stands in the way of the device's work."""
    device = await bench.start()
    transport = modern(device)
    at = layout.COMMON_OFFSET + wire.field_offset(CommonCfg, "driver_feature_select")
    for offset, length in ((at + 1, 4), (at + 2, 4), (at + 1, 2), (at + 3, 2), (at, 3), (at, 8), (at, 0)):
        data = await transport.aim_window(layout.MODERN_BAR, offset, length)
        await bench.host.config_read(data, 4)
        await bench.host.config_write(data, 4, 0)
    for size, shift in ((1, 1), (2, 2), (1, 3)):  # not as long as it was said, and not where
        data = await transport.aim_window(layout.MODERN_BAR, at, 4)
        await bench.host.config_read(data + shift, size)
        await bench.host.config_write(data + shift, size, 0)
    await exercise(bench, device)


@case(proves=SURVIVES, breaks=("MSIX-DRV-04", "MSIX-DRV-05"))
async def a_driver_does_not_look_whether_its_vector_was_taken(bench: Bench) -> None:
    device = await bench.start()
    vectors = await device.transport.vectors()
    await device.transport.set_queue_vector(bench.queue, vectors)
    before = [bench.host.interrupts(vector) for vector in range(vectors)]
    await device.wait(await device.submit(bench.queue, *small(bench)))
    await bench.host.sleep(QUIET_NS)
    same([bench.host.interrupts(vector) for vector in range(vectors)], before, "messages without a vector")


# -- notifications -------------------------------------------------------------------------------------


@case(
    proves=SURVIVES,
    transports=MODERN,
    variants=EVERY,
    needs=("notification_data", "notif_config_data"),
    breaks=(*(f"PCI-NTF-DRV-{n:02}" for n in range(1, 7)), "PACKED-DRV-04", "NOTIF-DRV-P01", "NOTIF-DRV-P02"),
)
async def kicks_say_something_wrong(bench: Bench) -> None:
    """In size, in the queue, in what stands for it, and in how far the driver is; a right one comes last."""
    for data in (False, True):
        for config in (False, True):
            variant = replace(bench.variant, notification_data=data, notif_config_data=config)
            device = await bench.start(variant=variant)
            transport, request = modern(device), device.prepare(bench.queue, *small(bench))
            named = await transport.notification_id(bench.queue) if config else bench.queue
            for value, size in (
                *((named, 1), (named, 2 if data else 4)),
                *((bench.queues, 4 if data else 2), (0xFFFF, 2), (bench.rng.getrandbits(32), 4)),
                (named | bench.rng.getrandbits(16) << 16, 4),
            ):
                await transport.notify(bench.queue, value, size=size)
            await device.kick(bench.queue, always=True)
            await device.wait(request)


# -- resets --------------------------------------------------------------------------------------------


@case(proves=SURVIVES, transports=MODERN, breaks=("PCI-CC-DRV-05",))
async def a_driver_does_not_wait_for_its_reset(bench: Bench) -> None:
    """What it writes meanwhile may count or not."""
    for _ in range(3):
        device = await bench.start()
        device.prepare(bench.queue, *small(bench))
        await device.transport.notify(bench.queue)
        await bench.host.sleep(bench.rng.randrange(1, 500))
        await device.transport.set_status(0)
        for name in STEPS:
            await step(bench, device, name)


@case(
    proves=SURVIVES,
    transports=MODERN,
    variants=EVERY,
    needs=("ring_reset",),
    breaks=("QRST-DRV-01", "PCI-CC-DRV-07"),
)
async def a_driver_does_not_wait_for_the_reset_of_a_queue(bench: Bench) -> None:
    """What it writes meanwhile may count or not: the queue is an old or a new one, at 0, or not there."""
    device = await bench.start(variant=replace(bench.variant, ring_reset=True))
    transport = modern(device)
    bench.host.memory.grant(0, 1 << 20, readable=True)
    await device.submit(bench.queue, *small(bench))
    await transport.select(bench.queue)
    await transport.set_common("queue_reset", 1)
    ring = device.make_ring(bench.queue, 8)
    await transport.set_up_queue(bench.queue, ring.size, *(area.address for area in ring.areas))
    await transport.enable_queue(bench.queue)
    await transport.notify(bench.queue)
    await bench.host.sleep(QUIET_NS)


@case(proves=SURVIVES, transports=MODERN, variants=EVERY, needs=("ring_reset",), breaks=("QRST-DRV-03",))
async def a_queue_that_was_reset_is_enabled_as_it_is(bench: Bench) -> None:
    """Its addresses may be the old ones, or 0, where there is nothing."""
    device = await bench.start(variant=replace(bench.variant, ring_reset=True))
    transport = modern(device)
    bench.host.memory.grant(0, 1 << 20, readable=True)
    await transport.reset_queue(bench.queue)
    await transport.enable_queue(bench.queue)
    await transport.notify(bench.queue)
    await bench.host.sleep(QUIET_NS)


@case(proves=SURVIVES, variants=EVERY, breaks=("CLEAN-DRV-02", "CLEAN-DRV-01"))
async def the_memory_of_a_live_queue_is_used_for_something_else(bench: Bench) -> None:
    device = await bench.start(queue_size=8)
    await exercise(bench, device)
    device.prepare(bench.queue, *small(bench))
    for area in device.queues[bench.queue].areas:
        area.write(bytes(area.size))
    await device.transport.notify(bench.queue)
    await bench.host.sleep(QUIET_NS)


@case(proves=("STATUS-DEV-01",), breaks=("INIT-DRV-15",), transports=MODERN)
async def kicks_before_driver_ok_are_not_remembered_wrongly(bench: Bench) -> None:
    """Of queues that are set up and of those that are not; what was kicked then is found in the end."""
    device = await prepared(bench)
    await device.transport.notify(bench.queue)
    ring = await device.set_up_queue(bench.queue, 8, interrupts=False)
    request = device.prepare(bench.queue, *small(bench))
    for _ in range(3):
        await device.transport.notify(bench.queue)
    await quiet(bench, device)
    same(ring.returned, 0, "chains that came back before DRIVER_OK")
    await device.driver_ok()
    await device.kick(bench.queue, always=True)
    await device.wait(request)


@case(proves=SURVIVES, breaks=("PCI-CAP-DRV-09",))
async def capabilities_are_written(bench: Bench) -> None:
    """All of their bytes that say what the function is; not those that control it."""
    device, host = await bench.start(), bench.host
    for found in device.transport.capabilities:
        if found.identity == Capability.VENDOR:
            at = found.position
            before = await host.config_read(at, 4)
            await host.config_write(at, 4, bench.rng.getrandbits(32))
            same(await host.config_read(at, 4), before, "head of a capability after it was written")
    await exercise(bench, device)

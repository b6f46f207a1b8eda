"""The rules of the legacy interface: ids, features, status, and when buffers are used.

[virtio 1.4 §2.2.3, §3.1.2, §4.1.2.3, §5.2.5.1, §5.2.6.3, §6.4]
"""

from virtio_spec import layout
from virtio_spec.blk import BlkFeature, BlkReqType
from virtio_spec.pci import Capability, ConfigOffset
from virtio_spec.virtio import DeviceStatus, Feature
from virtio_spec.virtio_pci import TRANSITIONAL_DEVICE_IDS, LegacyHeader
from virtio_spec.wire import field_offset

from ..devices.blk import VirtioBlk
from ..function import walk
from .helpers import QUIET_NS, exercise, prepared, quiet, same, small
from .registry import EVERY_DEVICE, LEGACY, TYPES, Bench, case

__all__: list[str] = []

WITH_LEGACY = ("transitional", "legacy")
#: Stands in a list of the standard beside ANY_LAYOUT, and is not to be negotiated.  [§6.4]
BAD_FEATURE = 30


# -- what the function says it is ------------------------------------------------------------------------


@case(
    proves=(
        "PCI-ID-DEV-02",
        "PCI-ID-DEV-03",
        "PCI-ID-DEV-04",
        "PCI-LEG-DEV-01",
        "PCI-LEG-DEV-02",
        "PCI-LEG-DEV-03",
    ),
    interfaces=WITH_LEGACY,
)
async def the_ids_are_those_of_a_transitional_device(bench: Bench) -> None:
    read, kind = bench.host.config_read, TYPES[bench.device]
    same(await read(ConfigOffset.VENDOR_ID, 2), 0x1AF4, "vendor id")
    same(await read(ConfigOffset.DEVICE_ID, 2), TRANSITIONAL_DEVICE_IDS[kind], "device id")
    same(await read(ConfigOffset.REVISION_ID, 1), 0, "revision")
    same(await read(ConfigOffset.SUBSYSTEM_ID, 2), kind, "subsystem id")


@case(devices=EVERY_DEVICE, proves=("PCI-LEG-DEV-04", "PCI-LEG-DEV-11"), transports=LEGACY)
async def the_registers_are_in_io_bar_0(bench: Bench) -> None:
    same(await bench.host.config_read(ConfigOffset.BAR0, 4) & 3, 1, "the lowest bits of BAR 0")
    device = await bench.start()
    found = await bench.host.bar_read(layout.LEGACY_BAR, field_offset(LegacyHeader, "device_status"), 1)
    same(found, await device.transport.status(), "device status")


@case(devices=EVERY_DEVICE, proves=("FEAT-LEG-DEV-02",), transports=LEGACY, interfaces=LEGACY)
async def a_legacy_device_has_no_virtio_capabilities(bench: Bench) -> None:
    found = [known.identity for known in await walk(bench.host)]
    same(Capability.VENDOR in found, False, "whether there are vendor capabilities")
    same(await bench.host.config_read(ConfigOffset.BAR0 + 4 * layout.MODERN_BAR, 4), 0, "BAR 4")


# -- features and status ---------------------------------------------------------------------------------


@case(proves=("RFB-LEG-DEV-01", "RFB-LEG-DEV-03", "RFB-LEG-DEV-04", "BLK-DEV-06"), transports=LEGACY)
async def any_layout_is_offered_and_what_belongs_to_no_legacy_device_is_not(bench: Bench) -> None:
    offered = await (await bench.probe()).transport.offered_features()
    if bench.interface.has_modern or bench.has("robust"):  # else it need not: it is no transitional device
        same(offered >> Feature.ANY_LAYOUT & 1, 1, "ANY_LAYOUT in the offer")
    same(offered >> BAD_FEATURE & 1, 0, "bit 30 in the offer")
    same(offered >> Feature.NOTIFY_ON_EMPTY & 1, 0, "NOTIFY_ON_EMPTY in the offer")
    same(offered >> 32, 0, "the offer above bit 31")
    if bench.device == "blk":
        same(offered >> BlkFeature.ZONED & 1, 0, "ZONED in the offer")


@case(
    needs=("robust",), devices=EVERY_DEVICE, proves=("FEAT-LEG-DEV-03", "BLK-LEG-DEV-02"), transports=LEGACY
)
async def what_is_not_offered_does_not_count(bench: Bench) -> None:
    device = await bench.probe()
    transport = device.transport
    await device.acknowledge()
    offered = await transport.offered_features()
    for wanted in (0xFFFF_FFFF, bench.rng.getrandbits(32), 0, offered):
        await transport.accept_features(wanted)
        same(await transport.accepted_features(), wanted & offered, f"the features after writing {wanted:#x}")
    await device.start()
    await transport.accept_features(0)
    same(await transport.accepted_features(), device.accepted, "the features after DRIVER_OK")
    await exercise(bench, device)


@case(
    needs=("robust",),
    devices=EVERY_DEVICE,
    proves=("FEAT-LEG-DEV-03", "BLK-LEG-DEV-02"),
    transports=LEGACY,
    breaks=("INIT-LEG-DRV-01", "FEAT-LEG-DRV-03"),
)
async def there_is_no_features_ok(bench: Bench) -> None:
    device = await bench.probe()
    transport, steps = device.transport, 0
    for step in (DeviceStatus.ACKNOWLEDGE, DeviceStatus.DRIVER):
        steps |= step
        await transport.set_status(step | DeviceStatus.FEATURES_OK)
        same(await transport.status(), steps, "device status after FEATURES_OK")
    await transport.set_status(DeviceStatus.DRIVER_OK | DeviceStatus.DEVICE_NEEDS_RESET)
    steps |= DeviceStatus.DRIVER_OK
    same(await transport.status(), steps, "device status after DRIVER_OK")


@case(proves=("INIT-LEG-DEV-02", "FEAT-LEG-DEV-03"), traps=(9,), transports=LEGACY)
async def buffers_are_used_before_driver_ok(bench: Bench) -> None:
    device = await prepared(bench)
    await device.set_up_interrupts()
    queue, before = await device.set_up_queue(0), bench.host.interrupts(1)
    for _ in range(2):
        await exercise(bench, device)
    await device.wait_interrupt(1, before + 1)
    same(queue.returned, 2, "chains that came back before DRIVER_OK")
    await device.driver_ok()
    await exercise(bench, device)


@case(proves=("INIT-LEG-DEV-02",), traps=(9,), transports=LEGACY)
async def buffers_are_used_although_the_driver_says_nothing_at_all(bench: Bench) -> None:
    device = await bench.probe()
    await device.set_up_queue(0, interrupts=False)
    request = await device.submit(0, *small(bench))
    await device.wait(request)
    same(await device.transport.status(), 0, "device status")


@case(needs=("robust",), proves=("FEAT-LEG-DEV-03",), transports=LEGACY)
async def a_device_that_was_given_up_uses_no_buffers(bench: Bench) -> None:
    device = await bench.start()
    await device.transport.add_status(DeviceStatus.FAILED)
    request = await device.submit(0, *small(bench))
    await quiet(bench, device)
    same(request.done, False, "whether the request was served")


@case(devices=("blk",), proves=("NOTIF-DEV-P01", "FEAT-LEG-DEV-03"), transports=LEGACY)
async def changes_are_told_only_from_driver_ok_on(bench: Bench) -> None:
    device, size = await prepared(bench), bench.disk.capacity
    await device.set_up_interrupts()
    before = bench.host.interrupts(0)
    try:
        bench.disk.resize(size - 1)
        await bench.host.sleep(QUIET_NS)
        same(bench.host.interrupts(0), before, "messages before DRIVER_OK")
        await device.driver_ok()
        same(await VirtioBlk(device).capacity(), size - 1, "capacity")
        bench.disk.resize(size - 2)
        await device.wait_interrupt(0, before)
    finally:
        bench.disk.resize(size)


# -- block device ------------------------------------------------------------------------------------------


@case(devices=("blk",), proves=("BLK-LEG-DEV-06", "BLK-DEV-31"), traps=(30,), transports=LEGACY)
async def flush_out_is_a_flush(bench: Bench) -> None:
    blk = VirtioBlk(await bench.start())
    data, flushes = bench.rng.randbytes(512), bench.disk.counts["flush"]
    await blk.write(3, data)
    (await blk.request(BlkReqType.FLUSH_OUT)).result()
    same(bench.disk.durable(3, 1), data, "what survives a loss of power")
    if bench.disk.counts["flush"] == flushes:
        raise AssertionError("FLUSH_OUT did not reach the disk")


@case(
    devices=("blk",),
    proves=("BLK-LEG-DEV-03", "BLK-LEG-DEV-04", "BLK-DEV-31", "INIT-LEG-DEV-02"),
    traps=(30,),
    transports=LEGACY,
)
async def writes_are_durable_until_driver_ok_whatever_was_written(bench: Bench) -> None:
    """Neither features nor status bits before DRIVER_OK change how the device caches."""
    device = await bench.probe()
    blk = VirtioBlk(device)
    await device.set_up_queue(0, interrupts=False)
    steps = [
        device.acknowledge,
        device.negotiate,
        lambda: device.transport.accept_features(0),
        device.negotiate,
    ]
    for number, step in enumerate(steps):
        await step()
        data = bench.rng.randbytes(512)
        await blk.write(number, data)
        same(bench.disk.durable(number, 1), data, f"what survives a loss of power after step {number}")
    await device.driver_ok()
    await blk.write(9, bench.rng.randbytes(512))
    await blk.flush()
    same(bench.disk.durable(9, 1), bytes(bench.disk.data[9 * 512 : 10 * 512]), "what survives after a flush")

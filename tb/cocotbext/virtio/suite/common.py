"""The common configuration: status, features, queue registers, reset."""

from virtio_spec import layout, wire
from virtio_spec.blk import BlkFeature
from virtio_spec.net import NetFeature
from virtio_spec.virtio import NO_VECTOR, DeviceStatus, Feature, feature_mask
from virtio_spec.virtio_pci import CfgType, CommonCfg

from .helpers import CONFIG_BYTES, QUIET_NS, exercise, modern, prepared, quiet, same, small
from .registry import EVERY, MODERN, Bench, case

__all__: list[str] = []

OK = DeviceStatus.FEATURES_OK
CARD = feature_mask(Feature.ACCESS_PLATFORM, Feature.ORDER_PLATFORM)
RING_FEATURES = feature_mask(*(bit for bit in Feature if bit >= Feature.INDIRECT_DESC))
KNOWN = {
    "rng": RING_FEATURES,
    "blk": RING_FEATURES | feature_mask(*BlkFeature),
    "net": RING_FEATURES | feature_mask(*NetFeature),
}
#: Features that others cannot be without: a driver of such a device that takes some takes these. [§5.1.3.1]
NEEDED = {
    "net": feature_mask(
        *(NetFeature.CSUM, NetFeature.GUEST_CSUM, NetFeature.CTRL_VQ, NetFeature.GUEST_TSO4),
        *(NetFeature.GUEST_TSO6, NetFeature.HOST_TSO4, NetFeature.HOST_TSO6),
    )
}


async def negotiated(bench: Bench, features: int) -> int:
    """FEATURES_OK as the device leaves it when the driver wants just ``features``."""
    device = await bench.probe()
    await device.reset()
    await device.acknowledge()
    await device.transport.accept_features(features)
    return await device.transport.add_status(OK) & OK


@case(
    proves=("RESET-DEV-01", "PCI-CC-DEV-07", "PCI-CC-DEV-08", "PCI-CC-DEV-P01", "PCI-CC-DEV-P02"),
    traps=(7,),
    transports=MODERN,
)
async def a_reset_clears_the_registers(bench: Bench) -> None:
    device = await bench.start(queue_size=2)
    await device.reset()
    common = modern(device).common
    same(await common("device_status"), 0, "device_status")
    same(await common("num_queues"), bench.queues, "num_queues")
    await modern(device).select(bench.queue)
    same(await common("queue_size"), bench.queue_size, "queue_size")
    for name in ("queue_enable", "queue_desc", "queue_driver", "queue_device"):
        same(await common(name), 0, name)
    same(await device.transport.accepted_features(), 0, "driver_feature")


@case(proves=("RFB-DEV-01", "FEAT-DEV-01", "FEAT-DEV-04", "PCI-CC-DEV-03"), transports=MODERN)
async def the_offer_is_version_1_and_nothing_unknown(bench: Bench) -> None:
    transport = modern(await bench.probe())
    offered = await transport.offered_features()
    if not offered >> Feature.VERSION_1 & 1:
        raise AssertionError("VERSION_1 is not offered")
    same(offered & ~KNOWN[bench.device], 0, "unknown features offered")
    for window in (2, 3, 0xFFFF_FFFF):
        await transport.set_common("device_feature_select", window)
        same(await transport.common("device_feature"), 0, f"window {window:#x} of the features")


@case(needs=("card",), proves=("RFB-DEV-03", "RFB-DEV-08"), transports=MODERN)
async def a_card_says_that_its_addresses_and_its_order_are_those_of_the_bus(bench: Bench) -> None:
    offered = await (await bench.probe()).transport.offered_features()
    same(offered & CARD, CARD, "ACCESS_PLATFORM and ORDER_PLATFORM")


@case(proves=("FEAT-DEV-03",), traps=(10,), transports=MODERN, breaks=("FEAT-DRV-04", "FEAT-DRV-05"))
async def a_feature_beyond_all_words_is_refused(bench: Bench) -> None:
    device = await bench.probe()
    transport = modern(device)
    await device.acknowledge()
    await device.negotiate()
    for window in (2, 3, 0x8000_0000):
        await transport.set_common("driver_feature_select", window)
        await transport.set_common("driver_feature", 0)
    await transport.add_status(DeviceStatus.FEATURES_OK)
    same(await transport.status() & DeviceStatus.FEATURES_OK, DeviceStatus.FEATURES_OK, "with zeros there")
    for window in (2, 0x8000_0000):
        await device.reset()
        await device.acknowledge()
        await device.negotiate()
        await transport.set_common("driver_feature_select", window)
        await transport.set_common("driver_feature", 1 << bench.rng.randrange(32))
        await transport.add_status(DeviceStatus.FEATURES_OK)
        same(await transport.status() & DeviceStatus.FEATURES_OK, 0, f"FEATURES_OK with window {window:#x}")
    await bench.start()


@case(proves=("PCI-CC-DEV-04",), variants=EVERY)
async def accepted_features_read_back(bench: Bench) -> None:
    device = await bench.probe()
    await device.acknowledge()
    accepted = await device.negotiate()
    same(await device.transport.accepted_features(), accepted, "driver_feature")


@case(proves=("FEAT-DEV-02", "FEAT-DEV-05"), transports=MODERN)
async def any_subset_with_version_1_is_accepted(bench: Bench) -> None:
    offered = await (await bench.probe()).transport.offered_features()
    least = 1 << Feature.VERSION_1
    if not bench.has("robust"):  # a device may insist on addresses that the platform translates. [§6.2]
        least |= offered & 1 << Feature.ACCESS_PLATFORM
    some = offered & (bench.rng.getrandbits(64) | least | NEEDED.get(bench.device, 0))
    for wanted in (least, offered, some, offered):
        same(await negotiated(bench, wanted), OK, f"FEATURES_OK for {wanted:#x}")


@case(
    needs=("robust",),
    proves=("FEAT-DEV-03", "RFB-DEV-02"),
    traps=(10,),
    transports=MODERN,
    breaks=("RFB-DRV-01",),
)
async def without_version_1_features_ok_is_refused(bench: Bench) -> None:
    offered = await (await bench.probe()).transport.offered_features()
    same(await negotiated(bench, offered & ~(1 << Feature.VERSION_1)), 0, "FEATURES_OK")


@case(
    proves=("FEAT-DEV-03",),
    traps=(10,),
    transports=MODERN,
    breaks=("FEAT-DRV-01", "FEAT-DRV-04", "FEAT-DRV-05"),
)
async def a_feature_not_offered_is_refused(bench: Bench) -> None:
    offered = await (await bench.probe()).transport.offered_features()
    missing = [bit for bit in range(64) if not offered >> bit & 1]
    for bit in (bench.rng.choice([b for b in missing if b < 32]), max(missing)):
        same(await negotiated(bench, offered | 1 << bit), 0, f"FEATURES_OK with bit {bit}")


@case(needs=("robust",), proves=("FEAT-DEV-03",), transports=MODERN)
async def a_refused_driver_can_try_again(bench: Bench) -> None:
    same(await negotiated(bench, 0), 0, "FEATURES_OK without any feature")
    await exercise(bench, await bench.start())


@case(needs=("robust",), proves=("FEAT-DEV-03",), variants=EVERY, breaks=("INIT-DRV-12",))
async def features_stand_once_they_are_accepted(bench: Bench) -> None:
    device = await bench.start()
    await device.transport.accept_features(0)
    same(await device.transport.accepted_features(), device.accepted, "driver_feature after FEATURES_OK")


@case(needs=("robust",), proves=("STATUS-DEV-01",), transports=MODERN, breaks=("INIT-DRV-06",))
async def driver_ok_needs_features_ok(bench: Bench) -> None:
    device = await bench.probe()
    await device.acknowledge()
    status = await device.transport.add_status(DeviceStatus.DRIVER_OK)
    same(status, DeviceStatus.ACKNOWLEDGE | DeviceStatus.DRIVER, "device status")


@case(needs=("robust",), proves=("STATUS-DEV-01",), breaks=("STATUS-DRV-02",))
async def status_bits_only_add_up(bench: Bench) -> None:
    device = await bench.probe()
    await device.transport.set_status(DeviceStatus.ACKNOWLEDGE)
    await device.transport.set_status(DeviceStatus.DRIVER)
    expected = DeviceStatus.ACKNOWLEDGE | DeviceStatus.DRIVER
    same(await device.transport.status(), expected, "device status")
    bits = DeviceStatus.DEVICE_NEEDS_RESET | 32
    await device.transport.set_status(bits)
    same(await device.transport.status(), expected, "device status after bits that are not the driver's")


@case(
    proves=("STATUS-DEV-01",),
    traps=(8,),
    transports=MODERN,
    variants=EVERY,
    breaks=("INIT-DRV-09", "INIT-DRV-15"),
)
async def no_buffer_is_used_before_driver_ok(bench: Bench) -> None:
    device = await prepared(bench)
    await device.set_up_interrupts()
    queue = await device.set_up_queue(bench.queue, 8)
    request = device.prepare(bench.queue, *small(bench))
    await device.kick(bench.queue)
    await quiet(bench, device)
    same(queue.returned, 0, "chains that came back before DRIVER_OK")
    await device.driver_ok()
    await device.kick(bench.queue, always=True)
    await device.wait(request)


@case(proves=("STATUS-DEV-01",), transports=MODERN, variants=EVERY)
async def a_queue_that_is_not_enabled_is_left_alone(bench: Bench) -> None:
    device = await prepared(bench)
    queue = device.make_ring(bench.queue, 4)
    bench.host.memory.grants.clear()
    await device.transport.set_up_queue(bench.queue, 4, *(area.address for area in queue.areas))
    for not_one in (0, 2):
        await modern(device).set_common("queue_enable", not_one)
        same(await modern(device).common("queue_enable"), 0, f"queue_enable after writing {not_one}")
    await device.driver_ok()
    await device.kick(bench.queue)
    await bench.host.sleep(QUIET_NS)
    same(bench.host.memory.violations, [], "accesses to a queue that is not enabled")


@case(proves=("PCI-CC-DEV-14", "SPLIT-DEV-P05"), transports=MODERN)
async def a_queue_that_does_not_exist_has_size_zero(bench: Bench) -> None:
    transport = modern(await bench.probe())
    for number in (await transport.common("num_queues"), 0x8000, 0xFFFF):
        await transport.select(number)
        same(await transport.common("queue_size"), 0, f"size of queue {number}")
    await transport.select(bench.queue)
    same(await transport.common("queue_size"), bench.queue_size, f"size of queue {bench.queue}")


@case(needs=("robust",), proves=("PCI-CC-DEV-14",), transports=MODERN)
async def a_queue_that_does_not_exist_takes_nothing(bench: Bench) -> None:
    transport = modern(await bench.probe())
    for number in (await transport.common("num_queues"), 0x8000, 0xFFFF):
        await transport.select(number)
        await transport.set_common("queue_size", 2)
        await transport.set_common("queue_desc", 0x1234_5670)
        await transport.set_common("queue_enable", 1)
        same(await transport.common("queue_enable"), 0, f"queue_enable of queue {number}")
        await transport.set_common("queue_msix_vector", 0)
        same(await transport.common("queue_msix_vector"), NO_VECTOR, f"vector of queue {number}")
    await transport.select(0)
    same(await transport.common("queue_size"), bench.queue_size, "size of queue 0")
    same(await transport.common("queue_desc"), 0, "queue_desc of queue 0")


@case(
    proves=("PCI-CC-DEV-15", "PCI-CC-DEV-P01", "SPLIT-DEV-P05"),
    transports=MODERN,
    breaks=("PCI-CC-DRV-02", "PCI-CC-DRV-03"),
)
async def only_sizes_that_work_are_taken(bench: Bench) -> None:
    transport = modern(await bench.probe())
    await transport.select(bench.queue)
    for size in (0, 3, 2 * bench.queue_size, 0x8001):
        await transport.set_common("queue_size", size)
        same(await transport.common("queue_size"), bench.queue_size, f"queue_size after writing {size}")
    await transport.set_common("queue_size", 4)
    same(await transport.common("queue_size"), 4, "queue_size after writing 4")


@case(proves=("PCI-LAY-DEV-01", "PCI-CC-DEV-P03"), traps=(22,), transports=MODERN)
async def halves_of_64_bits_are_independent(bench: Bench) -> None:
    transport = modern(await bench.probe())
    await transport.select(0)
    for name in ("queue_desc", "queue_driver", "queue_device"):
        low, high = bench.rng.getrandbits(32) & ~0xF, bench.rng.getrandbits(32)
        at = wire.field_offset(CommonCfg, name)
        await transport.write(CfgType.COMMON, at + 4, 4, high)
        await transport.write(CfgType.COMMON, at, 4, low)
        same(await transport.common(name), high << 32 | low, name)
        await transport.write(CfgType.COMMON, at + 4, 4, ~high & 0xFFFF_FFFF)
        same(await transport.read(CfgType.COMMON, at, 4), low, f"low half of {name}")
        same(await transport.read(CfgType.COMMON, at + 4, 4), ~high & 0xFFFF_FFFF, f"high half of {name}")


@case(proves=("PCI-LAY-DEV-01",), transports=MODERN)
async def eight_bytes_are_read_and_written_at_once(bench: Bench) -> None:
    host = bench.host
    at = layout.COMMON_OFFSET + wire.field_offset(CommonCfg, "queue_driver")
    value = bench.rng.getrandbits(64) & ~0xF
    await host.bar_write(layout.MODERN_BAR, at, 8, value)
    same(await host.bar_read(layout.MODERN_BAR, at, 8), value, "queue_driver")
    same(await host.bar_read(layout.MODERN_BAR, at + 4, 4), value >> 32, "high half of queue_driver")


@case(needs=("robust",), proves=("PCI-CC-DEV-P03",), transports=MODERN)
async def registers_are_read_in_every_size(bench: Bench) -> None:
    transport = modern(await bench.probe())
    await transport.select(0)
    await transport.set_common("queue_desc", 0x1122_3344_5566_7780)
    at = wire.field_offset(CommonCfg, "queue_desc")
    octets = [await transport.read(CfgType.COMMON, at + n, 1) for n in range(8)]
    same(octets, [0x80, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11], "queue_desc by bytes")
    words = [await transport.read(CfgType.COMMON, at + n, 2) for n in (0, 2, 4, 6)]
    same(words, [0x7780, 0x5566, 0x3344, 0x1122], "queue_desc by words")


@case(
    needs=("robust",),
    proves=("PCI-CC-DEV-P01",),
    transports=MODERN,
    variants=EVERY,
    breaks=("PCI-CC-DRV-04", "PCI-CC-DRV-06"),
)
async def an_enabled_queue_stays_where_it_is(bench: Bench) -> None:
    device = await bench.start()
    transport, queue = modern(device), device.queues[bench.queue]
    await transport.select(bench.queue)
    for name in ("queue_desc", "queue_driver", "queue_device"):
        await transport.set_common(name, 0xDEAD_0000)
    await transport.set_common("queue_size", 1)
    await transport.set_common("queue_enable", 0)
    found = [await transport.common(name) for name in ("queue_desc", "queue_driver", "queue_device")]
    same(found, [area.address for area in queue.areas], "the queue's addresses")
    same(await transport.common("queue_size"), queue.size, "queue_size")
    same(await transport.common("queue_enable"), 1, "queue_enable")
    await exercise(bench, device)


@case(proves=("RESET-DEV-01", "RESET-DEV-02", "PCI-CC-DEV-07"), traps=(6, 7), variants=EVERY)
async def nothing_follows_once_a_reset_has_ended(bench: Bench) -> None:
    device = await bench.start()
    memory, queue = bench.host.memory, device.queues[bench.queue]
    for _ in range(4):
        device.prepare(bench.queue, *small(bench))
    await device.kick(bench.queue)
    await bench.host.sleep(bench.rng.randrange(800))
    await device.reset()
    memory.grants.clear()
    parts = queue.areas[0].read(), queue.areas[2].read()
    messages = [bench.host.interrupts(vector) for vector in (0, bench.vector)]
    await bench.host.sleep(QUIET_NS)
    same((queue.areas[0].read(), queue.areas[2].read()), parts, "what the device may write, after the reset")
    same(
        [bench.host.interrupts(vector) for vector in (0, bench.vector)], messages, "messages after the reset"
    )
    same(memory.violations, [], "accesses after the reset")
    await device.start()
    await exercise(bench, device)


@case(proves=("RESET-DEV-01",), traps=(7,), variants=EVERY)
async def a_queue_starts_anew_after_a_reset(bench: Bench) -> None:
    for size in (4, 2, 8):
        device = await bench.start(queue_size=size)
        for _ in range(3):
            await device.wait(await device.submit(bench.queue, *small(bench)))
        same(device.queues[bench.queue].returned, 3, f"chains that came back in a queue of at most {size}")


@case(proves=("RESET-DEV-01",), variants=EVERY)
async def a_device_that_was_given_up_resets(bench: Bench) -> None:
    device = await bench.start()
    await device.transport.add_status(DeviceStatus.FAILED)
    same(await device.transport.status() & DeviceStatus.FAILED, DeviceStatus.FAILED, "FAILED")
    await device.start()
    await exercise(bench, device)


@case(devices=("blk", "net"), proves=("CFG-DEV-01",), traps=(26,))
async def the_configuration_is_readable_before_any_negotiation(bench: Bench) -> None:
    transport = (await bench.probe()).transport
    length = CONFIG_BYTES[bench.device]
    before = [await transport.config_read(offset, 4) for offset in range(0, length, 4)]
    device = await bench.start()
    after = [await device.transport.config_read(offset, 4) for offset in range(0, length, 4)]
    same(before, after, "the configuration before FEATURES_OK")
    if bench.device == "blk":
        same(before[0] | before[1] << 32, bench.disk.capacity, "capacity")


@case(devices=("blk", "net"), proves=("PCI-CC-DEV-P03", "CFG-DEV-01"))
async def the_configuration_is_read_in_every_size(bench: Bench) -> None:
    transport = (await bench.probe()).transport
    for offset in (0, 8, 20):
        dword = await transport.config_read(offset, 4)
        words = [await transport.config_read(offset + n, 2) for n in (0, 2)]
        octets = [await transport.config_read(offset + n, 1) for n in range(4)]
        same(words[0] | words[1] << 16, dword, f"two words at {offset}")
        same(sum(b << 8 * n for n, b in enumerate(octets)), dword, f"four bytes at {offset}")


@case(proves=("PCI-CC-DEV-06",), traps=(5,), transports=MODERN)
async def the_generation_stands_while_nothing_changes(bench: Bench) -> None:
    device = await bench.start()
    before = await modern(device).common("config_generation")
    await exercise(bench, device)
    same(await modern(device).common("config_generation"), before, "config_generation")

"""The PCI function: configuration space, BARs, the PCI_CFG window, power states, resets."""

from virtio_spec import layout, wire
from virtio_spec.pci import Capability, ConfigOffset, Status
from virtio_spec.virtio import DeviceStatus, Feature
from virtio_spec.virtio_pci import CfgType, CommonCfg, LegacyHeader, VirtioPciCap, VirtioPciNotifyCap

from ..function import FLR_NS
from ..modern import Modern
from .helpers import (
    CONFIG_BYTES,
    QUIET_NS,
    Scratch,
    bar_sizes,
    exercise,
    modern,
    quiet,
    same,
    small,
    unsupported,
)
from .registry import EVERY_DEVICE, MODERN, TYPES, Bench, case
from .survival import as_new

__all__: list[str] = []

ALL_ONES = 0xFFFF_FFFF
#: Where extended capabilities start, and the id of one.  [PCIe base 5.0 §7.6, §9.3.3]
EXTENDED_CAPABILITIES, SR_IOV_CAPABILITY = 0x100, 0x0010
#: I/O space; memory below 4 GiB; 64-bit, prefetchable.
BAR_FLAGS = {layout.LEGACY_BAR: 0b01, layout.MSIX_BAR: 0, layout.MODERN_BAR: 0b1100}


@case(
    proves=("PCI-ID-DEV-03", "PCI-ID-DEV-04", "PCI-ID-DEV-06", "PCI-ID-DEV-07", "PCI-ID-DEV-08"),
    transports=MODERN,
    interfaces=MODERN,
)
async def the_function_says_what_it_is(bench: Bench) -> None:
    read = bench.host.config_read
    same(await read(ConfigOffset.VENDOR_ID, 2), 0x1AF4, "vendor id")
    same(await read(ConfigOffset.DEVICE_ID, 2), 0x1040 + TYPES[bench.device], "device id")
    same(await read(ConfigOffset.HEADER_TYPE, 1), 0, "header type")
    if await read(ConfigOffset.REVISION_ID, 1) < 1 or await read(ConfigOffset.SUBSYSTEM_ID, 2) < 0x40:
        raise AssertionError("revision and subsystem id are those of a transitional device")


@case(devices=EVERY_DEVICE, proves=("PCI-ID-DEV-01", "PCI-LEG-DEV-04"))
async def bars_report_their_size(bench: Bench) -> None:
    host, transport = bench.host, (await bench.probe()).transport
    bars = [ConfigOffset.BAR0 + 4 * number for number in range(6)]
    saved = [await host.config_read(bar, 4) for bar in bars]
    await transport.set_command(io=False, memory=False)
    try:
        for bar in bars:
            await host.config_write(bar, 4, ALL_ONES)
        masks = [await host.config_read(bar, 4) for bar in bars]
    finally:
        for bar, value in zip(bars, saved, strict=True):
            await host.config_write(bar, 4, value)
        await transport.set_command()
    expected = [0] * 6
    for number, size in bar_sizes(bench).items():
        expected[number] = -size & ALL_ONES | BAR_FLAGS[number]
    if layout.MODERN_BAR in bar_sizes(bench):
        expected[layout.MODERN_BAR + 1] = ALL_ONES
    same(masks, expected, "the BARs after writing all ones")
    same([await host.config_read(bar, 4) for bar in bars], saved, "the restored BARs")


@case(
    proves=(
        "PCI-CAP-DEV-04",
        "PCI-CC-DEV-01",
        "PCI-CC-DEV-02",
        "PCI-NTF-DEV-01",
        "PCI-NTF-DEV-02",
        "PCI-NTF-DEV-03",
        "PCI-NTF-DEV-04",
        "PCI-NTF-DEV-05",
        "PCI-NTF-DEV-06",
        "PCI-ISR-DEV-01",
        "PCI-CFGA-DEV-01",
    ),
    transports=MODERN,
)
async def every_structure_has_its_capability(bench: Bench) -> None:
    transport = await Modern.find(bench.host)
    for identity in (Capability.POWER_MANAGEMENT, Capability.PCI_EXPRESS, Capability.MSIX):
        transport.capability(identity)
    lengths = {CfgType.NOTIFY: wire.size(VirtioPciNotifyCap), CfgType.PCI: 20}
    for kind in (CfgType.COMMON, CfgType.NOTIFY, CfgType.ISR, CfgType.PCI):
        same(transport.structure(kind).cap_len, lengths.get(kind, 16), f"cap_len of {kind.name}")
    common, notify = transport.structure(CfgType.COMMON), transport.structure(CfgType.NOTIFY)
    same(common.offset % 4, 0, "misalignment of the common configuration")
    same(notify.offset % 2, 0, "misalignment of the notification area")
    multiplier = transport.notify_multiplier
    if multiplier and (multiplier < 2 or multiplier & multiplier - 1):
        raise AssertionError(f"notify_off_multiplier is {multiplier}")
    if common.length < 56:
        raise AssertionError(f"the common configuration has {common.length} bytes")
    for queue in range(await transport.common("num_queues")):
        await transport.select(queue)
        if await transport.common("queue_notify_off") * multiplier + 2 > notify.length:
            raise AssertionError(f"queue {queue} notifies outside the notification area")


@case(proves=("RFB-DEV-10",), transports=MODERN)
async def virtual_functions_are_offered_only_where_they_can_be(bench: Bench) -> None:
    """SR_IOV goes with a capability in extended configuration space; a list without an end is none."""
    known, position = set(), EXTENDED_CAPABILITIES
    while position and position not in known:
        known.add(position)
        head = await bench.host.config_read(position, 4)
        if head & 0xFFFF == SR_IOV_CAPABILITY:
            return
        position = head >> 20
    offered = await (await bench.probe()).transport.offered_features()
    same(offered >> Feature.SR_IOV & 1, 0, "SR_IOV in the offer")


@case(devices=("blk", "net"), proves=("PCI-DCFG-DEV-01", "PCI-DCFG-DEV-02"), transports=MODERN)
async def the_device_configuration_has_its_capability(bench: Bench) -> None:
    found = modern(await bench.probe()).structure(CfgType.DEVICE)
    same(found.offset % 4, 0, "misalignment of the device configuration")
    if found.length < CONFIG_BYTES[bench.device]:
        raise AssertionError(f"the device configuration has {found.length} bytes")


@case(devices=EVERY_DEVICE, proves=("PCI-ID-DEV-01",))
async def configuration_space_is_read_in_every_size(bench: Bench) -> None:
    read = bench.host.config_read
    for offset in (ConfigOffset.VENDOR_ID, ConfigOffset.REVISION_ID, ConfigOffset.SUBSYSTEM_VENDOR_ID):
        dword = await read(offset, 4)
        words = [await read(offset + n, 2) for n in (0, 2)]
        octets = [await read(offset + n, 1) for n in range(4)]
        same(words[0] | words[1] << 16, dword, f"two words at {offset:#x}")
        same(sum(b << 8 * n for n, b in enumerate(octets)), dword, f"four bytes at {offset:#x}")


@case(devices=EVERY_DEVICE, proves=("PCI-ID-DEV-01",))
async def configuration_space_is_written_in_every_size(bench: Bench) -> None:
    host, at = bench.host, ConfigOffset.CACHE_LINE_SIZE
    for size, value in ((1, 0x5A), (2, 0x00A5), (4, 0x0000_003C)):
        await host.config_write(at, size, value)
        same(await host.config_read(at, 4) & 0xFF, value, f"cache line size written by {size}")
    await host.config_write(at + 1, 1, 0xFF)
    same(await host.config_read(at, 1), 0x3C, "cache line size after a write beside it")
    await host.config_write(at, 1, 0)


@case(devices=EVERY_DEVICE, proves=("PCI-ID-DEV-01",), breaks=("PCI-CAP-DRV-09",))
async def read_only_fields_ignore_writes(bench: Bench) -> None:
    host, device = bench.host, await bench.probe()
    offsets = [ConfigOffset.VENDOR_ID, ConfigOffset.REVISION_ID, ConfigOffset.SUBSYSTEM_VENDOR_ID]
    offsets += [ConfigOffset.EXPANSION_ROM, ConfigOffset.CAPABILITIES_POINTER, ConfigOffset.BAR0 + 8]
    if bench.transport == "modern":
        position = modern(device).structure(CfgType.COMMON).position
        offsets += [position + n for n in (0, 4, 8, 12)]
    before = [await host.config_read(offset, 4) for offset in offsets]
    for offset in offsets:
        await host.config_write(offset, 4, ALL_ONES)
    same([await host.config_read(offset, 4) for offset in offsets], before, "read-only configuration space")


@case(proves=("PCI-CFGA-DEV-02", "PCI-CFGA-DEV-03", "PCI-CFGA-DEV-P01"), traps=(21,), transports=MODERN)
async def the_window_reads_and_writes_the_bar(bench: Bench) -> None:
    """Fields of each width, as wide as they are.  [§4.1.3.1]"""
    transport = modern(await bench.probe())
    common = transport.structure(CfgType.COMMON)
    values = {"driver_feature_select": bench.rng.getrandbits(32), "queue_select": bench.rng.randrange(1, 64)}
    for name, value in {**values, "device_status": int(DeviceStatus.ACKNOWLEDGE)}.items():
        at, size = common.offset + wire.field_offset(CommonCfg, name), wire.field_size(CommonCfg, name)
        await transport.window_write(common.bar, at, size, value)
        same(await transport.common(name), value, f"{name}, which the window wrote")
        same(await transport.window_read(common.bar, at, size), value, f"{name} in the window")


@case(
    needs=("robust",),
    proves=("PCI-CFGA-DEV-02", "PCI-CFGA-DEV-03", "PCI-CFGA-DEV-P01"),
    traps=(21,),
    transports=MODERN,
)
async def the_window_reads_and_writes_parts_of_a_field(bench: Bench) -> None:
    transport = modern(await bench.probe())
    common = transport.structure(CfgType.COMMON)
    at = common.offset + wire.field_offset(CommonCfg, "driver_feature_select")
    value = bench.rng.getrandbits(32)
    await transport.window_write(common.bar, at, 4, value)
    same(await transport.common("driver_feature_select"), value, "what the window wrote")
    same(await transport.window_read(common.bar, at, 4), value, "4 bytes in the window")
    same(await transport.window_read(common.bar, at + 2, 2), value >> 16, "2 bytes in the window")
    same(await transport.window_read(common.bar, at + 1, 1), value >> 8 & 0xFF, "a byte in the window")
    await transport.window_write(common.bar, at + 2, 2, ~value >> 16 & 0xFFFF)
    await transport.window_write(common.bar, at, 1, ~value & 0xFF)
    expected = value & 0xFF00 | (~value & 0xFFFF_00FF)
    same(await transport.common("driver_feature_select"), expected, "what the window wrote in parts")
    await transport.set_common("driver_feature_select", 0)


@case(
    proves=("PCI-CFGA-DEV-02", "PCI-CFGA-DEV-03"),
    traps=(21,),
    transports=MODERN,
    interfaces=("transitional",),
)
async def the_window_reaches_the_legacy_registers(bench: Bench) -> None:
    transport = modern(await bench.probe())
    offered = await transport.offered_features() & 0xFFFF_FFFF | 1 << Feature.ANY_LAYOUT
    at = wire.field_offset(LegacyHeader, "device_features")
    same(await transport.window_read(layout.LEGACY_BAR, at, 4), offered, "the features in the legacy header")
    await transport.reset()  # nothing is chosen now, and the write will choose the legacy interface
    at, value = wire.field_offset(LegacyHeader, "queue_select"), bench.rng.randrange(1, 1 << 16)
    await transport.window_write(layout.LEGACY_BAR, at, 2, value)
    same(await bench.host.bar_read(layout.LEGACY_BAR, at, 2), value, "queue_select as the window wrote it")


@case(proves=("PCI-CFGA-DEV-P01",), transports=MODERN)
async def the_window_can_be_read_back(bench: Bench) -> None:
    transport = modern(await bench.probe())
    position = transport.structure(CfgType.PCI).position
    await transport.aim_window(layout.MODERN_BAR, layout.DEVICE_OFFSET + 8, 2)
    words = [await bench.host.config_read(position + offset, 4) for offset in (0, 4, 8, 12)]
    cap = wire.unpack(VirtioPciCap, b"".join(word.to_bytes(4, "little") for word in words))
    same((cap.bar, cap.offset, cap.length), (layout.MODERN_BAR, layout.DEVICE_OFFSET + 8, 2), "the window")
    same(cap.cfg_type, CfgType.PCI, "cfg_type of the window")


@case(proves=("PCI-CFGA-DEV-02",), traps=(21,), transports=MODERN)
async def a_kick_through_the_window_is_a_kick(bench: Bench) -> None:
    device = await bench.start(interrupts=False)
    transport = modern(device)
    notify = transport.structure(CfgType.NOTIFY)
    at = notify.offset + await transport.notify_offset(bench.queue)
    request = device.prepare(bench.queue, *small(bench))
    await transport.window_write(notify.bar, at, 2, bench.queue)
    await device.wait(request)


@case(proves=("PCI-CFGA-DEV-03", "PCI-ISR-DEV-05"), traps=(21,), transports=MODERN)
async def reading_the_isr_through_the_window_clears_it(bench: Bench) -> None:
    device = await bench.start(interrupts=False)
    await device.wait(await device.submit(bench.queue, *small(bench)))
    await bench.host.sleep(QUIET_NS)
    isr = modern(device).structure(CfgType.ISR)
    same(await modern(device).window_read(isr.bar, isr.offset, 1), 1, "ISR in the window")
    same(await device.transport.isr(), 0, "ISR after the window has read it")


@case(proves=("PCI-CFGA-DEV-02",), transports=MODERN, breaks=("PCI-CFGA-DRV-03",))
async def a_window_that_points_nowhere_does_nothing(bench: Bench) -> None:
    transport = modern(await bench.probe())
    at = layout.COMMON_OFFSET + wire.field_offset(CommonCfg, "driver_feature_select")
    await transport.set_common("driver_feature_select", 0x1234_5678)
    aims = [(2, at, 4), (layout.MODERN_BAR, layout.MODERN_BAR_SIZE + at, 4), (0xFF, at, 4)]
    for aim in [*aims, (layout.MODERN_BAR, at, 3), (layout.MODERN_BAR, at, 0)]:
        data = await transport.aim_window(*aim)
        await bench.host.config_write(data, 4, 0)
        await bench.host.config_read(data, 4)
        same(await transport.common("driver_feature_select"), 0x1234_5678, f"a register after window {aim}")
    await transport.set_common("driver_feature_select", 0)


@case(devices=EVERY_DEVICE, needs=("completions",), proves=("PCI-ID-DEV-01",))
async def a_disabled_bar_is_unsupported(bench: Bench) -> None:
    host, scratch = bench.host, Scratch(bench)
    transport = (await bench.probe()).transport
    await scratch.write(0x55)
    await transport.set_command(io=False, memory=False)
    try:
        for bar in bar_sizes(bench):
            await unsupported(host.bar_read(bar, 0, 4), f"a read of BAR {bar}")
        if scratch.bar == layout.LEGACY_BAR:  # not posted: this one is answered
            await unsupported(scratch.write(0xAA), "a write to the I/O BAR")
        else:
            await scratch.write(0xAA)
    finally:
        await transport.set_command()
    same(await scratch.read(), 0x55, "a register that a disabled BAR was to write")


@case(proves=("PCI-ID-DEV-01",))
async def nothing_leaves_a_function_that_is_no_bus_master(bench: Bench) -> None:
    device = await bench.start()
    request = device.prepare(bench.queue, *small(bench))
    await device.transport.set_command(bus_master=False)
    try:
        await device.kick(bench.queue)
        await quiet(bench, device)
        same(request.done, False, "whether the request was served")
        bench.host.memory.grants.clear()  # any access from here on is found
        await device.reset()
    finally:
        await device.transport.set_command()
    await bench.host.sleep(QUIET_NS)
    await device.start()
    await exercise(bench, device)


@case(devices=EVERY_DEVICE, needs=("completions",), proves=("PCI-ID-DEV-01",))
async def asleep_it_answers_configuration_only_and_keeps_its_state(bench: Bench) -> None:
    device = await bench.start()
    status, vendor = await device.transport.status(), await bench.host.config_read(ConfigOffset.VENDOR_ID, 2)
    await device.transport.set_power_state(3)
    try:
        for bar in bar_sizes(bench):
            await unsupported(bench.host.bar_read(bar, 0, 4), f"a read of BAR {bar} in D3hot")
        same(await bench.host.config_read(ConfigOffset.VENDOR_ID, 2), vendor, "vendor id in D3hot")
    finally:
        await device.transport.set_power_state(0)
        await bench.host.sleep(QUIET_NS)
    same(await device.transport.status(), status, "device status after D3hot")
    await exercise(bench, device)


@case(devices=EVERY_DEVICE, proves=("PCI-ID-DEV-01", "RESET-DEV-01"))
async def a_function_level_reset_resets_everything(bench: Bench) -> None:
    device, scratch = await bench.start(), Scratch(bench)
    await scratch.write(1)
    await device.function_level_reset()
    await as_new(bench, device)
    same(await scratch.read(), 0, "a register that was written before")
    await device.start()
    await exercise(bench, device)


@case(devices=EVERY_DEVICE, proves=("PCI-ID-DEV-01",))
async def a_function_level_reset_disables_the_function(bench: Bench) -> None:
    host, transport = bench.host, (await bench.probe()).transport
    bars = [ConfigOffset.BAR0 + 4 * number for number in range(6)]
    saved = [await host.config_read(bar, 4) for bar in bars]
    await transport.initiate_flr()
    await transport.flr_done()
    try:
        same(await host.config_read(ConfigOffset.COMMAND, 2), 0, "command register")
        addresses = [await host.config_read(bar, 4) & ~0xF for bar in bars]
        same(addresses, [0] * 6, "the BARs")
    finally:
        for bar, value in zip(bars, saved, strict=True):
            await host.config_write(bar, 4, value)
        await transport.set_command()
    await exercise(bench, await bench.start())


@case(proves=("RESET-DEV-02",), traps=(6,))
async def a_function_level_reset_in_the_middle_of_work_drains(bench: Bench) -> None:
    device = await bench.start()
    for _ in range(4):
        device.prepare(bench.queue, *small(bench))
    await device.kick(bench.queue)
    await bench.host.sleep(bench.rng.randrange(600))
    await device.function_level_reset()
    bench.host.memory.grants.clear()
    await bench.host.sleep(FLR_NS)
    same(bench.host.memory.violations, [], "accesses after the reset")
    await device.start()
    await exercise(bench, device)


@case(proves=("PCI-ID-DEV-01",))
async def the_smallest_packets_suffice(bench: Bench) -> None:
    device = await bench.start()
    position = device.transport.capability(Capability.PCI_EXPRESS) + 8
    control = await bench.host.config_read(position, 2)
    await bench.host.config_write(position, 2, control & ~(7 << 5 | 7 << 12))
    try:
        same(await bench.host.config_read(position, 2) & (7 << 5 | 7 << 12), 0, "payload and request sizes")
        await exercise(bench, device)
    finally:
        await bench.host.config_write(position, 2, control)


@case(proves=("PCI-ISR-DEV-03", "PCI-ISR-DEV-04", "PCI-ISR-DEV-05"), traps=(2, 3, 4))
async def without_msix_the_isr_tells_of_used_buffers(bench: Bench) -> None:
    device = await bench.start(interrupts=False)
    same(await bench.host.config_read(ConfigOffset.STATUS, 2) & Status.INTERRUPT, 0, "Interrupt Status")
    await device.wait(await device.submit(bench.queue, *small(bench)))
    await bench.host.sleep(QUIET_NS)
    found = await bench.host.config_read(ConfigOffset.STATUS, 2) & Status.INTERRUPT
    same(found, Status.INTERRUPT, "Interrupt Status with a used buffer")
    same(await device.transport.isr(), 1, "ISR")
    same(await device.transport.isr(), 0, "ISR read again")
    same(await bench.host.config_read(ConfigOffset.STATUS, 2) & Status.INTERRUPT, 0, "Interrupt Status, read")
    await device.wait(await device.submit(bench.queue, *small(bench)))
    await bench.host.sleep(QUIET_NS)
    same(await device.transport.isr(), 1, "ISR after the next used buffer")
    same(await device.transport.status() & DeviceStatus.DEVICE_NEEDS_RESET, 0, "DEVICE_NEEDS_RESET")

"""Registers of the legacy interface: header, queues, device configuration, and what goes wrong with them.

[virtio 1.4 §2.4.4, §2.7.2, §4.1.4.10]
"""

from virtio_spec import layout, split, wire
from virtio_spec.blk import BlkConfig
from virtio_spec.pci import Capability
from virtio_spec.virtio import NO_VECTOR, DeviceStatus
from virtio_spec.virtio_pci import LegacyHeader
from virtio_spec.vmmci import VmmciConfig

from ..legacy import Legacy
from .helpers import QUIET_NS, exercise, legacy, same, small
from .registry import EVERY_DEVICE, LEGACY, Bench, case

__all__: list[str] = []

READ_ONLY = ("device_features", "queue_size", "isr_status")
CONFIG_BYTES = {"rng": 0, "blk": wire.size(BlkConfig), "vmmci": wire.size(VmmciConfig)}


def at(field: str) -> int:
    """Offset of a header register."""
    return wire.field_offset(LegacyHeader, field)


async def port_read(bench: Bench, offset: int, size: int) -> int:
    """Read I/O BAR 0."""
    return await bench.host.bar_read(layout.LEGACY_BAR, offset, size)


async def port_write(bench: Bench, offset: int, size: int, value: int) -> None:
    """Write I/O BAR 0."""
    await bench.host.bar_write(layout.LEGACY_BAR, offset, size, value)


async def without_msix(bench: Bench) -> Legacy:
    """The transport of a device that was just reset, with MSI-X off."""
    transport = legacy(await bench.probe())
    if transport.has(Capability.MSIX):
        await transport.msix_control(enable=False)
    return transport


# -- header -----------------------------------------------------------------------------------------


@case(
    needs=("robust",),
    devices=EVERY_DEVICE,
    proves=("RESET-DEV-01", "PCI-LEG-DEV-04"),
    traps=(7,),
    transports=LEGACY,
)
async def a_reset_clears_the_header(bench: Bench) -> None:
    device = await bench.start()
    await legacy(device).select(5)
    await device.reset()
    transport = await without_msix(bench)
    names = (
        "driver_features",
        "queue_address",
        "queue_select",
        "queue_notify",
        "device_status",
        "isr_status",
    )
    same([await transport.header(name) for name in names], [0] * len(names), f"{names}")
    size = 0 if bench.device == "vmmci" else bench.queue_size
    same(await transport.header("queue_size"), size, "queue_size")


@case(
    needs=("robust",),
    devices=EVERY_DEVICE,
    proves=("PCI-LEG-DEV-04", "PCI-LEG-DEV-P03"),
    traps=(24,),
    transports=LEGACY,
)
async def the_header_is_read_in_every_size(bench: Bench) -> None:
    transport = await without_msix(bench)
    await transport.accept_features(await transport.offered_features())
    await transport.select(0)
    await transport.set_status(DeviceStatus.ACKNOWLEDGE)
    for offset in range(0, 20, 4):
        dword = await port_read(bench, offset, 4)
        words = [await port_read(bench, offset + n, 2) for n in (0, 2)]
        octets = [await port_read(bench, offset + n, 1) for n in range(4)]
        same(words[0] | words[1] << 16, dword, f"two words at {offset}")
        same(sum(b << 8 * n for n, b in enumerate(octets)), dword, f"four bytes at {offset}")
        middle = await port_read(bench, offset + 1, 2)
        same(middle, dword >> 8 & 0xFFFF, f"a word at {offset + 1}")


@case(needs=("robust",), devices=EVERY_DEVICE, proves=("PCI-LEG-DEV-04",), transports=LEGACY)
async def a_part_of_a_register_is_not_written(bench: Bench) -> None:
    transport = await without_msix(bench)
    await transport.set_status(DeviceStatus.ACKNOWLEDGE)
    offered = await transport.offered_features()
    await transport.accept_features(offered)
    await transport.select(0x0102)
    before = [await port_read(bench, offset, 4) for offset in range(0, 20, 4)]
    for name in ("driver_features", "queue_address", "queue_select", "queue_notify"):
        width = wire.field_size(LegacyHeader, name)
        for size in (1, 2):
            for part in range(0, width, size):
                if size < width:
                    await port_write(bench, at(name) + part, size, (1 << 8 * size) - 1)
    await port_write(bench, at("queue_size") + 1, 2, 0xFFFF)  # across two registers, and none whole
    after = [await port_read(bench, offset, 4) for offset in range(0, 20, 4)]
    same(after, before, "the header after writes of parts")


@case(needs=("robust",), devices=EVERY_DEVICE, proves=("PCI-LEG-DEV-04",), transports=LEGACY)
async def one_write_can_cover_several_registers(bench: Bench) -> None:
    transport = await without_msix(bench)
    await port_write(bench, at("queue_size"), 4, 0x0003_FFFF)  # and queue_select
    same(await transport.header("queue_select"), 3, "queue_select")
    status = DeviceStatus.ACKNOWLEDGE
    await port_write(bench, at("device_status"), 2, 0xFF00 | status)  # and isr_status
    same(await transport.status(), status, "device status, written with the ISR status")
    status |= DeviceStatus.DRIVER
    await port_write(bench, at("queue_notify"), 4, status << 16 | 0xFFFF)
    same(await transport.status(), status, "device status, written with a notification")
    same(await transport.header("queue_notify"), 0, "queue_notify")


@case(needs=("robust",), proves=("SPLIT-DEV-22", "PCI-LEG-DEV-04"), traps=(16,), transports=LEGACY)
async def a_notification_with_a_status_is_one(bench: Bench) -> None:
    device = await bench.start()
    request = device.prepare(0, *small(bench))
    status = await device.transport.status()
    await port_write(bench, at("queue_notify"), 4, status << 16)
    await device.wait(request)
    same(await legacy(device).header("queue_notify"), 0, "queue_notify")


@case(devices=EVERY_DEVICE, proves=("PCI-LEG-DEV-04",), transports=LEGACY)
async def read_only_registers_ignore_writes(bench: Bench) -> None:
    device = await bench.start()
    transport = legacy(device)
    await transport.select(0)
    before = [await transport.header(name) for name in READ_ONLY]
    for value in (0, 0xFFFF_FFFF):
        for name in READ_ONLY:
            await transport.set_header(name, value & (1 << 8 * wire.field_size(LegacyHeader, name)) - 1)
    same([await transport.header(name) for name in READ_ONLY], before, f"{READ_ONLY}")
    await exercise(bench, device)


@case(devices=EVERY_DEVICE, needs=("diagnostics",), proves=("PCI-LEG-DEV-04",), transports=LEGACY)
async def behind_the_structures_there_is_nothing(bench: Bench) -> None:
    transport = await without_msix(bench)
    start = await transport.config_offset() + CONFIG_BYTES[bench.device]
    places = range((start + 3) & ~3, layout.LEGACY_DIAGNOSTICS_OFFSET, 4)
    for offset in (places[0], places[1], places[len(places) // 2], places[-1]):
        await port_write(bench, offset, 4, 0xFFFF_FFFF)
        await port_write(bench, offset + 1, 1, 0x55)
        same(await port_read(bench, offset, 4), 0, f"the dword at {offset:#x}")
        same(await port_read(bench, offset + 2, 2), 0, f"the word at {offset + 2:#x}")
    before = await transport.diagnostics()
    same(before.magic, layout.DIAGNOSTICS_MAGIC, "magic number of the diagnostics block")
    for offset in range(layout.LEGACY_DIAGNOSTICS_OFFSET, layout.LEGACY_BAR_SIZE, 4):
        await port_write(bench, offset, 4, 0xFFFF_FFFF)
    same(await transport.diagnostics(), before, "the diagnostics block")
    await exercise(bench, await bench.start())


@case(needs=("robust",), proves=("PCI-ISR-DEV-05", "PCI-ISR-DEV-P01"), traps=(3,), transports=LEGACY)
async def only_a_read_of_its_byte_clears_the_isr(bench: Bench) -> None:
    device = await bench.start(interrupts=False)
    where = at("isr_status")
    for offset, size in ((where, 1), (where - 1, 2), (where - 3, 4)):
        await device.wait(await device.submit(0, *small(bench)))
        await bench.host.sleep(QUIET_NS)
        await device.transport.status()
        await port_read(bench, at("queue_notify"), 2)
        shift = 8 * (where - offset)
        same(await port_read(bench, offset, size) >> shift, 1, f"ISR in {size} bytes from {offset} on")
        same(await port_read(bench, where, 1), 0, f"ISR after a read of {size} bytes")


# -- queues ------------------------------------------------------------------------------------------------


@case(proves=("PCI-LEG-DEV-P04", "PCI-LEG-DEV-P05", "SPLIT-LEG-DEV-01"), transports=LEGACY)
async def the_page_number_says_where_the_whole_queue_is(bench: Bench) -> None:
    device = await bench.start()
    queue, transport = device.queues[0], legacy(device)
    parts, page = split.legacy_layout(queue.size), await transport.header("queue_address")
    same(page * split.LEGACY_ALIGN, queue.areas[0].address, "queue_address in bytes")
    index = page * split.LEGACY_ALIGN + parts.used + 2
    for used in (1, 2, 3):
        await device.wait(await device.submit(0, *small(bench)))
        found = int.from_bytes(bench.host.memory.read(index, 2), "little")
        same(found, used, f"the used index, at {index:#x}")


@case(proves=("PCI-LEG-DEV-P05",), transports=LEGACY, breaks=("SPLIT-LEG-DRV-01",))
async def the_size_of_a_queue_is_fixed(bench: Bench) -> None:
    transport = legacy(await bench.probe())
    same(await transport.queue_size(0), bench.queue_size, "queue_size")
    await transport.set_header("queue_size", 2)
    same(await transport.queue_size(0), bench.queue_size, "queue_size after writing 2")


@case(needs=("robust",), proves=("PCI-LEG-DEV-P04",), transports=LEGACY)
async def a_queue_in_use_stays_where_it_is(bench: Bench) -> None:
    device = await bench.start()
    transport = legacy(device)
    await transport.select(0)
    page = await transport.header("queue_address")
    for other in (page + 1, 1, 0xFFFF_FFFF):
        await transport.set_header("queue_address", other)
        same(await transport.header("queue_address"), page, f"queue_address after writing {other:#x}")
    await exercise(bench, device)


@case(proves=("PCI-LEG-DEV-P04", "RESET-DEV-02"), traps=(6,), transports=LEGACY)
async def taking_a_queue_back_resets_the_device(bench: Bench) -> None:
    """The interface has no way to take back one queue; QEMU resets the device too."""
    device = await bench.start()
    for _ in range(3):
        device.prepare(0, *small(bench))
    await device.kick()
    await bench.host.sleep(bench.rng.randrange(800))
    await legacy(device).select(0)
    await legacy(device).set_header("queue_address", 0)
    same(await device.transport.status(), 0, "device status")
    same(await legacy(device).header("queue_address"), 0, "queue_address")
    bench.host.memory.grants.clear()
    await bench.host.sleep(QUIET_NS)
    same(bench.host.memory.violations, [], "accesses after the queue was taken back")
    await device.start()
    await exercise(bench, device)


@case(needs=("robust",), devices=EVERY_DEVICE, proves=("PCI-LEG-DEV-P04",), transports=LEGACY)
async def page_0_for_a_queue_not_in_use_does_nothing(bench: Bench) -> None:
    device = await bench.start()
    transport, status = legacy(device), await device.transport.status()
    for number in (await transport.num_queues(), 0x8000):
        await transport.select(number)
        await transport.set_header("queue_address", 0)
        same(await transport.status(), status, f"device status after page 0 for queue {number}")
    await exercise(bench, device)


@case(
    needs=("robust",), devices=EVERY_DEVICE, proves=("PCI-LEG-DEV-P04", "PCI-LEG-DEV-P05"), transports=LEGACY
)
async def a_queue_that_is_not_there_has_size_zero(bench: Bench) -> None:
    device = await bench.start()
    transport, count = legacy(device), await device.transport.num_queues()
    for number in (count, 0x7FFF, 0xFFFF):
        same(await transport.queue_size(number), 0, f"size of queue {number}")
        await transport.set_header("queue_address", 0x12345)
        same(await transport.header("queue_address"), 0, f"queue_address of queue {number}")
        await transport.notify(number)
        if transport.has(Capability.MSIX):
            same(await transport.set_queue_vector(number, 0), NO_VECTOR, f"vector of queue {number}")
    await exercise(bench, device)


@case(proves=("RESET-DEV-01", "RESET-DEV-02", "PCI-LEG-DEV-P04"), traps=(6, 7), transports=LEGACY)
async def a_reset_is_over_when_the_status_is_read_once(bench: Bench) -> None:
    """Legacy drivers do not wait for it, and go on at once."""
    for _ in range(3):
        device = await bench.start()
        for _ in range(4):
            device.prepare(0, *small(bench))
        await device.kick()
        await bench.host.sleep(bench.rng.randrange(1000))
        await device.transport.set_status(0)
        same(await device.transport.status(), 0, "device status, read once")
        same(await legacy(device).header("queue_address"), 0, "queue_address")
        bench.host.memory.forget()
        await device.start()
        await exercise(bench, device)


# -- device configuration --------------------------------------------------------------------------------


@case(
    devices=("blk",),
    proves=("PCI-LEG-DEV-06", "PCI-LEG-DEV-P01", "PCI-LEG-DEV-P02"),
    traps=(23,),
    transports=LEGACY,
)
async def msix_moves_the_configuration_at_once(bench: Bench) -> None:
    transport = await without_msix(bench)
    for enable, offset in ((False, 20), (True, 24), (False, 20), (True, 24)):
        await transport.msix_control(enable=enable)
        capacity = await port_read(bench, offset, 4) | await port_read(bench, offset + 4, 4) << 32
        same(capacity, bench.disk.capacity, f"capacity at {offset}")
        if enable:
            vectors = await port_read(bench, 20, 2), await port_read(bench, 22, 2)
            same(vectors, (NO_VECTOR, NO_VECTOR), "the vector registers")
    await transport.msix_control(enable=False)


@case(
    needs=("robust",),
    devices=("blk",),
    proves=("PCI-LEG-DEV-P02", "PCI-LEG-DEV-05"),
    traps=(23, 24),
    transports=LEGACY,
)
async def msix_enabled_in_the_middle_of_a_read_does_not_tear_it(bench: Bench) -> None:
    transport, size = await without_msix(bench), bench.disk.capacity
    try:
        for enable in (True, False):
            bench.disk.resize(255)
            value = await port_read(bench, 20 if enable else 24, 1)
            await transport.msix_control(enable=enable)
            bench.disk.resize(256)
            start = 24 if enable else 20
            for offset, width in ((1, 1), (2, 2), (4, 4)):
                value |= await port_read(bench, start + offset, width) << 8 * offset
            same(value, 255, "capacity, read in the middle of a change of MSI-X")
            same(await port_read(bench, start, 2), 256, "capacity, read again")
    finally:
        bench.disk.resize(size)
        await transport.msix_control(enable=False)


@case(proves=("PCI-LEG-DEV-P01",), traps=(23,), transports=LEGACY)
async def vectors_are_there_only_with_msix(bench: Bench) -> None:
    """What was written stands while they are hidden; writes to the same offsets then go elsewhere."""
    transport = await without_msix(bench)
    await transport.msix_control(enable=True)
    await transport.set_queue_vector(0, 1)
    same(await transport.set_config_vector(0), 0, "configuration vector")
    await transport.msix_control(enable=False)
    before = await port_read(bench, 20, 4)
    await port_write(bench, 20, 4, 0xFFFF_FFFF)
    same(await port_read(bench, 20, 4), before, "the configuration's first dword")
    await transport.msix_control(enable=True)
    found = await transport.config_vector(), await transport.queue_vector(0)
    same(found, (0, 1), "the vectors, shown again")
    await transport.msix_control(enable=False)


@case(
    devices=("blk", "vmmci"),
    proves=("PCI-LEG-DEV-05", "PCI-LEG-DEV-06"),
    traps=(24,),
    transports=LEGACY,
)
async def the_configuration_is_the_same_in_every_width(bench: Bench) -> None:
    transport, length = await without_msix(bench), CONFIG_BYTES[bench.device]
    bench.clock.set(0x0123_4567_89AB_CDEF, 999_999)
    whole = [await transport.config_read(offset, 4) for offset in range(0, length, 4)]
    expected = b"".join(word.to_bytes(4, "little") for word in whole)
    for size in (1, 2, 4):
        parts = [await transport.config_read(offset, size) for offset in range(0, length, size)]
        found = b"".join(part.to_bytes(size, "little") for part in parts)
        same(found, expected, f"the configuration in pieces of {size}")
    odd = [offset for offset in range(length - 1) if offset % 4 != 3]  # inside one dword
    found = [await transport.config_read(offset, 2) for offset in odd]
    same(found, [int.from_bytes(expected[n : n + 2], "little") for n in odd], "words at any offset")


@case(devices=EVERY_DEVICE, proves=("INIT-LEG-DEV-01",), transports=LEGACY)
async def configuration_writes_before_negotiation_are_harmless(bench: Bench) -> None:
    transport, length = await without_msix(bench), max(CONFIG_BYTES[bench.device], 4)
    bench.clock.set(1, 2)
    before = [await transport.config_read(offset, 4) for offset in range(0, length, 4)]
    for offset in range(0, length, 4):
        await transport.config_write(offset, 4, 0xFFFF_FFFF)
    for offset in range(length):
        await transport.config_write(offset, 1, 0xAA)
    same([await transport.config_read(n, 4) for n in range(0, length, 4)], before, "the configuration")
    await exercise(bench, await bench.start())

"""Packets that a host seldom or never sends: defined answers, and a device that goes on.

Only for backends with raw packets.
"""

from virtio_spec import layout
from virtio_spec.pci import ConfigOffset, DeviceStatus, MsixEntry
from virtio_spec.tlp import CompletionStatus, TlpType
from virtio_spec.virtio_pci import CfgType, CommonCfg
from virtio_spec.wire import field_offset

from ..checkers.packet import Packet
from .errors import ErrorBits
from .helpers import QUIET_NS, Scratch, bar_sizes, exercise, modern, same, small
from .packets import DIGEST, Injector, raw_link
from .registry import EVERY_DEVICE, LEGACY, MODERN, Bench, case

__all__: list[str] = []

LINK = ("link",)
FUNCTION = ("PCI-ID-DEV-01",)
CORRECTABLE, NON_FATAL = DeviceStatus.CORRECTABLE_ERROR, DeviceStatus.NON_FATAL_ERROR
UNSUPPORTED = DeviceStatus.UNSUPPORTED_REQUEST
DWORDS_OF_4_KIB = 1024
DIGEST_DWORD = 0xDEAD_BEEF  # of a digest nobody checks


def place(bench: Bench) -> tuple[int, int]:
    """BAR and offset of a dword in memory space that can be written and read back without consequences.

    It is that of the modern interface, or the data of the configuration's message, which a driver writes
    before it enables MSI-X.
    """
    if bench.transport == "modern":
        return layout.MODERN_BAR, layout.COMMON_OFFSET + field_offset(CommonCfg, "driver_feature_select")
    return layout.MSIX_BAR, layout.MSIX_TABLE_OFFSET + field_offset(MsixEntry, "data")


def place_address(bench: Bench) -> int:
    """Its address."""
    bar, offset = place(bench)
    return raw_link(bench).bar(bar) + offset


async def scratch(bench: Bench, expected: int, what: str) -> None:
    """``AssertionError`` unless the dword at :func:`place` holds ``expected``."""
    same(await bench.host.bar_read(*place(bench), 4), expected, f"a register after {what}")


async def set_scratch(bench: Bench, value: int) -> None:
    """Write that dword; the read behind it sees to it that no injected packet comes first."""
    await bench.host.bar_write(*place(bench), 4, value)
    await scratch(bench, value, "a write")


# -- unsupported requests -----------------------------------------------------------------------------


@case(needs=LINK, proves=FUNCTION)
async def requests_an_endpoint_does_not_serve_are_unsupported(bench: Bench) -> None:
    injector, errors = Injector(bench), await ErrorBits.clean(bench)
    device, request = await bench.start(), injector.request
    at = place_address(bench)
    expected = bench.rng.getrandbits(32)
    await set_scratch(bench, expected)
    requests = {
        "a locked read": request(TlpType.MEMORY_LOCKED, at),
        "a locked read of 64 bytes": request(TlpType.MEMORY_LOCKED, at & ~0x3F, length=16),
        "a configuration read of type 1": injector.config(0, kind=TlpType.CONFIG_1),
        "a configuration write of type 1": injector.config(ConfigOffset.COMMAND, 0, kind=TlpType.CONFIG_1),
        "FetchAdd": request(TlpType.FETCH_ADD, at, [1]),
        "FetchAdd of 64 bits": request(TlpType.FETCH_ADD, at, [1, 0], first_be=0xF),
        "Swap": request(TlpType.SWAP, at, [1]),
        "CAS": request(TlpType.COMPARE_AND_SWAP, at, [expected, 1]),
        "CAS of 128 bits": request(TlpType.COMPARE_AND_SWAP, at & ~0xF, [0] * 8),
        "a deferrable memory write": request(TlpType.DEFERRABLE_MEMORY_WRITE, at, [1]),
    }
    for what, packet in requests.items():
        await injector.refused(packet, what)
        await errors.expect(CORRECTABLE | UNSUPPORTED, what)
    await scratch(bench, expected, "unsupported requests")
    await exercise(bench, device)


@case(needs=LINK, proves=FUNCTION)
async def attributes_and_traffic_class_come_back(bench: Bench) -> None:
    injector = Injector(bench)
    nowhere, base = 0x7FFF_F000, place_address(bench)
    for bits in (5 << 20, 1 << 12, 2 << 12, 3 << 12):
        await injector.refused(injector.read(nowhere, bits=bits), f"a read with {bits:#x} in dword 0")
        packet = injector.read(base, bits=bits)
        answer = await injector.ask(packet)
        same(answer.dwords[0] >> 12 & 0x703, packet[0] >> 12 & 0x703, "traffic class and attributes")
    await exercise(bench, await bench.start())


@case(needs=LINK, proves=FUNCTION)
async def other_functions_are_unsupported(bench: Bench) -> None:
    injector, errors = Injector(bench), await ErrorBits.clean(bench)
    device = await bench.start()
    for function in range(1, 8):
        what = f"configuration read of function {function}"
        await injector.refused(injector.config(0, function=function), what)
        what = f"configuration write of function {function}"
        await injector.refused(injector.config(ConfigOffset.COMMAND, 0, function=function), what)
    await errors.expect(CORRECTABLE | UNSUPPORTED, "accesses to other functions")
    await exercise(bench, device)


@case(devices=EVERY_DEVICE, needs=LINK, proves=FUNCTION, breaks=("PCI-LEG-DRV-01",))
async def addresses_outside_the_bars_are_unsupported(bench: Bench) -> None:
    injector, errors = Injector(bench), await ErrorBits.clean(bench)
    device = await bench.start()
    sizes = bar_sizes(bench)
    ports = [injector.link.bar(layout.LEGACY_BAR)] if sizes.pop(layout.LEGACY_BAR, 0) else []
    inside = [range(injector.link.bar(bar), injector.link.bar(bar) + size) for bar, size in sizes.items()]
    outside = [0, 0x7FFF_FFFC, *ports, *(bar.start ^ 1 << 40 for bar in inside)]
    outside += [near for bar in inside for near in (bar.start - 4, bar.stop)]
    for address in outside:
        if any(address in bar for bar in inside):
            continue
        await injector.refused(injector.read(address, first_be=0b0110), f"a read at {address:#x}")
        await errors.expect(CORRECTABLE | UNSUPPORTED, f"a read at {address:#x}")
        await injector.link.send(injector.write(address, [0]))
        await errors.expect(NON_FATAL | UNSUPPORTED, f"a write at {address:#x}")
    await exercise(bench, device)


@case(needs=LINK, proves=FUNCTION)
async def a_disabled_bar_sets_the_error_bits(bench: Bench) -> None:
    injector, errors = Injector(bench), await ErrorBits.clean(bench)
    transport = (await bench.probe()).transport
    at = place_address(bench)
    await set_scratch(bench, 0x55)
    await transport.set_command(memory=False)
    try:
        await injector.refused(injector.read(at, 2), "a read of a disabled BAR")
        await errors.expect(CORRECTABLE | UNSUPPORTED, "a read of a disabled BAR")
        await injector.link.send(injector.write(at, [0xAA]))
        await errors.expect(NON_FATAL | UNSUPPORTED, "a write to a disabled BAR")
    finally:
        await transport.set_command()
    await scratch(bench, 0x55, "a write to a disabled BAR")
    await exercise(bench, await bench.start())


# -- unusual, but right -------------------------------------------------------------------------------


@case(needs=LINK, proves=("PCI-ISR-DEV-05",), traps=(3,), transports=MODERN)
async def a_read_of_no_bytes_has_no_side_effects(bench: Bench) -> None:
    injector, errors = Injector(bench), await ErrorBits.clean(bench)
    device = await bench.start(interrupts=False)
    await device.wait(await device.submit(bench.queue, *small(bench)))
    await bench.host.sleep(QUIET_NS)
    isr = modern(device).structure(CfgType.ISR)
    answer = await injector.ask(injector.read(injector.link.bar(isr.bar) + isr.offset, first_be=0))
    found = answer.name, answer.status, answer.length, answer.byte_count, answer.lower_address
    expected = ("CplD", CompletionStatus.SUCCESSFUL, 1, 1, isr.offset & 0x7F)
    same(found, expected, "the answer to a read of no bytes")
    same(await device.transport.isr(), 1, "ISR after a read of no bytes")
    await errors.expect(DeviceStatus(0), "a read of no bytes")


@case(needs=LINK, proves=FUNCTION, transports=MODERN)
async def a_write_of_no_bytes_changes_nothing(bench: Bench) -> None:
    injector, errors = Injector(bench), await ErrorBits.clean(bench)
    device = await bench.start()
    base, status = injector.link.bar(layout.MODERN_BAR), await device.transport.status()
    used = device.queues[bench.queue].returned
    device.prepare(bench.queue, *small(bench))
    await set_scratch(bench, 0x1234_5678)
    places = [place(bench)[1], field_offset(CommonCfg, "device_status") & ~3, layout.NOTIFY_OFFSET]
    await injector.link.send(*(injector.write(base + place, [0], first_be=0) for place in places))
    await scratch(bench, 0x1234_5678, "a write of no bytes")
    same(await device.transport.status(), status, "status after a write of no bytes")
    await bench.host.sleep(QUIET_NS)
    same(device.queues[bench.queue].returned, used, "chains that came back after a notification of no bytes")
    command = await bench.host.config_read(ConfigOffset.COMMAND, 2)
    answer = await injector.ask(injector.config(ConfigOffset.COMMAND, 0, first_be=0))
    found = answer.name, answer.status
    same(found, ("Cpl", CompletionStatus.SUCCESSFUL), "the answer to a configuration write of no bytes")
    same(await bench.host.config_read(ConfigOffset.COMMAND, 2), command, "command after a write of no bytes")
    await errors.expect(DeviceStatus(0), "writes of no bytes")
    await device.kick(bench.queue)
    await bench.host.until(lambda: device.queues[bench.queue].has_used, timeout_ns=200_000)
    device.collect(bench.queue)
    await exercise(bench, device)


@case(needs=LINK, proves=FUNCTION)
async def bytes_enabled_with_a_hole_are_written(bench: Bench) -> None:
    injector = Injector(bench)
    at = place_address(bench)
    for enables in range(16):
        await set_scratch(bench, 0x1122_3344)
        await injector.link.send(injector.write(at, [0xAABB_CCDD], first_be=enables))
        mask = sum(0xFF << 8 * lane for lane in range(4) if enables >> lane & 1)
        expected = 0x1122_3344 & ~mask | 0xAABB_CCDD & mask
        await scratch(bench, expected, f"a write with byte enables {enables:#06b}")


@case(needs=LINK, proves=("PCI-CC-DEV-P03",), transports=MODERN)
async def long_reads_show_what_short_ones_do(bench: Bench) -> None:
    injector = Injector(bench)
    await bench.start()
    base = injector.link.bar(layout.MODERN_BAR)
    for start, length in ((0, 16), (4, 16), (0x74, 64), (0, DWORDS_OF_4_KIB)):
        found = await injector.read_back(injector.read(base + start, length))
        checked = range(length) if length <= 64 else range(0, length, 31)
        for number in checked:
            single = await bench.host.bar_read(layout.MODERN_BAR, start + 4 * number, 4)
            same(found[number], single, f"dword {number} of {length} from {start:#x} on")


@case(needs=LINK, proves=FUNCTION)
async def long_writes_reach_every_register(bench: Bench) -> None:
    injector = Injector(bench)
    base = injector.link.bar(layout.MSIX_BAR)
    vectors = await (await bench.probe()).transport.vectors()
    values = [bench.rng.getrandbits(32) & ~3 for _ in range(4 * vectors)]
    values[3::4] = [1] * vectors  # masked
    table = injector.write(base + layout.MSIX_TABLE_OFFSET, values[:32])
    await injector.link.send(table)
    same(await injector.read_back(injector.read(base, len(values[:32]))), values[:32], "the MSI-X table")
    part = injector.write(base, [0xAAAA_AAAA, 0xBBBB_BBBB], first_be=0b1000, last_be=0b0001)
    await injector.link.send(part)
    expected = [values[0] & 0x00FF_FFFF | 0xAA00_0000, values[1] & 0xFFFF_FF00 | 0xBB]
    same(await injector.read_back(injector.read(base, 2)), expected, "the MSI-X table, written across dwords")
    await exercise(bench, await bench.start())


@case(needs=LINK, proves=FUNCTION)
async def a_digest_does_no_harm(bench: Bench) -> None:
    injector, errors = Injector(bench), await ErrorBits.clean(bench)
    at = place_address(bench)
    for value in (0x0102_0304, 0x1111_0000):
        await injector.link.send([*injector.write(at, [value], bits=DIGEST), DIGEST_DWORD])
        await scratch(bench, value, "a write with a digest")
        answer = await injector.ask([*injector.read(at, bits=DIGEST), DIGEST_DWORD])
        same((answer.name, answer.payload), ("CplD", (value,)), "the answer to a read with a digest")
    await errors.expect(DeviceStatus(0), "packets with a digest")
    await exercise(bench, await bench.start())


@case(needs=LINK, proves=FUNCTION, transports=MODERN)
async def a_full_queue_of_reads_holds_up_nothing_else(bench: Bench) -> None:
    injector = Injector(bench)
    device = await bench.start()
    base = injector.link.bar(layout.MODERN_BAR)
    requests = [device.prepare(bench.queue, *small(bench)) for _ in range(3)]
    notify = modern(device).structure(CfgType.NOTIFY).offset
    notify += await modern(device).notify_offset(bench.queue)
    reads = [injector.read(base + 4 * (n % 16), 1 + n % 5) for n in range(32)]
    await injector.link.send(*reads, injector.write(base + notify, [bench.queue], first_be=0b0011))
    await device.wait(*requests)
    for packet in reads:
        left = packet[0] & 0x3FF
        while left:
            answer = Packet(await injector.link.answer())
            same(answer.tag, packet[1] >> 8 & 0xFF, "tag of the next answer")
            left -= len(answer.payload)
    await exercise(bench, device)


@case(needs=LINK, proves=("SPLIT-DEV-22",), traps=(16,), transports=MODERN)
async def a_flood_of_notifications_is_harmless(bench: Bench) -> None:
    """Of queues that exist and of those that do not, in long writes and many short ones."""
    injector, device = Injector(bench), await bench.start()
    notify = injector.link.bar(layout.MODERN_BAR) + layout.NOTIFY_OFFSET
    long = [injector.write(notify + 128 * n, [0] * 32) for n in range(8)]
    own = notify + await modern(device).notify_offset(bench.queue)
    short = [injector.write(own, [bench.queue], first_be=0b0011) for _ in range(64)]
    requests = [device.prepare(bench.queue, *small(bench)) for _ in range(3)]
    await injector.link.send(*long, *short)
    await device.wait(*requests)
    await exercise(bench, device)


@case(needs=LINK, proves=FUNCTION)
async def the_function_learns_its_number_from_configuration_writes(bench: Bench) -> None:
    """[PCIe base 5.0 §2.2.6.2]."""
    injector = Injector(bench)
    at = place_address(bench)
    try:
        for number in (0x4218, 0xFFF8, 0x0000):
            answer = await injector.ask(
                injector.config(ConfigOffset.INTERRUPT_LINE, 0, number=number, first_be=1)
            )
            same(answer.status, CompletionStatus.SUCCESSFUL, f"the answer to a write to {number:#06x}")
            answer = await injector.ask(injector.config(0, number=number ^ 0x0108))
            same(answer.completer_id, number, "completer id for a configuration read")
            answer = await injector.ask(injector.read(at))
            same(answer.completer_id, number, "completer id for a memory read")
    finally:
        await injector.ask(injector.config(ConfigOffset.INTERRUPT_LINE, 0, first_be=1))
    await exercise(bench, await bench.start())


# -- I/O space -----------------------------------------------------------------------------------------


def port(injector: Injector, offset: int, value: int | None = None, **fields: int) -> list[int]:
    """IORd, or with a ``value`` IOWr, of a dword of the legacy BAR."""
    payload = [] if value is None else [value]
    return injector.request(TlpType.IO, injector.link.bar(layout.LEGACY_BAR) + offset, payload, **fields)


@case(devices=EVERY_DEVICE, needs=LINK, proves=FUNCTION)
async def io_requests_outside_the_bar_are_unsupported(bench: Bench) -> None:
    injector, errors = Injector(bench), await ErrorBits.clean(bench)
    device = await bench.start()
    outside = [0x7FF0, 0xFFFF_FFFC]
    if bench.interface.has_legacy:
        start = injector.link.bar(layout.LEGACY_BAR)
        outside += [start ^ 0x8000, start | 1 << 16, start + layout.LEGACY_BAR_SIZE]
    for address in outside:
        for what, payload in (("an I/O read", []), ("an I/O write", [1])):
            await injector.refused(injector.request(TlpType.IO, address, payload), f"{what} at {address:#x}")
            await errors.expect(CORRECTABLE | UNSUPPORTED, f"{what} at {address:#x}")
    await exercise(bench, device)


@case(devices=EVERY_DEVICE, needs=LINK, proves=FUNCTION, transports=LEGACY)
async def a_disabled_io_bar_sets_the_error_bits(bench: Bench) -> None:
    injector, errors = Injector(bench), await ErrorBits.clean(bench)
    device, register = await bench.start(), Scratch(bench)
    await register.write(0x55)
    await device.transport.set_command(io=False)
    try:
        for packet in (port(injector, 0), port(injector, 12, 0x00AA_0000, first_be=0b1100)):
            await injector.refused(packet, "an access to a disabled I/O BAR")
            await errors.expect(CORRECTABLE | UNSUPPORTED, "an access to a disabled I/O BAR")
    finally:
        await device.transport.set_command()
    same(await register.read(), 0x55, "a register after a write to a disabled I/O BAR")


@case(devices=EVERY_DEVICE, needs=LINK, proves=(*FUNCTION, "PCI-LEG-DEV-04"), transports=LEGACY)
async def io_bytes_count_only_where_they_are_enabled(bench: Bench) -> None:
    """With holes, and none at all: a register takes a write of all of its bytes, and no other."""
    injector, errors, register = Injector(bench), await ErrorBits.clean(bench), Scratch(bench)
    features = await (await bench.probe()).transport.offered_features()
    for enables in range(16):
        mask = sum(0xFF << 8 * lane for lane in range(4) if enables >> lane & 1)
        answer = await injector.ask(port(injector, 0, first_be=enables))
        found = (
            answer.name,
            answer.status,
            answer.length,
            answer.lower_address & 0x7C,
            answer.payload[0] & mask,
        )
        expected = ("CplD", CompletionStatus.SUCCESSFUL, 1, 0, features & mask)
        same(found, expected, f"the answer to an I/O read with byte enables {enables:#06b}")
        same(answer.payload[0] & mask, features & mask, f"bytes read with byte enables {enables:#06b}")
        await register.write(0x1234)
        answer = await injector.ask(port(injector, 12, 0xABCD_5678, first_be=enables))
        same((answer.name, answer.status), ("Cpl", CompletionStatus.SUCCESSFUL), "the answer to an I/O write")
        expected = 0xABCD if enables & 0b1100 == 0b1100 else 0x1234
        same(await register.read(), expected, f"a register after byte enables {enables:#06b}")
    await register.write(0)
    await errors.expect(DeviceStatus(0), "I/O requests with holes")


@case(needs=LINK, proves=("PCI-ISR-DEV-05",), traps=(3,), transports=LEGACY)
async def an_io_read_without_the_isrs_byte_leaves_it(bench: Bench) -> None:
    injector, device = Injector(bench), await bench.start(interrupts=False)
    await device.wait(await device.submit(bench.queue, *small(bench)))
    await bench.host.sleep(QUIET_NS)
    for enables in (0b0000, 0b0111, 0b0001):
        answer = await injector.ask(port(injector, 16, first_be=enables))
        same(answer.status, CompletionStatus.SUCCESSFUL, f"status with byte enables {enables:#06b}")
    same(await device.transport.isr(), 1, "ISR")
    same(await device.transport.isr(), 0, "ISR, read again")

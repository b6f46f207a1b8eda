"""Packets that a host seldom or never sends: defined answers, and a device that goes on.

Only for backends with raw packets.
"""

from virtio_spec import layout
from virtio_spec.pci import ConfigOffset, DeviceStatus
from virtio_spec.tlp import CompletionStatus, TlpType
from virtio_spec.virtio_pci import CfgType, CommonCfg
from virtio_spec.wire import field_offset

from ..checkers.packet import Packet
from .errors import ErrorBits
from .helpers import QUIET_NS, exercise, same, small
from .packets import DIGEST, Injector
from .registry import Bench, case

__all__: list[str] = []

LINK = ("link",)
FUNCTION = ("PCI-ID-DEV-01",)
CORRECTABLE, NON_FATAL = DeviceStatus.CORRECTABLE_ERROR, DeviceStatus.NON_FATAL_ERROR
UNSUPPORTED = DeviceStatus.UNSUPPORTED_REQUEST
DWORDS_OF_4_KIB = 1024
#: A register without consequences, at an offset in BAR 4.
SCRATCH = layout.COMMON_OFFSET + field_offset(CommonCfg, "driver_feature_select")
DIGEST_DWORD = 0xDEAD_BEEF  # of a digest nobody checks


async def scratch(bench: Bench, expected: int, what: str) -> None:
    """``AssertionError`` unless the scratch register holds ``expected``."""
    same(await bench.host.bar_read(layout.MODERN_BAR, SCRATCH, 4), expected, f"a register after {what}")


async def set_scratch(bench: Bench, value: int) -> None:
    """Write the scratch register; the read behind it sees to it that no injected packet comes first."""
    await bench.host.bar_write(layout.MODERN_BAR, SCRATCH, 4, value)
    await scratch(bench, value, "a write")


# -- unsupported requests -----------------------------------------------------------------------------


@case(needs=LINK, proves=FUNCTION)
async def requests_an_endpoint_does_not_serve_are_unsupported(bench: Bench) -> None:
    injector, errors = Injector(bench), await ErrorBits.clean(bench)
    device, request = await bench.start(), injector.request
    at = injector.link.bar(layout.MODERN_BAR) + SCRATCH
    expected = bench.rng.getrandbits(32)
    await set_scratch(bench, expected)
    requests = {
        "a locked read": request(TlpType.MEMORY_LOCKED, at),
        "a locked read of 64 bytes": request(TlpType.MEMORY_LOCKED, at & ~0x3F, length=16),
        "an I/O read": request(TlpType.IO, 0x1000),
        "an I/O write": request(TlpType.IO, 0x1000, [1]),
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
    nowhere, base = 0x7FFF_F000, injector.link.bar(layout.MODERN_BAR)
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


@case(needs=LINK, proves=FUNCTION)
async def addresses_outside_the_bars_are_unsupported(bench: Bench) -> None:
    injector, errors = Injector(bench), await ErrorBits.clean(bench)
    device = await bench.start()
    bars = ((layout.MODERN_BAR, layout.MODERN_BAR_SIZE), (layout.MSIX_BAR, layout.MSIX_BAR_SIZE))
    inside = [range(injector.link.bar(bar), injector.link.bar(bar) + size) for bar, size in bars]
    outside = [0, 0x7FFF_FFFC, inside[0].start ^ 1 << 40, inside[1].start | 1 << 32]
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
    at = injector.link.bar(layout.MODERN_BAR) + SCRATCH
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


@case(needs=LINK, proves=("PCI-ISR-DEV-05",), traps=(3,))
async def a_read_of_no_bytes_has_no_side_effects(bench: Bench) -> None:
    injector, errors = Injector(bench), await ErrorBits.clean(bench)
    device = await bench.start(interrupts=False)
    await device.wait(await device.submit(0, *small(bench)))
    await bench.host.sleep(QUIET_NS)
    isr = device.transport.structure(CfgType.ISR)
    answer = await injector.ask(injector.read(injector.link.bar(isr.bar) + isr.offset, first_be=0))
    found = answer.name, answer.status, answer.length, answer.byte_count, answer.lower_address
    expected = ("CplD", CompletionStatus.SUCCESSFUL, 1, 1, isr.offset & 0x7F)
    same(found, expected, "the answer to a read of no bytes")
    same(await device.transport.isr(), 1, "ISR after a read of no bytes")
    await errors.expect(DeviceStatus(0), "a read of no bytes")


@case(needs=LINK, proves=FUNCTION)
async def a_write_of_no_bytes_changes_nothing(bench: Bench) -> None:
    injector, errors = Injector(bench), await ErrorBits.clean(bench)
    device = await bench.start()
    base, status = injector.link.bar(layout.MODERN_BAR), await device.transport.status()
    used = device.queues[0].used_index
    device.prepare(0, *small(bench))
    await set_scratch(bench, 0x1234_5678)
    places = [SCRATCH, field_offset(CommonCfg, "device_status") & ~3, layout.NOTIFY_OFFSET]
    await injector.link.send(*(injector.write(base + place, [0], first_be=0) for place in places))
    await scratch(bench, 0x1234_5678, "a write of no bytes")
    same(await device.transport.status(), status, "status after a write of no bytes")
    await bench.host.sleep(QUIET_NS)
    same(device.queues[0].used_index, used, "used.idx after a notification of no bytes")
    command = await bench.host.config_read(ConfigOffset.COMMAND, 2)
    answer = await injector.ask(injector.config(ConfigOffset.COMMAND, 0, first_be=0))
    found = answer.name, answer.status
    same(found, ("Cpl", CompletionStatus.SUCCESSFUL), "the answer to a configuration write of no bytes")
    same(await bench.host.config_read(ConfigOffset.COMMAND, 2), command, "command after a write of no bytes")
    await errors.expect(DeviceStatus(0), "writes of no bytes")
    await device.kick()
    await bench.host.until(lambda: device.queues[0].has_used, timeout_ns=200_000)
    device.collect()
    await exercise(bench, device)


@case(needs=LINK, proves=FUNCTION)
async def bytes_enabled_with_a_hole_are_written(bench: Bench) -> None:
    injector = Injector(bench)
    at = injector.link.bar(layout.MODERN_BAR) + SCRATCH
    for enables in range(16):
        await set_scratch(bench, 0x1122_3344)
        await injector.link.send(injector.write(at, [0xAABB_CCDD], first_be=enables))
        mask = sum(0xFF << 8 * lane for lane in range(4) if enables >> lane & 1)
        expected = 0x1122_3344 & ~mask | 0xAABB_CCDD & mask
        await scratch(bench, expected, f"a write with byte enables {enables:#06b}")


@case(needs=LINK, proves=("PCI-CC-DEV-P03",))
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
    at = injector.link.bar(layout.MODERN_BAR) + SCRATCH
    for value in (0x0102_0304, 0x1111_0000):
        await injector.link.send([*injector.write(at, [value], bits=DIGEST), DIGEST_DWORD])
        await scratch(bench, value, "a write with a digest")
        answer = await injector.ask([*injector.read(at, bits=DIGEST), DIGEST_DWORD])
        same((answer.name, answer.payload), ("CplD", (value,)), "the answer to a read with a digest")
    await errors.expect(DeviceStatus(0), "packets with a digest")
    await exercise(bench, await bench.start())


@case(needs=LINK, proves=FUNCTION)
async def a_full_queue_of_reads_holds_up_nothing_else(bench: Bench) -> None:
    injector = Injector(bench)
    device = await bench.start()
    base = injector.link.bar(layout.MODERN_BAR)
    requests = [device.prepare(0, *small(bench)) for _ in range(3)]
    await device.transport.select(0)
    number = await device.transport.common("queue_notify_off")
    notify = device.transport.structure(CfgType.NOTIFY).offset + number * device.transport.notify_multiplier
    reads = [injector.read(base + 4 * (n % 16), 1 + n % 5) for n in range(32)]
    await injector.link.send(*reads, injector.write(base + notify, [0], first_be=0b0011))
    await device.wait(*requests)
    for packet in reads:
        left = packet[0] & 0x3FF
        while left:
            answer = Packet(await injector.link.answer())
            same(answer.tag, packet[1] >> 8 & 0xFF, "tag of the next answer")
            left -= len(answer.payload)
    await exercise(bench, device)


@case(needs=LINK, proves=("SPLIT-DEV-22",), traps=(16,))
async def a_flood_of_notifications_is_harmless(bench: Bench) -> None:
    """Of queues that exist and of those that do not, in long writes and many short ones."""
    injector, device = Injector(bench), await bench.start()
    notify = injector.link.bar(layout.MODERN_BAR) + layout.NOTIFY_OFFSET
    long = [injector.write(notify + 128 * n, [0] * 32) for n in range(8)]
    short = [injector.write(notify, [0], first_be=0b0011) for _ in range(64)]
    requests = [device.prepare(0, *small(bench)) for _ in range(3)]
    await injector.link.send(*long, *short)
    await device.wait(*requests)
    await exercise(bench, device)


@case(needs=LINK, proves=FUNCTION)
async def the_function_learns_its_number_from_configuration_writes(bench: Bench) -> None:
    """[PCIe base 5.0 §2.2.6.2]."""
    injector = Injector(bench)
    at = injector.link.bar(layout.MODERN_BAR)
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

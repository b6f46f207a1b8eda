"""The device's own reads, answered badly: the device says so, stops, and works again after a reset.

Only for backends with raw packets. Reads are told apart by where they read: available ring, descriptor
table, or the readable buffers of a block device's request.
"""

from collections.abc import Sequence
from typing import Any

from virtio_spec import wire
from virtio_spec.blk import SECTOR_BYTES, BlkReqHeader, BlkReqType
from virtio_spec.layout import Cause
from virtio_spec.pci import Capability, Command, ConfigOffset, Status
from virtio_spec.pci import DeviceStatus as ErrorBit
from virtio_spec.tlp import CompletionStatus
from virtio_spec.virtio import DeviceStatus

from ..devices.blk import VirtioBlk
from .errors import ErrorBits
from .faults import (
    Change,
    Fault,
    places,
    poisoned,
    sources,
    stray,
    too_long,
    with_status,
    without_data,
    wrong_byte_count,
    wrong_lower_address,
)
from .helpers import QUIET_NS, exercise, quiet, same
from .link import Read
from .packets import raw_link
from .registry import Bench, case

__all__: list[str] = []

LINK, BLK = ("link",), ("blk",)
BROKEN = ("STATUS-DEV-02", "STATUS-DEV-03", "RESET-DEV-02")

DEVICE_CONTROL_2 = 0x28  # offset in the PCI Express capability
COMPLETION_TIMEOUT_DISABLE = 1 << 4


async def reached(bench: Bench, fault: Fault) -> None:
    """Until the device has read what is to be spoilt; tags lost earlier may hold it up for two time-outs."""
    end = bench.host.now_ns() + 2 * bench.completion_timeout_ns + 10 * QUIET_NS
    while fault.read is None:
        if bench.host.now_ns() > end:
            raise AssertionError("the device did not read what was to be spoilt")
        await bench.host.sleep(QUIET_NS)


async def broken_by(
    bench: Bench,
    change: Change | None,
    device_status: tuple[ErrorBit, ...],
    status: Status,
    *,
    only: str | None = None,
    queue_size: int = 8,
    **options: Any,
) -> None:
    """Spoil the read of each place in turn, expect DEVICE_NEEDS_RESET and the error bits, and start anew.

    With ``only``, of that place. ``device_status`` are the outcomes that the standard allows.
    """
    for place in places(bench) if only is None else (only,):
        device, errors = await bench.start(queue_size=queue_size), await ErrorBits.clean(bench)
        queue, before = device.queues[bench.queue], bench.host.interrupts(0)
        _, where = sources(bench, device)
        disk = bytes(bench.disk.data)
        fault = Fault(bench, *where[place], change, **options)
        await device.kick(bench.queue)
        wait = 50_000 + 2 * bench.completion_timeout_ns
        await device.wait_interrupt(0, before, timeout_ns=wait)
        if fault.read is None:
            raise AssertionError(f"there was no read of the {place}")
        same(await device.transport.isr() & 2, 2, f"configuration bit of the ISR, {place}")
        needs_reset = DeviceStatus.DEVICE_NEEDS_RESET
        found = await device.transport.status() & needs_reset
        same(found, needs_reset, f"DEVICE_NEEDS_RESET, {place}")
        diagnostics = await device.diagnostics()
        found = Cause(diagnostics.cause), diagnostics.queue
        same(found, (Cause.DMA_ERROR, bench.queue), f"cause and queue, {place}")
        bits = await errors.read()
        if bits[0] not in device_status or bits[1] != status:
            raise AssertionError(f"the error bits after a bad answer for the {place} are {bits}")
        await quiet(bench, device)
        same(queue.returned, 0, f"chains that came back after a bad answer for the {place}")
        same(bytes(bench.disk.data) == disk, True, f"whether the disk is unchanged, {place}")
        await device.reset()
        bench.host.memory.forget()
        await device.start()
        await exercise(bench, device)
        await errors.clear()


@case(needs=LINK, proves=BROKEN)
async def a_read_refused_by_the_host_breaks_the_device(bench: Bench) -> None:
    change = with_status(CompletionStatus.UNSUPPORTED_REQUEST)
    await broken_by(bench, change, (ErrorBit(0),), Status.RECEIVED_MASTER_ABORT)


@case(needs=LINK, proves=BROKEN)
async def a_read_aborted_by_the_host_breaks_the_device(bench: Bench) -> None:
    change = with_status(CompletionStatus.COMPLETER_ABORT)
    await broken_by(bench, change, (ErrorBit(0),), Status.RECEIVED_TARGET_ABORT)


@case(needs=LINK, proves=BROKEN)
async def a_reserved_completion_status_is_unsupported_request(bench: Bench) -> None:
    """[PCIe base 5.0 §2.3.2]."""
    change = with_status(bench.rng.choice((3, 5, 6, 7)))
    await broken_by(bench, change, (ErrorBit(0),), Status.RECEIVED_MASTER_ABORT)


@case(needs=LINK, proves=BROKEN)
async def poisoned_data_breaks_the_device(bench: Bench) -> None:
    allowed = ErrorBit.NON_FATAL_ERROR, ErrorBit.CORRECTABLE_ERROR
    await broken_by(bench, poisoned, allowed, Status.DETECTED_PARITY_ERROR, ends=False)


@case(needs=LINK, proves=("PCI-ID-DEV-01", "STATUS-DEV-02"))
async def poisoned_data_is_a_parity_error_where_the_host_wants_to_know(bench: Bench) -> None:
    command = await bench.host.config_read(ConfigOffset.COMMAND, 2)
    await bench.host.config_write(ConfigOffset.COMMAND, 2, command | Command.PARITY_ERROR_RESPONSE)
    allowed = ErrorBit.NON_FATAL_ERROR, ErrorBit.CORRECTABLE_ERROR
    status = Status.DETECTED_PARITY_ERROR | Status.MASTER_DATA_PARITY_ERROR
    try:
        await broken_by(bench, poisoned, allowed, status, ends=False)
    finally:
        await bench.host.config_write(ConfigOffset.COMMAND, 2, command)


@case(needs=LINK, proves=BROKEN)
async def a_completion_with_a_wrong_byte_count_breaks_the_device(bench: Bench) -> None:
    allowed = ErrorBit.CORRECTABLE_ERROR, ErrorBit.FATAL_ERROR
    await broken_by(bench, wrong_byte_count, allowed, Status(0), lost=True)


@case(needs=LINK, proves=BROKEN)
async def completions_that_do_not_fit_break_the_device(bench: Bench) -> None:
    allowed = ErrorBit.CORRECTABLE_ERROR, ErrorBit.FATAL_ERROR
    for change in (wrong_lower_address, without_data):
        place = bench.rng.choice(list(places(bench)))
        await broken_by(bench, change, allowed, Status(0), only=place, lost=True)
    # Of reads so short that more than was asked for is still no more than Max_Payload_Size.
    place = bench.rng.choice([place for place in places(bench) if place != "data"])
    await broken_by(bench, too_long, allowed, Status(0), only=place, queue_size=4, lost=True)


@case(devices=BLK, needs=LINK, proves=BROKEN)
async def a_read_that_fails_halfway_is_a_failed_read(bench: Bench) -> None:
    """The first completions are good; nothing of the data reaches the disk."""
    for change, bits in ((1, Status.RECEIVED_MASTER_ABORT), (4, Status.RECEIVED_TARGET_ABORT)):
        device, errors = await bench.start(queue_size=8), await ErrorBits.clean(bench)
        before, disk = bench.host.interrupts(0), bytes(bench.disk.data)
        request, where = sources(bench, device)
        start, length = where["data"]
        spoil, seen = with_status(change), list[Read]()

        def tamper(
            read: Read, packet: list[int], start: int = start, length: int = length, spoil: Change = spoil,
            seen: list[Read] = seen,
        ) -> Sequence[list[int]]:  # fmt: skip
            inside = start <= read.address < start + length and read.length > 128
            last = (packet[1] & 0xFFF) <= 4 * (packet[0] & 0x3FF)
            if not inside or not last:
                return [packet]
            seen.append(read)
            return [spoil(packet)]

        raw_link(bench).tamper = tamper
        await device.kick(bench.queue)
        await device.wait_interrupt(0, before)
        same(bool(seen), True, "whether a read was cut into several completions")
        same(Cause((await device.diagnostics()).cause), Cause.DMA_ERROR, "cause")
        same(await errors.read(), (0, bits), "the error bits")
        await quiet(bench, device)
        same(bytes(bench.disk.data) == disk, True, "whether the disk is unchanged")
        raw_link(bench).tamper = None
        await device.start()
        await exercise(bench, device)


@case(needs=LINK, proves=("STATUS-DEV-02", "SPLIT-DEV-16"))
async def forged_completions_answer_nothing(bench: Bench) -> None:
    """With the tag of a read under way, but for another function, of ten bits, or locked."""
    link, device, errors = raw_link(bench), await bench.start(queue_size=8), await ErrorBits.clean(bench)
    forged: list[int] = []

    def tamper(read: Read, packet: list[int]) -> Sequence[list[int]]:
        wrong = [*packet[:3], *(~dword & 0xFFFF_FFFF for dword in packet[3:])]
        fakes = [
            [*wrong[:2], wrong[2] ^ 1 << 16, *wrong[3:]],
            [*wrong[:2], wrong[2] ^ 1 << 24, *wrong[3:]],
            [wrong[0] | 1 << 19, *wrong[1:]],
            [wrong[0] | 1 << 23, *wrong[1:]],
            [wrong[0] | 1 << 24, *wrong[1:]],
        ]
        forged.append(len(fakes))
        return [*fakes, packet]

    link.tamper = tamper
    for _ in range(2):
        await exercise(bench, device)
        await bench.host.sleep(QUIET_NS)
    link.tamper = None
    same(len(forged) > 3, True, "whether there were reads")
    await errors.expect(ErrorBit.CORRECTABLE_ERROR, "forged completions")
    same(await device.transport.status() & DeviceStatus.DEVICE_NEEDS_RESET, 0, "DEVICE_NEEDS_RESET")
    await exercise(bench, device)


@case(needs=LINK, proves=BROKEN)
async def a_read_without_an_answer_times_out(bench: Bench) -> None:
    await broken_by(bench, None, (ErrorBit.NON_FATAL_ERROR,), Status(0), lost=True)


@case(needs=LINK, proves=BROKEN)
async def an_answer_with_a_wrong_tag_is_none(bench: Bench) -> None:
    both = ErrorBit.NON_FATAL_ERROR | ErrorBit.CORRECTABLE_ERROR
    await broken_by(bench, stray, (both,), Status(0), lost=True)


@case(needs=LINK, proves=("RESET-DEV-02", "STATUS-DEV-02"), traps=(6,))
async def an_answer_after_the_time_out_does_no_harm(bench: Bench) -> None:
    """It comes after the reset, when the same memory belongs to somebody else."""
    link = raw_link(bench)
    for place in places(bench):
        device = await bench.start(queue_size=8)
        before = bench.host.interrupts(0)
        _, where = sources(bench, device)
        fault = Fault(bench, *where[place], None)
        await device.kick(bench.queue)
        await device.wait_interrupt(0, before, timeout_ns=50_000 + 2 * bench.completion_timeout_ns)
        await device.reset()
        bench.host.memory.forget()
        await device.start(queue_size=8)
        errors = await ErrorBits.clean(bench)
        await link.send(*fault.kept)
        await errors.expect(ErrorBit.CORRECTABLE_ERROR, f"a late answer for the {place}")
        await exercise(bench, device)


@case(needs=LINK, proves=("PCI-ID-DEV-01", "RESET-DEV-01"), traps=(7,))
async def the_time_out_can_be_switched_off(bench: Bench) -> None:
    """Then a read waits for ever, but a reset does not.  [PCIe base 5.0 §7.5.3.16]"""
    device = await bench.start(queue_size=8)
    position = device.transport.capability(Capability.PCI_EXPRESS) + DEVICE_CONTROL_2
    control = await bench.host.config_read(position, 2)
    await bench.host.config_write(position, 2, control | COMPLETION_TIMEOUT_DISABLE)
    try:
        errors = await ErrorBits.clean(bench)
        _, where = sources(bench, device)
        fault = Fault(bench, *where["descriptors"], None, lost=True)
        await device.kick(bench.queue)
        await reached(bench, fault)
        await bench.host.sleep(2 * bench.completion_timeout_ns)
        await errors.expect(ErrorBit(0), "a long wait without a time-out")
        same(await device.transport.status() & DeviceStatus.DEVICE_NEEDS_RESET, 0, "DEVICE_NEEDS_RESET")
        await device.reset()
    finally:
        await bench.host.config_write(position, 2, control)
    bench.host.memory.forget()
    await device.start()
    await exercise(bench, device)


@case(needs=LINK, proves=("RESET-DEV-01", "RESET-DEV-02", "PCI-CC-DEV-07"), traps=(6, 7))
async def a_reset_ends_although_reads_are_not_answered(bench: Bench) -> None:
    """By writing the status and by FLR; memory is the driver's again once it has ended."""
    for place in places(bench):
        for flr in (False, True):
            device = await bench.start(queue_size=8)
            _, where = sources(bench, device)
            fault = Fault(bench, *where[place], None, lost=True)
            await device.kick(bench.queue)
            await reached(bench, fault)
            await (device.function_level_reset() if flr else device.reset())
            bench.host.memory.forget()
            await bench.host.sleep(QUIET_NS)
            same(await device.transport.status(), 0, f"status after a reset with the {place} outstanding")
            await device.start()
            await exercise(bench, device)


@case(needs=LINK, proves=("STATUS-DEV-02", "SPLIT-DEV-16"))
async def completions_that_come_twice_do_no_harm(bench: Bench) -> None:
    link = raw_link(bench)
    device, errors = await bench.start(queue_size=8), await ErrorBits.clean(bench)
    twice: set[Read] = set()

    def tamper(read: Read, packet: list[int]) -> Sequence[list[int]]:
        # Only the last one of a read: the others, repeated, do not fit what the read still expects.
        if packet[1] & 0xFFF > 4 * (packet[0] & 0x3FF) - (packet[2] & 3):
            return [packet]
        twice.add(read)
        return [packet, packet]

    link.tamper = tamper
    for _ in range(3):
        await exercise(bench, device)
        await bench.host.sleep(QUIET_NS)
    link.tamper = None
    if len(twice) < 6:
        raise AssertionError(f"only {len(twice)} reads were answered twice")
    await errors.expect(ErrorBit.CORRECTABLE_ERROR, "completions that came twice")
    same(await device.transport.status() & DeviceStatus.DEVICE_NEEDS_RESET, 0, "DEVICE_NEEDS_RESET")
    await exercise(bench, device)


@case(devices=BLK, needs=LINK, proves=("SPLIT-DEV-01", "SPLIT-DEV-16"), traps=(13,))
async def completions_of_different_reads_come_in_any_order(bench: Bench) -> None:
    """The first read of the data is answered only behind later ones."""
    link, device = raw_link(bench), await bench.start(queue_size=16)
    errors, count = await ErrorBits.clean(bench), 6
    data = bench.rng.randbytes(count * SECTOR_BYTES)
    cuts = sorted(bench.rng.sample(range(1, len(data)), 5))
    parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    header = wire.pack(BlkReqHeader, type=BlkReqType.OUT, sector=3)
    request = device.prepare(bench.queue, [header, *parts], [1])
    inside = [range(b.address, b.address + b.size) for b in request.readable[1:]]
    held: list[list[int]] = []
    late: list[Read] = []
    passed: set[Read] = set()

    def tamper(read: Read, packet: list[int]) -> Sequence[list[int]]:
        if not any(read.address in buffer for buffer in inside):
            return [packet]
        if not late:
            late.append(read)
        if read is late[0] and len(passed) < 2:
            held.append(packet)
            return []
        passed.add(read)
        out, held[:] = ([packet, *held], []) if len(passed) >= 2 else ([packet], list(held))
        return out

    link.tamper = tamper
    await device.kick(bench.queue)
    await device.wait(request)
    same(request.content, b"\0", "status of the write")
    same(len(passed) >= 2, True, "whether there were reads behind the first")
    same(bench.disk.read(3, count), data, "what was written")
    await errors.expect(ErrorBit(0), "reordered completions")


@case(devices=BLK, needs=LINK, proves=("SPLIT-DEV-01", "SPLIT-DEV-16"), traps=(13,))
async def a_read_is_answered_in_pieces(bench: Bench) -> None:
    """Cut at read completion boundaries of 64 bytes, as root complexes do."""
    link, blk = raw_link(bench), VirtioBlk(await bench.start())
    pieces: dict[Read, int] = {}
    finished: list[Read] = []

    def tamper(read: Read, packet: list[int]) -> Sequence[list[int]]:
        pieces[read] = pieces.get(read, 0) + 1
        finished.append(read)
        return [packet]

    link.tamper = tamper
    for _ in range(2):
        data = bench.rng.randbytes(4 * SECTOR_BYTES)
        await blk.write(8, data)
        same(bench.disk.read(8, 4), data, "what was written")
    same(max(pieces.values()) > 1, True, "whether a read was answered in pieces")


@case(needs=LINK, proves=("SPLIT-DEV-11", "STATUS-DEV-02"), traps=(12,))
async def flags_that_cannot_be_read_break_the_device_or_interrupt(bench: Bench) -> None:
    """The buffer has been used by then; the driver hears of it one way or the other."""
    device = await bench.start(queue_size=8)
    request, _ = sources(bench, device)
    address = device.queues[bench.queue].areas[1].address
    before = bench.host.interrupts(0), bench.host.interrupts(bench.vector)

    link, change = raw_link(bench), with_status(CompletionStatus.UNSUPPORTED_REQUEST)

    def tamper(read: Read, packet: list[int]) -> Sequence[list[int]]:
        flags_only = read.address == address and read.length == 2
        return [change(packet)] if flags_only else [packet]

    link.tamper = tamper
    await device.kick(bench.queue)
    await device.wait(request)
    await bench.host.until(
        lambda: bench.host.interrupts(0) > before[0] or bench.host.interrupts(bench.vector) > before[1],
        timeout_ns=50_000,
    )
    link.tamper = None
    await device.start()
    await exercise(bench, device)

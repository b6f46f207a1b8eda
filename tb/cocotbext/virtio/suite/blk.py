"""The block device: every request against what is behind it."""

from virtio_spec import wire
from virtio_spec.blk import (
    SECTOR_BYTES,
    BlkConfig,
    BlkFeature,
    BlkReqHeader,
    BlkReqType,
    BlkSegmentFlag,
    BlkStatus,
)
from virtio_spec.virtio import Feature, feature_mask

from ..devices.blk import BlkRequest, VirtioBlk, segments
from .helpers import QUIET_NS, exercise, modern, quiet, same
from .registry import LEGACY, MODERN, Bench, case

__all__: list[str] = []

IN, OUT, FLUSH, GET_ID = BlkReqType.IN, BlkReqType.OUT, BlkReqType.FLUSH, BlkReqType.GET_ID
DISCARD, WRITE_ZEROES = BlkReqType.DISCARD, BlkReqType.WRITE_ZEROES
BLK = ("blk",)
UNMAP = BlkSegmentFlag.UNMAP


async def start(bench: Bench, **options: int) -> VirtioBlk:
    """The device at DRIVER_OK."""
    return VirtioBlk(await bench.start(**options))


def content(bench: Bench, sector: int, count: int = 1) -> bytes:
    """What the disk holds."""
    return bytes(bench.disk.data[SECTOR_BYTES * sector : SECTOR_BYTES * (sector + count)])


def fill(bench: Bench, sector: int, count: int = 1) -> bytes:
    """Put random bytes on the disk, behind the device's back; returns them."""
    data = bench.rng.randbytes(SECTOR_BYTES * count)
    bench.disk.data[SECTOR_BYTES * sector : SECTOR_BYTES * (sector + count)] = data
    return data


def anywhere(bench: Bench, count: int = 1) -> int:
    """A sector with ``count - 1`` behind it."""
    return bench.rng.randrange(bench.disk.capacity - count + 1)


def failed(bench: Bench, request: BlkRequest, status: BlkStatus, what: str) -> None:
    """``AssertionError`` unless it ended so, and its data area is all zeros where that is promised."""
    same(BlkStatus(request.status), status, f"status of {what}")
    if bench.has("robust"):
        same(request.data, bytes(len(request.data)), f"data area of {what}")


@case(devices=BLK, proves=("BLK-DEV-01", "BLK-DEV-04", "BLK-DEV-05", "FEAT-DEV-04"))
async def the_configuration_describes_the_disk(bench: Bench) -> None:
    device = await bench.start()
    config = await device.transport.config(BlkConfig, "capacity", "size_max", "seg_max", "blk_size")
    same(config.capacity, bench.disk.capacity, "capacity")
    same(config.blk_size % SECTOR_BYTES, 0, "blk_size modulo 512")
    limits = {BlkFeature.SEG_MAX: (config.seg_max, 1), BlkFeature.SIZE_MAX: (config.size_max, SECTOR_BYTES)}
    for feature, (limit, least) in limits.items():
        if device.accepted >> feature & 1 and limit < least:
            raise AssertionError(f"{feature.name} is {limit}")
    same(await device.transport.config_read(33, 1), 0, "unused0")
    for offset in (57, 58, 59):
        same(await device.transport.config_read(offset, 1), 0, "unused1")
    if not device.accepted >> BlkFeature.FLUSH & 1:
        raise AssertionError("FLUSH is not offered")


@case(devices=BLK, proves=("BLK-DEV-P02", "SPLIT-DEV-16", "SPLIT-DEV-P03"), traps=(1, 17))
async def a_read_returns_what_is_on_the_disk(bench: Bench) -> None:
    blk = await start(bench)
    for count in (1, 2):
        sector = anywhere(bench, count)
        expected = fill(bench, sector, count)
        same(await blk.read(sector, count), expected, f"{count} sectors from {sector} on")


@case(devices=BLK, proves=("BLK-DEV-P02",))
async def a_write_changes_its_sectors_only(bench: Bench) -> None:
    blk = await start(bench)
    sector = bench.rng.randrange(1, bench.disk.capacity - 2)
    fill(bench, sector - 1, 4)
    before, after = content(bench, sector - 1), content(bench, sector + 2)
    data = bench.rng.randbytes(2 * SECTOR_BYTES)
    await blk.write(sector, data)
    same(content(bench, sector, 2), data, "the sectors written")
    same((content(bench, sector - 1), content(bench, sector + 2)), (before, after), "their neighbours")
    same(await blk.read(sector, 2), data, "the sectors read back")


@case(devices=BLK, proves=("BLK-DEV-P02",))
async def the_first_and_the_last_sector_are_within_reach(bench: Bench) -> None:
    blk = await start(bench)
    for sector in (0, bench.disk.capacity - 1):
        data = bench.rng.randbytes(SECTOR_BYTES)
        await blk.write(sector, data)
        same(content(bench, sector), data, f"sector {sector}")
        same(await blk.read(sector, 1), data, f"sector {sector}, read")


@case(devices=BLK, proves=("BLK-DEV-31",), traps=(30,))
async def a_flush_makes_writes_durable(bench: Bench) -> None:
    blk = await start(bench)
    sector, flushes = anywhere(bench, 1), bench.disk.counts["flush"]
    data = bench.rng.randbytes(SECTOR_BYTES)
    await blk.write(sector, data)
    await blk.flush()
    same(bench.disk.durable(sector, 1), data, "what survives a loss of power")
    if bench.disk.counts["flush"] == flushes:
        raise AssertionError("the flush did not reach the disk")


@case(devices=BLK, proves=("BLK-DEV-31",), traps=(30,))
async def without_flush_every_write_is_durable(bench: Bench) -> None:
    device = await bench.start(features=feature_mask(Feature.VERSION_1, BlkFeature.BLK_SIZE))
    sector, data = anywhere(bench), bench.rng.randbytes(SECTOR_BYTES)
    await VirtioBlk(device).write(sector, data)
    same(bench.disk.durable(sector, 1), data, "what survives a loss of power")


@case(devices=BLK, proves=("BLK-DEV-31",))
async def a_flush_that_fails_is_told(bench: Bench) -> None:
    blk = await start(bench)
    bench.disk.flush_fails = True
    failed(bench, await blk.request(FLUSH), BlkStatus.IOERR, "a flush")
    bench.disk.heal()
    await blk.flush()


@case(devices=BLK, proves=("BLK-DEV-P03",))
async def the_serial_number_is_text(bench: Bench) -> None:
    blk = await start(bench)
    serial = (await blk.request(GET_ID, room=20)).result()
    text = serial.rstrip(b"\0")
    if not text or not all(32 <= byte < 127 for byte in text):
        raise AssertionError(f"the serial number is {serial!r}")
    for room in (0, 5, 19, 21, 40):
        found = (await blk.request(GET_ID, room=room)).result()
        same(found, serial[:room].ljust(room, b"\0"), f"the serial number in {room} bytes")


@case(devices=BLK, proves=("BLK-DEV-P01", "BLK-DEV-36"))
async def other_requests_are_unsupported(bench: Bench) -> None:
    blk = await start(bench)
    operations = bench.disk.counts.total()
    unknown = [2, BlkReqType.SECURE_ERASE, 15, 26, 0xFFFF_FFFF, 0x8000_0000, 0x8000_0000 | DISCARD]
    unknown += [BlkReqType.FLUSH_OUT] if bench.transport == "modern" else []
    for kind in unknown:
        failed(bench, await blk.request(kind, data=bytes(16), room=24), BlkStatus.UNSUPP, f"type {kind:#x}")
    same(bench.disk.counts.total(), operations, "operations of the disk")
    await exercise(bench, blk.device)


@case(devices=BLK, proves=("SPLIT-DEV-16", "SPLIT-DEV-P03"), traps=(17,))
async def what_counts_as_written_is_written_when_a_read_fails(bench: Bench) -> None:
    """The bytes of the used length have been written, whatever became of the request.  [§2.7.8.2]"""
    blk = await start(bench)
    request = await blk.request(IN, bench.disk.capacity, room=SECTOR_BYTES)
    same(BlkStatus(request.status), BlkStatus.IOERR, "status of a read beyond the end")
    if request.data == b"\xa5" * SECTOR_BYTES:
        raise AssertionError("the used length covers a data area that the device has not touched")


@case(devices=BLK, proves=("BLK-DEV-P02",), breaks=("BLK-DRV-12",))
async def beyond_the_end_is_an_error(bench: Bench) -> None:
    blk, end = await start(bench), bench.disk.capacity
    before = bytes(bench.disk.data)
    for sector, count in ((end, 1), (end - 1, 2), (2**55 - 1, 1), (2**64 - 1, 1)):
        what = f"{count} sectors from {sector:#x} on"
        failed(
            bench,
            await blk.request(IN, sector, room=count * SECTOR_BYTES),
            BlkStatus.IOERR,
            f"a read of {what}",
        )
        data = bench.rng.randbytes(count * SECTOR_BYTES)
        failed(bench, await blk.request(OUT, sector, data), BlkStatus.IOERR, f"a write of {what}")
    same(bytes(bench.disk.data) == before, True, "whether the disk is unchanged")
    await exercise(bench, blk.device)


@case(devices=BLK, proves=("BLK-DEV-P02",), breaks=("BLK-DRV-16",))
async def parts_of_sectors_are_an_error(bench: Bench) -> None:
    blk, before = await start(bench), bytes(bench.disk.data)
    for length in (1, 511, 513):
        failed(bench, await blk.request(IN, 0, room=length), BlkStatus.IOERR, f"a read of {length} bytes")
        data = bench.rng.randbytes(length)
        failed(bench, await blk.request(OUT, 0, data), BlkStatus.IOERR, f"a write of {length} bytes")
    same(bytes(bench.disk.data) == before, True, "whether the disk is unchanged")
    await exercise(bench, blk.device)


@case(needs=("robust",), devices=BLK, proves=("SPLIT-DEV-P03",))
async def a_header_cut_short_is_an_error(bench: Bench) -> None:
    device = await bench.start()
    header = wire.pack(BlkReqHeader, type=IN, sector=1)
    for length in (15, 8, 1, 0):
        request = await device.submit(0, [header[:length]] if length else [], [512, 1])
        await device.wait(request)
        failed(bench, BlkRequest(request), BlkStatus.IOERR, f"a request with {length} readable bytes")
    await exercise(bench, device)


@case(needs=("robust",), devices=BLK, proves=("SPLIT-DEV-P03",), traps=(17,))
async def a_request_without_room_for_a_status_is_given_back(bench: Bench) -> None:
    device = await bench.start()
    request = await device.submit(0, [wire.pack(BlkReqHeader, type=IN)], [])
    await device.wait(request)
    same(request.used, 0, "used length")
    await exercise(bench, device)


@case(devices=BLK, proves=("SPLIT-DEV-01",), traps=(13,))
async def requests_are_cut_anywhere(bench: Bench) -> None:
    blk = await start(bench)
    for _ in range(3):
        sector, data = anywhere(bench, 1), bench.rng.randbytes(SECTOR_BYTES)
        points = [bench.rng.randrange(1, 16), *(bench.rng.randrange(1, 528) for _ in range(5))]
        request = await blk.request(OUT, sector, data, framing=(points, ()))
        request.result()
        same(content(bench, sector), data, f"sector {sector}, cut at {sorted(points)}")
        points = [bench.rng.randrange(1, 513) for _ in range(6)]
        request = await blk.request(IN, sector, room=SECTOR_BYTES, framing=((4, 9), points))
        same(request.result(), data, f"sector {sector} read, cut at {sorted(points)}")


@case(devices=BLK, proves=("SPLIT-DEV-01",), traps=(13,))
async def a_header_of_single_bytes_is_a_header(bench: Bench) -> None:
    blk = VirtioBlk(await bench.start(queue_size=32))
    sector = anywhere(bench)
    expected = fill(bench, sector)
    parts = (1, 2, 3, 511, 512)
    most = blk.device.queues[0].size - len(parts) - 1  # of the header, where the queue is short
    request = await blk.request(IN, sector, room=SECTOR_BYTES, framing=(range(1, min(most, 16)), parts))
    same(request.result(), expected, f"sector {sector}")


@case(devices=BLK, proves=("SPLIT-DEV-01",), traps=(13,))
async def header_and_data_may_share_a_descriptor(bench: Bench) -> None:
    blk = await start(bench)
    sector, data = anywhere(bench), bench.rng.randbytes(SECTOR_BYTES)
    (await blk.request(OUT, sector, data, framing=((), ()))).result()
    same(content(bench, sector), data, f"sector {sector}")
    read = await blk.request(IN, sector, room=SECTOR_BYTES, framing=((), ()))
    same(read.result(), data, f"sector {sector}, read with its status")


@case(devices=BLK, proves=("SPLIT-DEV-16", "SPLIT-DEV-P02"))
async def several_requests_are_in_flight(bench: Bench) -> None:
    blk = await start(bench)
    first = bench.rng.randrange(bench.disk.capacity - 4)
    old = [fill(bench, first), fill(bench, first + 1)]
    new = [bench.rng.randbytes(SECTOR_BYTES) for _ in range(2)]
    requests = [
        blk.prepare(IN, first, room=SECTOR_BYTES),
        blk.prepare(OUT, first + 2, new[0]),
        blk.prepare(IN, first + 1, room=SECTOR_BYTES),
        blk.prepare(OUT, first + 3, new[1]),
    ]
    await blk.device.kick()
    await blk.wait(*requests)
    same([requests[0].result(), requests[2].result()], old, "what was read")
    same([requests[1].result(), requests[3].result()], [b"", b""], "the writes")
    same(content(bench, first + 2, 2), b"".join(new), "what was written")


@case(devices=BLK, proves=("SPLIT-DEV-16",))
async def a_failure_does_not_touch_its_neighbours(bench: Bench) -> None:
    blk = await start(bench)
    expected = fill(bench, 0)
    requests = [
        blk.prepare(IN, 0, room=SECTOR_BYTES),
        blk.prepare(IN, bench.disk.capacity, room=SECTOR_BYTES),
        blk.prepare(7, room=3),
        blk.prepare(IN, 0, room=SECTOR_BYTES),
    ]
    await blk.device.kick()
    await blk.wait(*requests)
    same([requests[0].result(), requests[3].result()], [expected] * 2, "the reads around")
    failed(bench, requests[1], BlkStatus.IOERR, "a read beyond the end")
    failed(bench, requests[2], BlkStatus.UNSUPP, "an unknown request")


@case(devices=BLK, proves=("BLK-DEV-P02",))
async def a_fault_of_the_disk_is_an_error(bench: Bench) -> None:
    blk = await start(bench)
    sector = bench.rng.randrange(bench.disk.capacity - 1)
    before = fill(bench, sector, 2)
    bench.disk.fail(sector)
    failed(
        bench, await blk.request(IN, sector, room=SECTOR_BYTES), BlkStatus.IOERR, "a read of a broken sector"
    )
    data = bench.rng.randbytes(SECTOR_BYTES)
    failed(bench, await blk.request(OUT, sector, data), BlkStatus.IOERR, "a write of a broken sector")
    same(await blk.read(sector + 1, 1), before[SECTOR_BYTES:], "the sector behind")
    bench.disk.heal()
    same(await blk.read(sector, 1), before[:SECTOR_BYTES], "the sector after its repair")


@case(devices=BLK, proves=("BLK-DEV-19", "BLK-DEV-20", "NOTIF-DEV-P01", "PCI-ISR-DEV-02"), traps=(2,))
async def a_change_of_the_capacity_is_told(bench: Bench) -> None:
    blk, size = await start(bench), bench.disk.capacity
    before = bench.host.interrupts(0)
    await blk.device.transport.isr()
    try:
        bench.disk.resize(size - 3)
        await blk.device.wait_interrupt(0, before)
        same(await blk.device.transport.isr() & 2, 2, "configuration bit of the ISR")
        same(await blk.capacity(), size - 3, "capacity")
        request = await blk.request(IN, size - 3, room=SECTOR_BYTES)
        failed(bench, request, BlkStatus.IOERR, "a read beyond the new end")
        expected = fill(bench, size - 4)
        same(await blk.read(size - 4, 1), expected, "the last sector")
    finally:
        bench.disk.resize(size)


@case(devices=BLK, proves=("PCI-CC-DEV-06",), traps=(5,), transports=MODERN)
async def what_was_read_before_a_change_has_another_generation(bench: Bench) -> None:
    device = await bench.start()
    transport, size = modern(device), bench.disk.capacity
    try:
        for change in (1, 2, 1, 0):
            before = bench.host.interrupts(0)
            await transport.config_read(0, 4)
            generation = await transport.common("config_generation")
            await transport.config_read(4, 4)
            bench.disk.resize(size - change)
            await device.wait_interrupt(0, before)
            if await transport.common("config_generation") == generation:
                raise AssertionError(f"the generation is {generation} before and after the change")
            config = await transport.config(BlkConfig, "capacity")
            same(config.capacity, size - change, "capacity")
    finally:
        if bench.disk.capacity != size:
            bench.disk.resize(size)


@case(devices=BLK, proves=("BLK-DEV-P02", "SPLIT-DEV-01"), traps=(13,))
async def random_work_agrees_with_the_disk(bench: Bench) -> None:
    blk, rng = await start(bench), bench.rng
    for _ in range(8):
        count = rng.randrange(1, 3)
        sector = anywhere(bench, count)
        cuts = [rng.randrange(1, 512 * count + 17) for _ in range(rng.randrange(4))]
        if rng.random() < 0.5:
            data = rng.randbytes(SECTOR_BYTES * count)
            (await blk.request(OUT, sector, data, framing=(cuts, ()))).result()
            same(content(bench, sector, count), data, f"{count} sectors from {sector} on")
        else:
            expected = fill(bench, sector, count)
            request = await blk.request(IN, sector, room=SECTOR_BYTES * count, framing=((), cuts))
            same(request.result(), expected, f"{count} sectors from {sector} on, read")


@case(devices=BLK, proves=("RESET-DEV-02", "BLK-DEV-31"), traps=(6,))
async def a_reset_in_the_middle_of_a_transfer_leaves_it_usable(bench: Bench) -> None:
    blk = await start(bench)
    for number in range(2):
        blk.prepare(OUT, number, bench.rng.randbytes(SECTOR_BYTES))
        blk.prepare(IN, number + 2, room=SECTOR_BYTES)
    await blk.device.kick()
    await bench.host.sleep(bench.rng.randrange(1500))
    await blk.device.reset()
    bench.host.memory.grants.clear()
    await bench.host.sleep(QUIET_NS)
    same(bench.host.memory.violations, [], "accesses after the reset")
    await exercise(bench, await bench.start())


@case(devices=BLK, proves=("BLK-DEV-02", "BLK-DEV-04", "BLK-DEV-28"))
async def the_configuration_has_limits_for_discard_and_write_zeroes(bench: Bench) -> None:
    device = await bench.start()
    for feature in (BlkFeature.DISCARD, BlkFeature.WRITE_ZEROES, BlkFeature.CONFIG_WCE, BlkFeature.FLUSH):
        same(device.accepted >> feature & 1, 1, f"VIRTIO_BLK_F_{feature.name}")
    limits = ("max_discard_sectors", "max_discard_seg", "discard_sector_alignment")
    limits += ("max_write_zeroes_sectors", "max_write_zeroes_seg")
    for name in limits:
        if not getattr(await device.transport.config(BlkConfig, name), name):
            raise AssertionError(f"{name} is 0")
    may_unmap = (await device.transport.config(BlkConfig, "write_zeroes_may_unmap")).write_zeroes_may_unmap
    same(may_unmap in (0, 1), True, f"whether write_zeroes_may_unmap, {may_unmap}, is 0 or 1")


@case(devices=BLK, proves=("BLK-DEV-25", "BLK-DEV-P02"))
async def a_discard_touches_its_sectors_only(bench: Bench) -> None:
    blk = await start(bench)
    sector, discards = bench.rng.randrange(1, bench.disk.capacity - 3), bench.disk.counts["discard"]
    fill(bench, sector - 1, 4)
    around = content(bench, sector - 1), content(bench, sector + 2)
    await blk.discard((sector, 2))
    same(bench.disk.counts["discard"], discards + 1, "discards that reached the disk")
    same((content(bench, sector - 1), content(bench, sector + 2)), around, "the neighbours")
    await exercise(bench, blk.device)


@case(devices=BLK, proves=("BLK-DEV-26", "BLK-DEV-27"))
async def zeroed_sectors_read_as_zeros(bench: Bench) -> None:
    blk = await start(bench)
    for unmap in (False, True):
        sector = bench.rng.randrange(1, bench.disk.capacity - 3)
        fill(bench, sector - 1, 4)
        around = content(bench, sector - 1), content(bench, sector + 2)
        await blk.write_zeroes((sector, 2), unmap=unmap)
        same(await blk.read(sector, 2), bytes(2 * SECTOR_BYTES), "the sectors read back")
        same((content(bench, sector - 1), content(bench, sector + 2)), around, "their neighbours")


@case(devices=BLK, proves=("BLK-DEV-26", "BLK-DEV-27", "SPLIT-DEV-01"), traps=(13,))
async def several_segments_are_one_request_however_it_is_cut(bench: Bench) -> None:
    blk = await start(bench)
    device = blk.device
    most = (await device.transport.config(BlkConfig, "max_write_zeroes_seg")).max_write_zeroes_seg
    for count in {min(2, most), min(3, most), min(most, 16)}:
        fill(bench, 0, bench.disk.capacity)
        expected = bytearray(bench.disk.data)
        parts = [
            (anywhere(bench, length), length) for length in (bench.rng.randrange(3) for _ in range(count))
        ]
        for sector, length in parts:
            start_, end = SECTOR_BYTES * sector, SECTOR_BYTES * (sector + length)
            expected[start_:end] = bytes(end - start_)
        data = segments(*parts, flags=bench.rng.choice((0, UNMAP)))
        cuts = [bench.rng.randrange(1, 16 + len(data)) for _ in range(4)]
        (await blk.request(WRITE_ZEROES, 7, data, 2, framing=(cuts, ()))).result()
        same(bytes(bench.disk.data) == expected, True, f"whether {parts} are zeros and nothing else is")


@case(devices=BLK, needs=("robust",), proves=("BLK-DEV-25",))
async def segments_of_nothing_are_nothing(bench: Bench) -> None:
    blk, before = await start(bench), bytes(bench.disk.data)
    (await blk.request(DISCARD, 0, b"")).result()
    (await blk.request(DISCARD, 0, segments((0, 0), (bench.disk.capacity, 0)))).result()
    same(bytes(bench.disk.data) == before, True, "whether nothing is nothing")


@case(devices=BLK, proves=("BLK-DEV-23", "BLK-DEV-24"), breaks=("BLK-DRV-24",))
async def segments_with_flags_that_do_not_exist_are_unsupported(bench: Bench) -> None:
    blk = await start(bench)
    limits = await blk.device.transport.config(BlkConfig, "max_discard_seg", "max_write_zeroes_seg")
    most = min(limits.max_discard_seg, limits.max_write_zeroes_seg)
    fill(bench, 0, 4)
    before, total = bytes(bench.disk.data), bench.disk.counts.total()
    flags = [2, 3, 1 << 31, 0xFFFF_FFFF, 1 << bench.rng.randrange(1, 32)]
    for kind, wrong in [(DISCARD, flag) for flag in (UNMAP, *flags)] + [
        (WRITE_ZEROES, flag) for flag in flags
    ]:
        data = segments((1, 1), flags=wrong) + (segments((2, 1)) if most > 1 else b"")
        request = await blk.request(kind, 0, data, 3)
        failed(bench, request, BlkStatus.UNSUPP, f"request {kind} with flags {wrong:#x}")
    same(bytes(bench.disk.data) == before, True, "whether the disk is unchanged")
    same(bench.disk.counts.total(), total, "operations of the disk")
    await exercise(bench, blk.device)


@case(
    needs=("robust",), devices=BLK, proves=("BLK-DEV-P02",), breaks=("BLK-DRV-17", "BLK-DRV-19", "BLK-DRV-21")
)
async def segments_beyond_the_limits_are_an_error(bench: Bench) -> None:
    blk, end = await start(bench), bench.disk.capacity
    before = bytes(bench.disk.data)
    limits = await blk.device.transport.config(BlkConfig, "max_discard_sectors", "max_discard_seg")
    sectors, most = limits.max_discard_sectors, limits.max_discard_seg
    bad = [segments((end, 1)), segments((end - 1, 2)), segments((end + 1, 0)), segments((2**64 - 1, 2))]
    bad += [segments((0, 2**32 - 1)), segments((2**48, 1)), segments(*[(0, 0)] * (most + 1))]
    bad += [segments((0, sectors + 1))] if sectors < 2**32 - 1 else []
    bad += [segments((0, 1))[:-1], segments((0, 1)) + b"\0", bytes(8)]
    for data in bad:
        for kind in (DISCARD, WRITE_ZEROES):
            what = f"request {kind} with {data[:16].hex()} and {len(data)} bytes"
            failed(bench, await blk.request(kind, 0, data, 1), BlkStatus.IOERR, what)
    same(bytes(bench.disk.data) == before, True, "whether the disk is unchanged")
    await exercise(bench, blk.device)


@case(devices=BLK, proves=("BLK-DEV-P02", "BLK-DEV-27"))
async def a_fault_of_the_disk_in_any_segment_is_an_error(bench: Bench) -> None:
    blk = await start(bench)
    limits = await blk.device.transport.config(BlkConfig, "max_discard_seg", "max_write_zeroes_seg")
    for position in range(min(3, limits.max_discard_seg, limits.max_write_zeroes_seg)):
        bench.disk.fail(4 + position)
        parts = segments(*((4 + n, 1) for n in range(min(3, limits.max_discard_seg))))
        for kind in (DISCARD, WRITE_ZEROES):
            failed(
                bench,
                await blk.request(kind, 0, parts),
                BlkStatus.IOERR,
                f"segment {position} of request {kind}",
            )
        bench.disk.heal()
    await blk.write_zeroes((4, 3))
    same(content(bench, 4, 3), bytes(3 * SECTOR_BYTES), "the sectors after their repair")


@case(devices=BLK, proves=("BLK-DEV-31",), traps=(30,))
async def the_driver_chooses_the_cache_mode(bench: Bench) -> None:
    blk = await start(bench)
    same(blk.device.accepted >> BlkFeature.CONFIG_WCE & 1, 1, "VIRTIO_BLK_F_CONFIG_WCE")
    for mode in (0, 1, 0):
        await blk.set_writeback(mode)
        same(await blk.writeback(), mode, "writeback")
        sector, data = anywhere(bench), bench.rng.randbytes(SECTOR_BYTES)
        await blk.write(sector, data)
        if mode == 0:
            same(bench.disk.durable(sector, 1), data, "what survives a loss of power")
            await blk.write_zeroes((sector, 1))
            same(bench.disk.durable(sector, 1), bytes(SECTOR_BYTES), "the zeros that survive it")
    bench.disk.flush_fails = True
    failed(
        bench, await blk.request(OUT, 0, bytes(SECTOR_BYTES)), BlkStatus.IOERR, "a write that is not durable"
    )
    bench.disk.heal()
    await blk.device.reset()
    blk = await start(bench)
    await blk.write(3, bench.rng.randbytes(SECTOR_BYTES))
    await blk.flush()
    same(bench.disk.durable(3, 1), content(bench, 3), "what survives after a flush")


@case(devices=BLK, proves=("BLK-DEV-03", "BLK-DEV-31"), transports=MODERN)
async def without_flush_the_cache_mode_starts_as_write_through(bench: Bench) -> None:
    device = await bench.start(features=feature_mask(Feature.VERSION_1, BlkFeature.CONFIG_WCE))
    blk, data = VirtioBlk(device), bench.rng.randbytes(SECTOR_BYTES)
    same(await blk.writeback(), 0, "writeback")
    await blk.write(2, data)
    same(bench.disk.durable(2, 1), data, "what survives a loss of power")


@case(
    devices=BLK,
    proves=("BLK-LEG-DEV-03", "BLK-LEG-DEV-04"),
    transports=LEGACY,
    breaks=("BLK-DRV-04", "INIT-DRV-11"),
)
async def the_cache_mode_is_the_drivers_before_driver_ok(bench: Bench) -> None:
    """Neither features nor status bits change it, if the driver accepts CONFIG_WCE."""
    for mode in (0, 1):
        device = await bench.probe()
        await device.transport.reset()
        blk = VirtioBlk(device)
        await device.acknowledge()
        await blk.set_writeback(mode)
        same(await blk.writeback(), mode, "writeback before anything is accepted")
        await device.negotiate(feature_mask(BlkFeature.CONFIG_WCE))
        same(await blk.writeback(), mode, "writeback when CONFIG_WCE is accepted, and FLUSH is not")
        await device.set_up_queue(0, interrupts=False)
        await device.driver_ok()
        same(await blk.writeback(), mode, "writeback after DRIVER_OK")
        data = bench.rng.randbytes(SECTOR_BYTES)
        await blk.write(5, data)
        if mode == 0:
            same(bench.disk.durable(5, 1), data, "what survives a loss of power")


def mixed(
    bench: Bench, blk: VirtioBlk, sectors: list[int], queues: int = 1
) -> list[tuple[BlkRequest, int, bytes]]:
    """A request for each sector, and what the sector holds, or is read as, afterwards."""
    made = []
    for sector in sectors:
        kind, queue = bench.rng.choice((IN, OUT, WRITE_ZEROES)), bench.rng.randrange(queues)
        data = fill(bench, sector)
        if kind == IN:
            request = blk.prepare(IN, sector, room=SECTOR_BYTES, queue=queue)
        elif kind == OUT:
            data = bench.rng.randbytes(SECTOR_BYTES)
            request = blk.prepare(OUT, sector, data, queue=queue)
        else:
            data = bytes(SECTOR_BYTES)
            request = blk.prepare(WRITE_ZEROES, 0, segments((sector, 1)), queue=queue)
        made.append((request, sector, data))
    return made


@case(devices=BLK, proves=("SPLIT-DEV-16", "BLK-DEV-27"), traps=(1,))
async def requests_of_all_kinds_are_in_flight_together(bench: Bench) -> None:
    blk = await start(bench)
    for _ in range(3):
        made = mixed(bench, blk, bench.rng.sample(range(bench.disk.capacity), 4))
        await blk.device.kick()
        await blk.wait(*(request for request, *_ in made))
        for request, sector, data in made:
            same(request.result() or content(bench, sector), data, f"sector {sector}")


@case(devices=BLK, proves=("BLK-DEV-31",), traps=(30,))
async def a_flush_covers_what_was_completed_whatever_else_goes_on(bench: Bench) -> None:
    blk = await start(bench)
    data = bench.rng.randbytes(SECTOR_BYTES)
    await blk.write(1, data)
    requests = [
        blk.prepare(OUT, 2, bench.rng.randbytes(SECTOR_BYTES)),
        blk.prepare(FLUSH),
        blk.prepare(OUT, 3, bench.rng.randbytes(SECTOR_BYTES)),
    ]
    await blk.device.kick()
    await blk.wait(requests[1])
    same(bench.disk.durable(1, 1), data, "what survives a loss of power")
    await blk.wait(*requests)
    for request in requests:
        request.result()


@case(devices=BLK, profile="queues", proves=("BLK-DEV-P04", "SPLIT-DEV-16"), traps=(1,))
async def requests_of_all_kinds_are_in_flight_on_all_queues(bench: Bench) -> None:
    device = await bench.start(queue_size=32)
    blk = VirtioBlk(device)
    for _ in range(2):
        made = mixed(bench, blk, bench.rng.sample(range(bench.disk.capacity), 8), bench.queues)
        for queue in bench.rng.sample(range(bench.queues), bench.queues):
            await device.kick(queue)
        await blk.wait(*(request for request, *_ in made))
        for request, sector, data in made:
            same(request.result() or content(bench, sector), data, f"sector {sector}")


@case(devices=BLK, profile="queues", proves=("BLK-DEV-P04", "BLK-DEV-23", "BLK-DEV-31"))
async def a_failure_on_one_queue_does_not_touch_the_others(bench: Bench) -> None:
    blk = VirtioBlk(await bench.start(queue_size=16))
    bad = bench.rng.randrange(bench.queues)
    bench.disk.fail(0)
    wrong = [
        (blk.prepare(OUT, 0, bytes(SECTOR_BYTES), queue=bad), BlkStatus.IOERR),
        (blk.prepare(WRITE_ZEROES, 0, segments((1, 1), flags=2), queue=bad), BlkStatus.UNSUPP),
        (blk.prepare(IN, bench.disk.capacity, room=SECTOR_BYTES, queue=bad), BlkStatus.IOERR),
    ]
    good = []
    for queue in range(bench.queues):
        if queue != bad:
            data = fill(bench, 2 + queue % 8)
            good.append((blk.prepare(IN, 2 + queue % 8, room=SECTOR_BYTES, queue=queue), data))
        await blk.device.kick(queue)
    await blk.wait(*(request for request, _ in wrong), *(request for request, _ in good))
    for request, status in wrong:
        failed(bench, request, status, f"a request on queue {bad}")
    for request, data in good:
        same(request.result(), data, "what was read through the others")


@case(devices=BLK, proves=("RESET-DEV-02", "BLK-DEV-27"), traps=(6,))
async def a_reset_in_the_middle_of_write_zeroes_leaves_it_usable(bench: Bench) -> None:
    blk = await start(bench)
    for first in (0, 4, 8):
        blk.prepare(WRITE_ZEROES, 0, segments((first, 1), (first + 1, 1), (first + 2, 2)))
    await blk.device.kick()
    await bench.host.sleep(bench.rng.randrange(1500))
    await blk.device.reset()
    bench.host.memory.grants.clear()
    await bench.host.sleep(QUIET_NS)
    same(bench.host.memory.violations, [], "accesses after the reset")
    await exercise(bench, await bench.start())


@case(needs=("robust",), devices=BLK, profile="read_only", proves=("BLK-DEV-P01", "BLK-DEV-22"))
async def a_read_only_disk_knows_neither_discard_nor_write_zeroes(bench: Bench) -> None:
    blk = await start(bench)
    before = bytes(bench.disk.data)
    for kind in (DISCARD, WRITE_ZEROES):
        failed(bench, await blk.request(kind, 0, segments((0, 1)), 3), BlkStatus.UNSUPP, f"request {kind}")
    for feature in (BlkFeature.DISCARD, BlkFeature.WRITE_ZEROES):
        same(blk.device.accepted >> feature & 1, 0, f"VIRTIO_BLK_F_{feature.name}")
    same(bytes(bench.disk.data) == before, True, "whether the disk is unchanged")
    await exercise(bench, blk.device)


@case(devices=BLK, profile="read_only", proves=("BLK-DEV-21", "BLK-DEV-22"))
async def a_read_only_disk_refuses_writes(bench: Bench) -> None:
    blk = await start(bench)
    if not blk.device.accepted >> BlkFeature.RO & 1:
        raise AssertionError("RO is not offered")
    before, writes = bytes(bench.disk.data), bench.disk.counts["write"]
    request = await blk.request(OUT, anywhere(bench), bench.rng.randbytes(SECTOR_BYTES))
    failed(bench, request, BlkStatus.IOERR, "a write")
    same(bytes(bench.disk.data) == before, True, "whether the disk is unchanged")
    same(bench.disk.counts["write"], writes, "writes that reached the disk")
    await exercise(bench, blk.device)


@case(devices=BLK, profile="read_only", proves=("BLK-DEV-21",))
async def a_driver_that_does_not_know_read_only_is_refused_too(bench: Bench) -> None:
    device = await bench.start(features=feature_mask(Feature.VERSION_1, BlkFeature.FLUSH))
    request = await VirtioBlk(device).request(OUT, 0, bench.rng.randbytes(SECTOR_BYTES))
    failed(bench, request, BlkStatus.IOERR, "a write")
    await quiet(bench, device, vectors=1)

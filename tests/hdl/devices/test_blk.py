"""Block device against a reference in Python."""

import random
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth_virtio.devices.blk import BlkDevice
from amaranth_virtio.devices.ram_disk import RamDisk
from helpers.blk import (
    DISCARD,
    FLUSH,
    FLUSH_ACCEPTED,
    FLUSH_OUT,
    GET_ID,
    IN,
    IOERR,
    MAX_CLEAR,
    OK,
    OUT,
    SECTORS,
    SERIAL,
    UNSUPP,
    ZEROES,
    BlkBench,
    reference,
    request,
    segment,
)
from helpers.chains import ChainHost, Job
from helpers.simulation import STALLS, simulate, stalled


def mixed_jobs(rng: random.Random) -> list[Job]:
    """Every kind of request, good and bad, in any order: no two concern the same sector if one changes it."""
    end = SECTORS
    jobs = [
        request(IN, 6, room=512),
        request(IN, end - 2, room=1024),
        request(IN, 3, room=0),
        request(IN, end, room=0),
        request(IN, 7, data=b"not asked for" * 5, room=512),
        request(IN, 6, room=3 * 512),
        request(OUT, 0, rng.randbytes(512)),
        request(OUT, 1, rng.randbytes(1024), room=3),
        request(OUT, 5),
        request(FLUSH, 0),
        request(FLUSH, 0, data=b"x" * 30, room=40),
        request(GET_ID, 0, room=20),
        request(GET_ID, 0, room=9),
        request(GET_ID, 0, room=100),
        request(GET_ID, 0),
        request(DISCARD, 0, segment(3, 1)),
        request(ZEROES, 99, segment(4, 1) + segment(end, 0) + segment(5, 1, 1), room=3),
        request(DISCARD, 0),
        # IOERR
        request(IN, end, room=512),
        request(IN, end + 1, room=0),
        request(IN, end - 1, room=1024),
        request(IN, 2**64 - 1, room=512),
        request(IN, 2**48, room=512),
        request(IN, 0, room=511),
        request(IN, 0, room=513),
        request(OUT, end - 1, rng.randbytes(1024)),
        request(OUT, 2**63, rng.randbytes(512)),
        request(OUT, 0, rng.randbytes(511)),
        request(OUT, 0, rng.randbytes(513)),
        *(Job(rng.randbytes(length), 1 + length) for length in (0, 1, 7, 8, 9, 15)),
        *(
            request(kind, 0, rng.randbytes(length))
            for kind in (DISCARD, ZEROES)
            for length in (1, 15, 17, 80)
        ),
        *(request(kind, 0, segment(end - 1, 2)) for kind in (DISCARD, ZEROES)),
        request(ZEROES, 0, segment(2**64 - 1, 1) + segment(0, 1)),
        request(ZEROES, 0, segment(0, MAX_CLEAR + 1)),
        request(DISCARD, 0, segment(0, 2**31)),
        # UNSUPP: legacy SCSI and FLUSH_OUT, lifetime, secure erase, zones, and a barrier bit
        *(request(kind, 0, room=6) for kind in (2, 3, 5, 10, 14, 15, 16, 0x8000_0000, 0x100)),
        request(3, 0, data=rng.randbytes(16)),
        request(DISCARD, 0, segment(0, 1, 1)),
        request(ZEROES, 0, segment(0, 1, 2) + segment(0, 1)),
        request(ZEROES, 0, segment(0, 1, 1 << 31)),
        # no room for a status
        Job(request(OUT, 0, rng.randbytes(512)).readable, 0),
        Job(request(IN, 0).readable, 0),
        Job(b"", 0),
    ]
    rng.shuffle(jobs)
    return jobs


@pytest.mark.parametrize(("width", "stall"), stalled(64, 128, 256))
def test_requests_of_every_kind_do_what_the_standard_says(width, stall):
    """Trap 13: SPLIT-DEV-01, the chain is bytes and its last writable byte is the status.

    BLK-DEV-P01, BLK-DEV-P02, BLK-DEV-P03, BLK-DEV-23, BLK-DEV-24, BLK-DEV-27.
    """
    bench = BlkBench(width, stall=stall)
    rng = random.Random(f"{width} {stall}")

    async def main(ctx):
        content = bytearray(bench.storage.data)
        jobs = mixed_jobs(rng)[: None if stall < 0.9 else 14]
        for job in jobs:
            bench.host.put(job)
        for job in jobs:
            await bench.host.until(ctx, job)
            expected = reference(content, job)
            assert (job.readable[:16].hex(), bytes(job.written)) == (job.readable[:16].hex(), expected)
        assert bench.storage.data == content

    bench.run(main, deadline=60_000)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_on_the_legacy_interface_requests_are_the_same_but_for_flush_out(stall):
    """BLK-LEG-DEV-06: FLUSH_OUT is FLUSH; all else, SCSI commands too, is as on the modern interface."""
    bench = BlkBench(64, stall=stall, legacy=True)
    rng = random.Random(f"legacy {stall}")

    async def main(ctx):
        content = bytearray(bench.storage.data)
        for job in mixed_jobs(rng)[:12] + [request(FLUSH_OUT, 0), request(FLUSH_OUT, 7, b"x" * 30, room=4)]:
            assert await bench.do(ctx, job) == reference(content, job, legacy=True)
        assert bench.storage.data == content

    bench.run(main, deadline=60_000)


@pytest.mark.parametrize("legacy", [False, True])
def test_flush_out_flushes_on_the_legacy_interface_and_nowhere_else(legacy):
    """BLK-LEG-DEV-06, and the answer of the storage is that of the request."""
    failing = []
    bench = BlkBench(64, legacy=legacy, fails=lambda name, *_: name in failing)

    async def main(ctx):
        new = random.Random(9).randbytes(512)
        before = bench.storage.durable
        assert await bench.do(ctx, request(OUT, 3, new)) == OK
        assert bench.storage.durable == before
        assert await bench.do(ctx, request(FLUSH_OUT, 0)) == (OK if legacy else UNSUPP)
        assert (bench.storage.durable[3 * 512 : 4 * 512] == new) is legacy
        failing.append("FLUSH")
        assert await bench.do(ctx, request(FLUSH_OUT, 0)) == (IOERR if legacy else UNSUPP)

    bench.run(main)


@pytest.mark.parametrize("kind", [IN, OUT, FLUSH, GET_ID, 11])
def test_a_512_bit_path_works_too(kind):
    bench = BlkBench(512)

    async def main(ctx):
        content = bytearray(bench.storage.data)
        data = random.Random(1).randbytes(1536) if kind == OUT else b""
        job = request(kind, 1, data, room=1024 if kind == IN else 20)
        assert await bench.do(ctx, job) == reference(content, job)
        assert bench.storage.data == content

    bench.run(main)


@pytest.mark.parametrize("width", [64, 256])
def test_a_read_only_device_refuses_writes_and_stores_nothing(width):
    """BLK-DEV-21, BLK-DEV-22; the driver need not have accepted RO."""
    bench = BlkBench(width, read_only=True)

    async def main(ctx):
        content = bytearray(bench.storage.data)
        for job in (
            request(OUT, 0, bytes(512)),
            request(OUT, 0),
            request(IN, 0, room=512),
            request(FLUSH, 0),
            request(GET_ID, 0, room=20),
            request(DISCARD, 0, segment(0, 1)),
            request(ZEROES, 0, segment(0, 1), room=4),
        ):
            assert await bench.do(ctx, job) == reference(content, job, read_only=True)
        assert [entry[0] for entry in bench.storage.log] == ["READ", "FLUSH"]

    bench.run(main)


def test_a_flush_is_answered_only_after_the_storage_has_flushed():
    """Trap 30: BLK-DEV-31."""
    bench = BlkBench(64, stall=0.5)

    async def main(ctx):
        new = random.Random(2).randbytes(512)
        assert await bench.do(ctx, request(OUT, 3, new)) == OK
        assert bench.storage.log == [("WRITE", 3, 1)]
        assert await bench.do(ctx, request(FLUSH, 0)) == OK
        assert bench.storage.durable[3 * 512 : 4 * 512] == new

    bench.run(main)


def test_without_the_flush_feature_a_write_is_stable_when_it_completes():
    """Trap 30: BLK-DEV-31: FLUSH is offered, but not accepted."""
    bench = BlkBench(64, features=0)

    async def main(ctx):
        new = random.Random(3).randbytes(1024)
        assert await bench.do(ctx, request(OUT, 3, new)) == OK
        assert bench.storage.durable[3 * 512 : 5 * 512] == new
        assert await bench.do(ctx, request(IN, 3, room=512)) == new[:512] + OK
        assert await bench.do(ctx, request(ZEROES, 0, segment(1, 1))) == OK
        assert bench.storage.durable[512:1024] == bytes(512)
        assert bench.storage.log == [("WRITE", 3, 2), ("READ", 3, 1), ("WRITE_ZEROES", 1, 1)]

    bench.run(main)


def test_only_driver_ok_makes_writes_cached_whatever_the_features_are():
    """BLK-LEG-DEV-03, BLK-LEG-DEV-04: a legacy driver may use buffers before it sets DRIVER_OK."""
    bench = BlkBench(64, features=0, driver_ok=False, legacy=True)

    async def is_durable(ctx, sector):
        new = random.Random(sector).randbytes(512)
        assert await bench.do(ctx, request(OUT, sector, new)) == OK
        return bench.storage.durable[512 * sector : 512 * (sector + 1)] == new

    async def main(ctx):
        found = []
        steps = [(0, 0), (FLUSH_ACCEPTED, 0), (0, 0), (FLUSH_ACCEPTED, 0), (FLUSH_ACCEPTED, 1)]
        for sector, (features, driver_ok) in enumerate(steps):
            ctx.set(bench.device.features, features)
            ctx.set(bench.device.driver_ok, driver_ok)
            found.append(await is_durable(ctx, sector))
        assert found == [True, True, True, True, False]

    bench.run(main)


def test_driver_ok_without_the_flush_feature_leaves_writes_durable():
    """BLK-LEG-DEV-03."""
    bench = BlkBench(64, features=0, driver_ok=True, legacy=True)

    async def main(ctx):
        new = random.Random(3).randbytes(512)
        assert await bench.do(ctx, request(OUT, 3, new)) == OK
        assert bench.storage.durable[3 * 512 : 4 * 512] == new

    bench.run(main)


@pytest.mark.parametrize("features", [0, FLUSH_ACCEPTED])
@pytest.mark.parametrize("broken", ["READ", "WRITE", "FLUSH"])
def test_a_failure_of_the_storage_is_an_ioerr(broken, features):
    bench = BlkBench(64, features=features, fails=lambda name, *_: name == broken)

    async def main(ctx):
        read = await bench.do(ctx, request(IN, 0, room=512))
        assert len(read) == 513
        assert read[-1:] == (IOERR if broken == "READ" else OK)
        write_fails = broken == "WRITE" or (broken == "FLUSH" and not features)
        assert await bench.do(ctx, request(OUT, 0, bytes(512))) == (IOERR if write_fails else OK)
        assert await bench.do(ctx, request(FLUSH, 0)) == (IOERR if broken == "FLUSH" else OK)

    bench.run(main)


def test_an_error_in_a_beat_of_read_data_is_an_ioerr():
    bench = BlkBench(128)

    async def main(ctx):
        ports = bench.device.storage
        ctx.set(ports.capacity, SECTORS)
        ctx.set(ports.request.ready, 1)
        bench.host.put(job := request(IN, 0, room=512))
        *_, asked = await ctx.tick().sample(ports.request.p).until(ports.request.valid)
        for number in range(32):
            ctx.set(ports.read_data.valid, 1)
            ctx.set(
                ports.read_data.p,
                {"data": 0, "error": number == 7, "last": number == 31, "tag": asked.tag},
            )
            await ctx.tick().until(ports.read_data.ready)
        ctx.set(ports.read_data.valid, 0)
        await bench.host.until(ctx, job)
        assert job.written[-1:] == IOERR

    simulate(bench.device, main, background=bench.host.benches)


@pytest.mark.parametrize("width, stall", [(64, 0.0), (64, 0.5), (128, 0.5), (256, 0.5)])
@pytest.mark.parametrize("fails_at", [0, 16, 32, 528])
def test_a_chain_that_breaks_off_is_an_ioerr_and_the_next_one_is_served(width, stall, fails_at):
    """A write under way is aborted, and nothing of it is stored; nor of the segment that breaks off."""
    bench = BlkBench(width, stall=stall)

    async def main(ctx):
        before = bytes(bench.storage.data)
        data = random.Random(4).randbytes(1024)
        for kind in (OUT, IN, ZEROES):
            content = segment(4, 1) + segment(5, 1) if kind == ZEROES else data
            broken = request(kind, 1, content, room=512 if kind == IN else 2)
            broken.fails_at = min(fails_at, 33) if kind == ZEROES else fails_at
            assert await bench.do(ctx, broken) == bytes(broken.writable - 1) + IOERR
        good = request(IN, 0, room=1024)
        assert await bench.do(ctx, good) == before[:1024] + OK
        assert bytes(bench.storage.data)[: 4 * 512] == before[: 4 * 512]
        assert bytes(bench.storage.data)[5 * 512 :] == before[5 * 512 :]

    bench.run(main)


@pytest.mark.parametrize("kind", [IN, OUT, FLUSH, GET_ID, ZEROES])
@pytest.mark.parametrize("stall", [0.0, 0.7])
def test_a_reset_at_any_time_brings_the_storage_to_rest(kind, stall):
    """Trap 6: RESET-DEV-02: a started operation is run to its end, then the device is idle."""
    rng = random.Random(f"{kind} {stall}")
    for after in sorted(rng.sample(range(2, 200), 6)):
        bench = BlkBench(64, stall=stall)

        async def main(ctx, bench=bench, after=after):
            before = bytes(bench.storage.data)
            data = {OUT: bytes(1024), ZEROES: segment(2, 1) + segment(3, 1)}.get(kind, b"")
            bench.host.put(request(kind, 2, data, room=1024 if kind == IN else 20))
            await ctx.tick().repeat(after)
            ctx.set(bench.device.chains.reset, 1)
            await ctx.tick()
            bench.host.forget()
            while not ctx.get(bench.device.chains.idle):
                await ctx.tick()
            await ctx.tick()  # the storage notes the end of its operation
            assert not bench.storage.busy
            for port in (bench.device.storage.request, bench.device.storage.write_data):
                assert ctx.get(port.valid) == 0
            ctx.set(bench.device.chains.reset, 0)
            log = list(bench.storage.log)
            await ctx.tick().repeat(20)
            assert bench.storage.log == log
            stored = bytes(bench.storage.data)
            for at in range(0, len(before), 512):
                possible = [before[at : at + 512]]
                possible += [bytes(512)] if kind in (OUT, ZEROES) and at in (1024, 1536) else []
                assert stored[at : at + 512] in possible
            assert await bench.do(ctx, request(IN, 0, room=512)) == before[:512] + OK

        bench.run(main)


def test_a_new_capacity_is_a_configuration_change():
    """BLK-DEV-19, BLK-DEV-20: the strobe comes in the first cycle with the new value."""
    bench = BlkBench(64)

    async def main(ctx):
        device = bench.device
        await ctx.tick().repeat(3)
        assert ctx.get(device.config.capacity) == SECTORS
        assert ctx.get(device.config_changed) == 0
        ctx.set(device.storage.capacity, 5)
        seen = []
        for _ in range(5):
            await ctx.tick()
            seen.append((ctx.get(device.config.capacity), ctx.get(device.config_changed)))
        assert seen == [(5, 1), (5, 0), (5, 0), (5, 0), (5, 0)]
        assert await bench.do(ctx, request(IN, 5, room=512)) == bytes(512) + IOERR

    bench.run(main)


def test_the_configuration_has_every_field_where_the_standard_has_it():
    """BLK-DEV-01, BLK-DEV-04, BLK-DEV-05."""
    device: Any = BlkDevice(
        width=64,
        block_size=4096,
        seg_max=30,
        size_max=0x12345,
        physical_block_exp=3,
        alignment_offset=1,
        min_io_size=8,
        opt_io_size=0x100,
        max_clear_sectors=0x334455,
        max_clear_seg=7,
    )

    async def main(ctx):
        ctx.set(device.storage.capacity, 0x334455667788)
        await ctx.tick().repeat(2)
        raw = ctx.get(device.config.as_value()).to_bytes(96, "little")
        expected = bytes.fromhex(
            "8877665544330000 45230100 1e000000 00000000 00100000 03 01 0800 00010000 01 00 0000"
            "55443300 07000000 08000000 55443300 07000000 01 000000"
        )
        assert raw == expected.ljust(96, b"\0")

    simulate(device, main)
    table = device.table
    # SIZE_MAX, SEG_MAX, BLK_SIZE, FLUSH, TOPOLOGY, CONFIG_WCE, DISCARD, WRITE_ZEROES
    assert table.features == 0b110_1110_0100_0110
    assert (table.writable, device.may_unmap) == (("writeback",), True)
    assert (table.device_type, table.queues, table.class_code) == (2, 1, 0x010000)


def test_a_read_only_device_offers_ro_and_neither_discard_nor_write_zeroes():
    device: Any = BlkDevice(width=64, read_only=True)

    async def main(ctx):
        raw = ctx.get(device.config.as_value()).to_bytes(96, "little")
        assert raw[36:] == bytes(60)

    simulate(device, main)
    assert device.table.features == 0b1110_0110_0110


@pytest.mark.parametrize("queues", [2, 3, 256])
def test_several_queues_are_offered_and_counted(queues):
    """BLK-DEV-P04: MQ is bit 12, num_queues is at offset 34."""
    device: Any = BlkDevice(width=64, queues=queues)

    async def main(ctx):
        raw = ctx.get(device.config.as_value()).to_bytes(96, "little")
        assert raw[34:36] == queues.to_bytes(2, "little")

    simulate(device, main)
    assert device.table.queues == queues
    assert device.table.features == 0b111_1110_0100_0110


@pytest.mark.parametrize("stall", STALLS)
def test_chains_of_all_queues_are_served_alike(stall):
    bench = BlkBench(64, stall=stall, queues=3)
    rng = random.Random(f"queues {stall}")

    async def main(ctx):
        content = bytearray(bench.storage.data)
        jobs = [job for job in mixed_jobs(rng) if job.writable][:12]
        for job in jobs:
            job.queue = rng.randrange(3)
            bench.host.put(job)
        for job in jobs:
            await bench.host.until(ctx, job)
            assert bytes(job.written) == reference(content, job)
        assert bench.storage.data == content

    bench.run(main, deadline=60_000)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"block_size": 0}, "block_size must be a power of two from 512 to 32768, not 0"),
        ({"block_size": 520}, "block_size must be a power of two from 512 to 32768, not 520"),
        ({"seg_max": 0}, "seg_max must be 1 to 32768, not 0"),
        ({"size_max": 2**32}, "size_max must be 1 to 4294967295, not 4294967296"),
        ({"queues": 0}, "queues must be 1 to 256, not 0"),
        ({"queues": 257}, "queues must be 1 to 256, not 257"),
        ({"requests": 1}, "requests must be a power of two from 2 to 64, not 1"),
        ({"requests": 12}, "requests must be a power of two from 2 to 64, not 12"),
        ({"requests": 128}, "requests must be a power of two from 2 to 64, not 128"),
        ({"max_clear_sectors": 0}, "max_clear_sectors must be 1 to 16777215, not 0"),
        ({"max_clear_seg": 257}, "max_clear_seg must be 1 to 256, not 257"),
        ({"serial": b"x" * 21}, "serial must be at most 20 ASCII characters, not b'xxxxxxxxxxxxxxxxxxxxx'"),
        ({"serial": b"\xe9"}, "serial must be at most 20 ASCII characters, not b'\\xe9'"),
    ],
)
def test_an_impossible_parameter_is_refused(arguments, message):
    with pytest.raises(ValueError) as caught:
        BlkDevice(width=64, **arguments)
    assert str(caught.value) == message


# On a disk in block RAM


@pytest.mark.parametrize("width, stall", [(64, 0.5), (128, 0.0), (256, 0.5), (512, 0.0)])
def test_a_ram_disk_serves_a_block_device(width, stall):
    rng = random.Random(f"ram {width} {stall}")
    image = rng.randbytes(5 * 512 + 40)
    device: Any = BlkDevice(width=width, serial=SERIAL)
    disk: Any = RamDisk(width=width, sectors=SECTORS, init=image)
    module = Module()
    module.submodules.device = device
    module.submodules.disk = disk
    wiring.connect(module, device.storage, disk.storage)
    host = ChainHost(device, stall=stall)

    async def main(ctx):
        content = bytearray(image.ljust(512 * SECTORS, b"\0"))
        await ctx.tick().repeat(2)
        for _ in range(4):
            jobs, sectors = [request(FLUSH, 0)], list(range(SECTORS))
            while sectors:
                count = rng.randint(1, min(3, len(sectors)))
                sector, sectors = sectors[0], sectors[count:]
                make = rng.choice(
                    [
                        lambda at, n: request(OUT, at, rng.randbytes(512 * n)),
                        lambda at, n: request(IN, at, room=512 * n),
                        lambda at, n: request(ZEROES, 0, segment(at, n)),
                    ]
                )
                jobs.append(make(sector, count))
            rng.shuffle(jobs)
            for job in jobs:
                host.put(job)
            for job in jobs:
                await host.until(ctx, job)
                assert bytes(job.written) == reference(content, job)
        host.put(request(DISCARD, 0, segment(0, 3)))
        host.put(last := request(IN, 0, room=512 * SECTORS))
        await host.until(ctx, last)
        assert bytes(last.written) == content + OK

    simulate(module, main, background=host.benches, deadline=60_000)


@pytest.mark.parametrize("fails_at, stored", [(16 + 8, 0), (16 + 504, 0), (16 + 512, 1), (16 + 1016, 1)])
def test_an_aborted_write_leaves_whole_sectors_on_a_ram_disk(fails_at, stored):
    device: Any = BlkDevice(width=64)
    disk: Any = RamDisk(width=64, sectors=SECTORS)
    module = Module()
    module.submodules.device = device
    module.submodules.disk = disk
    wiring.connect(module, device.storage, disk.storage)
    host = ChainHost(device)

    async def main(ctx):
        await ctx.tick().repeat(2)
        broken = request(OUT, 1, b"\xff" * 1024)
        broken.fails_at = fails_at
        host.put(broken)
        host.put(after := request(OUT, 4, b"\xee" * 512))
        await host.until(ctx, broken)
        await host.until(ctx, after)
        host.put(whole := request(IN, 0, room=512 * SECTORS))
        await host.until(ctx, whole)
        assert broken.written == IOERR and after.written == OK
        expected = bytearray(512 * SECTORS)
        expected[512 : 512 * (1 + stored)] = b"\xff" * 512 * stored
        expected[4 * 512 : 5 * 512] = b"\xee" * 512
        assert whole.written == expected + OK

    simulate(module, main, background=host.benches)

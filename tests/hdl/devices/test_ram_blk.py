import random
import struct

import pytest
from amaranth_virtio.devices.ram_blk import RamBlkDevice
from helpers.chains import ChainHost, Job
from helpers.simulation import simulate

IN, OUT, FLUSH_OUT, GET_ID = 0, 1, 5, 8


def header(kind: int, sector: int) -> bytes:
    return struct.pack("<LLQ", kind, 0, sector)


@pytest.mark.parametrize("width", [64, 256])
def test_the_disk_inside_keeps_what_was_written_and_shows_what_it_was_made_with(width):
    rng = random.Random(width)
    content, written = rng.randbytes(1024), rng.randbytes(512)
    dut = RamBlkDevice(width=width, sectors=4, init=content, serial=b"inside")
    host = ChainHost(dut, stall=0.2, seed=1)

    async def bench(ctx):
        await ctx.tick()
        assert ctx.get(dut.config.capacity) == 4
        store = host.put(Job(readable=header(OUT, 1) + written, writable=1))
        load = host.put(Job(readable=header(IN, 0), writable=4 * 512 + 1))
        beyond = host.put(Job(readable=header(IN, 3), writable=2 * 512 + 1))
        serial = host.put(Job(readable=header(GET_ID, 0), writable=21))
        await host.until(ctx, serial)
        assert bytes(store.written) == b"\0"
        assert bytes(load.written) == content[:512] + written + bytes(1024) + b"\0"
        assert bytes(beyond.written) == bytes(1024) + b"\1"
        assert bytes(serial.written) == b"inside".ljust(20, b"\0") + b"\0"

    simulate(dut, bench, background=host.benches, deadline=5000)


@pytest.mark.parametrize("legacy", [0, 1])
def test_the_interface_in_use_reaches_the_disk(legacy):
    dut = RamBlkDevice(width=64, sectors=4)
    host = ChainHost(dut)

    async def bench(ctx):
        ctx.set(dut.legacy, legacy)
        ctx.set(dut.driver_ok, 1)
        await ctx.tick()
        job = host.put(Job(readable=header(FLUSH_OUT, 0), writable=1))
        await host.until(ctx, job)
        assert bytes(job.written) == (b"\0" if legacy else b"\2")

    simulate(dut, bench, background=host.benches)

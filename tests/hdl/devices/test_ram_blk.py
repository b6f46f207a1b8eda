import random
import struct

import pytest
from amaranth_virtio.devices.ram_blk import RamBlkDevice
from helpers.chains import ChainHost, Job
from helpers.simulation import simulate

IN, OUT, GET_ID = 0, 1, 8


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

"""The walk-through docs/device-types.md is true."""

import re
from pathlib import Path

import pytest
from amaranth_virtio.endpoint import Endpoint
from helpers.chains import ChainHost, Job
from helpers.simulation import STALLS, simulate
from virtio_sim.verilog import to_verilog

LIGHTS = 16  # where they stand in the configuration
PAGE = Path(__file__).parents[2] / "docs" / "device-types.md"


def after_blocks(count: int) -> dict:
    """What is defined when the first ``count`` blocks of code have run."""
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[:count]:
        exec(compile(block, str(PAGE), "exec"), names)
    return names


@pytest.mark.parametrize("stall", STALLS)
def test_the_device_of_the_walk_through_returns_what_it_is_sent(stall):
    dut = after_blocks(1)["EchoDevice"](width=64)
    host = ChainHost(dut, stall=stall, seed=1)
    sent = [b"", b"x", bytes(range(8)), bytes(range(100))]
    jobs = [host.put(Job(readable=data, writable=len(data))) for data in sent]

    async def bench(ctx):
        for job in jobs:
            await host.until(ctx, job)
        assert [bytes(job.written) for job in jobs] == sent

    simulate(dut, bench, background=host.benches, deadline=3000)


def test_the_endpoint_of_the_walk_through_becomes_verilog():
    verilog = to_verilog(after_blocks(2)["endpoint"], name="echo")
    assert "module echo(" in verilog


def test_the_panel_of_the_walk_through_keeps_time_and_what_is_written():
    dut = after_blocks(3)["PanelDevice"](width=64, frequency=10)

    def shown(ctx) -> bytes:
        return ctx.get(dut.config.as_value()).to_bytes(18, "little")

    async def write(ctx, enable: int, value: int) -> None:
        ctx.set(dut.config_write.enable, enable << LIGHTS)
        ctx.set(dut.config_write.data.lights, value)
        await ctx.tick()
        ctx.set(dut.config_write.enable, 0)

    async def bench(ctx):
        await ctx.tick().repeat(15)
        assert shown(ctx) == bytes(18)
        ctx.set(dut.driver_ok, 1)
        await ctx.tick().repeat(34)
        assert shown(ctx) == (3).to_bytes(8, "little") + (4).to_bytes(8, "little") + bytes(2)
        await write(ctx, 0b01, 0x1234)
        assert ctx.get(dut.lights) == 0x34
        await write(ctx, 0b10, 0x5678)
        assert ctx.get(dut.lights) == 0x5634
        assert shown(ctx)[LIGHTS:] == b"\x34\x56"
        ctx.set(dut.driver_ok, 0)
        await ctx.tick()
        assert shown(ctx) == bytes(18)

    simulate(dut, bench)


def test_an_endpoint_of_the_panel_becomes_verilog_with_the_lights_as_a_port():
    device = after_blocks(3)["PanelDevice"](width=64)
    verilog = to_verilog(Endpoint(device=device), name="panel")
    assert re.search(r"output \[15:0\] lights;", verilog)

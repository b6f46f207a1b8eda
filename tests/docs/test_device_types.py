"""The walk-through docs/device-types.md is true."""

import re
from pathlib import Path

import pytest
from helpers.chains import ChainHost, Job
from helpers.simulation import STALLS, simulate
from virtio_sim.verilog import to_verilog

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

"""Inside the simulator: wait until all inputs were tried, and report which outputs differed."""

from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from virtio_sim.runner import report_event


@cocotb.test()
async def compare(dut: Any) -> None:
    """Let the counter of the miter run through."""
    Clock(dut.clk, 2, unit="ns").start()
    await RisingEdge(dut.done)
    await RisingEdge(dut.clk)
    report_event(differs=int(dut.differs.value))

"""Cocotb module for the tests of the runner: does what its parameters say on a counter."""

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from virtio_sim.runner import parameters, report_event


@cocotb.test()
async def job(dut) -> None:
    given = parameters()
    Clock(dut.clk, 4, unit="ns").start()
    await ClockCycles(dut.clk, 10)
    report_event(count=int(dut.count.value))
    while given["hang"]:
        await ClockCycles(dut.clk, 1000)
    assert not given["fail"], "it was asked to fail"

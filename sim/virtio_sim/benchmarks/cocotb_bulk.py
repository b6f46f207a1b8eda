"""Cocotb module: the bulk work below cocotbext-pcie's root complex; reports cycles and seconds."""

import time

import cocotb

from ..bring_up import bring_up
from ..config import Configuration
from ..runner import parameters, report_event
from .bulk import Bulk, disk

TIMEOUT_NS = 100_000_000


@cocotb.test()
async def bulk(dut) -> None:
    """One run."""
    given = parameters()
    configuration = Configuration(**given["configuration"])
    bench, host = await bring_up(dut, configuration, seed=given["seed"], disk=disk(given["seed"]))
    work = Bulk(bench)
    await work.prepare()
    cycles, started = host.cycles(), time.process_time()
    await work.kick()
    await host.until(work.done, timeout_ns=TIMEOUT_NS)
    report_event(cycles=host.cycles() - cycles, seconds=time.process_time() - started)
    await work.check()

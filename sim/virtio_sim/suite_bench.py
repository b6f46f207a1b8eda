"""Cocotb module: every case of the test list for this device, in one simulator run.

Each case is an event of its own, so that one that fails, or even hangs, does not hide the others.
"""

import time
import traceback
from dataclasses import asdict

import cocotb
from cocotb.triggers import SimTimeoutError, with_timeout
from cocotbext.virtio.backends.cocotb import CocotbHost
from cocotbext.virtio.conformance import look
from cocotbext.virtio.own import Setup
from cocotbext.virtio.suite import Bench, Case, cases, run_case
from cocotbext.virtio.variant import PLAIN, RingVariant

from .bring_up import bring_up
from .config import Configuration
from .conformance.own import Own, load
from .conformance.plan import Driver
from .runner import parameters, report_event

__all__ = ["FACTS", "OWN"]

CASE_DEADLINE_MS = 20
#: Names of the events that have what a device says of itself, and what a bench of the user's is.
FACTS, OWN = "facts", "own"


@cocotb.test()
async def suite(dut) -> None:
    """Runs and reports all cases; fails if any does."""
    given = parameters()
    driver = {name: given[name] for name in ("transport", "habit") if name in given}
    variant = RingVariant.named(given.get("variant", PLAIN.name))
    if "bench" in given:
        setup = Setup(dut, seed=given["seed"], stall=given["stall"], variant=variant, **driver)
        bench = await load(given["bench"])(setup)
        own = await Own.of(bench)
        report_event(name=OWN, **{OWN: own.as_dict()})
        listed = own.cases(Driver(bench.transport, bench.habit, variant))
    else:
        configuration = Configuration(**given["configuration"])
        bench, _ = await bring_up(dut, configuration, stall=given["stall"], seed=given["seed"], **driver)
        report_event(name=FACTS, **asdict(await look(bench)))
        bench.variant = variant
        listed = cases(
            configuration.device,
            profile=configuration.profile,
            backend=bench.backend,
            interface=bench.interface,
            transport=bench.transport,
            variant=variant,
        )
    if not isinstance(bench.host, CocotbHost):
        raise TypeError(f"in a simulation the host is a CocotbHost, not {bench.host!r}")
    failed = [
        entry.name
        for entry in listed
        if entry.name in given.get("only", [entry.name]) and not await _passes(entry, bench, bench.host)
    ]
    assert not failed, f"failed: {', '.join(failed)}"


async def _passes(entry: Case, bench: Bench, host: CocotbHost) -> bool:
    started, cycles, seen = time.monotonic(), host.cycles(), len(host.checker.findings)
    message = detail = ""
    host.trace.clear()
    try:
        await with_timeout(run_case(entry, bench), CASE_DEADLINE_MS, "ms")
        host.checker.finish()
        assert len(host.checker.findings) == seen, "; ".join(host.checker.findings[seen:])
    except SimTimeoutError:
        message = f"not finished after {CASE_DEADLINE_MS} ms of simulated time"
    except Exception as error:  # whatever it is, the next case still runs
        message, detail = f"{type(error).__name__}: {error}", traceback.format_exc()
    if message:
        print("\n".join([f"--- {entry.name} failed: {message}", detail, *host.trace.lines()]), flush=True)
    report_event(
        name=entry.name,
        status="failed" if message else "passed",
        cycles=host.cycles() - cycles,
        wall_s=round(time.monotonic() - started, 3),
        message=message,
        trace=host.trace.events() if message else [],
    )
    return not message

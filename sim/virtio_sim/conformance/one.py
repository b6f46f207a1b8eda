"""One case, run in this process."""

import time
from collections.abc import Callable

from cocotbext.virtio.backends.native import NativeHost
from cocotbext.virtio.backends.run import run as wait_for
from cocotbext.virtio.conformance import CaseResult
from cocotbext.virtio.suite import Bench, Case, run_case
from cocotbext.virtio.trace import Event

from .plan import Driver

__all__ = ["Listener", "result_of", "run_one"]

#: Called with each result.
Listener = Callable[[CaseResult], None]


def run_one(case: Case, driver: Driver, bench: Bench, host: NativeHost | None = None) -> CaseResult:
    """Run one; a host that watches the link has the last word."""
    started, message = time.monotonic(), ""
    bench.host.trace.clear()
    seen = len(host.checker.findings) if host else 0
    try:
        wait_for(run_case(case, bench))
    except Exception as error:  # whatever it is, it is the case that failed
        message = f"{type(error).__name__}: {error}"
    if host is not None:
        host.checker.finish()
        message = message or "; ".join(host.checker.findings[seen:])
    trace = tuple(bench.host.trace.events()) if message else ()
    wall_s = round(time.monotonic() - started, 3)
    return result_of(case, driver, message, wall_s, trace)


def result_of(
    case: Case, driver: Driver, message: str, wall_s: float = 0.0, trace: tuple[Event, ...] = ()
) -> CaseResult:
    """What came of a case."""
    return CaseResult(case.name, str(driver), case.proves, message, wall_s, trace, case.breaks)

"""Whether the test list sees a planted bug."""

from cocotbext.virtio.backends.run import run
from cocotbext.virtio.devices.blk import BlkError
from cocotbext.virtio.devices.net import CommandRefused
from cocotbext.virtio.function import DriverError
from cocotbext.virtio.host import BusError, HostTimeout
from cocotbext.virtio.suite import Case, cases, run_case

from .bug import Bug, Seen

__all__ = ["SEEDS", "finding"]

#: Not every order of events shows every bug.
SEEDS = range(6)
#: How a case fails. Anything else is a mistake in the bug, and comes out.
FAILURES = (AssertionError, BlkError, BusError, CommandRefused, DriverError, HostTimeout)


def finding(bug: Bug, where: Seen) -> str:
    """What the case says of the bug with the first of the seeds that shows it; empty if none does."""
    entry = _case(where)
    for seed in SEEDS:
        try:
            run(run_case(entry, bug.bench(where, seed=seed)))
        except FAILURES as error:
            return f"{type(error).__name__}: {error}"
    return ""


def _case(where: Seen) -> Case:
    listed = cases(where.device, profile=where.profile, variant=where.variant)
    (entry,) = [entry for entry in listed if entry.name == where.case]
    return entry

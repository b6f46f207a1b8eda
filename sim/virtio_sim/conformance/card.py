"""``python -m virtio_sim.conformance.card ADDRESS``: the test list on a card, on a host that has little.

Needs Python, Amaranth (for the layouts of wire formats) and scapy, no simulator and no cocotb. Prints a line
for each case and writes the runs of a report, which ``virtio-endpoint conformance`` adds to its own.
"""

import argparse
import sys
from pathlib import Path

from cocotbext.virtio.backends.vfio import PATIENCE_S
from cocotbext.virtio.conformance import CaseResult

from ..config import ConfigError
from .card_run import card_run
from .report import Report, RunResult, with_few_traces

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Run it; 1 if anything failed, 2 if nothing could be run."""
    parser = argparse.ArgumentParser(prog="card", description=__doc__)
    parser.add_argument("address", help="PCI address, as in 0000:01:00.0")
    parser.add_argument("--report", type=Path, default=Path("report.json"))
    parser.add_argument("--variant", action="append", default=[])
    parser.add_argument("--without", action="append", default=[])
    parser.add_argument("--case", action="append", default=[], help="pattern of names; all if not given")
    parser.add_argument("--patience", type=float, default=PATIENCE_S, help="seconds")
    parser.add_argument("--overwrite", action="store_true", help="the content of a disk")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    try:
        run = card_run(
            given.address,
            variants=given.variant,
            without=given.without,
            patience_s=given.patience,
            seed=given.seed,
            patterns=given.case,
            overwrite=given.overwrite,
        )
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    results: list[CaseResult] = []

    def hear(result: CaseResult) -> None:
        results.append(result)
        print(f"{result.wall_s:7.2f} s  {result.case} ({result.driver})", result.message, flush=True)

    facts = run.execute(given.seed, hear)
    report = Report.read(given.report)
    report.add(RunResult(run.name, run.backend, run.device, facts, with_few_traces(results), run.unseen))
    report.write(given.report)
    return int(any(not result.passed for result in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

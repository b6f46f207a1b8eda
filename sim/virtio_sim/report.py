"""What a run showed: a table for people and JSON for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import box
from rich.table import Table

__all__ = ["TestResult", "table", "write_report"]


@dataclass(frozen=True)
class TestResult:
    """One thing that was tried.

    ``status`` is ``"passed"`` or ``"failed"``, ``message`` says why. ``cycles`` and ``simulated_ns``
    are 0 for what happened outside of the simulation.
    """

    __test__ = False  # not a test class for pytest

    name: str
    status: str
    cycles: int = 0
    wall_s: float = 0.0
    simulated_ns: int = 0
    requests: int = 0
    bytes: int = 0
    message: str = ""


def write_report(path: Path, results: Sequence[TestResult]) -> None:
    """``passed``, ``failed`` and ``tests`` as JSON."""
    failed = sum(result.status != "passed" for result in results)
    report = {
        "passed": len(results) - failed,
        "failed": failed,
        "tests": [asdict(result) for result in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")


def table(results: Sequence[TestResult]) -> Table:
    """The same as a table."""
    made = Table(title="virtio endpoint", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    made.add_column("what ran", no_wrap=True)
    made.add_column("result", no_wrap=True)
    for title in ("requests", "bytes", "cycles", "simulated", "wall"):
        made.add_column(title, justify="right", no_wrap=True)
    for result in results:
        colour = "green" if result.status == "passed" else "red"
        made.add_row(
            result.name,
            f"[{colour}]{result.status}[/]",
            *(f"{number:,}" if number else "–" for number in (result.requests, result.bytes, result.cycles)),
            f"{result.simulated_ns / 1e6:,.3f} ms" if result.simulated_ns else "–",
            f"{result.wall_s:.1f} s",
        )
    return made

"""What the boots showed: lines while they run, a table, and JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich import box
from rich.table import Table

__all__ = ["Result", "table", "write_report"]


@dataclass(frozen=True)
class Result:
    """One check of one boot; ``status`` is ``"passed"`` or ``"failed"``, ``message`` says why.

    ``provider`` is whose device it was; ``figures`` carry their unit in their names.
    """

    kernel: str
    provider: str
    device: str
    check: str
    status: str
    wall_s: float
    figures: dict[str, float] = field(default_factory=dict)
    message: str = ""


def write_report(
    path: Path, results: Sequence[Result], *, versions: Mapping[str, str], kernels: Mapping[str, str]
) -> None:
    """Counts, the versions of everything that took part, and all checks, as JSON."""
    failed = sum(result.status != "passed" for result in results)
    report = {
        "passed": len(results) - failed,
        "failed": failed,
        "versions": dict(versions),
        "kernels": dict(kernels),
        "checks": [asdict(result) for result in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")


def table(results: Sequence[Result]) -> Table:
    """One line for each boot, then one for each check that failed or has figures worth a line."""
    made = Table(
        title="virtio in a stock Linux guest", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    for title in ("kernel", "whose", "device"):
        made.add_column(title, no_wrap=True)
    for title in ("checks", "wall"):
        made.add_column(title, justify="right", no_wrap=True)
    made.add_column("figures")
    for boot in dict.fromkeys((result.kernel, result.provider, result.device) for result in results):
        mine = [result for result in results if (result.kernel, result.provider, result.device) == boot]
        passed = sum(result.status == "passed" for result in mine)
        colour = "green" if passed == len(mine) else "red"
        figures = {name: value for result in mine for name, value in result.figures.items() if name in SHOWN}
        made.add_row(
            *boot,
            f"[{colour}]{passed}/{len(mine)}[/]",
            f"{sum(result.wall_s for result in mine):.1f} s",
            ", ".join(SHOWN[name].format(value) for name, value in figures.items()),
        )
    return made


#: Figures that stand in the table; all stand in the report.
SHOWN = {
    "boot_s": "boot {:.1f} s",
    "bytes_per_s": "{:,.0f} B/s",
    "random1_requests_per_s": "{:,.0f} reads/s",
    "random16_requests_per_s": "{:,.0f} at depth 16",
    "sequential_mb_per_s": "{:,.1f} MB/s",
}

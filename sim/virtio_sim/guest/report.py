"""What the boots showed: a table and JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich import box
from rich.table import Table

__all__ = ["Result", "ratios", "table", "write_report"]

#: Figures that stand in the table, by column; all stand in the report.
COLUMNS = {
    "boot": ("boot_s", "{:.1f} s"),
    "4K/s": ("random1_requests_per_s", "{:,.0f}"),
    "4K/s×16": ("random16_requests_per_s", "{:,.0f}"),
    "MB/s": ("sequential_mb_per_s", "{:,.1f}"),
}


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
    figures: Mapping[str, float] = field(default_factory=dict)
    message: str = ""


def write_report(
    path: Path, results: Sequence[Result], *, versions: Mapping[str, str], kernels: Mapping[str, str]
) -> None:
    """Counts, the versions of everything that took part, ratios, and all checks, as JSON."""
    failed = sum(result.status != "passed" for result in results)
    report = {
        "passed": len(results) - failed,
        "failed": failed,
        "versions": dict(versions),
        "kernels": dict(kernels),
        "ratios": ratios(results),
        "checks": [asdict(result) for result in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")


def ratios(results: Sequence[Result], peer: str = "qemu") -> list[dict[str, str | float]]:
    """Figures over those of ``peer`` with the same kernel and device, where this run has both."""

    def figures(result: Result) -> dict[tuple[str, str, str], float]:
        shown = {name for name, _ in COLUMNS.values()}
        key = (result.kernel, result.device)
        return {(*key, name): value for name, value in result.figures.items() if name in shown}

    measured = {
        key: value for each in results if each.provider == peer for key, value in figures(each).items()
    }
    return [
        {
            "kernel": each.kernel,
            "provider": each.provider,
            "device": each.device,
            "figure": key[2],
            "ratio": round(value / measured[key], 4),
        }
        for each in results
        if each.provider != peer
        for key, value in figures(each).items()
        if measured.get(key)
    ]


def table(results: Sequence[Result]) -> Table:
    """One line for each boot: how many of its checks passed, how long they took, and its figures."""
    made = Table(
        title="virtio in a stock Linux guest", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    made.add_column("kernel", no_wrap=True)
    made.add_column("device")
    for title in ("passed", "wall", *COLUMNS):
        made.add_column(title, justify="right", no_wrap=True)
    for boot in dict.fromkeys((result.kernel, result.provider, result.device) for result in results):
        mine = [result for result in results if (result.kernel, result.provider, result.device) == boot]
        passed = sum(result.status == "passed" for result in mine)
        colour = "green" if passed == len(mine) else "red"
        figures = {name: value for result in mine for name, value in result.figures.items()}
        made.add_row(
            boot[0],
            f"{boot[1]} {boot[2]}",
            f"[{colour}]{passed}/{len(mine)}[/]",
            f"{sum(result.wall_s for result in mine):.1f} s",
            *(form.format(figures[name]) if name in figures else "–" for name, form in COLUMNS.values()),
        )
    return made

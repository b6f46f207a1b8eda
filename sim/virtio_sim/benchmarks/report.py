"""What was measured: a table for people and JSON for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import box
from rich.table import Table

__all__ = ["Row", "table", "write_results"]


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes
    ----------
    bench, config
        What was measured, and on what.
    figure
        What the value is, with its unit.
    value
        The figure.
    limit
        What it is held against: what the link allows, or what a peer did in the same run.
    goal
        What it should be.
    """

    bench: str
    config: str
    figure: str
    value: float
    limit: float | None = None
    goal: float | None = None


def write_results(path: Path, rows: Sequence[Row]) -> None:
    """The rows as a list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"


def table(rows: Sequence[Row]) -> Table:
    """The same as a table."""
    made = Table(title="benchmarks", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for title in ("bench", "config", "figure"):
        made.add_column(title)
    for title in ("value", "peer or limit", "goal"):
        made.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        numbers = (row.value, row.limit, row.goal)
        made.add_row(row.bench, row.config, row.figure, *map(_number, numbers))
    return made

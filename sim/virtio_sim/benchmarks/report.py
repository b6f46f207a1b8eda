"""What was measured: a table for people and JSON for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import box
from rich.table import Table

__all__ = ["NoResults", "Row", "goal", "number", "read_results", "renewed", "share", "table", "write_results"]


class NoResults(Exception):
    """Nothing was measured yet; the message is for the user."""


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
        What it should be at least, or ``at_most``.
    """

    bench: str
    config: str
    figure: str
    value: float
    limit: float | None = None
    goal: float | None = None
    at_most: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is the figure of."""
        return self.bench, self.config, self.figure

    @property
    def met(self) -> bool | None:
        """Whether the goal is met, if there is one."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.at_most else self.value >= self.goal


def write_results(path: Path, rows: Sequence[Row]) -> None:
    """The rows as a list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def read_results(path: Path) -> list[Row]:
    """What :func:`write_results` has written; :class:`NoResults`."""
    if not path.is_file():
        raise NoResults(f"there is no {path}; measure first")
    return [Row(**row) for row in json.loads(path.read_text())]


def renewed(before: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    """``before``, in which those that were measured again stand where they stood, and new ones at the end."""
    measured = {row.key: row for row in rows}
    kept = [measured.pop(row.key, row) for row in before]
    return [*kept, *measured.values()]


def number(value: float | None) -> str:
    """A figure as people read it."""
    if value is None:
        return "–"
    if float(value).is_integer() or value >= 1000:
        return f"{value:,.0f}"
    return f"{value:,.2f}"


def goal(row: Row) -> str:
    """The goal with its direction."""
    if row.goal is None:
        return "–"
    return f"{'≤' if row.at_most else '≥'} {number(row.goal)}"


def share(row: Row) -> str:
    """The value as a part of the limit."""
    return f"{row.value / row.limit:.1%}" if row.limit else "–"


def table(rows: Sequence[Row]) -> Table:
    """The same as a table; a goal that was missed is red."""
    made = Table(title="benchmarks", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for title in ("bench", "config", "figure"):
        made.add_column(title)
    for title in ("value", "peer or limit", "of it", "goal", "met"):
        made.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        words = {None: "", True: "yes", False: "no"}[row.met]
        style = "red" if row.met is False else None
        numbers = (number(row.value), number(row.limit), share(row), goal(row), words)
        made.add_row(row.bench, row.config, row.figure, *numbers, style=style)
    return made

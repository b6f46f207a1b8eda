"""What was found: a table for people and JSON for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import box
from rich.table import Table

from .families import Area
from .parse import CriticalPath, Timing
from .targets import Peer, Target

__all__ = ["Row", "row", "sentences", "table", "write_report"]


@dataclass(frozen=True)
class Row:
    """One configuration on one family.

    ``lut`` to ``bram`` are as in :class:`.families.Area`; ``fmax_mhz`` and ``critical_path`` are there for
    ecp5 only, and so are the goals, where there are any.
    """

    config: str
    family: str
    lut: int
    carry: int
    lut_ram: int
    ff: int
    bram: float
    fmax_mhz: float | None = None
    goal_lut: int | None = None
    goal_fmax_mhz: float | None = None
    critical_path: CriticalPath | None = None


def row(target: Target, family: str, area: Area, timing: Timing | None = None) -> Row:
    """With the clock comes the family that the goals are about."""
    found = Row(target.configuration.name, family, **asdict(area))
    if timing is None:
        return found
    return Row(
        **asdict(found)
        | {
            "fmax_mhz": round(timing.fmax_mhz, 1),
            "goal_lut": target.lut,
            "goal_fmax_mhz": target.fmax_mhz,
            "critical_path": timing.critical,
        }
    )


def write_report(path: Path, rows: Sequence[Row]) -> None:
    """The rows as a list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(found) for found in rows], indent=2) + "\n")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,g}"


def _held(value: float | None, goal: float | None, *, less: bool) -> str:
    """A number, in the colour of whether it is as it should be."""
    text = _number(value)
    if value is None or goal is None:
        return text
    return f"[{'green' if (value <= goal if less else value >= goal) else 'red'}]{text}[/]"


def table(rows: Sequence[Row], peers: Sequence[Peer]) -> Table:
    """All rows, and below them what others take."""
    made = Table(title="area and clock", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    made.add_column("design")
    made.add_column("family", no_wrap=True)
    for title in ("LUT", "goal", "carry", "LUT RAM", "FF", "BRAM", "MHz", "goal"):
        made.add_column(title, justify="right", no_wrap=True)
    for found in rows:
        made.add_row(
            found.config,
            found.family,
            _held(found.lut, found.goal_lut, less=True),
            *map(_number, (found.goal_lut, found.carry, found.lut_ram, found.ff, found.bram)),
            _held(found.fmax_mhz, found.goal_fmax_mhz, less=False),
            _number(found.goal_fmax_mhz),
        )
    made.add_section()
    for peer in peers:
        for family, lut, bram in zip(("ecp5", "xc7"), peer.lut, peer.bram, strict=True):
            here = family == "ecp5"
            ff, fmax = (peer.ff, peer.fmax_mhz) if here else (None, None)
            made.add_row(
                f"[dim]{peer.name}[/]" if here else "",
                *(f"[dim]{text}[/]" for text in (family, _number(lut), "", "", "")),
                *(f"[dim]{_number(value)}[/]" for value in (ff, bram, fmax)),
                "",
            )
    return made


def sentences(rows: Sequence[Row]) -> list[str]:
    """What limits the clock of each."""
    return [
        f"{found.config}: the slowest path has {path.levels} levels, {path.logic_ns} ns of logic and "
        f"{path.routing_ns} ns of routing, from {path.start} to {path.end}"
        for found in rows
        if (path := found.critical_path) is not None
    ]

"""What the test list found, as JSON and as tables."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from .netlist import Mutant
from .planted.bug import Bug, Seen
from .trials import Kill

__all__ = ["GOAL", "Design", "Planted", "table", "write_report"]

#: Of a design's mutants, so many have to be found, in percent; of planted bugs all.
GOAL = 95


@dataclass(frozen=True)
class Planted:
    """A planted bug, and where it was seen first, if it was."""

    bug: Bug
    where: Seen | None
    message: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "bug": self.bug.name,
            "what": self.bug.what,
            "traps": self.bug.traps,
            "found": self.where is not None,
            "device": self.where.device if self.where else "",
            "case": self.where.case if self.where else "",
            "message": self.message,
        }


@dataclass
class Design:
    """The mutants of one design.

    Attributes
    ----------
    name, seed
        Which design, and the seed by which its mutants were chosen.
    build_s, clean_s, attack_s
        What it took to make the netlist and the simulation, to run all without a mutant, and the mutants.
    trials
        Cases times drivers.
    useless
        Trials that failed without a mutant, and so say nothing.
    reached
        By how many trials each mutant was reached, by its number.
    found
        What found each mutant, or ``None`` if nothing did; in the order in which it was decided.
    """

    name: str
    seed: int
    trials: int = 0
    build_s: float = 0.0
    clean_s: float = 0.0
    attack_s: float = 0.0
    useless: dict[str, str] = field(default_factory=dict)
    reached: Counter[int] = field(default_factory=Counter)
    found: dict[Mutant, Kill | None] = field(default_factory=dict)

    @property
    def killed(self) -> int:
        """How many were found."""
        return sum(kill is not None for kill in self.found.values())

    @property
    def percent(self) -> float:
        """How many that is of all."""
        return 100 * self.killed / len(self.found) if self.found else 100.0

    @property
    def survivors(self) -> list[Mutant]:
        """What nothing found, those first that trials did reach."""
        left = [mutant for mutant, kill in self.found.items() if kill is None]
        return sorted(left, key=lambda mutant: (not self.reached[mutant.number], mutant.number))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "design": self.name,
            "seed": self.seed,
            "mutants": len(self.found),
            "killed": self.killed,
            "percent": round(self.percent, 1),
            "never_reached": sum(not self.reached[mutant.number] for mutant in self.survivors),
            "trials": self.trials,
            "useless_trials": self.useless,
            "build_s": round(self.build_s, 1),
            "clean_s": round(self.clean_s, 1),
            "attack_s": round(self.attack_s, 1),
            "list": [
                {
                    "number": mutant.number,
                    "mutant": str(mutant),
                    "mode": mutant.mode,
                    "cell": mutant.cell,
                    "port": mutant.port,
                    "bit": mutant.bit,
                    "wire": mutant.wire,
                    "sources": mutant.sources,
                    "reached_by": self.reached[mutant.number],
                    "killed_by": kill.trial if kill else "",
                    "message": kill.message if kill else "",
                }
                for mutant, kill in sorted(self.found.items(), key=lambda item: item[0].number)
            ],
        }


def write_report(path: Path, planted: Sequence[Planted], designs: Iterable[Design]) -> None:
    """Everything as JSON."""
    report = {
        "planted": {
            "bugs": len(planted),
            "found": sum(result.where is not None for result in planted),
            "list": [result.as_dict() for result in planted],
        },
        "designs": [design.as_dict() for design in designs],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")


def table(planted: Sequence[Planted], designs: Iterable[Design]) -> Table:
    """How many were found of what."""
    made = Table(
        title="bugs that the test list sees", box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left"
    )
    made.add_column("where", no_wrap=True)
    for title in ("bugs", "found", "left", "never reached"):
        made.add_column(title, justify="right", no_wrap=True)
    made.add_column("", justify="right", no_wrap=True)
    if planted:
        found = sum(result.where is not None for result in planted)
        made.add_row("planted", str(len(planted)), str(found), str(len(planted) - found), "", "")
    for design in designs:
        left = design.survivors
        never = sum(not design.reached[mutant.number] for mutant in left)
        counts = map(str, (len(design.found), design.killed, len(left), never))
        made.add_row(f"{design.name}, seed {design.seed}", *counts, f"{design.percent:.1f} %")
    return made

"""What Yosys and nextpnr write about a design."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .tools import SynthesisError

__all__ = ["CriticalPath", "Timing", "cells_of", "luts_of_modules", "netlist_cells", "timing_of"]


@dataclass(frozen=True)
class CriticalPath:
    """The slowest path between registers.

    Attributes
    ----------
    start, end
        Names of its registers, as synthesis made them from those of the design.
    levels
        LUTs on it, a carry chain and multiplexers beside a LUT counted with it.
    logic_ns, routing_ns
        Where the time goes; the rest of a period is the clock-to-output and set-up time of the registers.
    """

    start: str
    end: str
    levels: int
    logic_ns: float
    routing_ns: float


@dataclass(frozen=True)
class Timing:
    """Clock that place and route reached, and what limits it."""

    fmax_mhz: float
    critical: CriticalPath


def cells_of(stat: Path) -> dict[str, int]:
    """Cells by type, from Yosys' ``stat -json``."""
    return json.loads(stat.read_text())["design"]["num_cells_by_type"]


def luts_of_modules(stat: Path, *, top: str) -> dict[str, int]:
    """LUTs of each module itself by its path below ``top``, from ``stat -json`` about a hierarchy for ecp5.

    Amaranth calls a module by its path; the top module's is empty.
    """
    modules = json.loads(stat.read_text())["modules"]
    return {
        name.removeprefix("\\").removeprefix(top).removeprefix("."): module["num_cells_by_type"].get(
            "LUT4", 0
        )
        for name, module in modules.items()
    }


def netlist_cells(netlist: Path, *, top: str) -> dict[str, str]:
    """Types of the cells of a flat netlist by their names, from Yosys' ``write_json``."""
    cells = json.loads(netlist.read_text())["modules"][top]["cells"]
    return {name: cell["type"] for name, cell in cells.items()}


def timing_of(report: Path) -> Timing:
    """From nextpnr's ``--report`` about a design with one clock."""
    content = json.loads(report.read_text())
    if len(content["fmax"]) != 1:
        raise SynthesisError(f"{report} should be about one clock, and has {len(content['fmax'])}")
    ((clock, fmax),) = content["fmax"].items()
    edge = f"posedge {clock}"
    (path,) = [found["path"] for found in content["critical_paths"] if found["from"] == found["to"] == edge]
    return Timing(fmax["achieved"], _path(path))


def _path(steps: list[dict[str, Any]]) -> CriticalPath:
    times: Counter[str] = Counter()
    levels = 0
    for before, step in zip([steps[0], *steps], steps, strict=False):
        times[step["type"]] += step["delay"]
        # Carry chains and multiplexers have wires of their own, without delay.
        levels += step["type"] == "logic" and before["type"] == "routing" and before["delay"] > 0
    return CriticalPath(
        start=steps[0]["from"]["cell"],
        end=steps[-1]["to"]["cell"],
        levels=levels,
        logic_ns=round(times["logic"], 2),
        routing_ns=round(times["routing"], 2),
    )

"""Which part of a design takes how much of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from .families import ECP5, Area

__all__ = ["ModuleArea", "by_module", "module_table"]

#: What the design itself is called.
TOP = "(top)"


@dataclass(frozen=True)
class ModuleArea:
    """A submodule by its path.

    Attributes
    ----------
    path
        Its name below that of the design.
    own, lut_below
        Its share of the flat design: what it takes itself, and with all that is below it.
    lut_apart
        LUTs that it takes itself if every submodule is synthesised on its own, knowing nothing of the others.
    """

    path: str
    own: Area
    lut_below: int
    lut_apart: int


def by_module(cells: Mapping[str, str], apart: Mapping[str, int]) -> list[ModuleArea]:
    """Share of each submodule in a flat netlist for ecp5, greatest first.

    Synthesis names a cell after a net at it, and a net after the submodule that it was in. So what was moved
    or merged across a boundary counts for one side or the other, and what was not needed for nobody.
    ``apart`` has all submodules, the design itself as ``""``.
    """
    counts: dict[str, Counter[str]] = {path: Counter() for path in apart}
    for cell, kind in cells.items():
        path = cell
        while path not in counts:
            path = path.rpartition(".")[0]
        counts[path][kind] += 1
    areas = {path: ECP5.area(count) for path, count in counts.items()}
    found = []
    for path, own in areas.items():
        below = sum(
            area.lut for other, area in areas.items() if not path or f"{other}.".startswith(f"{path}.")
        )
        found.append(ModuleArea(path or TOP, own, below, apart[path]))
    return sorted(found, key=lambda module: (-module.own.lut, module.path))


def module_table(title: str, modules: Sequence[ModuleArea]) -> Table:
    """For people."""
    made = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    made.add_column("submodule", overflow="fold")
    for column in ("LUT4", "below", "apart", "carry", "RAM", "FF", "BRAM"):
        made.add_column(column, justify="right", no_wrap=True)
    for module in modules:
        own = module.own
        numbers = (own.lut, module.lut_below, module.lut_apart, own.carry, own.lut_ram, own.ff, own.bram)
        made.add_row(module.path, *(f"{number:,g}" for number in numbers))
    return made

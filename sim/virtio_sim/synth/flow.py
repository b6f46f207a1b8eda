"""The flow: from Verilog to figures."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..build import TOPLEVEL
from .families import ECP5, Area, Family
from .parse import Timing, cells_of, luts_of_modules, netlist_cells, timing_of
from .tools import NEXTPNR, YOSYS, SynthesisError, run_tool
from .wrapper import WRAPPER, in_few_pins

__all__ = ["Flow", "check_kept"]

#: What place and route aims at.
CLOCK_MHZ = 155
#: The part whose speed is measured; of this family the largest, so that no design is cramped.
PART = ("--um5g-85k", "--package", "CABGA756", "--speed", "8")
NETLIST = "netlist.json"
STAT = "stat.json"
#: A wrapped design may lose so much by what its wrapper tells synthesis about its ports.
LEAST_KEPT = 0.97

#: Is told the name of a step that begins; what it returns is called when the step ended.
Watcher = Callable[[str], Callable[[], None]]


@dataclass(frozen=True)
class Flow:
    """One design, whose top module is :data:`..build.TOPLEVEL`.

    Attributes
    ----------
    name
        Of the design, and of the directory below ``root`` in which everything about it stands.
    verilog
        The design.
    root
        Directory for all designs.
    cache
        Directory in which compiled tools are kept.
    seed
        Of place and route.
    watch
        Is told which step runs.
    """

    name: str
    verilog: str
    root: Path
    cache: Path
    seed: int
    watch: Watcher

    def area(self, family: Family) -> Area:
        """Of the design alone, without pins."""
        return family.area(cells_of(self._synthesised(family, self.verilog, TOPLEVEL, family.name) / STAT))

    def netlist(self) -> dict[str, str]:
        """Types of the cells of the design alone, flat, by their names; for ecp5."""
        return netlist_cells(
            self._synthesised(ECP5, self.verilog, TOPLEVEL, ECP5.name) / NETLIST, top=TOPLEVEL
        )

    def apart(self) -> dict[str, int]:
        """LUTs of each module, synthesised on its own; for ecp5."""
        family = replace(ECP5, script=f"{ECP5.script} -noflatten")
        return luts_of_modules(
            self._synthesised(family, self.verilog, TOPLEVEL, "apart") / STAT, top=TOPLEVEL
        )

    def clock(self) -> tuple[Area, Timing]:
        """Placed and routed on :data:`PART` in a wrapper; the area is that of both."""
        wrapped = in_few_pins(self.verilog, name=TOPLEVEL)
        directory = self._synthesised(ECP5, wrapped, WRAPPER, "pins")
        done = self.watch(f"{self.name}: place and route")
        report = directory / "timing.json"
        options = ["--seed", str(self.seed), "--freq", str(CLOCK_MHZ), "--timing-allow-fail"]
        files = ["--json", NETLIST, "--report", report.name]
        run_tool(
            [NEXTPNR, "--quiet", *PART, "--lpf-allow-unconstrained", *options, *files],
            directory,
            cache=self.cache,
        )
        done()
        return ECP5.area(cells_of(directory / STAT)), timing_of(report)

    def _synthesised(self, family: Family, verilog: str, top: str, name: str) -> Path:
        done = self.watch(f"{self.name}: synthesis, {name}")
        directory = self.root / self.name / name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "log.txt").unlink(missing_ok=True)
        (directory / "design.v").write_text(verilog)
        script = [
            "read_verilog -sv design.v",
            f"{family.script} -top {top}",
            f"write_json {NETLIST}",
            f"tee -q -o {STAT} stat -json",
        ]
        run_tool([YOSYS, "-q", "-p", "; ".join(script)], directory, cache=self.cache)
        done()
        return directory


def check_kept(name: str, alone: Area, wrapped: Area) -> None:
    """:class:`.tools.SynthesisError` if the wrapper let synthesis leave parts of the design out."""
    for what in ("lut", "ff"):
        had, has = getattr(alone, what), getattr(wrapped, what)
        if has < LEAST_KEPT * had:
            raise SynthesisError(
                f"{name} has {had} {what.upper()}s alone and {has} in its wrapper; something was left out, "
                "so that its clock means nothing"
            )

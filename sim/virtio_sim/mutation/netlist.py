"""Mutants of the gateware's netlist: Yosys' ``mutate`` puts many of them into one design.

All of them are in one flat module, and the input ``mutant`` says which one is in force, so that one build
serves all. The output ``reached`` has a sticky bit for each: whether its net would ever have had another
value. A run in which that never was is the same with the mutant as without it.
"""

import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import rtlil

from ..build import TOPLEVEL, build_root, locked
from ..config import Configuration
from ..hdl import SOURCES, endpoint
from ..synth.tools import YOSYS, SynthesisError, check_tools, run_tool
from ..verilog import without_empty_wires

__all__ = ["Mutant", "Netlist", "netlist"]

#: Optimised as for synthesis, so that few mutants are of logic that does nothing. Words stay words, but for
#: bits of them that nobody reads.
FLATTEN = (
    "read_rtlil design.il",
    f"hierarchy -top {TOPLEVEL}",
    "proc -norom",
    "flatten",
    "opt",
    "wreduce",
    "opt -full",
    "memory_collect",
    "splitcells",
    "opt_clean",
    "write_rtlil flat.il",
)
#: A simulation has one clock, and no reset but at a clock's edge.
NOT_MUTATED = re.compile(r"(RD_|WR_)?(CLK|ARST)")
#: So many more are asked for, because of that: one in so many, and some.
SPARE, SPARE_LEAST = 20, 20

SELECTED = re.compile(r"^  assign (\S+) += mutant == \d+'h([0-9a-f]+);$", re.MULTILINE)
CHOSEN = re.compile(r"^  assign \S+ += (\S+) +\? (.+?) +: (.+?) *;$", re.MULTILINE)
#: Where the packages of the gateware, and Amaranth's own, begin in a path.
PACKAGE = re.compile(r".*/(?=(?:amaranth_virtio|virtio_spec|amaranth)/)")


@dataclass(frozen=True)
class Mutant:
    """One change of one bit at one pin of a cell.

    Attributes
    ----------
    number
        From 1, as the design is told.
    mode
        ``inv``, ``const0``, ``const1``, or ``cnot0`` and ``cnot1``, which invert it by another bit's value.
    cell, port, bit, by
        Where; ``by`` is that other bit.
    wire
        Name of the signal, if it has one.
    sources
        Lines of the gateware that it comes from.
    """

    number: int
    mode: str
    cell: str
    port: str
    bit: int
    by: int | None
    wire: str
    sources: tuple[str, ...]

    def __str__(self) -> str:
        by = "" if self.by is None else f" by bit {self.by}"
        where = f"{self.port}[{self.bit}] of {self.wire or self.cell}"
        return f"{self.mode}{by} at {where} ({', '.join(self.sources) or 'no source'})"


@dataclass(frozen=True)
class Netlist:
    """A design with mutants.

    Attributes
    ----------
    verilog
        Its top module is :data:`..build.TOPLEVEL`.
    mutants
        In their order.
    """

    verilog: str
    mutants: tuple[Mutant, ...]


def netlist(configuration: Configuration, *, count: int, seed: int) -> Netlist:
    """``count`` mutants of an endpoint, evenly over its cells, by ``seed``; kept under ``build/``.

    :class:`..synth.tools.SynthesisError` if Yosys is not there, or there are not so many.
    """
    key = hashlib.sha256("\n".join([*SOURCES, Path(__file__).read_text()]).encode()).hexdigest()[:16]
    directory = build_root() / "mutation" / f"{configuration.name}-{count}-{seed}-{key}"
    directory.mkdir(parents=True, exist_ok=True)
    made, listed = directory / "mutants.v", directory / "list.txt"
    with locked(directory / "lock"):
        if not made.exists():
            cache = build_root() / "synth" / "cache"
            check_tools(YOSYS, cache=cache)
            text = rtlil.convert(endpoint(configuration), name=TOPLEVEL, emit_src=True)
            (directory / "design.il").write_text(without_empty_wires(text))
            asked = count + count // SPARE + SPARE_LEAST
            _yosys([*FLATTEN, f"mutate -list {asked} -seed {seed} -o all.txt"], directory, cache)
            commands = _mutable((directory / "all.txt").read_text())[:count]
            if len(commands) < count:
                raise SynthesisError(f"{configuration.name} has {len(commands)} mutants, and not {count}")
            listed.write_text("\n".join(commands))
            width = count.bit_length()
            applied = [_applied(command, number, width) for number, command in enumerate(commands, 1)]
            (directory / "apply.txt").write_text("\n".join([*applied, ""]))
            _yosys(
                ["read_rtlil flat.il", "script apply.txt", "write_verilog -noattr -norename mutated.v"],
                directory,
                cache,
            )
            new = made.with_suffix(".new")
            new.write_text(with_reached((directory / "mutated.v").read_text(), count))
            new.rename(made)
    mutants = [_parsed(command, number) for number, command in enumerate(listed.read_text().splitlines(), 1)]
    return Netlist(made.read_text(), tuple(mutants))


def _yosys(script: Sequence[str], directory: Path, cache: Path) -> None:
    run_tool([YOSYS, "-q", "-p", "; ".join(script)], directory, cache=cache)


def _options(command: str) -> list[tuple[str, str]]:
    words = shlex.split(command.replace("\\", "\\\\"))[1:]
    return [(name.removeprefix("-"), value) for name, value in zip(words[::2], words[1::2], strict=True)]


def _mutable(text: str) -> list[str]:
    """Yosys' commands, without those for clocks."""
    return [line for line in text.splitlines() if not NOT_MUTATED.fullmatch(dict(_options(line))["port"])]


def _applied(command: str, number: int, width: int) -> str:
    """The command that puts a mutant in, but in force only if it is chosen."""
    return f"{command.partition(' -wire ')[0].partition(' -src ')[0]} -ctrl mutant {width} {number}"


def _parsed(command: str, number: int) -> Mutant:
    options = _options(command)
    named = dict(options)
    wire = f"{named['wire']}[{named['wirebit']}]" if "wire" in named else ""
    sources = [PACKAGE.sub("", value) for name, value in options if name == "src"]
    return Mutant(
        number,
        named["mode"],
        named["cell"].replace("$flatten", "").replace("\\", ""),
        named["port"],
        int(named["portbit"]),
        int(named["ctrlbit"]) if "ctrlbit" in named else None,
        wire,
        tuple(dict.fromkeys(sources)),
    )


def with_reached(verilog: str, count: int) -> str:
    """A design with mutants, as Yosys writes it, and the output ``reached``.

    Each mutant is a line that chooses between two values by its own number.
    """
    numbers = {name: int(number, 16) for name, number in SELECTED.findall(verilog)}
    differ = {
        # An escaped name ends with a space.
        numbers[select]: f"({changed} ) ^ ({kept} )"
        for select, changed, kept in CHOSEN.findall(verilog)
        if select in numbers
    }
    missing = set(range(1, count + 1)) - differ.keys()
    if missing:
        raise SynthesisError(f"Yosys left out mutants, as number {min(missing)}")
    # A whole number of 32-bit words, and more than two of them, so that the harness sees an array of these.
    bits = max(-(-(count + 1) // 32) * 32, 96)
    head, _, rest = verilog.partition(f"module {TOPLEVEL}(")
    lines = [
        f"  output [{bits - 1}:0] reached;",
        f"  reg [{bits - 1}:0] reached = {bits}'h0;",
        "  always @(posedge clk) begin",
        *(f"    if ({differ[number]}) reached[{number}] <= 1'h1;" for number in sorted(differ)),
        "  end",
    ]
    module, end, after = rest.rpartition("endmodule")
    return f"{head}module {TOPLEVEL}(reached, {module}" + "\n".join(lines) + f"\n{end}{after}"

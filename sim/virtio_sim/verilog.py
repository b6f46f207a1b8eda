"""Verilog that ``verilator --lint-only -Wall`` has nothing to say about.

Amaranth's own conversion leaves widths to the rules of Verilog, which extend and cut silently; a
linter cannot tell that from a mistake. Here every operator gets operands of equal widths, so that
an actual mismatch stands out. The logic is the same.

Memories get their first contents from a loop, not from a line for each row: a large endpoint would otherwise
be mostly zeros, over which Yosys takes minutes.
"""

import re
from copy import copy
from itertools import count
from typing import Any

from amaranth._toolchain.yosys import find_yosys
from amaranth.back import rtlil
from amaranth.lib.memory import Memory

__all__ = ["equal_widths", "to_verilog", "without_empty_wires"]

COMPARISONS = {"$eq", "$ne", "$lt", "$le", "$gt", "$ge"}
ARITHMETIC = {"$add", "$sub", "$mul", "$neg", "$and", "$or", "$xor", "$not"}
SHIFTS = {"$shl", "$shr", "$sshr", "$shift"}

MODULE = re.compile(r"^module .*?^end$", re.MULTILINE | re.DOTALL)
CELL = re.compile(r"^  cell (\$\w+) \S+\n((?:    .*\n)*)  end\n", re.MULTILINE)
CONNECTION = re.compile(r"^    connect \\(\w+) (.*)$", re.MULTILINE)
PARAMETER = re.compile(r"^    parameter \\(\w+) (\d+)$", re.MULTILINE)
EMPTY_WIRE = re.compile(r"^(?:  attribute .*\n)*  wire width 0 (?:signed )?\S+\n", re.MULTILINE)
EMPTY_CONNECTION = re.compile(r"^connect \S+ \{ *\}\n", re.MULTILINE)

#: A constant for some bits of a variable whose other bits a process drives.
CONSTANT_BITS = re.compile(r"^  always @\*\n    (.+ = \d+'h[0-9a-f]+;)\n", re.MULTILINE)
#: The register, always 0, that makes processes run once at the beginning.
STARTER = re.compile(r"^  reg (\\\$auto\$verilog_backend\S+) ", re.MULTILINE)

#: Contents of a memory at the beginning, and what becomes of those of one row.
CONTENTS = re.compile(
    r"(    parameter \\WIDTH (\d+)\n    parameter \\WORDS )\d+"
    r"(\n    parameter \\PRIORITY 0\n    connect \\ADDR .*\n    connect \\DATA (\d+)')"
)
FIRST_ROW = re.compile(
    r"^(  reg (?:\[\d+:0\] )?(\S+ ?)\[(\d+):0\];\n)  initial begin\n    \S+ ?\[0\] = (.*);\n  end\n",
    re.MULTILINE,
)

#: As Amaranth's script, but without Yosys' optimisations, which would undo the equal widths.
SCRIPT = """read_rtlil <<rtlil
{rtlil}
rtlil
proc -nomux -norom -noopt
memory_collect
attrmap {removed}
attrmap -modattr {removed}
write_verilog -norename
"""
REMOVED = "-remove generator -remove top -remove amaranth.hierarchy -remove amaranth.decoding"


def to_verilog(elaboratable: Any, *, name: str) -> str:
    """Verilog of a component and all below it; its top module is ``name``, its ports are the members."""
    text = rtlil.convert(elaboratable, name=name, platform=_OneRow(), emit_src=False)
    text = CONTENTS.sub(lambda match: f"{match[1]}{int(match[4]) // int(match[2])}{match[3]}", text)
    text = equal_widths(without_empty_wires(text))
    yosys: Any = find_yosys(lambda version: version >= (0, 40))
    # Yosys warns of every process, because not all can be translated; those of Amaranth can.
    verilog = yosys.run(["-q", "-"], SCRIPT.format(rtlil=text, removed=REMOVED), ignore_warnings=True)
    return "endmodule".join(_start_constants(_filled(module)) for module in verilog.split("endmodule"))


class _OneRow:
    """As a platform: memories whose rows are all the same at the beginning, with the first one alone."""

    def get_memory(self, memory: Memory) -> Any:
        """Amaranth's own instance of a memory."""
        instance: Any = memory.elaborate(None)
        rows: Any = copy(memory.data.init)
        if len(set(rows._raw)) == 1:
            # Amaranth would write as many rows as there are; the data may be used elsewhere, too.
            rows._raw = rows._raw[:1]
            instance._data = copy(memory.data)
            instance._data._init = rows
        return instance


def without_empty_wires(text: str) -> str:
    """RTLIL without wires of no bits, which Verilog does not have."""
    return EMPTY_CONNECTION.sub("", EMPTY_WIRE.sub("", text))


def _filled(module: str) -> str:
    """A module whose memories with contents for one row alone have the same in all of them."""
    number = count(1)

    def loop(match: re.Match[str]) -> str:
        declared, name, last, value = match.groups()
        block = f"fill_{next(number)}"
        row = f"{block}_row"
        return (
            f"{declared}  initial begin : {block}\n    integer {row};\n"
            f"    for ({row} = 0; {row} <= {last}; {row} = {row} + 1) {name}[{row}] = {value};\n  end\n"
        )

    return FIRST_ROW.sub(loop, module)


def equal_widths(text: str) -> str:
    """RTLIL in which no operator extends or cuts an operand.

    Comparisons get operands of the wider one's width; arithmetic those of the result's. The first
    operand of a shift and its result get the wider one's width; a result too wide is cut in a
    connection of its own.
    """
    return MODULE.sub(lambda match: _equal_widths_in_module(match[0]), text)


def _equal_widths_in_module(module: str) -> str:
    wires = 0

    def rewrite(match: re.Match[str]) -> str:
        nonlocal wires
        kind, body = match[1], match[2]
        if kind not in COMPARISONS | ARITHMETIC | SHIFTS:
            return match[0]
        parameters = {name: int(value) for name, value in PARAMETER.findall(body)}
        ports = dict(CONNECTION.findall(body))
        if kind in COMPARISONS:
            equal = [port for port in ports if port != "Y"]
        elif kind in ARITHMETIC:
            equal = list(ports)
        else:
            equal = ["A", "Y"]
        width = max(parameters[f"{port}_WIDTH"] for port in equal)
        before = after = ""
        for port in equal:
            old = parameters[f"{port}_WIDTH"]
            if old == width:
                continue
            parameters[f"{port}_WIDTH"] = width
            if port == "Y":
                wires += 1
                wide = f"$wide{wires}"
                before = f"  wire width {width} {wide}\n"
                after = f"  connect {ports[port]} {wide} [{old - 1}:0]\n"
                ports[port] = wide
            else:
                # Amaranth gives both operands of arithmetic and of comparisons the same signedness.
                ports[port] = _extended(ports[port], old, width, signed=parameters["A_SIGNED"] == 1)
        lines = [f"    parameter \\{name} {value}\n" for name, value in parameters.items()]
        lines += [f"    connect \\{port} {value}\n" for port, value in ports.items()]
        head = match[0].partition("\n")[0] + "\n"
        return before + head + "".join(lines) + "  end\n" + after

    return CELL.sub(rewrite, module)


def _extended(value: str, old: int, new: int, *, signed: bool) -> str:
    if old == 0:
        return f"{new}'{'0' * new}"
    if signed:
        return "{ " + f"{value} [{old - 1}] " * (new - old) + value + " }"
    return f"{{ {new - old}'{'0' * (new - old)} {value} }}"


def _start_constants(module: str) -> str:
    """A module whose constant parts of variables have their value from the beginning.

    ``always @*`` with nothing but a constant never runs.
    """
    starter = STARTER.search(module)
    if starter is None:
        return module
    start = f"  always @* begin\n    if ({starter[1]} ) begin end\n    "
    return CONSTANT_BITS.sub(lambda match: f"{start}{match[1]}\n  end\n", module)

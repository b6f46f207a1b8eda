"""Verilog of small components, against the Verilog that Amaranth makes of them."""

from typing import Any

import pytest
from amaranth.back import verilog
from amaranth.hdl import Cat, Module, Mux, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from virtio_sim.build import TOPLEVEL, lint, simulator
from virtio_sim.runner import run
from virtio_sim.verilog import equal_widths, to_verilog, without_empty_wires

SHAPES = {"a": unsigned(5), "b": unsigned(2), "c": signed(4), "d": signed(2), "e": unsigned(1)}
INPUTS = ".a(n[4:0]), .b(n[6:5]), .c(n[10:7]), .d(n[12:11]), .e(n[13])"
PAIRS = [("a", "b"), ("b", "a"), ("c", "d"), ("d", "c"), ("a", "c"), ("c", "b"), ("a", "e"), ("a", "a")]
OPERATORS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "and_each": lambda a, b: a & b,
    "or_each": lambda a, b: a | b,
    "xor_each": lambda a, b: a ^ b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "shl": lambda a, b: a << b.as_unsigned()[:3],
    "shr": lambda a, b: a >> b.as_unsigned()[:3],
    "neg": lambda a, b: -a + b,
    "not_each": lambda a, b: ~a + b,
    "reduce": lambda a, b: Cat(a.any(), b.all(), a.xor(), a.bool()),
    "mux": lambda a, b: Mux(a, b, a),
    "one_bit": lambda a, b: a.bit_select(b.as_unsigned()[:3], 1),
    "word": lambda a, b: a.word_select(b.as_unsigned()[:2], 2),
    "zero": lambda a, b: Cat(a == 0, b != 0, a < 1, a >= 1),
}


class Formula(wiring.Component):
    """One output for an operator on every pair of inputs."""

    def __init__(self, operator: str):
        self.operator = operator
        results = {f"y{number}": Out(24) for number in range(len(PAIRS))}
        super().__init__({name: In(shape) for name, shape in SHAPES.items()} | results)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for number, (left, right) in enumerate(PAIRS):
            result = OPERATORS[self.operator](getattr(self, left), getattr(self, right))
            m.d.comb += getattr(self, f"y{number}").eq(result)
        return m


class Parts(wiring.Component):
    """A structure with an empty field, one that nobody drives, and one of which only a case does."""

    FIELDS = data.StructLayout({"low": 3, "empty": 0, "none": 4, "high": 5})
    a: In(2)
    o: Out(FIELDS)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.comb += self.o.low.eq(self.a)
        with m.If(self.a == 2):
            m.d.comb += self.o.high.eq(self.a + 1)
        return m


class Contents(wiring.Component):
    """Memories with rows that are all the same, and with one row that is not."""

    MEMORIES = (
        (8, [0] * 11),
        (8, [0xA5] * 16),
        (8, [0xA5] * 12 + [0]),
        (1, [1] * 7),
        (data.StructLayout({"low": 3, "high": 5}), [{"low": 5}] * 5),
        (2, [3]),
    )
    a: In(5)
    o: Out(35)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        rows = []
        for number, (shape, init) in enumerate(self.MEMORIES):
            memory = Memory(shape=shape, depth=len(init), init=init)
            m.submodules[f"memory{number}"] = memory
            port = memory.read_port(domain="comb")
            m.d.comb += port.addr.eq(self.a)
            # Beyond the last row, both may give anything.
            rows.append(Mux(self.a < len(init), Value.cast(port.data), 0))
        m.d.comb += self.o.eq(Cat(*rows))
        return m


class Everything(wiring.Component):
    """All operators, the structure, and the memories, on the same inputs."""

    def __init__(self):
        results = {name: Out(24 * len(PAIRS)) for name in OPERATORS}
        super().__init__(
            {name: In(shape) for name, shape in SHAPES.items()}
            | results
            | {"parts": Out(12), "contents": Out(35)}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.parts = parts = Parts()
        m.submodules.contents = contents = Contents()
        m.d.comb += [parts.a.eq(self.b), self.parts.eq(parts.o.as_value())]
        m.d.comb += [contents.a.eq(self.a), self.contents.eq(contents.o)]
        for name in OPERATORS:
            formula = Formula(name)
            m.submodules[name] = formula
            m.d.comb += [getattr(formula, member).eq(getattr(self, member)) for member in SHAPES]
            results = [getattr(formula, f"y{number}") for number in range(len(PAIRS))]
            m.d.comb += getattr(self, name).eq(Cat(*results))
        return m


def miter(outputs: dict[str, int]) -> str:
    """Verilog that counts through all inputs of ``gold`` and ``gate``, and notes which outputs ever differ.

    The last bit compares two outputs that do differ.
    """
    names = list(outputs)
    wires, instances = "", ""
    for side in ("gold", "gate"):
        wires += "".join(f"  wire [{width - 1}:0] {side}_{name};\n" for name, width in outputs.items())
        results = ", ".join(f".{name}({side}_{name})" for name in names)
        instances += f"  {side} {side}_instance ({INPUTS}, {results});\n"
    compared = ["gold_add != gate_sub", *(f"gold_{name} != gate_{name}" for name in reversed(names))]
    return f"""
module {TOPLEVEL}(clk, done, differs);
  input clk;
  output done;
  output [{len(names)}:0] differs;
  reg done;
  reg [{len(names)}:0] differs;
  reg [13:0] n;
  initial begin done = 0; differs = 0; n = 0; end
{wires}{instances}
  always @(posedge clk) begin
    n <= n + 1;
    done <= &n;
    differs <= differs | {{ {", ".join(compared)} }};
  end
endmodule
"""


def test_every_operator_on_every_input_is_what_amaranth_makes_of_it(tmp_path):
    outputs = {name: 24 * len(PAIRS) for name in OPERATORS} | {"parts": 12, "contents": 35}
    sources = [
        verilog.convert(Everything(), name="gold"),
        to_verilog(Everything(), name="gate"),
        miter(outputs),
    ]
    executable = simulator("".join(sources), name="operators")
    ran = run(executable, "helpers.miter_bench", directory=tmp_path, arguments={}, deadline_s=60)
    assert not ran.failures
    [event] = ran.events
    names = [*outputs, "the planted difference"]
    different = [name for bit, name in enumerate(names) if event["differs"] >> bit & 1]
    assert different == ["the planted difference"]


@pytest.mark.parametrize("component", [Everything, Parts, Contents])
def test_what_is_generated_is_clean(component, tmp_path):
    path = tmp_path / f"{TOPLEVEL}.v"
    path.write_text(to_verilog(component(), name=TOPLEVEL))
    assert lint(path) == ""


def test_a_row_is_written_once_however_many_are_the_same():
    verilog = to_verilog(Contents(), name=TOPLEVEL)
    assert [verilog.count(row) for row in ("= 8'ha5;", "= 8'h00;")] == [1 + 12, 1 + 1]


CELL = """module \\top
  cell {kind} $1
    parameter \\A_SIGNED {signed}
    parameter \\B_SIGNED {signed}
    parameter \\A_WIDTH {a}
    parameter \\B_WIDTH {b}
    parameter \\Y_WIDTH {y}
    connect \\A {left}
    connect \\B {right}
    connect \\Y \\y
  end
end
"""


def test_operands_of_a_comparison_get_the_width_of_the_wider_one():
    cell = {"kind": "$lt", "signed": 0, "a": 4, "b": 2, "y": 1, "left": "\\a"}
    before = CELL.format_map(cell | {"right": "\\b"})
    assert equal_widths(before) == CELL.format_map(cell | {"b": 4, "right": "{ 2'00 \\b }"})


def test_a_signed_operand_is_extended_with_its_sign():
    cell = {"kind": "$add", "signed": 1, "a": 4, "b": 2, "y": 4, "left": "\\a"}
    before = CELL.format_map(cell | {"right": "\\b"})
    assert equal_widths(before) == CELL.format_map(cell | {"b": 4, "right": "{ \\b [1] \\b [1] \\b }"})


def test_an_operand_of_no_bits_becomes_zero():
    cell = {"kind": "$eq", "signed": 0, "a": 3, "b": 0, "y": 1, "left": "\\a"}
    before = CELL.format_map(cell | {"right": "{ }"})
    assert equal_widths(before) == CELL.format_map(cell | {"b": 3, "right": "3'000"})


def test_a_narrower_result_of_a_shift_is_cut_behind_it():
    cell = {"kind": "$shift", "signed": 0, "a": 8, "b": 3, "left": "\\a", "right": "\\b"}
    after = equal_widths(CELL.format_map(cell | {"y": 2}))
    assert "  wire width 8 $wide1\n  cell $shift $1\n" in after
    assert "parameter \\Y_WIDTH 8\n" in after
    assert "    connect \\Y $wide1\n  end\n  connect \\y $wide1 [1:0]\n" in after


def test_cells_of_equal_widths_stay_as_they_are():
    cell = {"kind": "$sub", "signed": 0, "a": 4, "b": 4, "y": 4, "left": "\\a", "right": "\\b"}
    assert equal_widths(CELL.format_map(cell)) == CELL.format_map(cell)


def test_wires_of_no_bits_go_with_their_connections():
    before = "  wire width 1 \\a\n\n  wire width 0 \\b\n\nconnect \\a \\c\nconnect \\b {  }\n"
    assert without_empty_wires(before) == "  wire width 1 \\a\n\n\nconnect \\a \\c\n"

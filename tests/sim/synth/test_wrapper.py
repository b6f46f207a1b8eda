"""The few-pin wrapper, as text; that synthesis keeps what is in it is checked whenever it is used."""

from virtio_sim.build import TOPLEVEL, lint
from virtio_sim.synth.wrapper import WRAPPER, in_few_pins

DESIGN = """
module inner(clk, a);
  input clk;
  input a;
endmodule

module core(clk, rst, a, y, z);
  input clk;
  wire clk;
  input rst;
  input [6:0] a;
  output [3:0] y;
  output z;
  assign y = a[3:0];
  assign z = a[4];
endmodule
"""


def test_every_input_is_a_bit_of_the_shift_register_and_every_output_is_taken():
    made = in_few_pins(DESIGN, name="core")
    assert made.startswith(DESIGN)
    lines = made[len(DESIGN) :].split("\n")
    assert f"module {WRAPPER}(clk, d, q);" in lines
    assert [line for line in lines if "design_" in line] == [
        "  core design_(.clk(clk), .rst(given[0+:1]), .a(given[1+:7]), .y(shown[0+:4]), .z(shown[4+:1]));"
    ]
    for declaration in ("reg [7:0] given;", "wire [4:0] shown;", "reg [4:0] taken;", "reg [5:0] folded;"):
        assert f"  {declaration}" in lines


def test_its_verilog_has_no_mistake_that_a_linter_knows(tmp_path):
    path = tmp_path / "wrapped.v"
    path.write_text(in_few_pins(DESIGN, name="core").replace(WRAPPER, TOPLEVEL))
    complaints = [line for line in lint(path).splitlines() if line.startswith("%")]
    assert not [line for line in complaints if "UNDRIVEN" in line or "WIDTH" in line or "Error:" in line]

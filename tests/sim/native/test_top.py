"""The registers in front of a design in the native harness."""

from virtio_sim.native.top import with_registered_inputs

DESIGN = """
module inner(clk, a);
  input clk;
  input a;
endmodule

module design_(clk, rst, a, b, y);
  input clk;
  wire clk;
  input rst;
  input [7:0] a;
  input b;
  output [15:0] y;
  reg [15:0] y;
endmodule
"""


def test_all_inputs_but_the_clock_are_registered():
    made = with_registered_inputs(DESIGN, name="design_")
    assert made.startswith(DESIGN)
    assert made[len(DESIGN) :].split("\n") == [
        "",
        "module native_top(clk, rst, a, b, y);",
        "  input clk;",
        "  input rst;",
        "  reg rst__q;",
        "  always @(posedge clk) rst__q <= rst;",
        "  input [7:0] a;",
        "  reg [7:0] a__q;",
        "  always @(posedge clk) a__q <= a;",
        "  input b;",
        "  reg b__q;",
        "  always @(posedge clk) b__q <= b;",
        "  output [15:0] y;",
        "  design_ endpoint(.clk(clk), .rst(rst__q), .a(a__q), .b(b__q), .y(y));",
        "endmodule",
        "",
    ]

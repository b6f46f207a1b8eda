"""A top module with three pins around a design, so that any device fits and no pin is in the way."""

import re

__all__ = ["WRAPPER", "in_few_pins"]

#: Name of the module.
WRAPPER = "few_pins"

PORT = re.compile(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);$", re.MULTILINE)


def in_few_pins(verilog: str, *, name: str) -> str:
    """Verilog with the module :data:`WRAPPER` around the module ``name``.

    All inputs but ``clk`` are a shift register, which ``d`` fills: any value can stand at any of them, so
    synthesis can leave nothing out. All outputs go into a register, and from there into a register that
    shifts towards ``q`` and takes them in by XOR, so that every one is needed. All paths of the design are
    between registers, and the longest path of the wrapper itself is one LUT.
    """
    start = verilog.index(f"module {name}(")
    connections, inputs, outputs = [], 0, 0
    for direction, high, port in PORT.findall(verilog[start : verilog.index("endmodule", start)]):
        width = int(high or 0) + 1
        if port == "clk":
            connections.append(".clk(clk)")
        elif direction == "input":
            connections.append(f".{port}(given[{inputs}+:{width}])")
            inputs += width
        else:
            connections.append(f".{port}(shown[{outputs}+:{width}])")
            outputs += width
    lines = [
        verilog,
        f"module {WRAPPER}(clk, d, q);",
        "  input clk;",
        "  input d;",
        "  output q;",
        f"  reg [{inputs - 1}:0] given;",
        f"  wire [{outputs - 1}:0] shown;",
        f"  reg [{outputs - 1}:0] taken;",
        f"  reg [{outputs}:0] folded;",
        "  always @(posedge clk) begin",
        f"    given <= {{given[{inputs - 2}:0], d}};",
        "    taken <= shown;",
        f"    folded <= {{taken ^ folded[{outputs - 1}:0], 1'b0}};",
        "  end",
        f"  assign q = folded[{outputs}];",
        f"  {name} design_({', '.join(connections)});",
        "endmodule",
        "",
    ]
    return "\n".join(lines)

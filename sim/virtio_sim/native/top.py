"""A top module around the endpoint that lets a clock cycle be one evaluation of the design."""

import re

__all__ = ["NATIVE_TOP", "ports", "with_registered_inputs"]

#: Name of the module.
NATIVE_TOP = "native_top"

PORT = re.compile(r"^  (input|output) (\[\d+:0\] )?(\w+);$", re.MULTILINE)


def ports(verilog: str, name: str) -> dict[str, tuple[str, str]]:
    """Ports of the module ``name``, each declared in a line of its own: direction and range."""
    module = verilog.partition(f"module {name}(")[2].partition("endmodule")[0]
    return {port: (direction, width) for direction, width, port in PORT.findall(module)}


def with_registered_inputs(verilog: str, *, name: str) -> str:
    """Verilog with the module :data:`NATIVE_TOP`, which has the ports of the module ``name``.

    All inputs but ``clk`` go through a register. Whoever sets them before a clock edge and looks at the
    outputs behind it sees those that belong to these inputs, as if the inputs had changed between two
    edges; but no logic depends on an input directly, so that nothing is evaluated twice in a cycle.
    """
    lines, connections = [], []
    names = ports(verilog, name)
    for port, (direction, width) in names.items():
        lines.append(f"  {direction} {width}{port};")
        inner = port
        if direction == "input" and port != "clk":
            inner = f"{port}__q"
            lines += [f"  reg {width}{inner};", f"  always @(posedge clk) {inner} <= {port};"]
        connections.append(f".{port}({inner})")
    head = f"module {NATIVE_TOP}({', '.join(names)});"
    return "\n".join(
        [verilog, head, *lines, f"  {name} endpoint({', '.join(connections)});", "endmodule", ""]
    )

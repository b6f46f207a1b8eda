"""The linter on the generated Verilog of the endpoint."""

import pytest
from virtio_sim.build import TOPLEVEL, lint
from virtio_sim.config import Configuration
from virtio_sim.hdl import generate


@pytest.mark.parametrize(("device", "width"), [("rng", 64), ("blk", 128), ("blk", 256)])
def test_the_endpoint_is_clean(device, width, tmp_path):
    path = tmp_path / f"{TOPLEVEL}.v"
    path.write_text(generate(Configuration(device, width=width)))
    assert lint(path) == ""


def test_a_comparison_of_different_widths_is_reported(tmp_path):
    path = tmp_path / f"{TOPLEVEL}.v"
    path.write_text(
        f"module {TOPLEVEL} (input [3:0] a, input [1:0] b, output y); assign y = a == b; endmodule\n"
    )
    assert "%Warning-WIDTHEXPAND" in lint(path)

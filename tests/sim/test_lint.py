"""The linter on the generated Verilog of the endpoint."""

import pytest
from virtio_sim.build import TOPLEVEL, lint
from virtio_sim.config import Configuration, impatient
from virtio_sim.hdl import generate

#: As other tests have them, so that their Verilog is made once; `virtio-endpoint lint` has the rest.
DESIGNS = [
    impatient(Configuration("blk", 128)),
    impatient(Configuration("net", 256, queues=3)),
    impatient(Configuration("rng", 128, queue_size=16, interface="transitional")),
    impatient(Configuration("blk", 64, queue_size=16, interface="transitional")),
    impatient(Configuration("vmmci", 64)),
]


@pytest.mark.parametrize("configuration", DESIGNS, ids=[design.name for design in DESIGNS])
def test_the_endpoint_is_clean(configuration, tmp_path):
    path = tmp_path / f"{TOPLEVEL}.v"
    path.write_text(generate(configuration))
    assert lint(path) == ""


def test_a_comparison_of_different_widths_is_reported(tmp_path):
    path = tmp_path / f"{TOPLEVEL}.v"
    path.write_text(
        f"module {TOPLEVEL} (input [3:0] a, input [1:0] b, output y); assign y = a == b; endmodule\n"
    )
    assert "%Warning-WIDTHEXPAND" in lint(path)

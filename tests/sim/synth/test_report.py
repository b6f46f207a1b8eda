import io
import json

from rich.console import Console
from virtio_sim.config import Configuration
from virtio_sim.synth.families import Area
from virtio_sim.synth.parse import CriticalPath, Timing
from virtio_sim.synth.report import row, sentences, table, write_report
from virtio_sim.synth.targets import PEERS, Target

TARGET = Target(Configuration("rng", 64), lut=3000, fmax_mhz=155.0)
AREA = Area(lut=10_476, carry=1234, lut_ram=266, ff=8328, bram=13.0)
TIMING = Timing(74.438, CriticalPath("reads.valid_FF", "header_FF", levels=12, logic_ns=3.5, routing_ns=9.25))
ROWS = [row(TARGET, "ecp5", AREA, TIMING), row(TARGET, "xc7", Area(7000, 300, 90, 8000, 6.5))]


def test_the_report_lists_figures_and_goals(tmp_path):
    path = tmp_path / "synth" / "report.json"
    write_report(path, ROWS)
    first, second = json.loads(path.read_text())
    assert first == {
        "config": "rng-64",
        "family": "ecp5",
        "lut": 10_476,
        "carry": 1234,
        "lut_ram": 266,
        "ff": 8328,
        "bram": 13.0,
        "fmax_mhz": 74.4,
        "goal_lut": 3000,
        "goal_fmax_mhz": 155.0,
        "critical_path": {
            "start": "reads.valid_FF",
            "end": "header_FF",
            "levels": 12,
            "logic_ns": 3.5,
            "routing_ns": 9.25,
        },
    }
    assert (second["bram"], second["fmax_mhz"], second["goal_lut"]) == (6.5, None, None)


def test_a_terminal_of_80_columns_shows_every_number_and_the_peers():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table(ROWS, PEERS))
    lines = console.export_text().splitlines()
    (own,) = [line for line in lines if "10,476" in line]
    assert own.split() == ["rng-64", "ecp5", "10,476", "3,000", "1,234", "266", "8,328", "13", "74.4", "155"]
    for lut, ff, fmax in (("2,753", "1,664", "122"), ("4,883", "4,030", "124")):
        (peer,) = [line for line in lines if f" {lut} " in line]
        assert ff in peer.split() and fmax in peer.split()


def test_the_slowest_path_is_told():
    (sentence,) = sentences(ROWS)
    assert sentence == (
        "rng-64: the slowest path has 12 levels, 3.5 ns of logic and 9.25 ns of routing, "
        "from reads.valid_FF to header_FF"
    )

import io
import json

from rich.console import Console
from virtio_sim.report import TestResult, table, write_report

RESULTS = [
    TestResult("rng: entropy", "passed", 1000, 0.5, 4000, requests=16, bytes=65536),
    TestResult("blk: read the image", "passed", 82_464, 95.2, 329_856, requests=64, bytes=1 << 20),
    TestResult("blk: flush", "failed", message="HostTimeout: did not happen"),
]


def test_the_report_counts_and_lists(tmp_path):
    path = tmp_path / "sim" / "report.json"
    write_report(path, RESULTS)
    report = json.loads(path.read_text())
    assert (report["passed"], report["failed"]) == (2, 1)
    assert [test["name"] for test in report["tests"]] == ["rng: entropy", "blk: read the image", "blk: flush"]
    assert {"name", "status", "cycles", "wall_s"} <= report["tests"][0].keys()
    assert report["tests"][0]["cycles"] == 1000
    assert report["tests"][2]["status"] == "failed"


def test_a_terminal_of_80_columns_shows_every_number():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table(RESULTS))
    text = console.export_text()
    for expected in ("rng: entropy", "65,536", "1,000", "0.004 ms", "0.5 s", "failed", "82,464", "passed"):
        assert expected in text

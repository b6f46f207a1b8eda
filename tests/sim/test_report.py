import io
import json

from rich.console import Console
from virtio_sim.report import TestResult, table, write_report

RESULTS = [
    TestResult("rng: entropy", "passed", 1000, 0.5, 4000, requests=16, bytes=65536),
    TestResult("blk: flush", "failed", message="HostTimeout: did not happen"),
]


def test_the_report_counts_and_lists(tmp_path):
    path = tmp_path / "sim" / "report.json"
    write_report(path, RESULTS)
    report = json.loads(path.read_text())
    assert (report["passed"], report["failed"]) == (1, 1)
    assert [test["name"] for test in report["tests"]] == ["rng: entropy", "blk: flush"]
    assert {"name", "status", "cycles", "wall_s"} <= report["tests"][0].keys()
    assert report["tests"][0]["cycles"] == 1000
    assert report["tests"][1]["status"] == "failed"


def test_the_table_shows_every_number():
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(table(RESULTS))
    text = console.export_text()
    for expected in ("rng: entropy", "65,536", "1,000", "0.004 ms", "0.5 s", "failed"):
        assert expected in text

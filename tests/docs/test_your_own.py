"""What docs/your-own.md says is so: its commands run, and its benches are benches."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from cocotbext.virtio.own import Setup
from helpers.command import call
from virtio_sim.conformance import own
from virtio_sim.conformance.own_run import own_run
from virtio_sim.conformance.report import Report

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "your-own.md").read_text()
EXAMPLE = ROOT / "examples" / "own_endpoint"
CASES = ("common.a_reset", "rng.", "pci.")


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A copy of the example, in which what was built stays with everything else that is."""
    build = (Path("build") / "docs" / "your-own").absolute()
    build.mkdir(parents=True, exist_ok=True)
    for cache in ("verilog", "verilator"):
        (build.parents[1] / cache).mkdir(exist_ok=True)
        (build / cache).unlink(missing_ok=True)  # of a checkout that was elsewhere
        (build / cache).symlink_to(build.parents[1] / cache)
    copied = tmp_path / "own_endpoint"
    shutil.copytree(EXAMPLE, copied, ignore=shutil.ignore_patterns("build", "__pycache__"))
    (copied / "build").symlink_to(build)
    monkeypatch.chdir(copied)
    monkeypatch.syspath_prepend(copied)
    return copied


def test_the_commands_lead_from_verilog_to_a_report(monkeypatch, capsys, directory):
    """All that they do but for most of the cases, which are run on this design elsewhere."""
    (block,) = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    into, *commands = [shlex.split(line) for line in block.replace("\\\n", " ").splitlines()]
    assert into == ["cd", str(EXAMPLE.relative_to(ROOT))]
    every = own.cases
    monkeypatch.setattr(own, "cases", lambda *_, **__: [
        case for case in every(*_, **__) if case.name.startswith(CASES)
    ])  # fmt: skip
    for name, *arguments in commands:
        assert name == "virtio-endpoint"
        code, output, error = call(monkeypatch, capsys, *arguments)
        assert code == 0, output + error
    (run,) = Report.read(directory / "build" / "conformance" / "report.json").runs.values()
    assert run.name == "own acme_bench:make modern" and run.device == "rng"
    assert len(run.cases) > 10 and all(case.passed for case in run.cases)


def test_the_bench_it_shows_is_the_one_of_the_example():
    shown, _ = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert shown in (EXAMPLE / "acme_bench.py").read_text()
    (verilog,) = re.findall(r"```verilog\n(.*?)  //", TEXT)
    assert verilog in (EXAMPLE / "adapter.v").read_text()


def test_the_bench_without_verilog_is_one(monkeypatch, tmp_path):
    _, example = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "bench_of_the_page.py").write_text(example)
    monkeypatch.syspath_prepend(tmp_path)
    run = own_run("bench_of_the_page:make", (), "", variants=(), seed=1)
    assert run.device == "blk" and Setup().dut is None
    assert sum(len(run.cases(driver)) for driver in run.drivers()) > 100

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers.shared_run import once
from virtio_sim import build
from virtio_sim.build import BuildError, simulator
from virtio_sim.runner import run

COUNTER = """
module virtio_endpoint(clk, count);
  input clk;
  output [7:0] count;
  reg [7:0] count;
  initial count = 0;
  always @(posedge clk) count <= count + 1;
endmodule
"""


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("counter"))
        yield simulator(COUNTER, name="counter", waves=True)


def go(counter, directory, *, deadline_s=60.0, waves=False, on_event=None, **arguments):
    return run(
        counter,
        "helpers.counter_bench",
        directory=directory,
        arguments={"hang": False, "fail": False} | arguments,
        deadline_s=deadline_s,
        waves=waves,
        on_event=on_event,
    )


def test_a_run_reports_events_and_records_waves(counter, tmp_path):
    heard = []
    outcome = go(counter, tmp_path, waves=True, on_event=heard.append)
    assert outcome.failures == {}
    assert list(outcome.events) == heard == [{"count": 9}]
    assert "count" in (tmp_path / "dump.vcd").read_text()


def test_a_failed_test_is_named_and_can_be_replayed(counter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = go(counter, tmp_path / "run", fail=True)
    (message,) = outcome.failures.values()
    assert "it was asked to fail" in message
    (tmp_path / "run" / "results.xml").unlink()
    again = subprocess.run(outcome.replay.split(), capture_output=True, text=True, check=False)
    assert "it was asked to fail" in again.stdout
    assert (tmp_path / "run" / "results.xml").exists()


def test_a_simulation_that_hangs_is_killed(counter, tmp_path):
    outcome = go(counter, tmp_path, deadline_s=5.0, hang=True)
    assert outcome.failures["simulator"] == "killed after 5 s of real time"
    assert outcome.events == ({"count": 9},)


def test_two_runs_in_one_directory_do_not_mix(counter, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        for ran in [pool.submit(go, counter, tmp_path) for _ in range(2)]:
            outcome = ran.result()
            assert (dict(outcome.failures), outcome.events) == ({}, ({"count": 9},))


def test_the_workers_of_one_session_share_an_outcome(tmp_path, monkeypatch):
    path = tmp_path / "outcome"
    monkeypatch.setenv("PYTEST_XDIST_TESTRUNUID", "first")
    assert [once(path, lambda: "new"), once(path, lambda: "newer")] == ["new", "new"]
    monkeypatch.setenv("PYTEST_XDIST_TESTRUNUID", "second")
    assert once(path, lambda: "newest") == "newest"


def test_nothing_is_built_twice(counter, monkeypatch):
    monkeypatch.chdir(counter.parents[3])
    monkeypatch.setattr(build, "_run", lambda *_: pytest.fail("it is built again"))
    assert simulator(COUNTER, name="counter", waves=True) == counter


def test_what_verilator_refuses_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BuildError, match="verilator_bin failed(.|\n)*syntax error"):
        simulator("module virtio_endpoint(input clk) nonsense", name="broken")

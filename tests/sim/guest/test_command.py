import json
from types import SimpleNamespace

import pytest
from helpers.command import call as call_command
from virtio_sim.guest import command
from virtio_sim.guest.artifacts import ArtifactError, Artifacts, Kernel, Prefix
from virtio_sim.guest.checks import ROWS
from virtio_sim.guest.report import Result
from virtio_sim.guest.run import Rig


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """The command with boots that are not done; ``fails`` is the provider whose checks fail."""
    monkeypatch.chdir(tmp_path)
    kernels = {"6.1": Kernel("6.1", "6.1.0-50", "6.1.9", tmp_path)}

    def make(*words, fails=None, missing=None):
        def artifacts(names, *, python, refresh, say):
            if missing:
                raise ArtifactError(missing)
            return Artifacts(Prefix(tmp_path), tmp_path, kernels, {"qemu-system-x86": "11.1"})

        def boot(rig, kernel, row):
            name = rig.provider.name
            status = "failed" if name == fails else "passed"
            message = "no answer" if name == fails else ""
            return [Result(kernel.series, name, row.name, "boot", status, 4.0, {}, message)]

        monkeypatch.setattr(command, "artifacts", artifacts)
        monkeypatch.setattr(Rig, "boot", boot)
        code, output, errors = call_command(monkeypatch, capsys, "guest", *words)
        return SimpleNamespace(exit_code=code, output=output, errors=errors)

    return make


def report(tmp_path):
    return json.loads((tmp_path / "build" / "guest" / "report.json").read_text())


def test_every_row_of_the_endpoint_is_booted(call, tmp_path):
    assert call().exit_code == 0
    found = report(tmp_path)
    booted = {(check["provider"], check["device"]) for check in found["checks"]}
    assert {("rtl", "rng"), ("rtl", "blk root compared"), ("rtl", "blk root killed")} <= booted
    assert found["kernels"] == {"6.1": "6.1.0-50"}


def test_one_failure_is_told_and_makes_the_exit_code_one(call, tmp_path):
    result = call("--row", "rng intx", fails="rtl")
    assert result.exit_code == 1
    assert "6.1 rng intx, boot: no answer" in result.output
    assert report(tmp_path)["failed"] >= 1


def test_rows_can_be_listed_without_booting(call, tmp_path):
    result = call("--list")
    assert result.exit_code == 0
    assert result.output.split("\n")[:-1] == [row.name for row in ROWS]
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (["--provider", "fpga"], "there is no provider 'fpga'; choose one of rtl, qemu, model"),
        (["--row", "tape"], "no row of rtl has 'tape' in its name; --list shows all"),
        (["--kernel", "2.4"], "there is no kernel '2.4'; choose of 6.1, 6.12, newest"),
        (["--seed", "-1"], "the seed has to be from 0 to 2147483647, not -1"),
    ],
)
def test_a_wrong_choice_is_one_sentence(call, words, message):
    result = call(*words)
    assert (result.exit_code, result.output, result.errors) == (2, "", f"virtio-endpoint: {message}\n")


def test_what_cannot_be_had_is_one_sentence(call):
    result = call(missing="this host has no apt-get")
    assert (result.exit_code, result.errors) == (1, "virtio-endpoint: this host has no apt-get\n")

"""The command as it is called."""

import json

import pytest
from cocotbext.virtio.suite import registry
from helpers.command import call


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """So that no line is broken."""
    monkeypatch.setenv("COLUMNS", "200")


WRONG = {
    "backend": (["-b", "paper"], "there is no backend 'paper'; choose one of model, native, cocotb"),
    "device": (["-d", "toaster"], "there is no device 'toaster'"),
    "interface": (["-d", "rng", "-i", "old"], "there is no interface 'old'"),
    "interface of all": (["-i", "old"], "there is no such device with such an interface and such rings"),
    "interface of vmmci": (["-d", "vmmci", "-i", "modern"], "vmmci can only be legacy, not modern"),
    "variant": (["--variant", "round"], "there is no variant of rings 'round'"),
    "variant of legacy": (
        ["-i", "legacy", "-d", "rng", "--variant", "packed"],
        "no such device with such an",
    ),
    "card": (["-b", "vfio"], "--card and --backend vfio belong together"),
    "backend of a card": (["--card", "0000:01:00.0"], "--card and --backend vfio belong together"),
    "card that is none": (["-b", "vfio", "--card", "1"], "a card is named by its PCI address, as in 0000:01"),
    "device of a card": (["-b", "vfio", "--card", "0000:01:00.0", "-d", "rng"], "a card says itself what it"),
    "card without a thing": (
        ["-b", "vfio", "--card", "0000:01:00.0", "--without", "wheels"],
        "a card cannot be without wheels, but without card, mixed, pairs, write_flag",
    ),
    "without what": (["--without", "mixed"], "--without is for --card"),
    "seed": (["-b", "model", "--seed=-1"], "the seed has to be from 0"),
}


@pytest.mark.parametrize(("arguments", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_parameter_gets_one_sentence_and_exit_code_2(
    monkeypatch, capsys, tmp_path, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    code, output, errors = call(monkeypatch, capsys, "conformance", *arguments)
    assert (code, output) == (2, "")
    assert errors.startswith("virtio-endpoint: ") and sentence in errors and errors.count("\n") == 1
    assert not (tmp_path / "build").exists()


def test_runs_add_up_to_one_report_and_a_failure_is_told(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    everything = registry.cases

    def some(device, **options):
        return [
            case
            for case in everything(device, **options)
            if case.name.partition(".")[0] in ("suspend", "vmmci", "made_up")
        ]

    monkeypatch.setattr("virtio_sim.conformance.plan.cases", some)
    arguments = ("-b", "model", "--variant", "split")
    code, output, _ = call(monkeypatch, capsys, "conformance", *arguments, "-d", "vmmci")
    assert code == 0 and "failed" in output
    code, output, _ = call(monkeypatch, capsys, "conformance", *arguments, "-d", "rng", "-i", "modern")
    assert code == 0
    directory = tmp_path / "build" / "conformance"
    found = json.loads((directory / "report.json").read_text())
    assert [run["name"] for run in found["runs"]] == ["model vmmci legacy", "model rng modern"]
    assert {row["id"] for row in found["requirements"] if row["status"] == "proven"} >= {"SUSP-DEV-01"}
    assert {path.name for path in directory.iterdir()} == {"report.json", "junit.xml", "report.html", "lock"}

    async def wrong(bench):
        raise AssertionError("the moon is full")

    bad = registry.Case("made_up.wrong", wrong, ("rng",), ("ENT-DEV-01",), (), "default", ())
    monkeypatch.setattr("virtio_sim.conformance.plan.cases", lambda *_, **__: [bad])
    code, output, _ = call(
        monkeypatch, capsys, "conformance", *arguments, "-d", "rng", "-i", "modern", "--fresh"
    )
    assert code == 1
    assert "made_up.wrong (modern natural split): AssertionError: the moon is full" in output
    found = json.loads((directory / "report.json").read_text())
    assert [run["name"] for run in found["runs"]] == ["model rng modern"]
    assert [row["id"] for row in found["requirements"] if row["status"] == "failed"] == ["ENT-DEV-01"]

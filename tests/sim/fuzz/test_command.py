import json

import pytest
from helpers.command import call
from virtio_models.device import ReferenceDevice
from virtio_sim.fuzz import benches

WRONG = {
    "device": (["-d", "vmmci"], "what is fuzzed is blk or rng, not vmmci"),
    "seeds": (["--seeds", "0"], "the number of seeds has to be at least 1, not 0"),
    "seed": (["--seed=-1"], "the seed has to be from 0"),
    "backend": (["--backend", "cocotb"], "there is no backend 'cocotb'; choose one of native, model"),
    "steps": (["-d", "rng", "--seeds", "1", "--steps", "a"], "steps are numbers with commas between them"),
    "steps of many": (["-d", "rng", "--steps", "1"], "steps are those of one seed, on one device"),
    "queues": (["-d", "blk", "--queues", "300"], "the number of queues has to be from 1 to 256, not 300"),
}


@pytest.mark.parametrize(("arguments", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_parameter_gets_one_sentence_and_exit_code_2(monkeypatch, capsys, arguments, sentence):
    code, output, errors = call(monkeypatch, capsys, "fuzz", *arguments)
    assert (code, output) == (2, "")
    assert sentence in errors and errors.count("\n") == 1


def test_seeds_that_pass_leave_a_report(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, output, _ = call(monkeypatch, capsys, "fuzz", "--backend", "model", "--seeds", "3")
    assert code == 0
    assert "3 seeds, 0 failed" in output
    reports = json.loads((tmp_path / "build" / "fuzz" / "report.json").read_text())
    assert [(report["seeds"], report["failed"]) for report in reports] == [(3, 0), (3, 0)]


def test_a_failure_shows_the_command_that_replays_it_and_the_exit_code_is_1(monkeypatch, capsys, tmp_path):
    class Mute(ReferenceDevice):
        def step(self):
            return False

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("virtio_sim.fuzz.command.model", lambda c: benches.model(c, device=Mute))
    arguments = ["--backend", "model", "-d", "rng", "--seeds", "1", "--seed", "3"]
    code, output, _ = call(monkeypatch, capsys, "fuzz", *arguments)
    assert code == 1
    (again,) = [line for line in output.splitlines() if line.startswith("again: ")]
    assert again.startswith("again: make fuzz DEVICE=rng SEED=3 SEEDS=1 WIDTH=64 BACKEND=model")
    (steps,) = [word.removeprefix("STEPS=") for word in again.split() if word.startswith("STEPS=")]
    assert call(monkeypatch, capsys, "fuzz", *arguments, "--steps", steps)[0] == 1

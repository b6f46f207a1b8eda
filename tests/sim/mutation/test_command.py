"""The command, without Yosys: planted bugs, and mutants that only pretend."""

import json

import pytest
from helpers.command import call as call_command
from virtio_sim.mutation import command
from virtio_sim.mutation.netlist import Mutant, Netlist
from virtio_sim.mutation.planted.bug import bugs
from virtio_sim.mutation.trials import Clean, Kill, Trials


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run the command in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: call_command(monkeypatch, capsys, "mutation", *arguments)


def report():
    with open("build/mutation/report.json") as file:
        return json.load(file)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--device", "net"), "mutants are of rng or blk, not of net"),
        (("--mutants", "-1"), "the number of mutants has to be from 0 to 5000, not -1"),
        (("--mutants", "5001"), "the number of mutants has to be from 0 to 5000, not 5001"),
        (("--mutant", "7"), "the number of a mutant is that of one device"),
        (("--device", "rng", "--mutant", "501"), "mutants have numbers from 1 to 500, not 501"),
        (("--jobs", "0"), "there has to be at least 1 job, not 0"),
        (("--bug", "millennium"), "there is no planted bug 'millennium'; --list shows them"),
        (("--seed", "-1"), "the seed has to be from 0 to 2147483647, not -1"),
    ],
)
def test_a_wrong_parameter_is_one_sentence(call, arguments, sentence):
    assert call(*arguments) == (2, "", f"virtio-endpoint: {sentence}\n")


def test_the_planted_bugs_are_listed_with_their_traps(call):
    code, out, _ = call("--list")
    lines = out.splitlines()
    assert code == 0 and len(lines) == len(bugs())
    assert "vectors-start-at-zero: After a reset vectors are 0, not NO_VECTOR. (trap 19)" in lines


def test_a_planted_bug_is_told_with_the_case_that_found_it(call):
    code, out, _ = call("--bug", "vectors-start-at-zero")
    case = "msix.a_reset_takes_all_vectors_away"
    assert code == 0 and f"vectors-start-at-zero: rng, {case}: AssertionError: " in out
    (only,) = report()["planted"]["list"]
    assert (only["found"], only["traps"], only["case"]) == (True, [19], case)


def test_a_planted_bug_that_nothing_finds_fails_the_command(call, monkeypatch):
    monkeypatch.setattr(command, "finding", lambda bug, where: "")
    code, out, _ = call("--bug", "vectors-start-at-zero")
    assert code == 1
    assert "planted, not found: vectors-start-at-zero: After a reset vectors are 0, not NO_VECTOR." in out
    assert report()["planted"]["found"] == 0


def pretend(monkeypatch, survivors):
    """20 mutants of a netlist, of which some survive, and the first of these is never reached."""
    mutants = tuple(Mutant(number, "inv", "$1", "Y", 0, None, "a", ("a.py:1",)) for number in range(1, 21))
    kill = Kill("common.a_case (split)", "AssertionError: no")
    reached = frozenset(range(1, 21)) - {min(survivors, default=0)}
    monkeypatch.setattr(command, "netlist", lambda *_, **__: Netlist("", mutants))
    monkeypatch.setattr(command, "build", lambda *_: None)
    monkeypatch.setattr(
        Trials, "clean", lambda trials, heard: {trial: Clean(1, reached, "") for trial in trials.all()[:3]}
    )
    monkeypatch.setattr(
        Trials,
        "attack",
        lambda trials, chosen, clean: [
            (mutant, None if mutant.number in survivors else kill) for mutant in chosen
        ],
    )
    monkeypatch.setattr(command, "bugs", lambda: {})


@pytest.mark.parametrize(("survivors", "code"), [((), 0), ((7,), 0), ((7, 9), 1)])
def test_fewer_than_95_percent_of_the_mutants_fail_the_command(call, monkeypatch, survivors, code):
    pretend(monkeypatch, survivors)
    assert call("--device", "rng", "--mutants", "20")[0] == code
    (design,) = report()["designs"]
    assert (design["mutants"], design["killed"]) == (20, 20 - len(survivors))
    assert [each["number"] for each in design["list"] if not each["killed_by"]] == list(survivors)


def test_survivors_are_listed_with_their_source(call, monkeypatch):
    pretend(monkeypatch, (7, 9))
    _, out, _ = call("--device", "rng", "--mutants", "20")
    assert "rng-64-c5000-h5000, number 9, reached by 3: inv at Y[0] of a (a.py:1)" in out
    assert "rng-64-c5000-h5000, number 7, never reached: inv at Y[0] of a (a.py:1)" in out


def test_one_mutant_is_told_with_what_found_it(call, monkeypatch):
    pretend(monkeypatch, ())
    code, out, _ = call("--device", "rng", "--mutants", "20", "--mutant", "4")
    assert code == 0
    assert "number 4: inv at Y[0] of a (a.py:1): common.a_case (split): AssertionError: no" in out
    assert report()["designs"][0]["mutants"] == 1

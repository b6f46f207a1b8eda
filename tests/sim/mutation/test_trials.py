"""Mutants below the harness, and trials on them."""

import os
import signal
from dataclasses import replace

import pytest
from cocotbext.virtio.suite import Case
from cocotbext.virtio.variant import PLAIN
from helpers.tlp import memory_write
from virtio_sim.build import native_harness
from virtio_sim.conformance.plan import Driver
from virtio_sim.mutation import trials
from virtio_sim.mutation.netlist import Mutant
from virtio_sim.mutation.trials import HARNESS, Clean, Kill, MutantEndpoint, Trials
from virtio_sim.native.library import Event

#: A device that takes whatever comes and does nothing. Mutant 1 takes nothing; the other one matters never.
MUTATED = """
module virtio_endpoint(mutant, reached, clk, rst, rx__payload, rx__valid, rx__ready,
  tx__payload, tx__valid, tx__ready);
  input [1:0] mutant;
  output [95:0] reached;
  input clk;
  input rst;
  input [67:0] rx__payload;
  input rx__valid;
  output rx__ready;
  output [67:0] tx__payload;
  output tx__valid;
  input tx__ready;
  reg [95:0] reached = 0;
  assign rx__ready = mutant != 1;
  assign tx__payload = 0;
  assign tx__valid = 0;
  always @(posedge clk) if (rx__valid) reached[1] <= 1;
endmodule
"""


@pytest.fixture(scope="module")
def library():
    return native_harness(MUTATED, name="mutants-echo", width=64, more=HARNESS)


@pytest.mark.parametrize(("mutant", "taken"), [(0, True), (1, False), (2, True)])
def test_a_mutant_is_in_force_once_it_is_chosen(library, mutant, taken):
    with MutantEndpoint(library) as device:
        if mutant:
            device.mutate(mutant)
        device.inject(memory_write(0x1000, [1], requester=0xFF))
        assert bool(device.run(100) & Event.TAKEN) == taken


def test_what_would_have_mattered_is_known(library):
    with MutantEndpoint(library) as device:
        assert device.reached(2) == set()
        device.inject(memory_write(0x1000, [1], requester=0xFF))
        device.run(100)
        assert device.reached(2) == {1}


DRIVER = Driver("modern", "natural", PLAIN)


def mutant(number):
    return Mutant(number, "inv", "$1", "Y", 0, None, "", ())


class Pretended(trials.Attempt):
    """An attempt that does what its mutant's number says: 1 is found by one case, 4 with one driver."""

    def __exit__(self, *_):
        pass

    def message(self):
        name = self._trial.case.name
        if self._mutant == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._mutant == 4:
            return "AssertionError: no" if self._trial.driver.habit == "bytes" else ""
        return "AssertionError: no" if self._mutant == 1 and name == "third" else ""


def attacked(monkeypatch, numbers, clean, **options):
    """What finds each mutant, with trials that are named and are what ``clean`` says, and what was tried."""
    monkeypatch.setattr(trials, "Attempt", Pretended)
    known = {}
    for name, found in clean.items():
        name, _, habit = name.partition("/")
        driver = replace(DRIVER, habit=habit or DRIVER.habit)
        known[trials.Trial(driver, Case(name, None, (), (), (), "default", ()))] = found
    mutants = [mutant(number) for number in numbers]
    made = Trials("", None, mutants, 2, **options)
    return {each.number: kill for each, kill in made.attack(mutants, known)}


ALL = frozenset({1, 2, 3})


def test_a_mutant_is_killed_by_the_first_case_that_fails(monkeypatch):
    clean = {name: Clean(wall_s, ALL, "") for wall_s, name in enumerate(("first", "second", "third"), 1)}
    found = attacked(monkeypatch, (1, 3), clean)
    assert found == {1: Kill("third (split)", "AssertionError: no"), 3: None}


def test_a_case_that_does_not_reach_a_mutant_is_not_tried(monkeypatch):
    clean = {"first": Clean(1, ALL, ""), "third": Clean(2, ALL - {1}, "")}
    assert attacked(monkeypatch, (1,), clean) == {1: None}


def test_a_case_that_fails_without_a_mutant_is_not_tried(monkeypatch):
    clean = {"first": Clean(1, ALL, ""), "third": Clean(2, ALL, "AssertionError: it always fails")}
    assert attacked(monkeypatch, (1,), clean) == {1: None}


def test_a_mutant_that_ends_the_simulation_is_killed(monkeypatch):
    clean = {"second": Clean(2, ALL, ""), "first": Clean(1, ALL, "")}
    found = attacked(monkeypatch, (2,), clean)
    assert found == {2: Kill("first (split)", "the simulation was ended by SIGKILL")}


@pytest.mark.parametrize(("every", "found"), [(False, False), (True, True)])
def test_a_case_is_tried_with_one_driver_or_with_every_one(monkeypatch, every, found):
    clean = {"first": Clean(1, ALL | {4}, ""), "first/bytes": Clean(2, ALL | {4}, "")}
    kills = attacked(monkeypatch, (4,), clean, every_driver=every)
    assert (kills[4] is not None) == found


def test_the_one_driver_is_one_with_which_the_case_reaches_the_mutant(monkeypatch):
    clean = {"first": Clean(1, ALL, ""), "first/bytes": Clean(2, ALL | {4}, "")}
    assert attacked(monkeypatch, (4,), clean)[4] is not None

import json
import re

import pytest
from cocotbext.virtio.backends.model import run
from cocotbext.virtio.conformance.catalogue import catalogue
from cocotbext.virtio.fuzz import Outcome, Plan
from cocotbext.virtio.fuzz.malformations import CATALOGUE
from cocotbext.virtio.fuzz.plan import Step
from cocotbext.virtio.variant import PLAIN
from helpers.native import BLK
from virtio_sim.fuzz.benches import link_of, model, on
from virtio_sim.fuzz.campaign import Campaign, command_of
from virtio_sim.fuzz.command import configurations
from virtio_spec.layout import Cause

(SEVERAL,) = configurations("blk", width=128, queues=3)


def plan_of(seed: int) -> Plan:
    steps = tuple(Step(number, "requests") for number in range(5))
    return Plan(seed, PLAIN, (8,), interrupts=True, impatient=False, flr=False, steps=steps)


def fails_with(*numbers: int):
    """A device that every seed from 10 on breaks, if all of these steps are there."""

    def carry_out(seed, steps=None):
        plan = plan_of(seed) if steps is None else plan_of(seed).only(steps)
        if seed >= 10 and {step.number for step in plan.steps}.issuperset(numbers):
            return plan, AssertionError(f"wrong after {len(plan.steps)} steps")
        return plan, Outcome(Cause.CHAIN_LOOP if seed % 2 else Cause.NONE, ["loop"], answered=3)

    return carry_out


def test_a_failure_has_the_steps_it_takes_and_the_command_that_replays_it():
    campaign = Campaign(SEVERAL, "native", fails_with(1, 3))
    (failure,) = campaign.carry_out(6, 5)
    assert failure.message == "AssertionError: wrong after 2 steps"
    assert failure.replay == "make fuzz DEVICE=blk SEED=10 SEEDS=1 QUEUES=3 WIDTH=128 STEPS=1,3"


def test_a_failure_that_takes_all_steps_is_replayed_as_a_whole():
    (failure,) = Campaign(SEVERAL, "model", fails_with(0, 1, 2, 3, 4)).carry_out(10, 1)
    assert failure.replay == "make fuzz DEVICE=blk SEED=10 SEEDS=1 QUEUES=3 WIDTH=128 BACKEND=model"


def test_the_report_counts_what_happened(tmp_path):
    campaign = Campaign(BLK, "native", fails_with(2))
    campaign.carry_out(5, 6)
    Campaign.write(tmp_path / "fuzz" / "report.json", [campaign])
    (report,) = json.loads((tmp_path / "fuzz" / "report.json").read_text())
    assert (report["config"], report["backend"]) == (BLK.name, "native")
    assert (report["seeds"], report["failed"], report["answered"]) == (6, 1, 15)
    assert report["causes"] == {"CHAIN_LOOP": 3, "NONE": 2}
    assert report["oddities"] == {"loop": {"needed a reset": 3, "went on": 2}}
    assert report["failures"][0]["replay"] == command_of(BLK, "native", 10, [2])


def test_malformations_name_requirements_that_there_are():
    named = [re.findall(r"[A-Z]+-D[A-Z]+-P?\d+", entry.make.__doc__ or "") for entry in CATALOGUE.values()]
    assert sum(map(bool, named)) > 15
    assert {identity for found in named for identity in found} <= catalogue().keys()


def test_a_seed_is_the_same_whatever_ran_before():
    carry_out = on(model(SEVERAL))
    for seed in (3, 4, 5):
        first = carry_out(seed, None)
        carry_out(seed + 40, None)
        assert str(carry_out(seed, None)) == str(first)
    assert link_of(3) == link_of(3) != link_of(4)


def test_fewer_steps_are_what_they_were():
    bring = model(SEVERAL)
    whole = next(plan for plan in (Plan.of(seed, bring(seed)[0]) for seed in range(9)) if len(plan.steps) > 3)
    assert whole.only([1, 2]).steps == whole.steps[1:3]


@pytest.mark.parametrize("device", ["rng", "blk"])
def test_all_seeds_of_the_model_run_without_a_link(device):
    (configuration,) = configurations(device, width=None, queues=None)
    bench, close = model(configuration)(1)
    close()
    assert all(step.kind != "link" for seed in range(30) for step in Plan.of(seed, bench).steps)
    assert run(bench.host.config_read(0, 2)) == 0x1AF4

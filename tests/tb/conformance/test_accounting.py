"""What results say about requirements, and what is not accounted for yet."""

from functools import cache

import pytest
from cocotbext.virtio.backends.model import run
from cocotbext.virtio.backends.model_bench import model_bench
from cocotbext.virtio.conformance import (
    CaseResult,
    Status,
    account,
    broken,
    catalogue,
    look,
    unbreakable,
    untestable,
    worst,
)
from cocotbext.virtio.conformance.accounting import best
from cocotbext.virtio.suite import cases
from virtio_models.options import RingOptions
from virtio_spec.virtio_pci import Interface

#: What a device type can be: its interface, and the options of its bench.
MADE = {
    "rng": [(interface, {}) for interface in Interface],
    "blk": [
        *((interface, {}) for interface in Interface),
        (Interface.MODERN, {"read_only": True}),
        (Interface.MODERN, {"queues": 2}),
    ],
    "vmmci": [(Interface.LEGACY, {})],
    "net": [(Interface.MODERN, {}), (Interface.MODERN, {"queues": 5})],
}
WITHOUT_RESETS = RingOptions(ring_reset=False)


@cache
def facts_of(device, interface, rings=RingOptions(), **options):  # noqa: B008 - it cannot change
    return run(look(model_bench(device, seed=1, interface=interface, rings=rings, **options)))


def on_paper(device, about=account, **options_of_all):
    """Accounts of all designs, if every case that would run on the gateware passed."""
    for interface, options in MADE[device]:
        profile = next((name for name in ("read_only", "queues") if name in options), "default")
        listed = cases(device, profile=profile, backend="native", interface=interface, variant=None)
        ways = [
            way
            for way, there in (("modern", interface.has_modern), ("legacy", interface.has_legacy))
            if there
        ]
        results = [
            CaseResult(case.name, "", case.proves, breaks=case.breaks)
            for case in listed
            if any(way in case.transports for way in ways)
        ]
        yield about(facts_of(device, interface, **options, **options_of_all), results)


def standing(device, about=account):
    """Status of each requirement."""
    accounts = list(on_paper(device, about))
    return {identity: best(found[identity].status for found in accounts) for identity in accounts[0]}


def missing(device):
    """Requirements without a case."""
    return {identity for identity, status in standing(device).items() if status == Status.MISSING}


@pytest.mark.parametrize("device", list(MADE))
def test_every_requirement_is_accounted_for_on_the_gateware(device):
    assert not missing(device)
    assert Status.FAILED not in standing(device).values()


@pytest.mark.parametrize(("device", "least"), [("rng", 90), ("blk", 90), ("net", 90), ("vmmci", 18)])
def test_every_duty_of_a_driver_is_broken_on_purpose_or_has_a_reason(device, least):
    found = standing(device, broken)
    assert [identity for identity, status in found.items() if status == Status.MISSING] == []
    assert sum(status == Status.PROVEN for status in found.values()) > least


@pytest.mark.parametrize("device", ["rng", "blk"])
def test_resets_of_single_queues_concern_only_who_offers_them(device):
    about = [
        identity
        for identity, requirement in catalogue().items()
        if requirement.applies_if == "RING_RESET=1" and requirement.actor == "device"
    ]
    assert len(about) == 8
    offering, others = list(on_paper(device)), list(on_paper(device, rings=WITHOUT_RESETS))
    for identity in about:
        assert best(found[identity].status for found in offering) == Status.PROVEN, identity
        assert {found[identity].status for found in others} == {Status.NOT_APPLICABLE}


def test_a_failing_case_turns_its_requirements_to_failed():
    facts = facts_of("rng", Interface.MODERN)
    good = CaseResult("rng.fine", "modern split", ("ENT-DEV-01", "RESET-DEV-01"))
    bad = CaseResult("rng.made_up", "modern packed", ("ENT-DEV-01", "SPLIT-DEV-03"), "the length is 0, not 1")
    found = account(facts, [good, bad])
    assert (found["ENT-DEV-01"].status, found["ENT-DEV-01"].cases) == (Status.FAILED, ("rng.made_up",))
    assert found["SPLIT-DEV-03"].status == Status.FAILED
    assert (found["RESET-DEV-01"].status, found["RESET-DEV-01"].cases) == (Status.PROVEN, ("rng.fine",))
    assert found["RESET-DEV-02"].status == Status.MISSING


def test_a_failure_counts_although_the_requirement_concerns_other_devices():
    facts = facts_of("rng", Interface.MODERN)
    passed, failed = (CaseResult("chains.made_up", "", ("BLK-DEV-21",), message) for message in ("", "no"))
    assert account(facts, [passed])["BLK-DEV-21"].status == Status.NOT_APPLICABLE
    assert account(facts, [failed])["BLK-DEV-21"].status == Status.FAILED


def test_a_case_for_a_requirement_that_does_not_exist_is_an_error():
    facts = facts_of("rng", Interface.MODERN)
    with pytest.raises(ValueError, match="^there are no requirements RESET-DEV-99$"):
        account(facts, [CaseResult("rng.fine", "", ("RESET-DEV-99",))])


def test_what_a_driver_broke_is_accounted_for_like_what_a_device_does():
    facts = facts_of("rng", Interface.MODERN)
    good = CaseResult("common.made_up", "", (), breaks=("STATUS-DRV-01", "INIT-DRV-01", "BLK-DRV-12"))
    bad = CaseResult("common.fatal", "", (), "the device is dead", breaks=("STATUS-DRV-01",))
    found = broken(facts, [good, bad])
    assert (found["STATUS-DRV-01"].status, found["STATUS-DRV-01"].cases) == (Status.FAILED, ("common.fatal",))
    assert (found["INIT-DRV-01"].status, found["INIT-DRV-01"].cases) == (Status.PROVEN, ("common.made_up",))
    assert found["BLK-DRV-12"].status == Status.NOT_APPLICABLE
    assert found["STATUS-DRV-02"].status == Status.MISSING
    assert found["MSIX-DRV-01"].reason == unbreakable()["MSIX-DRV-01"]
    assert {catalogue()[identity].level for identity in found} == {"MUST", "MUST NOT"}
    assert {catalogue()[identity].actor for identity in found} == {"driver"}


def test_what_nothing_shows_has_a_reason():
    found = account(facts_of("blk", Interface.LEGACY), [])
    assert found["BLK-LEG-DEV-05"].status == Status.UNTESTABLE
    assert found["BLK-LEG-DEV-05"].reason == untestable()["BLK-LEG-DEV-05"]
    assert found["BLK-DEV-19"].status == Status.UNTESTABLE and "permission" in found["BLK-DEV-19"].reason
    assert found["BLK-DEV-P02"].status == Status.MISSING
    for each in found.values():
        told = each.status in (Status.UNTESTABLE, Status.NOT_APPLICABLE)
        assert bool(each.reason) == told


def test_of_several_devices_the_worst_counts_and_of_several_runs_the_best_unless_one_failed():
    assert worst([Status.PROVEN, Status.MISSING, Status.NOT_APPLICABLE]) == Status.MISSING
    assert worst([Status.MISSING, Status.FAILED]) == Status.FAILED
    assert worst([Status.NOT_APPLICABLE, Status.PROVEN]) == Status.PROVEN
    assert worst([]) == Status.NOT_APPLICABLE
    assert best([Status.MISSING, Status.PROVEN, Status.NOT_APPLICABLE]) == Status.PROVEN
    assert best([Status.FAILED, Status.PROVEN]) == Status.FAILED
    assert best([Status.NOT_APPLICABLE, Status.MISSING]) == Status.MISSING

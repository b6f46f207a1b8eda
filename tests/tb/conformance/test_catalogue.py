"""The requirements as they are shipped."""

import re
from collections import Counter

from cocotbext.virtio.conformance import catalogue, unbreakable, untestable
from cocotbext.virtio.conformance.catalogue import BINDING, LEVELS
from cocotbext.virtio.suite import cases
from cocotbext.virtio.suite.registry import EVERY_DEVICE

EVERY_CASE = {
    case.name: case
    for device in EVERY_DEVICE
    for profile in ("default", "read_only", "queues")
    for case in cases(device, profile=profile, variant=None)
}


def test_there_are_as_many_requirements_as_were_collected():
    assert Counter(found.actor for found in catalogue().values()) == {"device": 730, "driver": 509}


def test_requirements_are_complete():
    for identity, found in catalogue().items():
        actor = {"device": "DEV", "driver": "DRV"}[found.actor]
        assert found.id == identity
        assert re.fullmatch(rf"[A-Z]+(-[A-Z]+)*-{actor}-P?\d\d\d?", identity)
        assert found.level in LEVELS
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", found.area)
        assert found.section and found.applies_if and found.summary, identity


def test_every_case_proves_requirements_for_devices_that_exist():
    for case in EVERY_CASE.values():
        assert case.proves, case.name
        for identity in case.proves:
            assert catalogue()[identity].actor == "device", (case.name, identity)


def test_what_cannot_be_tested_has_a_reason_and_no_case():
    proven = {identity for case in EVERY_CASE.values() for identity in case.proves}
    for identity, reason in untestable().items():
        assert catalogue()[identity].actor == "device"
        assert len(reason.split()) > 8 and not reason.endswith("."), identity
        assert identity not in proven, f"{identity} has a case, and a reason why there is none"


def test_what_a_case_breaks_are_duties_of_drivers_that_exist():
    for case in EVERY_CASE.values():
        for identity in case.breaks:
            found = catalogue()[identity]
            assert (found.actor, found.level in BINDING) == ("driver", True), (case.name, identity)


def test_what_cannot_be_broken_has_a_reason_and_no_case():
    broken = {identity for case in EVERY_CASE.values() for identity in case.breaks}
    for identity, reason in unbreakable().items():
        found = catalogue()[identity]
        assert (found.actor, found.level in BINDING) == ("driver", True), identity
        assert len(reason.split()) > 8 and not reason.endswith("."), identity
        assert identity not in broken, f"{identity} has a case, and a reason why there is none"

"""What is known of other people's devices: the table, and how results are judged by it."""

from fnmatch import fnmatchcase

import pytest
from cocotbext.virtio.conformance import CaseResult, Facts, Status, account, catalogue
from cocotbext.virtio.conformance.deviations import Deviation, Known, deviations
from cocotbext.virtio.suite import cases
from virtio_spec.virtio import DeviceType
from virtio_spec.virtio_pci import Interface

FACTS = Facts(
    device_type=DeviceType.ENTROPY, interface=Interface.MODERN, features=1 << 32, queues=1, vectors=2
)
ROW = Deviation("rng blk", "common.a", "modern * split*", "RESET-DEV-01", "1.0", "It does not.")


def result(
    message: str = "wrong", *, case: str = "common.a", driver: str = "modern natural split"
) -> CaseResult:
    return CaseResult(case, driver, ("RESET-DEV-01", "RESET-DEV-02"), message)


@pytest.mark.parametrize("row", deviations(), ids=lambda row: f"{row.case} {row.device}")
def test_a_row_names_cases_that_run_on_its_devices_and_what_is_required_of_devices(row):
    for name in row.device.split():
        device, _, interface = name.partition("/")
        listed = [
            case.name
            for profile in ("default", "queues", "read_only")
            for case in cases(
                device, profile=profile, backend="qtest", interface=interface or None, variant=None
            )
        ]
        assert any(fnmatchcase(case, row.case) for case in listed), f"{row.case} does not run on {name}"
    assert all(catalogue()[identity].actor == "device" for identity in row.ids)
    assert row.what.endswith(".") and row.version


def test_no_row_is_there_twice():
    named = [(row.device, row.case, row.driver) for row in deviations()]
    assert len(set(named)) == len(named)


def test_a_failure_that_a_row_explains_is_a_deviation_and_no_failure():
    judged = Known("rng", "modern", [ROW]).judge(result())
    assert judged.passed and judged.message == "wrong" and judged.known == "It does not."
    found = account(FACTS, [judged])
    assert found["RESET-DEV-01"].status == Status.DEVIATION
    assert (found["RESET-DEV-01"].reason, found["RESET-DEV-01"].cases) == ("It does not.", ("common.a",))
    # Nothing was shown of what else the case is to prove.
    assert found["RESET-DEV-02"].status == Status.MISSING


@pytest.mark.parametrize(
    "other",
    [result(case="common.b"), result(driver="modern natural packed"), result(driver="legacy natural split")],
)
def test_a_failure_that_no_row_explains_stays_one(other):
    known = Known("rng", "modern", [ROW])
    assert known.judge(other) == other and not other.passed
    assert not Known("net", "modern", [ROW]).judge(result()).passed


def test_a_requirement_that_another_case_fails_for_no_known_reason_has_failed():
    known = Known("rng", "modern", [ROW])
    found = account(FACTS, [known.judge(result()), known.judge(result(case="common.b"))])
    assert found["RESET-DEV-01"].status == Status.FAILED


def test_a_row_can_be_about_one_interface_of_a_device():
    row = Deviation("rng/legacy", "common.a", "*", "", "1.0", "It differs.")
    assert Known("rng", "legacy", [row]).judge(result()).passed
    assert not Known("rng", "modern", [row]).judge(result()).passed


def test_a_difference_that_the_standard_leaves_open_says_nothing_of_any_requirement():
    row = Deviation("rng", "common.a", "*", "", "1.0", "It differs.")
    found = account(FACTS, [Known("rng", "modern", [row]).judge(result())])
    assert {found[identity].status for identity in ("RESET-DEV-01", "RESET-DEV-02")} == {Status.MISSING}


def test_a_row_whose_cases_all_pass_is_a_failure():
    known = Known("rng", "modern", [ROW])
    known.judge(result(""))
    (stale,) = known.stale()
    assert not stale.passed and "It does not." in stale.message
    known.judge(result())
    assert known.stale() == []


def test_a_row_whose_cases_did_not_run_is_none():
    known = Known("rng", "modern", [ROW])
    known.judge(result("", case="common.b"))
    assert known.stale() == []

"""What cannot be seen through VFIO: the table, and what becomes of the requirements."""

from fnmatch import fnmatchcase

import pytest
from cocotbext.virtio.conformance import CaseResult, Facts, Status, account
from cocotbext.virtio.conformance.unseen import Unseen, reasons, unseen, why_unseen
from cocotbext.virtio.suite import cases
from virtio_spec.virtio import DeviceType
from virtio_spec.virtio_pci import Interface

FACTS = Facts(DeviceType.ENTROPY, Interface.MODERN, 1 << 32, 1, 2)
CASES = {
    device: {
        case.name: case
        for profile in ("default", "read_only", "queues")
        for case in cases(device, profile=profile, backend="vfio", variant=None, abilities=("ring_reset",))
    }
    for device in ("rng", "blk")
}
RESET = CASES["rng"]["common.a_reset_clears_the_registers"]
ROW = Unseen("rng blk", "common.a_reset*", "modern *", "nobody looks")


@pytest.mark.parametrize("row", unseen(), ids=lambda row: row.case)
def test_a_row_names_cases_that_would_run(row):
    for device in row.device.split():
        assert any(fnmatchcase(name, row.case) for name in CASES[device])
    assert row.reason and not row.reason.endswith(".")


def test_a_case_is_left_out_for_the_devices_and_drivers_of_its_row():
    assert why_unseen("rng", RESET, "modern natural split", [ROW]) == "nobody looks"
    assert why_unseen("rng", RESET, "legacy bytes split", [ROW]) == ""
    assert why_unseen("net", RESET, "modern natural split", [ROW]) == ""
    other = CASES["rng"]["rng.more_than_a_packet_comes_whole"]
    assert why_unseen("rng", other, "modern natural split", [ROW]) == ""


def test_what_only_a_case_that_was_left_out_proves_is_untestable_for_its_reason():
    left_out = reasons([(RESET, "nobody looks")])
    assert set(left_out) == {*RESET.proves, *RESET.breaks}
    shown = CaseResult("common.other", "modern natural split", ("RESET-DEV-01",))
    found = account(FACTS, [shown], left_out)
    assert found["RESET-DEV-01"].status == Status.PROVEN
    hidden = found["PCI-CC-DEV-07"]
    assert (hidden.status, hidden.reason) == (Status.UNTESTABLE, "nobody looks")
    assert account(FACTS, [shown])["PCI-CC-DEV-07"].status == Status.MISSING

"""The README says what the last account says, and the account what a report shows."""

import json
import re
from pathlib import Path

import pytest
from cocotbext.virtio.conformance import CaseResult, Facts, Status, catalogue
from helpers.command import call
from virtio_sim.config import DEVICES
from virtio_sim.conformance.document import ACCOUNT, BEGIN, DOCUMENT, END, account_of, markdown
from virtio_sim.conformance.report import Report, RunResult
from virtio_spec.virtio import DeviceType
from virtio_spec.virtio_pci import Interface

ROOT = Path(__file__).parents[3]
FACTS = Facts(DeviceType.ENTROPY, Interface.MODERN, 1 << 32, 1, 2, (1, 2, 3, 5))
RESULTS = (
    CaseResult("common.fine", "modern natural split", ("RESET-DEV-01",)),
    CaseResult("rng.broken", "modern natural split", ("ENT-DEV-01",), "no"),
)


def report():
    made = Report()
    made.add(RunResult("native rng modern", "native", "rng", FACTS, RESULTS))
    made.add(RunResult("model rng modern", "model", "rng", FACTS, RESULTS[:1]))
    made.add(RunResult("own my_bench:make modern", "own", "rng", FACTS, RESULTS))
    return made


def test_the_readme_has_the_table_of_the_last_account():
    account = json.loads((ROOT / ACCOUNT).read_text())
    assert set(account["reference device"]) == set(DEVICES)
    text = (ROOT / DOCUMENT).read_text()
    assert f"{BEGIN}\n\n{markdown(account)}\n\n{END}" in text


def test_the_last_account_is_of_this_catalogue():
    of_device = sum(each.actor == "device" for each in catalogue().values())
    account = json.loads((ROOT / ACCOUNT).read_text())
    for stand in [found["requirements"] for devices in account.values() for found in devices.values()]:
        total = sum(len(count) if isinstance(count, list) else count for count in stand.values())
        assert set(stand) == set(Status) and total == of_device


def test_an_account_says_of_each_device_how_many_stand_where():
    account = account_of(report())
    assert [*account] == ["gateware", "reference device"], "in this order, and nothing of anybody's own"
    found = account["gateware"]["rng"]
    assert account["reference device"]["rng"]["requirements"]["failed"] == []
    stand = found["requirements"]
    assert (stand["proven"], stand["failed"]) == (1, ["ENT-DEV-01"])
    assert "RESET-DEV-02" in stand["missing"] and "RESET-DEV-01" not in stand["missing"]
    duties = found["duties"]
    assert duties["proven"] == 0 and duties["missing"] and set(duties) == set(Status)


def test_its_table_has_a_row_for_each_device():
    account = account_of(report())
    *_, row, other = markdown(account).splitlines()
    assert other.startswith("| rng | reference device |")
    cells = re.findall(r"[^|]+", row)
    device, which, concern, proven, explained, missing, deviating, failed, *duties = map(str.strip, cells)
    assert (device, which, proven, failed) == ("rng", "gateware", "1", "1")
    assert int(concern) == sum(map(int, (proven, explained, missing, deviating, failed)))
    assert len(duties) == 6 and int(duties[0]) == sum(map(int, duties[1:]))


def test_the_command_writes_both(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    report().write(tmp_path / "build" / "conformance" / "report.json")
    DOCUMENT.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    code, output, _ = call(monkeypatch, capsys, "conformance", "--document")
    assert code == 0 and output == f"wrote {ACCOUNT}\nwrote {DOCUMENT}\n"
    account = json.loads(ACCOUNT.read_text())
    assert account == json.loads(json.dumps(account_of(report())))
    assert DOCUMENT.read_text() == f"before\n{BEGIN}\n\n{markdown(account)}\n\n{END}\nafter\n"


@pytest.mark.parametrize(
    ("reported", "sentence"), [(False, "there is no report yet"), (True, "there is no README.md")]
)
def test_without_a_report_or_a_readme_there_is_nothing_to_write(
    monkeypatch, capsys, tmp_path, reported, sentence
):
    monkeypatch.chdir(tmp_path)
    if reported:
        report().write(tmp_path / "build" / "conformance" / "report.json")
    code, _, error = call(monkeypatch, capsys, "conformance", "--document")
    assert (code, error.count("\n")) == (2, 1) and sentence in error

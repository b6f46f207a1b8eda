"""Runs, put together."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from cocotbext.virtio.conformance import CaseResult, Facts, Status
from cocotbext.virtio.trace import Event
from virtio_sim.conformance.junit import write_junit
from virtio_sim.conformance.report import TRACES, Report, RunResult, with_few_traces
from virtio_spec.virtio import DeviceType, Feature, feature_mask
from virtio_spec.virtio_pci import Interface

FACTS = Facts(DeviceType.ENTROPY, Interface.MODERN, feature_mask(Feature.VERSION_1), 1, 2, (1, 2, 3, 5))
FINE = CaseResult("common.fine", "modern natural split", ("RESET-DEV-01",), wall_s=0.25)
BROKEN = CaseResult(
    "rng.broken",
    "modern natural split",
    ("ENT-DEV-01",),
    "ValueError: <nothing> & \x01",
    1.5,
    (Event(100, "<", "MRd queue 0: avail.idx", "MRd 01:00.0 tag 0"),),
)


def run(backend="native", *results, device="rng"):
    facts = FACTS if device == "rng" else Facts(DeviceType.BLOCK, Interface.MODERN, 1 << 32, 1, 2)
    return RunResult(f"{backend} {device} modern", backend, device, facts, results)


def report(*runs):
    made = Report()
    for each in runs:
        made.add(each)
    return made


def row(found, identity):
    (entry,) = [each for each in found["requirements"] if each["id"] == identity]
    return entry


def test_what_cannot_be_seen_on_a_backend_is_untestable_and_says_why(tmp_path):
    hidden = replace(run("vfio", FINE), unseen={"ENT-DEV-01": "nobody looks", "RESET-DEV-01": "neither here"})
    report(hidden).write(tmp_path / "report.json")
    found = Report.read(tmp_path / "report.json").as_dict()
    assert row(found, "ENT-DEV-01")["devices"]["rng"]["reason"] == "nobody looks"
    assert row(found, "ENT-DEV-01")["status"] == Status.UNTESTABLE
    assert row(found, "RESET-DEV-01")["status"] == Status.PROVEN


def test_a_requirement_says_where_it_stands_and_why():
    found = report(run("native", FINE, BROKEN)).as_dict()
    assert len(found["requirements"]) == 730
    assert row(found, "RESET-DEV-01") == {
        "id": "RESET-DEV-01",
        "actor": "device",
        "level": "MUST",
        "area": "reset",
        "section": "Basic Facilities of a Virtio Device / Device Reset",
        "applies_if": "always",
        "summary": "Status reads zero once a reset has been processed.",
        "status": "proven",
        "devices": {
            "rng": {
                "status": "proven",
                "reason": "",
                "tests": ["common.fine"],
                "backends": ["native"],
                "runs": {"native rng modern": "proven"},
            }
        },
    }
    assert row(found, "ENT-DEV-01")["status"] == "failed"
    assert row(found, "ENT-DEV-01")["devices"]["rng"]["tests"] == ["rng.broken"]
    assert row(found, "RESET-DEV-02")["status"] == "missing"
    assert row(found, "BLK-DEV-21")["devices"]["rng"]["reason"] == "it is about devices of the type blk"
    assert sum(found["summary"].values()) == 730
    assert {status.value for status in Status} == found["summary"].keys() == found["devices"]["rng"].keys()


def test_backends_complete_each_other_and_devices_do_not():
    both = report(run("native"), run("model", FINE))
    assert row(both.as_dict(), "RESET-DEV-01")["devices"]["rng"] == {
        "status": "proven",
        "reason": "",
        "tests": ["common.fine"],
        "backends": ["model"],
        "runs": {"native rng modern": "missing", "model rng modern": "proven"},
    }
    both.add(run("model", device="blk"))
    assert row(both.as_dict(), "RESET-DEV-01")["status"] == "missing"


def test_a_run_takes_the_place_of_an_earlier_one_of_its_name():
    made = report(run("native", BROKEN), run("model", FINE), run("native", FINE))
    assert [(each.name, each.cases) for each in made.runs.values()] == [
        ("native rng modern", (FINE,)),
        ("model rng modern", (FINE,)),
    ]
    assert row(made.as_dict(), "ENT-DEV-01")["status"] == "missing"


def test_a_report_is_read_back_as_it_was_written(tmp_path):
    made = report(run("native", FINE, BROKEN), run("model", FINE, device="blk"))
    made.write(tmp_path / "a" / "report.json")
    again = Report.read(tmp_path / "a" / "report.json")
    assert again == made and again.as_dict() == made.as_dict()


@pytest.mark.parametrize("content", [None, "", "[]", "{", '{"schema": 0, "runs": [1]}'])
def test_what_is_no_report_is_not_added_to(tmp_path, content):
    path = tmp_path / "report.json"
    if content is not None:
        path.write_text(content)
    assert Report.read(path).runs == {}


def test_only_the_first_failures_keep_what_passed_before_them():
    kept = with_few_traces([FINE, *[BROKEN] * (TRACES + 2)])
    assert kept == (FINE, *[BROKEN] * TRACES, *[replace(BROKEN, trace=())] * 2)


def test_junit_has_a_suite_for_each_run_and_what_went_wrong(tmp_path):
    write_junit(tmp_path / "junit.xml", report(run("native", FINE, BROKEN), run("model", FINE)).runs.values())
    native, model = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert dict(native.attrib) == {
        "name": "native rng modern",
        "tests": "2",
        "failures": "1",
        "errors": "0",
        "skipped": "0",
        "time": "1.750",
    }
    assert [case.attrib["name"] for case in model] == ["fine [modern natural split]"]
    (failure,) = native.iter("failure")
    assert (
        failure.attrib["message"] == "ValueError: <nothing> & ?"
        and "100 < MRd queue 0: avail.idx" in failure.text
    )

"""The report as a page; how it looks and behaves is tested in a browser, in tests/browser."""

import json
import re

import pytest
from cocotbext.virtio.conformance import CaseResult, Facts, Status, catalogue
from cocotbext.virtio.trace import Event
from virtio_sim.conformance.page import page_data, write_page
from virtio_sim.conformance.report import Report, RunResult
from virtio_spec.virtio import DeviceType
from virtio_spec.virtio_pci import Interface

FACTS = Facts(DeviceType.ENTROPY, Interface.MODERN, 1 << 32, 1, 2, (1, 2, 3, 5))
EVENT = Event(100, "<", "MRd queue 0: avail.idx", "MRd 01:00.0 tag 0")
FINE = CaseResult("common.fine", "modern natural split", ("RESET-DEV-01", "RESET-DEV-02"), wall_s=0.25)
BROKEN = CaseResult(
    "rng.broken", "modern natural packed", ("ENT-DEV-01",), "no </script> & <!--", 1.5, (EVENT,)
)
OUTSIDE = ("http:", "https:", "src=", 'href="//', "@import", "url(", "fetch(", "XMLHttpRequest")


def report(*runs):
    made = Report()
    for each in runs:
        made.add(each)
    return made


def run(backend, *results):
    return RunResult(f"{backend} rng modern", backend, "rng", FACTS, results)


def content(text):
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found)


def test_the_page_has_the_whole_report_and_needs_nothing_else(tmp_path):
    path = tmp_path / "somewhere" / "report.html"
    made = report(run("native", FINE, BROKEN), run("model", FINE))
    write_page(path, made)
    text = path.read_text("utf-8")
    # The one address is the name of SVG's elements, which nothing is loaded from.
    bare = text.replace('"http://www.w3.org/2000/svg"', "")
    assert not [word for word in OUTSIDE if word in bare]
    assert content(text) == json.loads(json.dumps(page_data(made)))
    assert text.count("</script>") == text.count("<script") == 2


def test_its_data_says_of_each_requirement_where_it_stands_and_what_proves_it():
    made = report(run("native", FINE, BROKEN), run("model", FINE))
    found, statuses = page_data(made), list(Status)
    assert found["own"] == sum(each.actor == "device" for each in catalogue().values())
    by_id = {row[0]: (number, row) for number, row in enumerate(found["requirements"])}
    number, row = by_id["RESET-DEV-01"]
    assert [found["words"][word] for word in row[1:5]] == [
        "MUST",
        "reset",
        "Basic Facilities of a Virtio Device / Device Reset",
        "always",
    ]
    assert row[5:7] == ["Status reads zero once a reset has been processed.", statuses.index(Status.PROVEN)]
    assert row[8] == f"{statuses.index(Status.PROVEN)}" * 2, "a digit for each run"
    assert number in found["proves"][found["cases"].index("common.fine")]
    assert by_id["ENT-DEV-01"][1][8] == f"{statuses.index(Status.FAILED)}{statuses.index(Status.MISSING)}"
    status, reason = by_id["BLK-DEV-21"][1][7]["rng"]
    assert statuses[status] == Status.NOT_APPLICABLE
    assert found["words"][reason] == "it is about devices of the type blk"


def test_behind_them_stand_the_duties_of_drivers_and_what_broke_them():
    broke = CaseResult("hostile.it_lies", "modern natural split", (), breaks=("STATUS-DRV-01",))
    found = page_data(report(run("native", FINE, broke)))
    duties = found["requirements"][found["own"] :]
    (place,) = [number for number, row in enumerate(duties) if row[0] == "STATUS-DRV-01"]
    assert list(Status)[duties[place][6]] == Status.PROVEN
    assert found["proves"][found["cases"].index("hostile.it_lies")] == [found["own"] + place]


def test_its_data_has_every_case_and_of_failures_what_passed_before():
    found = page_data(report(run("native", FINE, BROKEN)))
    (told,) = found["runs"]
    assert told["passed"] == [found["cases"].index("common.fine"), 0, 250]
    assert told["failed"] == [[1, 1, 1500, "no </script> & <!--", (EVENT,)]]
    assert found["drivers"] == ["modern natural split", "modern natural packed"]


@pytest.mark.parametrize("failed", [0, 40])
def test_thousands_of_cases_make_a_page_that_opens_quickly(tmp_path, failed):
    names = [identity for identity, each in catalogue().items() if each.actor == "device"]
    results = [
        CaseResult(
            f"module.a_sentence_about_behaviour_{case}", f"driver {driver}", tuple(names[case : case + 3])
        )
        for case in range(400)
        for driver in range(10)
    ]
    wrong = [
        CaseResult(f"module.wrong_{n}", "driver 0", ("ENT-DEV-01",), "no", 0, (EVENT,) * 200)
        for n in range(failed)
    ]
    runs = [RunResult(f"native rng {n}", "native", "rng", FACTS, (*results, *wrong)) for n in range(5)]
    path = tmp_path / "report.html"
    write_page(path, report(*runs))
    assert path.stat().st_size < 500_000 + 5 * failed * 200 * 60

"""The report as one HTML page that needs nothing else.

The page is a frame, a style and two scripts, and the report in it as JSON in few words: names stand in lists
once and are numbers everywhere else. The scripts draw what is looked at, so that the page opens at once.
"""

import json
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

from cocotbext.virtio.conformance import Status
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from .report import Entry, Report, RunResult

__all__ = ["page_data", "write_page"]

STATUSES = list(Status)


def write_page(path: Path, report: Report) -> None:
    """Coverage by area and device, each requirement with its tests, each failure with what passed."""
    environment = Environment(
        loader=PackageLoader("virtio_sim.conformance", "templates"),
        autoescape=select_autoescape(["html", "j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # What could end the element, or begin a comment in it, is written in another way.
    content = json.dumps(page_data(report), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    text = environment.get_template("report.html.j2").render(statuses=STATUSES, data=Markup(content))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


class _Names:
    """A list of what was named, each once."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def __call__(self, name: Hashable) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    @property
    def listed(self) -> list[Any]:
        return list(self._numbers)


def page_data(report: Report) -> dict[str, Any]:
    """The report for the page's scripts, which say how it is laid out."""
    runs, own = list(report.runs.values()), report.entries()
    entries = [*own, *report.duties()]
    cases, drivers, words = _Names(), _Names(), _Names()
    numbers = {entry.requirement.id: number for number, entry in enumerate(entries)}
    told = [_run(run, cases, drivers) for run in runs]
    return {
        "statuses": STATUSES,
        "runs": told,
        "own": len(own),  # of the requirements; those behind them are for drivers
        "requirements": [_requirement(entry, runs, words) for entry in entries],
        "proves": _proves(runs, cases, numbers),
        "cases": cases.listed,
        "drivers": drivers.listed,
        "words": words.listed,
    }


def _run(run: RunResult, cases: _Names, drivers: _Names) -> dict[str, Any]:
    """``passed`` are case, driver and milliseconds; ``failed`` have a message and a trace beside them."""
    passed, failed = [], []
    for result in run.cases:
        told = [cases(result.case), drivers(result.driver), round(1000 * result.wall_s)]
        if result.passed:
            passed += told
        else:
            failed.append([*told, result.message, result.trace])
    return {
        "name": run.name,
        "backend": run.backend,
        "device": run.device,
        "passed": passed,
        "failed": failed,
    }


def _requirement(entry: Entry, runs: Iterable[RunResult], word: Callable[[str], int]) -> list[Any]:
    """Words, the status, that of each device with its reason, and a digit for each run."""
    found = entry.requirement
    accounts = {name: account for _, those in entry.devices.values() for name, account in those.items()}
    digits = "".join(str(STATUSES.index(accounts[run.name].status)) for run in runs)
    return [
        found.id,
        word(found.level),
        word(found.area),
        word(found.section),
        word(found.applies_if),
        found.summary,
        STATUSES.index(entry.status),
        {
            device: [STATUSES.index(status), word(_reason(status, those))]
            for device, (status, those) in entry.devices.items()
        },
        digits,
    ]


def _reason(status: Status, accounts: Mapping[str, Any]) -> str:
    return next((found.reason for found in accounts.values() if found.status == status), "")


def _proves(
    runs: Iterable[RunResult], case: Callable[[str], int], numbers: Mapping[str, int]
) -> list[list[int]]:
    """Of each case, the requirements that it proves or breaks."""
    found: dict[int, dict[int, None]] = {}
    for run in runs:
        for result in run.cases:
            mine = found.setdefault(case(result.case), {})
            named = (*result.proves, *result.breaks)
            mine.update((numbers[identity], None) for identity in named if identity in numbers)
    return [list(found[number]) for number in range(len(found))]

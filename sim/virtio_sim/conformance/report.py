"""What runs showed, put together: ``build/conformance/report.json``.

The runs are the report; where a requirement stands is computed from them, so that runs of other backends and
devices can be added at any time.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from cocotbext.virtio.conformance import (
    Account,
    CaseResult,
    Facts,
    Requirement,
    Status,
    account,
    broken,
    catalogue,
    worst,
)
from cocotbext.virtio.conformance.accounting import best
from cocotbext.virtio.trace import Event

__all__ = ["SCHEMA", "TRACES", "Entry", "Report", "RunResult", "with_few_traces"]

#: Of the JSON; a report of another one is not added to.
SCHEMA = 5
#: Failures of a run whose trace is kept: a device on which everything fails needs no more.
TRACES = 20


@dataclass(frozen=True)
class RunResult:
    """One device on one backend.

    Attributes
    ----------
    name
        Unique in a report.
    backend, device
        Its backend, and short name of its device type.
    facts
        What the device says of itself.
    cases
        Everything that ran.
    unseen
        Why requirements cannot be shown on this backend, by their ids.
    """

    name: str
    backend: str
    device: str
    facts: Facts
    cases: tuple[CaseResult, ...]
    unseen: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def accounts(self) -> Mapping[str, Account]:
        """Where each requirement stands."""
        return account(self.facts, self.cases, self.unseen)

    @cached_property
    def duties(self) -> Mapping[str, Account]:
        """What became of the device when a driver broke each of its duties."""
        return broken(self.facts, self.cases, self.unseen)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "RunResult":
        """Back from JSON."""
        cases = tuple(_case_from_dict(case) for case in given["cases"])
        facts = Facts.from_dict(given["facts"])
        return cls(given["name"], given["backend"], given["device"], facts, cases, given["unseen"])


def with_few_traces(cases: Iterable[CaseResult]) -> tuple[CaseResult, ...]:
    """All of them, the first :data:`TRACES` that failed with their traces."""
    kept, left = [], TRACES
    for case in cases:
        kept.append(case if left > 0 or not case.trace else replace(case, trace=()))
        left -= bool(case.trace)
    return tuple(kept)


def _case_from_dict(given: Mapping[str, Any]) -> CaseResult:
    trace = tuple(Event(*line) for line in given["trace"])
    named = {name: tuple(given[name]) for name in ("proves", "breaks", "deviates")}
    return CaseResult(**{**given, **named, "trace": trace})


@dataclass(frozen=True)
class Entry:
    """Where one requirement stands.

    Attributes
    ----------
    requirement
        It.
    status
        The worst of all device types that took part.
    devices
        Of each device type: the best that one of its runs showed, and the account of each run.
    """

    requirement: Requirement
    status: Status
    devices: Mapping[str, tuple[Status, Mapping[str, Account]]]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **asdict(self.requirement),
            "status": self.status,
            "devices": {device: _device(status, runs) for device, (status, runs) in self.devices.items()},
        }


def _device(status: Status, runs: Mapping[str, Account]) -> dict[str, Any]:
    """``tests`` are those that prove it, or of a failure those that failed; ``runs`` are where that was."""
    same = {name: found for name, found in runs.items() if found.status == status}
    return {
        "status": status,
        "reason": next((found.reason for found in same.values()), ""),
        "tests": list(dict.fromkeys(case for found in same.values() for case in found.cases)),
        "backends": sorted({name.partition(" ")[0] for name in same}),
        "runs": {name: found.status for name, found in runs.items()},
    }


@dataclass
class Report:
    """Runs by their name."""

    runs: dict[str, RunResult] = field(default_factory=dict)

    def add(self, run: RunResult) -> None:
        """In place of an earlier one of the same name."""
        self.runs[run.name] = run

    def entries(self) -> list[Entry]:
        """All requirements for devices, in the order of the standard."""
        return self._entries("device", {name: run.accounts for name, run in self.runs.items()})

    def duties(self) -> list[Entry]:
        """Those for drivers that a case could break, and what becomes of the devices then."""
        return self._entries("driver", {name: run.duties for name, run in self.runs.items()})

    def _entries(self, actor: str, accounts: Mapping[str, Mapping[str, Account]]) -> list[Entry]:
        devices: dict[str, dict[str, Mapping[str, Account]]] = {}
        for name, run in self.runs.items():
            devices.setdefault(run.device, {})[name] = accounts[name]
        concerned = set().union(*accounts.values())
        return [
            _entry(requirement, devices)
            for requirement in catalogue().values()
            if requirement.actor == actor and (requirement.id in concerned or actor == "device")
        ]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        entries = self.entries()
        return {
            "schema": SCHEMA,
            "summary": counts(entry.status for entry in entries),
            "devices": {
                device: counts(entry.devices[device][0] for entry in entries)
                for device in sorted({run.device for run in self.runs.values()})
            },
            "requirements": [entry.as_dict() for entry in entries],
            "duties": [entry.as_dict() for entry in self.duties()],
            "runs": [asdict(run) for run in self.runs.values()],
        }

    def write(self, path: Path) -> None:
        """As JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_dict(), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Report":
        """An earlier report; an empty one if there is none, or none that can be added to."""
        try:
            given = json.loads(path.read_text())
        except (OSError, ValueError):
            return cls()
        if not isinstance(given, dict) or given.get("schema") != SCHEMA:
            return cls()
        return cls({run["name"]: RunResult.from_dict(run) for run in given["runs"]})


def counts(statuses: Iterable[Status]) -> dict[str, int]:
    """How many there are of each."""
    found = Counter(statuses)
    return {str(status): found[status] for status in Status}


def _entry(requirement: Requirement, devices: Mapping[str, Mapping[str, Mapping[str, Account]]]) -> Entry:
    """``devices`` have the accounts of their runs."""
    found: dict[str, tuple[Status, Mapping[str, Account]]] = {}
    for device, runs in devices.items():
        accounts = {name: account[requirement.id] for name, account in runs.items()}
        found[device] = best(each.status for each in accounts.values()), accounts
    return Entry(requirement, worst(status for status, _ in found.values()), found)

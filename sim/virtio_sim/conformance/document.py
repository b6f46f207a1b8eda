"""Where requirements stand, for the documentation: an account that is kept, and its table in the README."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cocotbext.virtio.conformance import Account, Status
from cocotbext.virtio.conformance.accounting import best

from ..config import ConfigError
from .report import Report, RunResult

__all__ = ["ACCOUNT", "BEGIN", "DOCUMENT", "END", "account_of", "markdown", "write_document"]

ACCOUNT, DOCUMENT = Path("docs/conformance.json"), Path("README.md")
BEGIN = "<!-- account: made by virtio-endpoint conformance --document -->"
END = "<!-- end of account -->"
#: What a backend's devices are; somebody else's own stand in no README of ours.
SUBJECTS = {"native": "gateware", "cocotb": "gateware", "model": "reference device", "qtest": "QEMU"}
TITLES = ("device", "which", "requirements", "proven", "explained", "missing", "deviating", "failed")
DUTIES = ("duties of drivers", "broken, and survived", "explained", "missing", "deviating", "failed")


def account_of(report: Report) -> dict[str, Any]:
    """How many requirements stand where, a device's own and its driver's, and the ids of bad ones.

    By :data:`SUBJECTS`, in their order, and by device: what the reference device shows says nothing about the
    gateware.
    """
    subjects = list(dict.fromkeys(SUBJECTS.values()))
    found: dict[tuple[str, str], list[RunResult]] = {}
    for run in report.runs.values():
        if run.backend in SUBJECTS:
            found.setdefault((SUBJECTS[run.backend], run.device), []).append(run)
    account: dict[str, dict[str, Any]] = {}
    for subject, device in sorted(found, key=lambda key: (subjects.index(key[0]), key[1])):
        runs = found[subject, device]
        account.setdefault(subject, {})[device] = {
            "requirements": _stand(run.accounts for run in runs),
            "duties": _stand(run.duties for run in runs),
        }
    return account


def _stand(accounts: Iterable[Mapping[str, Account]]) -> dict[str, Any]:
    """Each where the best of its runs has it: counts, and ids where there is something to do."""
    found: dict[str, list[Status]] = {}
    for each in accounts:
        for identity, account in each.items():
            found.setdefault(identity, []).append(account.status)
    stand = {identity: best(statuses) for identity, statuses in found.items()}
    ids = {status: [identity for identity, each in stand.items() if each == status] for status in Status}
    bad = (Status.MISSING, Status.FAILED)
    return {str(status): ids[status] if status in bad else len(ids[status]) for status in Status}


def markdown(account: Mapping[str, Any]) -> str:
    """A row for each device; what does not concern it is not counted, what cannot be shown is explained."""
    titles = (*TITLES, *DUTIES)
    lines: list[Iterable[str]] = [titles, ["---"] * 2 + ["---:"] * (len(titles) - 2)]
    for subject, devices in account.items():
        for device, found in devices.items():
            numbers = (*_numbers(found["requirements"]), *_numbers(found["duties"]))
            lines.append((device, subject, *numbers))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _numbers(stand: Mapping[str, Any]) -> tuple[str, ...]:
    proven, explained = stand[Status.PROVEN], stand[Status.UNTESTABLE]
    missing, failed = len(stand[Status.MISSING]), len(stand[Status.FAILED])
    counts = (proven, explained, missing, stand[Status.DEVIATION], failed)
    return tuple(map(str, (sum(counts), *counts)))


def write_document(report: Report) -> tuple[Path, Path]:
    """Keep the account of ``report``, and put its table into the README; the paths.  :class:`ConfigError`"""
    if not report.runs:
        raise ConfigError("there is no report yet; run something first")
    if not DOCUMENT.is_file():
        raise ConfigError(f"there is no {DOCUMENT} here; run this in a checkout")
    account = account_of(report)
    ACCOUNT.parent.mkdir(exist_ok=True)
    ACCOUNT.write_text(json.dumps(account, indent=1) + "\n")
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{markdown(account)}\n\n{END}{after}")
    return ACCOUNT, DOCUMENT

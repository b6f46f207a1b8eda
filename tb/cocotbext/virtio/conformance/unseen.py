"""What a backend cannot see of a device: cases that are left out there, and why.

Unlike an ability of a backend it is no property of the cases, so one table says it for each such backend:
``vfio.tsv``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

from ..suite import Case
from .table import rows_of

__all__ = ["Unseen", "reasons", "unseen", "why_unseen"]


@dataclass(frozen=True)
class Unseen:
    """One row.

    Attributes
    ----------
    device
        Short names of device types, between spaces.
    case, driver
        Which cases are left out for which drivers, as patterns of file names.
    reason
        Why, as a sentence without an end.
    """

    device: str
    case: str
    driver: str
    reason: str


@cache
def unseen() -> tuple[Unseen, ...]:
    """Through VFIO."""
    return rows_of("vfio.tsv", Unseen)


def why_unseen(device: str, case: Case, driver: str, rows: Iterable[Unseen]) -> str:
    """Why a case is left out for a driver; empty if it is not."""
    for row in rows:
        concerned = device in row.device.split() and fnmatchcase(case.name, row.case)
        if concerned and fnmatchcase(driver, row.driver):
            return row.reason
    return ""


def reasons(left_out: Iterable[tuple[Case, str]]) -> Mapping[str, str]:
    """Why requirements cannot be shown, by their ids: cases that were left out, and why."""
    found: dict[str, str] = {}
    for case, reason in left_out:
        for identity in (*case.proves, *case.breaks):
            found.setdefault(identity, reason)
    return found

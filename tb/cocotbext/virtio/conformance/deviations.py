"""What is known of devices that are not this project's: where they deviate from the standard, or differ.

One table says it, ``qemu.tsv``. A case that fails as a row says is no failure; a row whose cases all pass is
one, because what is known has to be true.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache

from .accounting import CaseResult
from .catalogue import catalogue
from .table import rows_of

__all__ = ["Deviation", "Known", "as_markdown", "deviations"]


@dataclass(frozen=True)
class Deviation:
    """One row.

    Attributes
    ----------
    device
        Short names of device types, between spaces, each of all interfaces or as in ``rng/legacy`` of one.
    case, driver
        Which results it explains, as patterns of file names.
    requirements
        Ids of what is not met, between spaces. Without any, the standard leaves it open, and the case asks
        for more than that.
    version
        Of the device, as far as it was seen.
    what
        What the device does, as one sentence.
    """

    device: str
    case: str
    driver: str
    requirements: str
    version: str
    what: str

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the requirements."""
        return tuple(self.requirements.split())

    def concerns(self, device: str, interface: str, result: CaseResult) -> bool:
        """Whether it is about this result."""
        return (
            not {device, f"{device}/{interface}"}.isdisjoint(self.device.split())
            and fnmatchcase(result.case, self.case)
            and fnmatchcase(result.driver, self.driver)
        )


@cache
def deviations() -> tuple[Deviation, ...]:
    """Those of QEMU."""
    found = rows_of("qemu.tsv", Deviation)
    if unknown := {identity for row in found for identity in row.ids} - catalogue().keys():
        raise ValueError(f"there are no requirements {', '.join(sorted(unknown))}")
    return found


class Known:
    """Judges the results of one run by what is known of its device.

    Parameters
    ----------
    device, interface
        Short name of the device type, and its register interfaces.
    rows
        What is known.
    """

    def __init__(self, device: str, interface: str, rows: Iterable[Deviation]):
        self._device, self._interface, self._rows = device, interface, tuple(rows)
        self._asked: set[Deviation] = set()
        self._seen: set[Deviation] = set()

    def judge(self, result: CaseResult) -> CaseResult:
        """The same result, with what is known if it failed."""
        rows = [row for row in self._rows if row.concerns(self._device, self._interface, result)]
        self._asked.update(rows)
        if not result.message or not rows:
            return result
        self._seen.update(rows)
        deviates = dict.fromkeys(identity for row in rows for identity in row.ids)
        return replace(result, known="; ".join(row.what for row in rows), deviates=tuple(deviates))

    def stale(self) -> list[CaseResult]:
        """A failure for each row whose cases ran, and all passed."""
        return [
            CaseResult(row.case, row.driver, (), f"this is no longer so, or never was: {row.what}")
            for row in self._rows
            if row in self._asked - self._seen
        ]


def as_markdown(rows: Iterable[Deviation]) -> str:
    """Two tables: what is not met, and what the standard leaves open; rows that say the same are one."""
    said: dict[tuple[str, str, str], list[Deviation]] = {}
    for row in rows:
        said.setdefault((row.what, row.requirements, row.device), []).append(row)
    tables = []
    for head, wanted in (
        (("requirement", "devices", "what the device does", "cases"), True),
        (("devices", "what the device does", "cases"), False),
    ):
        lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
        for (what, requirements, device), found in said.items():
            if bool(requirements) == wanted:
                cases = ", ".join(dict.fromkeys(f"`{row.case}`" for row in found))
                columns = [requirements.replace(" ", ", "), device.replace(" ", ", "), what, cases]
                lines.append(f"| {' | '.join(columns if wanted else columns[1:])} |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)

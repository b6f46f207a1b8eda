"""The requirements of virtio 1.4, in the project's own words, and those that no test can show, or break.

Ids are the project's. ``P`` in front of the number marks a requirement that the standard states in prose,
outside of its conformance clauses.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from .table import cells_of, rows_of

__all__ = ["BINDING", "LEVELS", "Requirement", "catalogue", "unbreakable", "untestable"]

LEVELS = ("MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY")
#: Of them, those that nobody may break.
BINDING = ("MUST", "MUST NOT")
PERMISSION = "it is a permission: a device complies whether it makes use of it or not"


@dataclass(frozen=True)
class Requirement:
    """One thing that the standard asks for.

    Attributes
    ----------
    id
        Unique and never reused.
    actor
        Who has to comply, ``"device"`` or ``"driver"``.
    level
        One of :data:`LEVELS`.
    area
        What it is about, in one word; areas of one device type have its name.
    section
        Headings of the standard, from the chapter on.
    applies_if
        Condition, in the language of :mod:`.conditions`.
    summary
        One sentence.
    """

    id: str
    actor: str
    level: str
    area: str
    section: str
    applies_if: str
    summary: str


@cache
def catalogue() -> Mapping[str, Requirement]:
    """All requirements by their id, in the order of the standard."""
    return _unique(rows_of("requirements.tsv", Requirement))


@cache
def untestable() -> Mapping[str, str]:
    """Why nothing outside of a device can show whether it complies, by the requirement's id."""
    return _reasons("untestable.tsv")


@cache
def unbreakable() -> Mapping[str, str]:
    """Why no device can be made to meet a driver that does not comply, by the requirement's id."""
    return _reasons("unbreakable.tsv")


def _reasons(name: str) -> Mapping[str, str]:
    _, *rows = cells_of(name)
    found = {identity: reason for identity, reason in rows}
    if unknown := found.keys() - catalogue().keys():
        raise ValueError(f"there are no requirements {', '.join(sorted(unknown))}")
    return MappingProxyType(found)


def _unique(requirements: tuple[Requirement, ...]) -> Mapping[str, Requirement]:
    found = {requirement.id: requirement for requirement in requirements}
    if len(found) != len(requirements):
        raise ValueError("ids of requirements are not unique")
    return MappingProxyType(found)

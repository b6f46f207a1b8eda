"""What the results of cases say about requirements."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from ..trace import Event
from .catalogue import BINDING, PERMISSION, Requirement, catalogue, unbreakable, untestable
from .conditions import Facts, why_not

__all__ = ["Account", "CaseResult", "Status", "account", "best", "broken", "worst"]


class Status(StrEnum):
    """Where a requirement stands; from the one that needs most attention to the one that needs least.

    ``FAILED``: a case that proves it failed. ``DEVIATION``: one did, and it is known why. ``MISSING``: it
    concerns the device, could be shown, and no case has. ``PROVEN``: all cases that prove it passed.
    ``UNTESTABLE``: nothing outside of the device can show it. ``NOT_APPLICABLE``: it does not concern the
    device.
    """

    FAILED = "failed"
    DEVIATION = "deviation"
    MISSING = "missing"
    PROVEN = "proven"
    UNTESTABLE = "untestable"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class CaseResult:
    """One case, run once.

    Attributes
    ----------
    case
        Its name.
    driver
        The driver's interface and habit, and its variant of rings.
    proves
        Requirement ids.
    message
        Why it failed; empty if it passed.
    wall_s
        How long it took.
    trace
        The last things that passed between host and device, of one that failed.
    breaks
        Ids of requirements for drivers.
    known
        Of one that failed: what is known of this device, and explains it.
    deviates
        Ids of the requirements that the device does not meet, by what is known; none if the standard leaves
        it open.
    """

    case: str
    driver: str
    proves: tuple[str, ...]
    message: str = ""
    wall_s: float = 0.0
    trace: tuple[Event, ...] = ()
    breaks: tuple[str, ...] = ()
    known: str = ""
    deviates: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it did, or failed as it is known to."""
        return not self.message or bool(self.known)


@dataclass(frozen=True)
class Account:
    """Where one requirement stands on one device.

    Attributes
    ----------
    status
        The result.
    reason
        Of one that is not applicable or untestable, or of a deviation.
    cases
        Names of the cases that prove it, of one that failed only those that did.
    """

    status: Status
    reason: str = ""
    cases: tuple[str, ...] = ()


NOTHING: Mapping[str, str] = MappingProxyType({})


def account(
    facts: Facts, results: Iterable[CaseResult], unseen: Mapping[str, str] = NOTHING
) -> dict[str, Account]:
    """Where each requirement for devices stands, by its id; ``unseen`` cannot be shown on this backend."""
    permissions = {found.id: PERMISSION for found in catalogue().values() if found.level == "MAY"}
    named = [(identity, result) for result in results for identity in result.proves]
    concerned = [found for found in catalogue().values() if found.actor == "device"]
    return _accounts(facts, concerned, named, {**unseen, **permissions, **untestable()})


def broken(
    facts: Facts, results: Iterable[CaseResult], unseen: Mapping[str, str] = NOTHING
) -> dict[str, Account]:
    """What becomes of the device when a driver does not do what it must, by the requirement's id.

    ``PROVEN``: it was broken on purpose, and the device survived. ``UNTESTABLE``: it cannot be broken, or no
    device would notice. The others as for requirements for devices.
    """
    named = [(identity, result) for result in results for identity in result.breaks]
    concerned = [
        found for found in catalogue().values() if found.actor == "driver" and found.level in BINDING
    ]
    return _accounts(facts, concerned, named, {**unseen, **unbreakable()})


def _accounts(
    facts: Facts,
    concerned: Iterable[Requirement],
    named: Iterable[tuple[str, CaseResult]],
    reasons: Mapping[str, str],
) -> dict[str, Account]:
    by_identity: dict[str, list[CaseResult]] = {}
    for identity, result in named:
        by_identity.setdefault(identity, []).append(result)
    if unknown := by_identity.keys() - catalogue().keys():
        raise ValueError(f"there are no requirements {', '.join(sorted(unknown))}")
    return {
        found.id: _one(found, facts, by_identity.get(found.id, []), reasons.get(found.id, ""))
        for found in concerned
    }


def _one(requirement: Requirement, facts: Facts, results: Sequence[CaseResult], reason: str) -> Account:
    """A case may be about more than concerns this device; its failure counts all the same."""
    if failed := [result for result in results if not result.passed]:
        return Account(Status.FAILED, "", _names(failed))
    if other := why_not(requirement, facts):
        return Account(Status.NOT_APPLICABLE, other)
    if deviating := [result for result in results if requirement.id in result.deviates]:
        why = "; ".join(dict.fromkeys(result.known for result in deviating))
        return Account(Status.DEVIATION, why, _names(deviating))
    if showing := [result for result in results if not result.message]:
        return Account(Status.PROVEN, "", _names(showing))
    if reason:
        return Account(Status.UNTESTABLE, reason)
    return Account(Status.MISSING)


def _names(results: Sequence[CaseResult]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(result.case for result in results))


def worst(statuses: Iterable[Status]) -> Status:
    """Of one requirement on several kinds of devices; not applicable if there are none."""
    return min(statuses, key=list(Status).index, default=Status.NOT_APPLICABLE)


def best(statuses: Iterable[Status]) -> Status:
    """Of one requirement in several runs of one kind of device: shown in one is enough, unless one failed."""
    order = [Status.FAILED, Status.DEVIATION, Status.PROVEN, *Status]
    return min(statuses, key=order.index, default=Status.NOT_APPLICABLE)

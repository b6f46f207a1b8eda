"""What a driver does that it must not, or need not be expected to, and what may become of it."""

import enum
from collections.abc import Callable
from dataclasses import dataclass

from ..driver import Request

__all__ = ["Oddity", "Verdict", "nothing"]


class Verdict(enum.Enum):
    """What the standard leaves to a device that meets an oddity.

    Attributes
    ----------
    SERVED
        A driver may do so: the request comes back, and it is right.
    EITHER
        A driver must not do so, but something could be made of it: the request comes back, with whatever
        result, or the device needs a reset.
    BROKEN
        There is nothing to be served: the device needs a reset, and the request never comes back.
        [STATUS-DEV-02]
    OPEN
        As EITHER, or the device waits for what is missing.
    UNSEEN
        It is not available: the device does nothing, and nothing is wrong.  [PACKED-DEV-06]
    """

    SERVED = "served"
    EITHER = "either"
    BROKEN = "broken"
    OPEN = "open"
    UNSEEN = "unseen"


def nothing() -> None:
    """No check, no repair."""


@dataclass
class Oddity:
    """One that was done to a device.

    Attributes
    ----------
    name, verdict
        Of the catalogue's entry.
    queue
        Where.
    request
        Its request, if there is a chain of its own.
    check
        To be called when that came back.
    repair
        Make it what it should have been, if that is possible.
    """

    name: str
    verdict: Verdict
    queue: int
    request: Request | None = None
    check: Callable[[], None] = nothing
    repair: Callable[[], None] | None = None

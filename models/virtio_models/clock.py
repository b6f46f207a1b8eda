"""A clock in seconds and microseconds that tests set and move."""

from collections.abc import Callable

__all__ = ["Clock"]

SECOND = 1_000_000  # microseconds


class Clock:
    """Time since 1970.

    Parameters
    ----------
    seconds
        Signed, 64 bits.
    microseconds
        0 to 999999.

    Attributes
    ----------
    listeners
        Called after each change.
    """

    def __init__(self, seconds: int = 1_500_000_000, microseconds: int = 0):
        self.listeners: list[Callable[[], None]] = []
        self.set(seconds, microseconds)

    def now(self) -> tuple[int, int]:
        """Seconds and microseconds."""
        return self._now

    def set(self, seconds: int, microseconds: int = 0) -> None:
        """Another time."""
        if not -(2**63) <= seconds < 2**63:
            raise ValueError(f"seconds are a signed number of 64 bits, not {seconds}")
        if not 0 <= microseconds < SECOND:
            raise ValueError(f"microseconds are 0 to {SECOND - 1}, not {microseconds}")
        self._now = seconds, microseconds
        for listener in self.listeners:
            listener()

    def advance(self, microseconds: int) -> None:
        """Let time pass."""
        seconds, rest = divmod(self._now[1] + microseconds, SECOND)
        self.set(self._now[0] + seconds, rest)

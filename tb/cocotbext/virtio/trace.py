"""The last packets on a raw TLP port, one readable line each."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from .checkers.packet import Packet

__all__ = ["TlpTrace"]


class TlpTrace:
    """Keeps packets as they were and tells them only when asked; an :class:`~.phy.Observer`.

    Parameters
    ----------
    now
        Time, in nanoseconds.
    depth
        Number of packets kept.
    """

    def __init__(self, now: Callable[[], int], *, depth: int = 200):
        self._now = now
        self._kept: deque[tuple[int, str, Sequence[int] | str]] = deque(maxlen=depth)

    def from_host(self, dwords: Sequence[int]) -> None:
        """See :class:`~.phy.Observer`."""
        self._kept.append((self._now(), ">", dwords))

    def from_device(self, dwords: Sequence[int]) -> None:
        """See :class:`~.phy.Observer`."""
        self._kept.append((self._now(), "<", dwords))

    def broken_framing(self, what: str) -> None:
        """See :class:`~.phy.Observer`."""
        self._kept.append((self._now(), "!", what))

    def lines(self) -> Iterable[str]:
        """Oldest first: time, ``>`` towards the device or ``<`` from it, packet."""
        for time, mark, what in self._kept:
            if isinstance(what, str) or len(what) < 4:
                text = what if isinstance(what, str) else " ".join(f"{dword:08x}" for dword in what)
                if not isinstance(what, str) and len(what) == 3 and not what[0] >> 29 & 1:
                    text = str(Packet(what))
            else:
                text = str(Packet(what))
            yield f"{time:>10} {mark} {text}"

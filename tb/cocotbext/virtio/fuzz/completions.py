"""What the host may do wrong, or late, with the completions of the device's reads."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from virtio_spec.tlp import CompletionStatus

from ..suite.faults import (
    Change,
    poisoned,
    stray,
    too_long,
    with_status,
    without_data,
    wrong_byte_count,
    wrong_lower_address,
)
from ..suite.link import Read
from ..suite.packets import raw_link
from ..suite.registry import Bench

__all__ = ["FAULTS", "Fault", "FaultKind"]

RESERVED_STATUS = 5


@dataclass(frozen=True)
class FaultKind:
    """A way to answer a read.

    Attributes
    ----------
    change
        What becomes of its first completion; ``None`` for nothing.
    rest
        Its other completions come as they are.
    twice
        Instead of that, its last completion comes twice: any other, repeated, would not fit what it still
        expects.
    harmless
        The read is answered in full, or will be, so the device has to go on.
    lost
        To the device it never ends, but by its time-out.
    late
        What did not come, comes in the end.
    """

    change: Change | None = None
    rest: bool = False
    twice: bool = False
    harmless: bool = False
    lost: bool = False
    late: bool = False


#: By name.
FAULTS = {
    "unsupported request": FaultKind(with_status(CompletionStatus.UNSUPPORTED_REQUEST)),
    "completer abort": FaultKind(with_status(CompletionStatus.COMPLETER_ABORT)),
    "reserved status": FaultKind(with_status(RESERVED_STATUS)),
    "poisoned": FaultKind(poisoned, rest=True),
    "without data": FaultKind(without_data, lost=True),
    "wrong byte count": FaultKind(wrong_byte_count, lost=True),
    "wrong lower address": FaultKind(wrong_lower_address, lost=True),
    "too long": FaultKind(too_long, lost=True),
    "wrong tag": FaultKind(stray, lost=True),
    "never": FaultKind(None, lost=True),
    "after the time-out": FaultKind(None, lost=True, late=True),
    "delayed": FaultKind(None, harmless=True, late=True),
    "twice": FaultKind(twice=True, rest=True, harmless=True),
}


class Fault:
    """Does it to one read, which is the first to be answered after ``skip`` completions of others.

    Parameters
    ----------
    bench
        Has raw packets.
    kind
        Of :data:`FAULTS`.
    rng
        Chooses the read.

    Attributes
    ----------
    read
        The one that was chosen, as soon as it is known.
    """

    def __init__(self, bench: Bench, kind: FaultKind, rng: random.Random):
        self._link, self._kind, self._skip = raw_link(bench), kind, rng.randrange(12)
        self.read: Read | None = None
        self._kept: list[list[int]] = []
        self._link.tamper = self

    def __call__(self, read: Read, packet: list[int]) -> Sequence[list[int]]:
        """A :data:`~..suite.link.Tamper`."""
        last = packet[1] & 0xFFF <= 4 * (packet[0] & 0x3FF) - (packet[2] & 3)
        if self.read is None:
            if self._skip or (self._kind.twice and not last):
                self._skip -= self._skip > 0
                return [packet]
            self.read = read
            return self._first(packet)
        if read is not self.read or self._kind.rest:
            return [packet]
        self._kept.append(packet)
        return []

    def _first(self, packet: list[int]) -> Sequence[list[int]]:
        assert self.read is not None
        if self._kind.twice:
            return [packet, packet]
        if self._kind.lost:
            self._link.lost(self.read)
        if self._kind.change is not None:
            return [self._kind.change(packet)]
        self._kept.append(packet)
        return []

    async def release(self) -> None:
        """Send what was held back."""
        self._link.tamper = None
        kept, self._kept = self._kept, []
        if self._kind.late and kept:
            await self._link.send(*kept)

    @property
    def struck(self) -> bool:
        """Whether a read was answered badly."""
        return self.read is not None and not self._kind.harmless

    def concerns(self, ranges: Sequence[tuple[int, int]]) -> bool:
        """Whether it was a read of one of these, addresses and lengths."""
        if self.read is None or not self.struck:
            return False
        start, end = self.read.address, self.read.address + self.read.length
        return any(start < at + size and at < end for at, size in ranges)

"""What a case can do on a backend that lets it speak packets, past the host's own link.

A packet is a list of dwords as in :mod:`..phy`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["RawLink", "Read", "Tamper"]


@dataclass(frozen=True, eq=False)
class Read:
    """A memory read of the device: ``length`` bytes from ``address`` on; equal only to itself."""

    tag: int
    address: int
    length: int


#: Given a read and one completion of the host for it: what the device gets in its place, in this order.
Tamper = Callable[[Read, list[int]], Sequence[list[int]]]


class RawLink(Protocol):
    """Packets into the device, and the host's completions on their way to it.

    Attributes
    ----------
    requester_id
        Of injected requests; only answers to this one are taken aside.
    function_id
        Bus, device and function number of the device.
    tamper
        Sees each completion of the host; ``None`` lets all pass. Off at the beginning of each case.
    """

    requester_id: int
    function_id: int

    @property
    def tamper(self) -> Tamper | None:
        """Given out as it was set."""
        ...

    @tamper.setter
    def tamper(self, change: Tamper | None) -> None: ...

    def bar(self, number: int) -> int:
        """Address of a BAR."""
        ...

    async def send(self, *packets: Sequence[int]) -> None:
        """Send packets, malformed or not, back to back; returns when the device has taken them."""
        ...

    async def send_cut(self, packet: Sequence[int]) -> None:
        """Send a packet of which the last beat is missing."""
        ...

    async def answer(self, *, timeout_ns: int = 20_000) -> list[int]:
        """The next completion for ``requester_id``; :class:`~..host.HostTimeout`."""
        ...

    @property
    def waiting(self) -> int:
        """Completions that :meth:`answer` would give at once."""
        ...

    async def reset(self) -> None:
        """Reset the link, as a host does to the whole card (Hot Reset) and as it is when it was away.

        What was on it is lost, and the function is as after power-on, with no addresses.
        [PCIe base 5.0 §6.6.1]
        """
        ...

    def lost(self, read: Read) -> None:
        """The device will not get all of a read's completions, and may use its tag again."""
        ...

    def forget(self) -> None:
        """Back to normal: nothing is tampered with, no answer waits."""
        ...

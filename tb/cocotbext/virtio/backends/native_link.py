"""Raw packets on the link of a :class:`.native.NativeHost`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..host import HostTimeout
from ..suite.link import Read, Tamper
from .native_device import Stop
from .reads import ReadObserver

if TYPE_CHECKING:
    from .native import NativeHost

__all__ = ["NativeLink"]

TAKE_NS = 1_000_000


class NativeLink(ReadObserver):
    """A :class:`~..suite.link.RawLink`.

    Parameters
    ----------
    host
        Enumerated before the first use.
    """

    requester_id = 0x00FF
    function_id = 0x0100

    def __init__(self, host: "NativeHost"):
        super().__init__()
        self._host = host
        self._tamper: Tamper | None = None
        self._answers: list[list[int]] = []

    @property
    def tamper(self) -> Tamper | None:
        """See :class:`~..suite.link.RawLink`."""
        return self._tamper

    @tamper.setter
    def tamper(self, change: Tamper | None) -> None:
        self._tamper = change
        self._host.device.tamper(None if change is None else self._completion)

    def _completion(self, dwords: list[int]) -> Sequence[list[int]]:
        self._host.look()  # so that the read is known
        read = self.read_of(dwords)
        return [dwords] if self._tamper is None or read is None else self._tamper(read, dwords)

    def bar(self, number: int) -> int:
        """See :class:`~..suite.link.RawLink`."""
        return self._host.bar_address(number)

    async def send(self, *packets: Sequence[int]) -> None:
        """See :class:`~..suite.link.RawLink`."""
        for packet in packets:
            self._host.device.inject(packet)
        self._host.run(TAKE_NS, Stop.TAKEN)

    async def send_cut(self, packet: Sequence[int]) -> None:
        """See :class:`~..suite.link.RawLink`."""
        self._host.device.inject(packet, cut=True)
        self._host.run(TAKE_NS, Stop.TAKEN)

    async def answer(self, *, timeout_ns: int = 20_000) -> list[int]:
        """See :class:`~..suite.link.RawLink`."""
        if not self.waiting:
            self._host.run(timeout_ns, Stop.ANSWER)
        if not self.waiting:
            raise HostTimeout(f"no answer within {timeout_ns} ns")
        return self._answers.pop(0)

    @property
    def waiting(self) -> int:
        """See :class:`~..suite.link.RawLink`."""
        while packet := self._host.device.answer():
            self._answers.append(packet)
        return len(self._answers)

    async def reset(self) -> None:
        """See :class:`~..suite.link.RawLink`."""
        self._host.reset()
        self.reads.clear()

    def lost(self, read: Read) -> None:
        """See :class:`~..suite.link.RawLink`."""
        self._host.checker.forget_read(read.tag)

    def forget(self) -> None:
        """See :class:`~..suite.link.RawLink`."""
        self.tamper = None
        if self.waiting:
            self._answers.clear()

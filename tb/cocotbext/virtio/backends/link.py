"""Raw packets on the port of a :class:`.cocotb.CocotbHost`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cocotb.triggers import Event, SimTimeoutError, with_timeout

from ..host import HostTimeout
from ..phy import INJECTOR_ID
from ..suite.link import Read, Tamper
from .reads import ReadObserver

if TYPE_CHECKING:
    from .cocotb import CocotbHost

__all__ = ["PortLink"]


class PortLink(ReadObserver):
    """A :class:`~..suite.link.RawLink`.

    Parameters
    ----------
    host
        Enumerated before the first use.
    function_id
        Bus, device and function number of the device.
    """

    requester_id = INJECTOR_ID

    def __init__(self, host: "CocotbHost", function_id: int):
        super().__init__()
        self.function_id = function_id
        self.tamper: Tamper | None = None
        self._host = host
        host.port.observers.append(self)
        host.port.on_completion = self._completion

    def bar(self, number: int) -> int:
        """See :class:`~..suite.link.RawLink`."""
        return self._host.bar_address(number)

    async def send(self, *packets: Sequence[int]) -> None:
        """See :class:`~..suite.link.RawLink`."""
        taken = Event()
        *others, last = packets
        for packet in others:
            self._host.port.inject(packet)
        self._host.port.inject(last, taken.set)
        await taken.wait()

    async def send_cut(self, packet: Sequence[int]) -> None:
        """See :class:`~..suite.link.RawLink`."""
        taken = Event()
        self._host.port.inject_cut(packet, taken.set)
        await taken.wait()

    async def answer(self, *, timeout_ns: int = 20_000) -> list[int]:
        """See :class:`~..suite.link.RawLink`."""
        try:
            return await with_timeout(self._host.port.answers.get(), timeout_ns, "ns")
        except SimTimeoutError:
            raise HostTimeout(f"no answer within {timeout_ns} ns") from None

    @property
    def waiting(self) -> int:
        """See :class:`~..suite.link.RawLink`."""
        return self._host.port.answers.qsize()

    async def reset(self) -> None:
        """See :class:`~..suite.link.RawLink`."""
        await self._host.reset()
        self.reads.clear()

    def lost(self, read: Read) -> None:
        """See :class:`~..suite.link.RawLink`."""
        self._host.checker.forget_read(read.tag)

    def forget(self) -> None:
        """See :class:`~..suite.link.RawLink`."""
        self.tamper = None
        while self.waiting:
            self._host.port.answers.get_nowait()

    def _completion(self, dwords: list[int]) -> Sequence[list[int]]:
        read = self.read_of(dwords)
        if self.tamper is None or read is None:
            return [dwords]
        return self.tamper(read, dwords)

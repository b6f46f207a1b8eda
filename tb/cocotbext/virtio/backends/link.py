"""Raw packets on the port of a :class:`.cocotb.CocotbHost`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cocotb.triggers import Event, SimTimeoutError, with_timeout

from ..checkers.packet import Packet
from ..host import HostTimeout
from ..phy import INJECTOR_ID
from ..suite.link import Read, Tamper

if TYPE_CHECKING:
    from .cocotb import CocotbHost

__all__ = ["PortLink"]


class PortLink:
    """A :class:`~..suite.link.RawLink`, and an :class:`~..phy.Observer` that knows the device's reads.

    Parameters
    ----------
    host
        Enumerated before the first use.
    function_id
        Bus, device and function number of the device.
    """

    requester_id = INJECTOR_ID

    def __init__(self, host: "CocotbHost", function_id: int):
        self.function_id = function_id
        self.tamper: Tamper | None = None
        self._host = host
        self._reads: dict[int, Read] = {}
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

    def lost(self, read: Read) -> None:
        """See :class:`~..suite.link.RawLink`."""
        self._host.checker.forget_read(read.tag)

    def forget(self) -> None:
        """See :class:`~..suite.link.RawLink`."""
        self.tamper = None
        while self.waiting:
            self._host.port.answers.get_nowait()

    def from_host(self, dwords: Sequence[int]) -> None:
        """See :class:`~..phy.Observer`."""

    def from_device(self, dwords: Sequence[int]) -> None:
        """See :class:`~..phy.Observer`."""
        packet = Packet(dwords)
        if packet.name == "MRd":
            self._reads[packet.tag] = Read(
                packet.tag, packet.address + packet.byte_offset, packet.bytes_asked
            )

    def broken_framing(self, what: str) -> None:
        """See :class:`~..phy.Observer`."""

    def _completion(self, dwords: list[int]) -> Sequence[list[int]]:
        read = self._reads.get(dwords[2] >> 8 & 0xFF)
        if self.tamper is None or read is None:
            return [dwords]
        return self.tamper(read, dwords)

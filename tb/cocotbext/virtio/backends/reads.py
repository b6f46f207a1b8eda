"""The device's reads by tag, for links that tamper with completions."""

from collections.abc import Sequence

from ..checkers.packet import Packet
from ..suite.link import Read

__all__ = ["ReadObserver"]


class ReadObserver:
    """Sees every packet on the raw streams, an :class:`~..phy.Observer`.

    Attributes
    ----------
    reads
        The last read of each tag.
    """

    def __init__(self) -> None:
        self.reads: dict[int, Read] = {}

    def read_of(self, completion: Sequence[int]) -> Read | None:
        """What a completion of the host answers; ``None`` unless it is a read of the device."""
        return self.reads.get(completion[2] >> 8 & 0xFF)

    def from_host(self, dwords: Sequence[int]) -> None:
        """See :class:`~..phy.Observer`."""

    def from_device(self, dwords: Sequence[int]) -> None:
        """See :class:`~..phy.Observer`."""
        packet = Packet(dwords)
        if packet.name == "MRd":
            self.reads[packet.tag] = Read(packet.tag, packet.address + packet.byte_offset, packet.bytes_asked)

    def broken_framing(self, what: str) -> None:
        """See :class:`~..phy.Observer`."""

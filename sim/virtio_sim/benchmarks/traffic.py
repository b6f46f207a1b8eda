"""What passed on the raw streams: cycle, direction, bytes on the wire, and what it was for."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from .link import FRAMING_BYTES

__all__ = ["Kind", "Packet", "Traffic"]

COMPLETION, MEMORY = 0x0A, 0x00
DWORD = 4


class Kind(Enum):
    """What a packet is for; a completion is for what its read is for."""

    DATA = "data"  # what the driver is there for
    HEADER = "header"  # the rest of the buffers: headers, status
    RINGS = "rings"  # descriptors, available and used rings, events, indirect tables
    MESSAGE = "message"  # writes of the device to where there is no memory
    HOST = "host"  # accesses of the host: kicks, and what answers them


@dataclass(frozen=True)
class Packet:
    """A packet whose last beat was taken in ``cycle``; ``wire`` and ``payload`` are bytes."""

    cycle: int
    to_host: bool
    kind: Kind
    wire: int
    payload: int


class Traffic:
    """All packets from one moment on.

    Parameters
    ----------
    memory
        Addresses of the host's memory, which is for rings unless said otherwise.
    areas
        What other parts of it are for; they do not overlap.
    """

    def __init__(self, memory: range, areas: Sequence[tuple[range, Kind]]):
        self.packets: list[Packet] = []
        self._memory = memory
        self._areas = sorted(areas, key=lambda area: area[0].start)
        self._starts = [area.start for area, _ in self._areas]
        self._reads: dict[int, Kind] = {}  # by tag

    def add(self, to_host: bool, cycle: int, dwords: Sequence[int]) -> None:
        """A packet, header first."""
        kind_of_packet, wide, has_data = dwords[0] >> 24 & 0x1F, dwords[0] >> 29 & 1, dwords[0] >> 30 & 1
        payload = DWORD * (len(dwords) - (4 if wide else 3))
        kind = Kind.HOST
        if to_host and kind_of_packet == MEMORY:
            kind = self._kind(dwords[2] << 32 | dwords[3] if wide else dwords[2])
            if not has_data:
                self._reads[dwords[1] >> 8 & 0xFF] = kind
        elif not to_host and kind_of_packet == COMPLETION:
            kind = self._reads.get(dwords[2] >> 8 & 0xFF, Kind.HOST)
        wire = DWORD * len(dwords) + FRAMING_BYTES
        self.packets.append(Packet(cycle, to_host, kind, wire, payload))

    def _kind(self, address: int) -> Kind:
        place = bisect_right(self._starts, address) - 1
        if place >= 0 and address in self._areas[place][0]:
            return self._areas[place][1]
        return Kind.RINGS if address in self._memory else Kind.MESSAGE

    def data(self, *, to_host: bool) -> list[Packet]:
        """Packets that carry data in one direction."""
        return [p for p in self.packets if p.kind is Kind.DATA and p.to_host == to_host and p.payload]

    def rate(self, *, to_host: bool, settled: float = 0.25) -> float:
        """Bytes of data per cycle from when the share ``settled`` of the data has passed up to the last one.

        Counted from the end of one packet to the end of another, so that it is exact.
        """
        packets = self.data(to_host=to_host)
        first = int(settled * len(packets))
        cycles = packets[-1].cycle - packets[first].cycle
        return sum(packet.payload for packet in packets[first + 1 :]) / cycles

    def per_packet(self, *, to_host: bool, settled: float = 0.25) -> tuple[float, float]:
        """Cycles for each packet with data, and bytes on the wire for rings, both ways; as :meth:`rate`."""
        packets = self.data(to_host=to_host)
        first = int(settled * len(packets))
        start, end, count = packets[first].cycle, packets[-1].cycle, len(packets) - 1 - first
        rings = sum(p.wire for p in self.packets if p.kind is Kind.RINGS and start < p.cycle <= end)
        return (end - start) / count, rings / count

    def delay(self, condition: Callable[[Packet], bool]) -> int:
        """Cycles from the first packet, which is the host's kick, to the first with ``condition``."""
        return next(packet.cycle for packet in self.packets if condition(packet)) - self.packets[0].cycle

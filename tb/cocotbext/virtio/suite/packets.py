"""Packets for a :class:`.link.RawLink`, right or wrong, with the bit numbers of the standard.

[PCIe base 5.0 §2.2]
"""

from collections.abc import Sequence

from virtio_spec.tlp import CompletionStatus, Fmt, TlpType

from ..checkers.packet import Packet
from .helpers import same
from .link import RawLink
from .registry import Bench

__all__ = ["DIGEST", "POISONED", "Injector", "completion", "raw_link"]

#: Bits of dword 0.
POISONED, DIGEST = 1 << 14, 1 << 15


def raw_link(bench: Bench) -> RawLink:
    """The bench's link, for a case that needs it."""
    if bench.link is None:
        raise LookupError(f"the backend {bench.backend} has no raw packets")
    return bench.link


class Injector:
    """Makes requests with tags of their own, sends them, and looks at the answers."""

    def __init__(self, bench: Bench):
        self.link = raw_link(bench)
        self._tag = bench.rng.randrange(256)

    def _identity(self, low: int) -> int:
        self._tag = (self._tag + 1) % 256
        return self.link.requester_id << 16 | self._tag << 8 | low

    def request(
        self,
        kind: TlpType,
        address: int,
        payload: Sequence[int] = (),
        *,
        length: int | None = None,
        first_be: int = 0xF,
        last_be: int | None = None,
        bits: int = 0,
    ) -> list[int]:
        """A request by address; ``length`` in dwords, by default the payload's, or 1 for a read.

        ``bits`` are changed in dword 0; whatever is behind the payload is the caller's.
        """
        length = length if length is not None else len(payload) or 1
        last_be = (0xF if length > 1 else 0) if last_be is None else last_be
        wide = address >= 1 << 32
        fmt = Fmt.DATA_3DW * bool(payload) | wide
        head = [fmt << 29 | kind << 24 | length & 0x3FF, self._identity(last_be << 4 | first_be)]
        head += [address >> 32] if wide else []
        return [head[0] ^ bits, *head[1:], address & 0xFFFF_FFFF, *payload]

    def read(
        self,
        address: int,
        length: int = 1,
        *,
        first_be: int = 0xF,
        last_be: int | None = None,
        bits: int = 0,
    ) -> list[int]:
        """MRd of ``length`` dwords."""
        return self.request(
            TlpType.MEMORY, address, length=length, first_be=first_be, last_be=last_be, bits=bits
        )

    def write(self, address: int, payload: Sequence[int], **fields: int) -> list[int]:
        """MWr."""
        return self.request(TlpType.MEMORY, address, payload, **fields)

    def config(
        self,
        offset: int,
        value: int | None = None,
        *,
        kind: TlpType = TlpType.CONFIG_0,
        function: int = 0,
        number: int | None = None,
        length: int = 1,
        first_be: int = 0xF,
        last_be: int = 0,
        bits: int = 0,
    ) -> list[int]:
        """CfgRd, or with a ``value`` CfgWr, of a dword; ``number`` is bus, device and function 0."""
        payload = [] if value is None else [value] * length
        fmt = Fmt.DATA_3DW if payload else Fmt.HEADER_3DW
        return [
            (fmt << 29 | kind << 24 | length) ^ bits,
            self._identity(last_be << 4 | first_be),
            ((self.link.function_id if number is None else number) | function) << 16 | offset,
            *payload,
        ]

    def message(self, code: int, payload: Sequence[int] = (), *, routing: int) -> list[int]:
        """Msg or MsgD."""
        fmt = Fmt.DATA_4DW if payload else Fmt.HEADER_4DW
        head = fmt << 29 | (TlpType.MESSAGE | routing) << 24 | len(payload)
        return [head, self._identity(code), 0, 0, *payload]

    async def ask(self, packet: Sequence[int]) -> Packet:
        """Send a request; its only answer."""
        await self.link.send(packet)
        answer = Packet(await self.link.answer())
        same(answer.tag, packet[1] >> 8 & 0xFF, "tag of the answer")
        return answer

    async def read_back(self, packet: Sequence[int]) -> list[int]:
        """Send a memory read; the dwords of all its completions."""
        await self.link.send(packet)
        dwords: list[int] = []
        length = packet[0] & 0x3FF or 1024
        while len(dwords) < length:
            answer = Packet(await self.link.answer())
            same((answer.name, answer.status), ("CplD", CompletionStatus.SUCCESSFUL), "the answer to a read")
            dwords += answer.payload
        same(len(dwords), length, "dwords read")
        return dwords

    async def refused(self, packet: Sequence[int], what: str) -> None:
        """``AssertionError`` unless the answer is Unsupported Request, with the right fields.  [§2.2.9]"""
        asked, answer = Packet(packet), await self.ask(packet)
        found = answer.name, answer.status, answer.length, answer.completer_id
        name = "CplLk" if asked.name == "MRdLk" else "Cpl"
        function = asked.dwords[2] >> 16 & 7 if asked.is_config else 0
        ids = (self.link.function_id, self.link.function_id | function)
        same(found[:3], (name, CompletionStatus.UNSUPPORTED_REQUEST, 0), f"the answer to {what}")
        same(found[3] in ids, True, f"whether the completer id of the answer to {what} is the device's")
        same(answer.byte_count, asked.bytes_to_complete, f"byte count of the answer to {what}")
        fields = asked.traffic_class, asked.attr
        same((answer.traffic_class, answer.attr), fields, f"class and attributes of the answer to {what}")

    def none_waits(self, what: str) -> None:
        """``AssertionError`` if something was answered."""
        if self.link.waiting:
            raise AssertionError(f"{what} was answered")


def completion(
    link: RawLink, tag: int, payload: Sequence[int] = (), *, status: int = 0, byte_count: int = 4
) -> list[int]:
    """A completion of the host for the device."""
    fmt = Fmt.DATA_3DW if payload else Fmt.HEADER_3DW
    return [
        fmt << 29 | TlpType.COMPLETION << 24 | len(payload),
        status << 13 | byte_count & 0xFFF,
        link.function_id << 16 | tag << 8,
        *payload,
    ]

"""TLPs as lists of dwords, built and read with the bit numbers of the standard.  [PCIe base 5.0 §2.2]

A packet is a list: 3 or 4 header dwords (byte 0 of the standard's figures in bits 31:24), then payload
dwords (first byte in bits 7:0). Nothing here uses the layouts of the gateware.
"""

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

__all__ = [
    "atomic",
    "completion",
    "config",
    "from_raw_beats",
    "from_tlp_beats",
    "header_dwords",
    "io",
    "memory_read",
    "memory_write",
    "message",
    "parse",
    "raw_beats",
    "request",
    "tlp_beats",
]


def dword_0(
    fmt: int,
    type: int,
    length: int,
    *,
    tc: int = 0,
    attr: int = 0,
    tag: int = 0,
    at: int = 0,
    td: bool = False,
    ep: bool = False,
    th: bool = False,
) -> int:
    """Dword 0: ``length`` in dwords up to 1024, ``attr`` 3 bits with IDO as bit 2, ``tag`` up to 10 bits."""
    return (
        fmt << 29
        | type << 24
        | (tag >> 9 & 1) << 23
        | tc << 20
        | (tag >> 8 & 1) << 19
        | (attr >> 2 & 1) << 18
        | th << 16
        | td << 15
        | ep << 14
        | (attr & 3) << 12
        | at << 10
        | length & 0x3FF
    )


def request(
    type: int,
    address: int,
    length: int,
    payload: Sequence[int] = (),
    *,
    first_be: int = 0xF,
    last_be: int | None = None,
    tag: int = 0,
    requester: int = 0,
    wide: bool | None = None,
    **common: Any,
) -> list[int]:
    """Address-routed request; 4 dwords of header if ``wide`` or by default from 4 GiB on."""
    wide = address >> 32 != 0 if wide is None else wide
    if last_be is None:
        last_be = 0xF if length > 1 else 0
    fmt = wide | bool(payload) << 1
    head = [
        dword_0(fmt, type, length, tag=tag, **common),
        requester << 16 | (tag & 0xFF) << 8 | last_be << 4 | first_be,
    ]
    return head + ([address >> 32] if wide else []) + [address & 0xFFFFFFFC] + list(payload)


def memory_read(address: int, length: int = 1, *, locked: bool = False, **fields: Any) -> list[int]:
    """MRd or MRdLk of ``length`` dwords."""
    return request(int(locked), address, length, **fields)


def memory_write(address: int, payload: Sequence[int], **fields: Any) -> list[int]:
    """MWr of whole dwords but for the byte enables."""
    return request(0, address, len(payload), payload, **fields)


def io(address: int, value: int | None = None, **fields: Any) -> list[int]:
    """IORd, or IOWr if there is a ``value``."""
    return request(0b00010, address, 1, [] if value is None else [value], **fields)


def atomic(type: int, address: int, operands: Sequence[int], **fields: Any) -> list[int]:
    """AtomicOp or deferrable memory write."""
    return request(type, address, len(operands), operands, **fields)


def config(
    register: int,
    value: int | None = None,
    *,
    target: int = 0,
    kind: int = 0,
    first_be: int = 0xF,
    last_be: int = 0,
    length: int = 1,
    tag: int = 0,
    requester: int = 0,
    **common: Any,
) -> list[int]:
    """CfgRd, or CfgWr if there is a ``value``; ``register`` is a dword number.

    ``target`` is bus, device and function in 16 bits; ``kind`` is 0 or 1 for type 0 and 1.
    """
    payload = [] if value is None else [value] * length
    return [
        dword_0(bool(payload) << 1, 0b00100 | kind, length, tag=tag, **common),
        requester << 16 | (tag & 0xFF) << 8 | last_be << 4 | first_be,
        target << 16 | register << 2,
        *payload,
    ]


def completion(
    payload: Sequence[int] = (),
    *,
    status: int = 0,
    byte_count: int = 4,
    lower_address: int = 0,
    completer: int = 0,
    requester: int = 0,
    tag: int = 0,
    locked: bool = False,
    **common: Any,
) -> list[int]:
    """Cpl, CplD and their locked forms; ``byte_count`` 1 to 4096."""
    return [
        dword_0(bool(payload) << 1, 0b01010 | locked, len(payload), tag=tag, **common),
        completer << 16 | status << 13 | byte_count & 0xFFF,
        requester << 16 | (tag & 0xFF) << 8 | lower_address,
        *payload,
    ]


def message(
    code: int,
    payload: Sequence[int] = (),
    *,
    routing: int = 0b100,
    tag: int = 0,
    requester: int = 0,
    **common: Any,
) -> list[int]:
    """Msg or MsgD."""
    return [
        dword_0(1 | bool(payload) << 1, 0b10000 | routing, len(payload), tag=tag, **common),
        requester << 16 | (tag & 0xFF) << 8 | code,
        0,
        0,
        *payload,
    ]


def header_dwords(packet: Sequence[int]) -> int:
    """3 or 4."""
    return 3 + (packet[0] >> 29 & 1)


def parse(packet: Sequence[int]) -> SimpleNamespace:
    """Every field of a request or completion, and ``payload`` as dwords (without digest)."""
    first, second, third, *_ = packet
    size = header_dwords(packet)
    length = first & 0x3FF or 1024
    has_data = bool(first >> 30 & 1)
    tlp = SimpleNamespace(
        fmt=first >> 29,
        type=first >> 24 & 0x1F,
        tc=first >> 20 & 7,
        attr=first >> 12 & 3 | (first >> 18 & 1) << 2,
        th=first >> 16 & 1,
        td=first >> 15 & 1,
        ep=first >> 14 & 1,
        at=first >> 10 & 3,
        length=first & 0x3FF,
        tag=(first >> 23 & 1) << 9 | (first >> 19 & 1) << 8,
        payload=list(packet[size : size + length]) if has_data else [],
    )
    if tlp.type >> 1 == 0b0101:
        tlp.completer = second >> 16
        tlp.status = second >> 13 & 7
        tlp.byte_count_modified = second >> 12 & 1
        tlp.byte_count = second & 0xFFF or 4096
        tlp.requester = third >> 16
        tlp.tag |= third >> 8 & 0xFF
        tlp.lower_address = third & 0x7F
        return tlp
    tlp.requester = second >> 16
    tlp.tag |= second >> 8 & 0xFF
    if tlp.type >> 3 == 0b10:
        tlp.code = second & 0xFF
        return tlp
    tlp.last_be = second >> 4 & 0xF
    tlp.first_be = second & 0xF
    if tlp.type >> 1 == 0b0010:
        tlp.target = third >> 16
        tlp.register = third >> 2 & 0x3FF
    else:
        tlp.address = (third << 32 | packet[3] if size == 4 else third) & ~3
    return tlp


def _lanes(dwords: Sequence[int]) -> int:
    return sum(dword << 32 * lane for lane, dword in enumerate(dwords))


def _chunks(dwords: Sequence[int], lanes: int) -> list[Sequence[int]]:
    return [dwords[at : at + lanes] for at in range(0, len(dwords), lanes)]


def raw_beats(packet: Sequence[int], width: int) -> list[dict[str, Any]]:
    """Beats of a raw stream."""
    chunks = _chunks(packet, width // 32)
    return [
        {
            "data": _lanes(chunk),
            "enable": (1 << len(chunk)) - 1,
            "first": number == 0,
            "last": number == len(chunks) - 1,
        }
        for number, chunk in enumerate(chunks)
    ]


def tlp_beats(packet: Sequence[int], width: int) -> list[dict[str, Any]]:
    """Beats of the internal TLP stream; the header stands beside the first beat only."""
    size = header_dwords(packet)
    chunks = _chunks(packet[size:], width // 32) or [[]]
    head = [*packet[:size], 0][:4]
    return [
        {
            "header": {"dwords": head if number == 0 else [0] * 4},
            "data": _lanes(chunk),
            "enable": (1 << len(chunk)) - 1,
            "first": number == 0,
            "last": number == len(chunks) - 1,
        }
        for number, chunk in enumerate(chunks)
    ]


def _split(beats: Iterable[Any]) -> Iterable[list[Any]]:
    """Beats packet by packet; checks the packet boundaries."""
    packet: list[Any] = []
    for beat in beats:
        assert beat.first == (not packet), "first is set in a packet's first beat and in no other"
        packet.append(beat)
        if beat.last:
            yield packet
            packet = []
    assert not packet, "the last packet has no end"


def _dwords(packet: Sequence[Any], width: int) -> list[int]:
    dwords: list[int] = []
    for beat in packet:
        count = int(beat.enable).bit_length()
        assert beat.enable == (1 << count) - 1, "enabled lanes are contiguous from lane 0"
        assert beat.last or count == width // 32, "every beat but the last is full"
        assert count or beat.first, "no beat is empty but that of a packet without payload"
        dwords += [int(beat.data) >> 32 * lane & 0xFFFFFFFF for lane in range(count)]
    return dwords


def from_raw_beats(beats: Iterable[Any], width: int) -> list[list[int]]:
    """Packets out of sampled beats of a raw stream, whose form is checked."""
    return [_dwords(packet, width) for packet in _split(beats)]


def from_tlp_beats(beats: Iterable[Any], width: int) -> list[list[int]]:
    """Packets out of sampled beats of a TLP stream, whose form is checked."""
    packets = []
    for packet in _split(beats):
        head = [int(dword) for dword in packet[0].header.dwords]
        assert head[0] >> 29 & 1 or head[3] == 0, "dword 3 of a 3-dword header is zero"
        payload = _dwords(packet, width)
        assert len(payload) == ((head[0] & 0x3FF or 1024) if head[0] >> 30 & 1 else 0), "length matches"
        packets.append(head[: header_dwords(head)] + payload)
    return packets

"""Rules that a single packet keeps or breaks, whatever came before it.  [PCIe base 5.0 §2.2]"""

from collections.abc import Iterator

from virtio_spec.tlp import CompletionStatus

from .intx import is_intx
from .packet import Packet

__all__ = ["Answer", "answer_to", "format_errors"]

READ_COMPLETION_BOUNDARY = 128
_ENDPOINT_SENDS = ("MRd", "MWr", "Cpl", "CplD", "CplLk", "Msg")
_LOCAL = 0b100  # routing of a message: terminate at receiver
_FIRST_CONTIGUOUS = (0b1111, 0b1110, 0b1100, 0b1000)
_LAST_CONTIGUOUS = (0b1111, 0b0111, 0b0011, 0b0001)


def format_errors(packet: Packet) -> Iterator[str]:
    """What a receiver could object to in a packet of an endpoint, one sentence each."""
    if packet.name not in _ENDPOINT_SENDS:
        yield "an endpoint does not send this"
        return
    yield from _common_errors(packet)
    if packet.name in ("MRd", "MWr"):
        yield from _memory_errors(packet)
    elif packet.is_completion:
        yield from _completion_errors(packet)
    else:
        yield from _message_errors(packet)


def _common_errors(packet: Packet) -> Iterator[str]:
    expected = packet.dword_count if packet.has_data else 0
    if len(packet.payload) != expected:
        yield f"payload of {len(packet.payload)} dwords, the header stands for {expected}"
    if packet.reserved_17:
        yield "reserved bit 17 of dword 0 is set"
    if packet.hints:
        yield "processing hints are not enabled"
    if packet.digest:
        yield "a digest is announced"
    if packet.poisoned:
        yield "poisoned"
    if packet.address_type:
        yield f"address type {packet.address_type}"
    if packet.tag >> 8:
        yield "10-bit tags are not enabled"
    if packet.ordering_id:
        yield "ID-based ordering is not enabled"
    if packet.traffic_class and not packet.is_completion:
        yield f"traffic class {packet.traffic_class}"


def _memory_errors(packet: Packet) -> Iterator[str]:
    first, last, count = packet.first_be, packet.last_be, packet.dword_count
    if packet.four_dwords and not packet.address_high:
        yield "a 4-dword header for an address below 4 GiB"
    if packet.address & 3:
        yield "address bits 1:0 are not zero"
    if packet.address % 4096 + 4 * count > 4096:
        yield "crosses a 4 KiB boundary"
    if count == 1:
        if last:
            yield "last byte enables with a length of one dword"
        return
    if not first:
        yield "no first byte enables with more than one dword"
    if not last:
        yield "no last byte enables with more than one dword"
    quadword = count == 2 and not packet.address & 7
    if first and last and not quadword:
        if first not in _FIRST_CONTIGUOUS or last not in _LAST_CONTIGUOUS:
            yield "byte enables have a hole"


def _completion_errors(packet: Packet) -> Iterator[str]:
    if packet.reserved_71:
        yield "reserved bit 7 of dword 2 is set"
    if packet.byte_count_modified:
        yield "only bridges set BCM"
    if packet.status not in tuple(CompletionStatus):
        yield f"reserved completion status {packet.status}"
    if not packet.has_data and packet.length:
        yield "the length of a completion without data is reserved"
    if packet.has_data and packet.status != CompletionStatus.SUCCESSFUL:
        yield "data with a status other than success"


def _message_errors(packet: Packet) -> Iterator[str]:
    if packet.length:
        yield "the length of a message without data is reserved"
    if not is_intx(packet):
        return
    if packet.type & 7 != _LOCAL:
        yield f"an interrupt message with routing {packet.type & 7}"
    if packet.attr:
        yield "the attributes of an interrupt message are reserved"
    if packet.dword_2 or packet.dword_3:
        yield "the last two dwords of an interrupt message are reserved"


class Answer:
    """Whether a receiver completes a request of the host."""

    NEVER = "never"  # posted, or malformed in a way that every receiver checks
    MAY = "may"  # malformed in a way that a receiver may check
    MUST = "must"


def answer_to(packet: Packet, max_payload: int) -> str:
    """How an endpoint deals with a packet that came down: one of :class:`Answer`."""
    if not packet.name or packet.is_posted or packet.is_completion:
        return Answer.NEVER
    expected = (packet.dword_count if packet.has_data else 0) + packet.digest
    if len(packet.payload) != expected or (packet.has_data and 4 * packet.dword_count > max_payload):
        return Answer.NEVER
    if packet.name == "DMWr" or packet.hints or packet.address_type:
        return Answer.MAY
    if packet.is_config or packet.name in ("IORd", "IOWr"):
        unchecked = packet.dword_count != 1 or packet.last_be or packet.traffic_class
    else:
        unchecked = any(True for _ in _memory_errors(packet))
    return Answer.MAY if unchecked else Answer.MUST

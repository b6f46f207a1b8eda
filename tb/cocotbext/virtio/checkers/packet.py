"""A transaction layer packet taken apart, and told in one line.  [PCIe base 5.0 §2.2]"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from virtio_spec.tlp import (
    CompletionHeader,
    CompletionStatus,
    ConfigHeader,
    Fmt,
    Memory32Header,
    Memory64Header,
    MessageHeader,
    TlpType,
)

__all__ = ["Packet", "enabled_runs"]

_NO_DATA, _WITH_DATA = (Fmt.HEADER_3DW, Fmt.HEADER_4DW), (Fmt.DATA_3DW, Fmt.DATA_4DW)

#: (type, with data) to the name in the standard.  [§2.2.1, table 2-3]
_NAMES: dict[tuple[int, bool], str] = {
    (TlpType.MEMORY, False): "MRd",
    (TlpType.MEMORY, True): "MWr",
    (TlpType.MEMORY_LOCKED, False): "MRdLk",
    (TlpType.IO, False): "IORd",
    (TlpType.IO, True): "IOWr",
    (TlpType.CONFIG_0, False): "CfgRd0",
    (TlpType.CONFIG_0, True): "CfgWr0",
    (TlpType.CONFIG_1, False): "CfgRd1",
    (TlpType.CONFIG_1, True): "CfgWr1",
    (TlpType.COMPLETION, False): "Cpl",
    (TlpType.COMPLETION, True): "CplD",
    (TlpType.COMPLETION_LOCKED, False): "CplLk",
    (TlpType.COMPLETION_LOCKED, True): "CplDLk",
    (TlpType.FETCH_ADD, True): "FetchAdd",
    (TlpType.SWAP, True): "Swap",
    (TlpType.COMPARE_AND_SWAP, True): "CAS",
    (TlpType.DEFERRABLE_MEMORY_WRITE, True): "DMWr",
}
_THREE_DWORDS_ONLY = {
    "IORd",
    "IOWr",
    "CfgRd0",
    "CfgWr0",
    "CfgRd1",
    "CfgWr1",
    "Cpl",
    "CplD",
    "CplLk",
    "CplDLk",
}


@cache
def _fields(header: Any) -> tuple[tuple[str, int, int], ...]:
    """Name, offset and mask of all fields of a header; those of ``common`` without that prefix."""
    found = []
    for name, field in header.as_shape():
        if name == "common":
            found += _fields(field.shape)
        else:
            found.append((name, field.offset, (1 << field.width) - 1))
    return tuple(found)


class Packet:
    """The fields of a packet's header as attributes, named as in :mod:`virtio_spec.tlp`, and more.

    Parameters
    ----------
    dwords
        Header as integers with byte 0 of the standard's figures in bits 31:24, then payload with
        the first byte in bits 7:0. At least the header has to be there.

    Attributes
    ----------
    name
        As in the standard, without 32 or 64; empty if the format and type stand for nothing.
    payload
        Dwords behind the header.
    dword_count
        What the length field says, 1 to 1024.
    address
        Of a memory or I/O request, or the register's of a configuration request.
    tag
        All ten bits.
    """

    def __init__(self, dwords: Sequence[int]):
        self.dwords = tuple(dwords)
        fmt, kind = dwords[0] >> 29, dwords[0] >> 24 & 0x1F
        four = bool(fmt & 1)
        with_data = bool(fmt & 2)
        self.name = _NAMES.get((kind, with_data), "") if fmt != Fmt.PREFIX and fmt < 4 else ""
        if fmt < 4 and four and kind >> 3 == TlpType.MESSAGE >> 3:
            self.name = "MsgD" if with_data else "Msg"
        if four and self.name in _THREE_DWORDS_ONLY:
            self.name = ""
        count = 4 if four else 3
        self.payload = self.dwords[count:]
        header = sum(dword << 32 * i for i, dword in enumerate(dwords[:count]))
        for field, offset, mask in _fields(_layout(self.name, four)):
            setattr(self, field, header >> offset & mask)
        self.dword_count = self.length or 1024
        self.tag |= self.tag_8 << 8 | self.tag_9 << 9
        self.address = 0
        if self.is_config:
            self.address = self.register << 2
        elif four and not self.is_completion:
            self.address = self.address_high << 32 | self.address_low if self.name[:3] != "Msg" else 0
        elif not self.is_completion:
            self.address = dwords[2]

    def __getattr__(self, name: str) -> int:
        raise AttributeError(f"a {self.__dict__.get('name') or 'packet'} has no field {name!r}")

    @property
    def four_dwords(self) -> bool:
        """Whether the header has four dwords."""
        return bool(self.fmt & 1)

    @property
    def has_data(self) -> bool:
        """Whether the format says that there is a payload."""
        return bool(self.fmt & 2)

    @property
    def is_completion(self) -> bool:
        """Any completion."""
        return self.name.startswith("Cpl")

    @property
    def is_config(self) -> bool:
        """Any configuration request."""
        return self.name.startswith("Cfg")

    @property
    def is_posted(self) -> bool:
        """A memory write or a message."""
        return self.name in ("MWr", "Msg", "MsgD")

    @property
    def byte_offset(self) -> int:
        """Of the first enabled byte in the first dword of a request; 0 if none is enabled."""
        return (self.first_be & -self.first_be).bit_length() - 1 if self.first_be else 0

    @property
    def bytes_asked(self) -> int:
        """From the first to the last enabled byte of a memory read; 1 if none is.  [§2.3.1.1, table 2-39]"""
        last = self.last_be if self.dword_count > 1 else self.first_be
        if not last:
            return 1
        return 4 * self.dword_count - self.byte_offset - (4 - last.bit_length())

    @property
    def bytes_to_complete(self) -> int:
        """Byte count of a request's first completion.  [§2.2.9, §2.3.1.1]"""
        if self.name in ("MRd", "MRdLk"):
            return self.bytes_asked
        if self.name in ("FetchAdd", "Swap"):
            return 4 * self.dword_count
        return 2 * self.dword_count if self.name == "CAS" else 4

    def __str__(self) -> str:
        count = len(self.payload)
        if not self.name:
            words = " ".join(f"{dword:08x}" for dword in self.dwords[:4])
            return f"TLP of unknown fmt {self.fmt} type {self.type:#07b}: {words}"
        size = "64" if self.four_dwords and not self.name.startswith("Msg") else ""
        if self.is_completion:
            status = {int(s): s.name for s in CompletionStatus}.get(self.status, str(self.status))
            text = f"{self.name} {_id(self.completer_id)} to {_id(self.requester_id)} tag {self.tag} {status}"
            text += f" bytes {self.byte_count or 4096} lower {self.lower_address:#04x}"
        elif self.name.startswith("Msg"):
            text = f"{self.name} {_id(self.requester_id)} code {self.code:#04x} routing {self.type & 7}"
        else:
            where = f"{_id(self.dwords[2] >> 16)} register" if self.is_config else "at"
            text = f"{self.name}{size} {_id(self.requester_id)} tag {self.tag} {where} {self.address:#x}"
            text += f" length {self.dword_count} be {self.first_be:x}/{self.last_be:x}"
        if count:
            text += (
                " data "
                + " ".join(f"{dword:08x}" for dword in self.payload[:4])
                + (" …" if count > 4 else "")
            )
        marks = [("poisoned", self.poisoned), ("digest", self.digest), ("tc", self.traffic_class)]
        marks.append(("attr", self.attr | self.ordering_id << 2))
        return text + "".join(f" {name} {value}" for name, value in marks if value)


def _layout(name: str, four: bool) -> Any:
    if name.startswith("Cpl"):
        return CompletionHeader
    if name.startswith("Cfg"):
        return ConfigHeader
    if name.startswith("Msg"):
        return MessageHeader
    return Memory64Header if four else Memory32Header


def _id(number: int) -> str:
    return f"{number >> 8:02x}:{number >> 3 & 0x1F:02x}.{number & 7}"


def enabled_runs(first_be: int, last_be: int, length: int) -> list[tuple[int, int]]:
    """Runs of enabled bytes of a request of ``length`` dwords, as offsets (start, end)."""
    enables = first_be | (last_be << 4 * (length - 1) if length > 1 else 0)
    if length > 2:
        enables |= (1 << 4 * (length - 1)) - (1 << 4)
    runs, start = [], 0
    while enables >> start:
        start += ((enables >> start) & -(enables >> start)).bit_length() - 1
        count = ((enables >> start) + 1 & ~(enables >> start)).bit_length() - 1
        runs.append((start, start + count))
        start += count
    return runs

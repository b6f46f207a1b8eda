"""Reads of the device configuration: several of them are one value of one instant.

A legacy driver may read a field of 8 bytes as eight bytes, and has no generation counter to see that
it has changed in between.  [virtio 1.4 §4.1.4.10]
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from virtio_spec import wire

__all__ = ["Snapshots", "field_bytes"]


def field_bytes(layout: Any, *names: str) -> range:
    """Byte offsets of neighbouring fields."""
    starts = [wire.field_offset(layout, name) for name in names]
    ends = [wire.field_offset(layout, name) + wire.field_size(layout, name) for name in names]
    if sum(end - start for start, end in zip(starts, ends, strict=True)) != max(ends) - min(starts):
        raise ValueError(f"{', '.join(names)} are not neighbours")
    return range(min(starts), max(ends))


@dataclass
class _Group:
    """Bytes that are one value."""

    bytes: range
    held: bytes = b""
    seen: set[int] = field(default_factory=set)

    def read(self, touched: set[int], content: bytes) -> bytes:
        """The value that ``touched`` bytes are taken from."""
        if not self.seen or self.seen & touched:
            self.held, self.seen = content[self.bytes.start : self.bytes.stop], set()
        self.seen |= touched
        if self.seen == set(self.bytes):
            self.seen = set()
        return self.held


class Snapshots:
    """A configuration, and what a driver that reads it in pieces has still to see of one instant.

    A read of bytes that were read before, or the first one, takes a new sample of their group; reads of
    its other bytes see the same sample, until all have been read.

    Parameters
    ----------
    layout
        The configuration.
    together
        Groups of names of fields; each other field is a group of its own.
    content
        The configuration's bytes as of now.
    hold_ns
        How long a sample is kept for a driver that reads nothing.
    """

    def __init__(
        self, layout: Any, together: Iterable[Iterable[str]], content: Callable[[], bytes], *, hold_ns: int
    ):
        self.content, self.hold_ns = content, hold_ns
        members: Any = layout.as_shape()
        groups = [tuple(names) for names in together]
        grouped = {name for names in groups for name in names}
        groups += [(name,) for name, _ in members if name not in grouped]
        self._groups = [_Group(field_bytes(layout, *names)) for names in groups]
        self._idle = 0

    def read(self, offset: int, enable: int) -> int:
        """The dword at ``offset``, of which the bytes of the mask ``enable`` are read; others are 0."""
        wanted = {offset + lane for lane in range(4) if enable >> lane & 1}
        content, result = self.content(), bytearray(4)
        self._idle = 0
        for group in self._groups:
            if touched := wanted & set(group.bytes):
                value = group.read(touched, content)
                for position in touched:
                    result[position - offset] = value[position - group.bytes.start]
        return int.from_bytes(result, "little")

    def forget(self) -> None:
        """The next read of anything takes a new sample."""
        for group in self._groups:
            group.seen = set()

    def elapse(self, ns: int) -> None:
        """Time passes without a read."""
        self._idle += ns
        if self._idle >= self.hold_ns:
            self.forget()

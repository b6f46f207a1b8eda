"""What an access means to virtio: fields of rings, registers and configuration space, by their names."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from virtio_spec import wire
from virtio_spec.layout import LEGACY_BAR
from virtio_spec.packed import EventFlags, EventSuppression, PackedDescriptor, PackedFlag
from virtio_spec.pci import ConfigOffset
from virtio_spec.split import Descriptor, DescriptorFlag, UsedElem
from virtio_spec.virtio_pci import CfgType, CommonCfg, LegacyHeader

from .memory import Area

__all__ = ["Structure", "of_config", "of_memory", "of_register"]

#: Fields that are told; of more, it is said how many.
MOST = 4
PACKED_FLAGS = wire.field_offset(PackedDescriptor, "flags")


class Structure(Protocol):
    """Where a virtio structure is; :class:`~.modern.VirtioCapability` is one."""

    @property
    def kind(self) -> int:
        """A :class:`~virtio_spec.virtio_pci.CfgType`."""
        ...

    @property
    def bar(self) -> int:
        """Its BAR."""
        ...

    @property
    def offset(self) -> int:
        """Where it starts there."""
        ...

    @property
    def length(self) -> int:
        """Its bytes."""
        ...


def of_memory(areas: Sequence[Area], address: int, data: bytes | int, before: bytes = b"") -> str:
    """Names of what an access to a queue touches, and their values; empty for other memory.

    ``data`` is what is read or written, or how many bytes if that is not known; ``before`` is what a write
    replaces.
    """
    length = data if isinstance(data, int) else len(data)
    for area in reversed(areas):
        if area.address < address + length and address < area.address + area.length:
            skipped = max(area.address - address, 0)
            known = b"" if isinstance(data, int) else data[skipped:]
            first = address + skipped - area.address
            told = list(_fields(area, first, min(length - skipped, area.length - first), known, before))
            more = [f"and {len(told) - MOST} more"] if len(told) > MOST else []
            return f"queue {area.queue}: " + ", ".join([*told[:MOST], *more])
    return ""


def of_register(structures: Sequence[Structure], bar: int, offset: int) -> str:
    """Name of a register of the device, or its place."""
    for found in structures:
        if found.bar == bar and found.offset <= offset < found.offset + found.length:
            inside = offset - found.offset
            if found.kind == CfgType.COMMON:
                return _field(CommonCfg, inside) or f"common + {inside:#x}"
            if found.kind in (CfgType.NOTIFY, CfgType.ISR):
                return {CfgType.NOTIFY: f"notify + {inside:#x}", CfgType.ISR: "ISR status"}[found.kind]
            if found.kind == CfgType.DEVICE:
                return f"device configuration + {inside:#x}"
    legacy = _field(LegacyHeader, offset) if bar == LEGACY_BAR else ""
    return legacy or f"BAR {bar} + {offset:#x}"


def of_config(offset: int) -> str:
    """Name of a register in configuration space, or its place."""
    names = {int(register): register.name for register in ConfigOffset}
    return f"configuration {names.get(offset, f'{offset:#x}')}"


def _field(layout: Any, offset: int) -> str:
    """The field of a structure in which an access starts."""
    for name, _ in layout.as_shape():
        start, size = wire.field_offset(layout, name), wire.field_size(layout, name)
        if start <= offset < start + size:
            return name if start == offset else f"{name} + {offset - start}"
    return ""


def _fields(area: Area, first: int, length: int, data: bytes, before: bytes) -> Iterator[str]:
    """Each field between ``first`` and ``first + length``; with its value if ``data`` holds all of it."""
    position = first
    while position < first + length:
        name, start, size = _at(area, position)
        if size < 1:
            return
        low = start - first
        value = data[low : low + size] if 0 <= low <= len(data) - size else b""
        old = before[low : low + size] if 0 <= low <= len(before) - size else b""
        if value:
            yield _told(area, name, value, old)
        elif data and area.name == "descriptor ring" and position == start + PACKED_FLAGS:
            flags = data[position - first :][:2]
            yield f"{name}.flags {_packed_flags(int.from_bytes(flags, 'little'))}"
        else:
            yield name
        position = start + size


def _at(area: Area, offset: int) -> tuple[str, int, int]:
    """The field at an offset: name, where it starts, and its size; size 0 behind the last one."""
    if area.name in ("descriptors", "descriptor ring"):
        return f"desc[{offset // 16}]", offset // 16 * 16, 16
    if area.name not in ("available ring", "used ring"):
        return area.name, 0, area.length
    short, element, event = (
        ("avail", 2, "used_event") if area.name == "available ring" else ("used", 8, "avail_event")
    )
    if offset < 4:
        return (f"{short}.flags", 0, 2) if offset < 2 else (f"{short}.idx", 2, 2)
    number, entries = (offset - 4) // element, (area.length - 6) // element
    if number < entries:
        return f"{short}[{number}]", 4 + element * number, element
    return event, 4 + element * entries, 2 if offset < area.length else 0


def _told(area: Area, name: str, value: bytes, old: bytes) -> str:
    """A field and what it holds."""
    if area.name == "descriptors":
        found = wire.unpack(Descriptor, value)
        flags = "|".join(flag.name or "" for flag in DescriptorFlag if found.flags & flag)
        following = f" next {found.next}" if found.flags & DescriptorFlag.NEXT else ""
        return f"{name} {found.addr:#x} len {found.len} {flags}{following}".rstrip()
    if area.name == "descriptor ring":
        found = wire.unpack(PackedDescriptor, value)
        return f"{name} {found.addr:#x} len {found.len} id {found.id} {_packed_flags(found.flags)}"
    if area.name.endswith("suppression"):
        found = wire.unpack(EventSuppression, value)
        where = f" at {found.off} wrap {found.wrap}" if found.flags == EventFlags.DESC else ""
        return f"{name} {EventFlags(found.flags).name}{where}"
    if name.startswith("used["):
        found = wire.unpack(UsedElem, value)
        return f"{name} id {found.id} len {found.len}"
    number = int.from_bytes(value, "little")
    if name.startswith("avail["):
        return f"{name} head {number}"
    was = f"{int.from_bytes(old, 'little')} → " if old and old != value else ""
    return f"{name} {was}{number}"


def _packed_flags(flags: int) -> str:
    return "|".join(flag.name or "" for flag in PackedFlag if flags & flag) or "0"

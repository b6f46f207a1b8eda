"""Pack and unpack a wire format declared as an :class:`amaranth.lib.data.Struct`.

Gateware uses the same declaration as a shape; Python uses this one pair of functions, so a layout
is written down once.  ``Struct.const`` silently truncates, therefore every value is range-checked
here.
"""

from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data

__all__ = ["field_offset", "field_size", "pack", "size", "unpack"]


@cache
def _layout(layout: Any) -> Any:
    found = layout if isinstance(layout, data.Layout) else layout.as_shape()
    if Shape.cast(found).width % 8:
        raise TypeError(f"{layout!r} is {Shape.cast(found).width} bits wide, not a whole number of bytes")
    return found


def size(layout: Any) -> int:
    """Size in bytes of the wire format ``layout``."""
    return Shape.cast(_layout(layout)).width // 8


def field_offset(layout: Any, name: str) -> int:
    """Byte offset of field ``name``; a field that starts inside a byte is a ``ValueError``."""
    bit = _layout(layout)[name].offset
    if bit % 8:
        raise ValueError(f"field {name!r} starts at bit {bit}, not on a byte")
    return bit // 8


def _inner(shape: Any) -> Any:
    """The layout behind a Struct class; any other shape unchanged."""
    inner = shape.as_shape() if hasattr(shape, "as_shape") else shape
    return inner if isinstance(inner, data.Layout) else shape


def field_size(layout: Any, name: str) -> int:
    """Size in bytes of field ``name``; a field that ends inside a byte is a ``ValueError``."""
    width = _layout(layout)[name].width
    if width % 8:
        raise ValueError(f"field {name!r} is {width} bits wide, not a whole number of bytes")
    return width // 8


def _to_int(shape: Any, value: Any, where: str) -> int:
    shape = _inner(shape)
    if isinstance(shape, data.ArrayLayout):
        width, length = Shape.cast(shape.elem_shape).width, shape.length
        if len(value) != length:
            raise ValueError(f"{where} takes {length} elements, not {len(value)}")
        return sum(
            _to_int(shape.elem_shape, item, f"{where}[{i}]") << (width * i) for i, item in enumerate(value)
        )
    if isinstance(shape, data.Layout):
        fields = value if isinstance(value, Mapping) else vars(value)
        members: Any = shape  # iterating a layout gives names and fields
        known = {name for name, _ in members}
        if unknown := set(fields) - known:
            raise ValueError(f"{where} has no field {sorted(unknown)[0]!r}")
        total = 0
        for name, field in members:
            if name in fields:
                total |= _to_int(field.shape, fields[name], f"{where}.{name}") << field.offset
        return total
    width, number = Shape.cast(shape).width, int(value)
    if not 0 <= number < 1 << width:
        raise ValueError(f"{where} is {number:#x}, which does not fit into {width} bits")
    return number


def _from_int(shape: Any, bits: int) -> Any:
    shape = _inner(shape)
    if isinstance(shape, data.ArrayLayout):
        width = Shape.cast(shape.elem_shape).width
        return [
            _from_int(shape.elem_shape, bits >> (width * i) & ((1 << width) - 1)) for i in range(shape.length)
        ]
    if isinstance(shape, data.Layout):
        fields: Any = shape  # iterating a layout gives names and fields
        return SimpleNamespace(
            **{
                name: _from_int(field.shape, bits >> field.offset & ((1 << field.width) - 1))
                for name, field in fields
            }
        )
    return bits


def pack(layout: Any, /, **fields: Any) -> bytes:
    """Little-endian bytes of ``layout``; fields not named are 0, a value out of range is a ``ValueError``."""
    name = getattr(layout, "__name__", "layout")
    return _to_int(_layout(layout), fields, name).to_bytes(size(layout), "little")


def unpack(layout: Any, raw: bytes | bytearray | memoryview, /) -> SimpleNamespace:
    """Fields of ``layout`` as attributes, from exactly ``size(layout)`` little-endian bytes."""
    if len(raw) != size(layout):
        raise ValueError(f"{getattr(layout, '__name__', 'layout')} is {size(layout)} bytes, not {len(raw)}")
    return _from_int(_layout(layout), int.from_bytes(raw, "little"))

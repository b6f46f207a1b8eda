"""Selection by one-hot signals, which takes half the logic of a chain of choices."""

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Value

__all__ = ["one_hot_mux"]


def one_hot_mux(select: Any, values: Iterable[Any]) -> Value:
    """The value whose bit of ``select`` is set: 0 without one, the bits of all if there are several."""
    cast = [Value.cast(value) for value in values]
    return reduce(or_, (value & bit.replicate(len(value)) for bit, value in zip(select, cast, strict=True)))

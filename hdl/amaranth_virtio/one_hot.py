"""Selection by one-hot signals, which takes half the logic of a chain of choices."""

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Value

__all__ = ["nearest_behind", "one_hot_mux"]


def one_hot_mux(select: Any, values: Iterable[Any]) -> Value:
    """The value whose bit of ``select`` is set: 0 without one, the bits of all if there are several."""
    cast = [Value.cast(value) for value in values]
    return reduce(or_, (value & bit.replicate(len(value)) for bit, value in zip(select, cast, strict=True)))


def nearest_behind(grant: Any, offers: Any) -> Any:
    """For a round robin: which of ``offers`` comes next behind that of ``grant``, one-hot.

    0 if there is none but perhaps that of ``grant`` itself.
    """
    count = len(grant)
    bits = []
    for number in range(count):
        wins = []
        for step in range(1, count):
            between = Cat(offers[(number - nearer) % count] for nearer in range(1, step))
            wins.append(grant[(number - step) % count] & ~between.any())
        bits.append(offers[number] & Cat(wins).any())
    return Cat(bits)

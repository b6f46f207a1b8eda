"""Amaranth's expressions remember their shape.

Amaranth 0.5 works a shape out from the leaves each time it is asked, and asks on every level of an
expression: that was a third of what a simulation takes to begin. Expressions never change, so the first
answer is good.
"""

from typing import Any

from amaranth.hdl import _ast

__all__ = ["remember_shapes"]


def remember_shapes() -> None:
    """From now on; a second call changes nothing."""
    for expression in (_ast.Concat, _ast.Operator, _ast.Part, _ast.Slice, _ast.SwitchValue):
        if not hasattr(expression.shape, "forgetful"):
            expression.shape = _remembering(expression.shape)


def _remembering(compute: Any) -> Any:
    def shape(self: Any) -> Any:
        try:
            return self._remembered_shape
        except AttributeError:
            self._remembered_shape = made = compute(self)
            return made

    shape.forgetful = compute
    return shape

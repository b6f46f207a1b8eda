"""Tokens for the chains in flight."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..chain import TOKEN
from .buffer import StreamBuffer
from .parameters import check_slots

__all__ = ["SlotPool"]


class SlotPool(wiring.Component):
    """Hand out tokens 0 to ``slots - 1``, each to one holder at a time.

    The pool fills itself in the first ``slots`` cycles after reset; none may be given back before.

    Parameters
    ----------
    slots : :class:`int`
        Number of tokens.

    Members
    -------
    free : :py:`Out(stream.Signature(8))`
        A token that nobody holds.
    release : :py:`In(stream.Signature(8, always_ready=True))`
        A token that its holder gives back.
    """

    free: Out(stream.Signature(TOKEN))
    release: In(stream.Signature(TOKEN, always_ready=True))

    def __init__(self, *, slots: int):
        self._slots = check_slots(slots)
        super().__init__()

    @property
    def slots(self) -> int:
        """Number of tokens."""
        return self._slots

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.pool = pool = StreamBuffer(shape=TOKEN, depth=self.slots)
        wiring.connect(m, pool.o, wiring.flipped(self.free))

        filled = Signal(range(self.slots + 1))
        with m.If(filled != self.slots):
            m.d.sync += filled.eq(filled + 1)
            m.d.comb += [pool.i.payload.eq(filled), pool.i.valid.eq(1)]
        with m.Else():
            m.d.comb += [pool.i.payload.eq(self.release.payload), pool.i.valid.eq(self.release.valid)]
        return m

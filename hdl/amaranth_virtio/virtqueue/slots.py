"""Tokens for the chains in flight."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..chain import TOKEN
from .parameters import check_slots

__all__ = ["SlotPool"]


class SlotPool(wiring.Component):
    """Hand out tokens 0 to ``slots - 1``, each to one chain at a time.

    A token is free again when its chain was used and its segments are not being read any more: a
    device may complete a chain before all of its readable bytes were fetched.

    Parameters
    ----------
    slots : :class:`int`
        Number of tokens.

    Members
    -------
    free : :py:`Out(stream.Signature(8))`
        A token for a new chain.
    release : :py:`In(stream.Signature(8, always_ready=True))`
        The token's chain was used.
    reading, read : :py:`In(stream.Signature(8, always_ready=True))`
        From the one to the other, the segments of the token's chain are needed.
    """

    free: Out(stream.Signature(TOKEN))
    release: In(stream.Signature(TOKEN, always_ready=True))
    reading: In(stream.Signature(TOKEN, always_ready=True))
    read: In(stream.Signature(TOKEN, always_ready=True))

    def __init__(self, *, slots: int):
        self.slots = check_slots(slots)
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        """Build the bitmaps and the choice of the lowest free token."""
        m = Module()
        held = Signal(self.slots)  # from ``free`` to ``release``
        needed = Signal(self.slots)  # from ``reading`` to ``read``

        with m.If(self.release.valid):
            m.d.sync += held.bit_select(self.release.payload, 1).eq(0)
        with m.If(self.reading.valid):
            m.d.sync += needed.bit_select(self.reading.payload, 1).eq(1)
        with m.If(self.read.valid):
            m.d.sync += needed.bit_select(self.read.payload, 1).eq(0)

        busy = held | needed
        lowest = Signal(TOKEN)
        for index in reversed(range(self.slots)):
            with m.If(~busy[index]):
                m.d.comb += lowest.eq(index)
        with m.If(self.free.ready):
            m.d.sync += self.free.valid.eq(0)
        with m.If((~self.free.valid | self.free.ready) & ~busy.all()):
            m.d.sync += [
                self.free.valid.eq(1),
                self.free.payload.eq(lowest),
                held.bit_select(lowest, 1).eq(1),
            ]
        return m

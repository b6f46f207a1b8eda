"""Who takes is not heard by who makes in the same cycle."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Skid"]


class Skid(wiring.Component):
    """Cut the path of a stream's ``ready``; one payload per cycle, on offer in the cycle in which it comes.

    What comes and is not taken at once steps aside into a register, so ``i.ready`` is a register: nothing
    is aside. For sources whose payload comes out of registers, as a multiplexer is all that is in its way.

    Parameters
    ----------
    shape
        Shape of the payload.

    Members
    -------
    i : :py:`In(stream.Signature(shape))`
    o : :py:`Out(stream.Signature(shape))`
    """

    def __init__(self, *, shape: Any):
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: Any) -> Module:
        """Build the register beside the path."""
        m = Module()
        held, aside = Signal(), Signal.like(self.i.payload)
        m.d.comb += [
            self.i.ready.eq(~held),
            self.o.valid.eq(held | self.i.valid),
            self.o.payload.eq(Mux(held, aside, self.i.payload)),
        ]
        m.d.sync += held.eq(self.o.valid & ~self.o.ready)
        with m.If(~held):
            m.d.sync += aside.eq(self.i.payload)
        return m

"""Many packet streams onto one."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..tlp import TlpSignature, check_width

__all__ = ["PacketArbiter"]


class PacketArbiter(wiring.Component):
    """Round robin by packet.

    Combinational and without a buffer: an input's beat is acknowledged in the cycle in which the
    output takes it, so what was acknowledged is in order with everything acknowledged before. Once
    a beat is offered its input keeps the grant to the packet's end.

    Parameters
    ----------
    width : :class:`int`
        64, 128, 256 or 512.
    inputs : :class:`int`
        Number of inputs, at least 1.

    Members
    -------
    i : :py:`In(TlpSignature(width)).array(inputs)`
        Packets.
    o : :py:`Out(TlpSignature(width))`
        All of them.
    """

    def __init__(self, *, width: int, inputs: int):
        self.width = check_width(width)
        if not isinstance(inputs, int) or inputs < 1:
            raise ValueError(f"an arbiter has at least one input, not {inputs!r}")
        self.inputs = inputs
        super().__init__({"i": In(TlpSignature(width)).array(inputs), "o": Out(TlpSignature(width))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        granted = Signal(range(self.inputs))
        inside = Signal()  # a beat of the granted input's packet was offered, its end not yet taken
        current = Signal.like(granted)

        m.d.comb += current.eq(granted)
        with m.If(~inside), m.Switch(granted):
            for last in range(self.inputs):
                with m.Case(last):
                    # The nearest behind the last one wins, so it is assigned last.
                    for step in reversed(range(1, self.inputs + 1)):
                        number = (last + step) % self.inputs
                        with m.If(self.i[number].valid):
                            m.d.comb += current.eq(number)

        with m.Switch(current):
            for number in range(self.inputs):
                with m.Case(number):
                    m.d.comb += [
                        self.o.valid.eq(self.i[number].valid),
                        self.o.payload.eq(self.i[number].payload),
                        self.i[number].ready.eq(self.o.ready),
                    ]
        with m.If(self.o.valid):
            m.d.sync += [granted.eq(current), inside.eq(~(self.o.ready & self.o.payload.last))]
        return m

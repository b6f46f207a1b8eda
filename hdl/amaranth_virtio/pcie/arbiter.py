"""Many packet streams onto one."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..one_hot import nearest_behind, one_hot_mux

__all__ = ["PacketArbiter"]


class PacketArbiter(wiring.Component):
    """Round robin by packet.

    Without a buffer: an input's beat is acknowledged in the cycle in which the output takes it, so
    what was acknowledged is in order with everything acknowledged before. Once a beat is offered its
    input keeps the grant to the packet's end.

    The grant is a register. It moves while a packet's last beat is taken, so that the packets of inputs
    that wait follow each other without a gap; a packet that comes while nothing is offered waits one cycle
    for it, unless its input had the grant last.

    Parameters
    ----------
    shape : shape
        Of a beat; has a ``last``.
    inputs : :class:`int`
        Number of inputs, at least 1.

    Members
    -------
    i : :py:`In(stream.Signature(shape)).array(inputs)`
        Packets.
    o : :py:`Out(stream.Signature(shape))`
        All of them.
    """

    def __init__(self, *, shape: Any, inputs: int):
        self.shape = shape
        if not isinstance(inputs, int) or inputs < 1:
            raise ValueError(f"an arbiter has at least one input, not {inputs!r}")
        self.inputs = inputs
        super().__init__({"i": In(stream.Signature(shape)).array(inputs), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        grant = Signal(self.inputs, init=1)  # one-hot
        inside = Signal()  # a beat was taken, and the packet's last was not
        valid = Cat(port.valid for port in self.i)
        m.d.comb += [
            self.o.valid.eq((valid & grant).any()),
            self.o.payload.eq(one_hot_mux(grant, [port.payload for port in self.i])),
            Cat(port.ready for port in self.i).eq(grant & self.o.ready.replicate(self.inputs)),
        ]
        taken = self.o.valid & self.o.ready
        with m.If(taken):
            m.d.sync += inside.eq(~self.o.payload.last)
        # What the input with the grant offers meanwhile is the packet that ends.
        following = nearest_behind(grant, valid)
        with m.If(following.any() & ((taken & self.o.payload.last) | (~self.o.valid & ~inside))):
            m.d.sync += grant.eq(following)
        return m

"""What the network device writes into chains."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.net import ACK_ERR

from ..chain import writable_layout
from ..rings.fifo import Fifo
from .net_layout import CompletedChain

__all__ = ["NetCompletion"]

DEPTH = 16


class NetCompletion(wiring.Component):
    """Join received frames, and chains that are only completed. Reset is that of the clock domain.

    Parameters
    ----------
    width : :class:`int`
        Of a beat in bits.

    Members
    -------
    completed : :py:`In(stream of CompletedChain)`
        Ready does not depend on what is offered; an offer that waits may be replaced.
    frame : :py:`In(stream of writable_layout(width))`
    writable : :py:`Out(stream of writable_layout(width))`
    hold : :py:`Out(1)`
        The payload of ``frame`` must stay as it is, even if it is not valid: its lanes that do not count are
        on offer.
    """

    completed: Any
    frame: Any
    writable: Any
    hold: Any

    def __init__(self, *, width: int):
        self.width = width
        beats = stream.Signature(writable_layout(width))
        super().__init__(
            {
                "completed": In(stream.Signature(CompletedChain)),
                "frame": In(beats),
                "writable": Out(beats),
                "hold": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build a FIFO, and the choice, which stays the same within a chain."""
        m = Module()
        m.submodules.fifo = fifo = Fifo(shape=CompletedChain, depth=DEPTH)
        held = Signal(range(DEPTH + 1))
        begun = Signal()  # a chain's beats are on their way, or offered
        single = Signal()
        moves = Signal()
        o = self.writable
        m.d.comb += [
            self.completed.ready.eq(held != DEPTH),
            fifo.i.valid.eq(self.completed.valid & self.completed.ready),
            fifo.i.payload.eq(self.completed.payload),
            single.eq(fifo.o.valid & ~begun),
            moves.eq(o.valid & o.ready),
            o.valid.eq(single | self.frame.valid),
            self.hold.eq(single & ~o.ready),
            fifo.o.ready.eq(single & o.ready),
            self.frame.ready.eq(~single & o.ready),
            o.payload.eq(self.frame.payload),
        ]
        done = fifo.o.payload
        with m.If(single):
            m.d.comb += [
                o.payload.token.eq(done.token),
                o.payload.data[:8].eq(done.error * ACK_ERR),
                o.payload.count.eq(done.acknowledge),
                o.payload.last.eq(1),
                o.payload.more.eq(0),
            ]
        m.d.sync += held.eq(held + fifo.i.valid - fifo.o.ready)
        with m.If(self.frame.valid & ~single):
            m.d.sync += begun.eq(~(moves & self.frame.payload.last))
        return m

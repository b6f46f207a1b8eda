"""Which queues are to be looked at."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..chain import QUEUE
from .buffer import StreamBuffer
from .parameters import check_queues

__all__ = ["KickQueue"]


class KickQueue(wiring.Component):
    """Line up kicked queues, each at most once, in the order of their kicks.

    A queue leaves the line when ``queue`` is taken; a kick from the next cycle on lines it up again,
    so whoever looks at the ring after taking ``queue`` misses nothing. The order is fair: a queue that
    still has work goes to the end of the line through ``again``. Latency 2 cycles.

    Parameters
    ----------
    queues : :class:`int`
        Number of virtqueues. A kick for a queue beyond is dropped.

    Members
    -------
    kick : :py:`In(stream.Signature(16, always_ready=True))`
        The driver's notification.
    again : :py:`In(stream.Signature(16))`
        Queue that is to be looked at again.
    queue : :py:`Out(stream.Signature(16))`
        Next queue to look at.
    """

    kick: In(stream.Signature(QUEUE, always_ready=True))
    again: In(stream.Signature(QUEUE))
    queue: Out(stream.Signature(QUEUE))

    def __init__(self, *, queues: int):
        self.queues = check_queues(queues)
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        """Build the line and the bits that say who stands in it."""
        m = Module()
        m.submodules.line = line = StreamBuffer(shape=QUEUE, depth=self.queues)
        wiring.connect(m, line.o, wiring.flipped(self.queue))

        waiting = Signal(self.queues)
        entering = Signal(QUEUE)
        offered = Signal()
        m.d.comb += [
            # A kick cannot wait, so it goes first.
            entering.eq(self.kick.payload),
            offered.eq(self.kick.valid & (self.kick.payload < self.queues)),
            self.again.ready.eq(~self.kick.valid),
        ]
        with m.If(~self.kick.valid):
            m.d.comb += [entering.eq(self.again.payload), offered.eq(self.again.valid)]

        with m.If(self.queue.valid & self.queue.ready):
            m.d.sync += waiting.bit_select(self.queue.payload, 1).eq(0)
        m.d.comb += line.i.payload.eq(entering)
        with m.If(offered & ~waiting.bit_select(entering, 1)):
            m.d.comb += line.i.valid.eq(1)
            m.d.sync += waiting.bit_select(entering, 1).eq(1)
        return m

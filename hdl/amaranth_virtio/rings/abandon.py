"""The end of everything, where the reset of one queue would have none."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.layout import Cause

from ..chain import QUEUE
from .layout import ErrorReport

__all__ = ["Abandonment"]

#: Ticks, of which the first may be short.
PATIENCE = 5


class Abandonment(wiring.Component):
    """Reset the engine as a whole where it cannot end the reset of a queue.  [virtio 1.4 §2.6.1, §2.1.2]

    A queue whose reset was asked for is done when nothing of it is left anywhere, and what is left needs the
    bus, or an engine that goes on. So all chains of all queues are given up

    - if a queue is reset after an error: DEVICE_NEEDS_RESET told the driver that nothing is certain to end;
    - if a queue's reset waits for bus mastering for as long as a read for its completion. That is an error
      then, for the other queues lose what they had.

    From then on until the device is reset the engine rests, and resets of queues end.

    Members
    -------
    reset : :py:`In(1)`
        Reset of the device. The clock domain's does the same.
    retire : :py:`In(1)`, retire_queue : :py:`In(QUEUE)`
        A queue is being reset.
    master : :py:`In(1)`
        Bus mastering is on.
    tick : :py:`In(1)`
        Four of them per completion time-out.
    failed : :py:`In(1)`
        Strobe: the engine reported an error.
    idle : :py:`In(1)`, retired : :py:`In(1)`
        Of the engine.
    reset_engine : :py:`Out(1)`, ended : :py:`Out(1)`
        ``reset`` and ``retired``, as they have to be.
    error : :py:`Out(stream.Signature(ErrorReport, always_ready=True))`
        DMA_ERROR, with the queue.
    """

    reset: In(1)
    retire: In(1)
    retire_queue: In(QUEUE)
    master: In(1)
    tick: In(1)
    failed: In(1)
    idle: In(1)
    retired: In(1)
    reset_engine: Out(1)
    ended: Out(1)
    error: Out(stream.Signature(ErrorReport, always_ready=True))

    def elaborate(self, platform: Any) -> Module:
        """Build the count of ticks, and what stays until the device is reset."""
        m = Module()
        broken, over = Signal(), Signal()
        waited = Signal(range(PATIENCE + 1))
        late = waited == PATIENCE
        m.d.comb += [
            self.reset_engine.eq(self.reset | over),
            self.ended.eq(Mux(over, self.idle, self.retired)),
            self.error.valid.eq(self.retire & late & ~over & ~broken),
            self.error.payload.cause.eq(Cause.DMA_ERROR),
            self.error.payload.queue.eq(self.retire_queue),
        ]
        with m.If(~self.retire | self.master):
            m.d.sync += waited.eq(0)
        with m.Elif(self.tick & ~late):
            m.d.sync += waited.eq(waited + 1)
        with m.If(self.failed):
            m.d.sync += broken.eq(1)
        with m.If(self.retire & (broken | late)):
            m.d.sync += over.eq(1)
        with m.If(self.reset):
            m.d.sync += [broken.eq(0), over.eq(0)]
        return m

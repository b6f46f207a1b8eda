"""Resets of single queues."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..chain import QUEUE
from ..rings.fifo import Fifo
from .queues import check_queues

__all__ = ["QueueResets"]


class QueueResets(wiring.Component):
    """Carry out one queue reset after another.  [virtio 1.4 §2.6.1, §4.1.4.3]

    Reset is that of the clock domain: a reset of the whole device makes those of queues superfluous.

    Parameters
    ----------
    queues : :class:`int`
        Number of queues, 1 to 256.

    Members
    -------
    request : :py:`In(stream.Signature(QUEUE, always_ready=True))`
        Queues that the driver resets; none that is waiting already.
    retire : :py:`Out(1)`, retire_queue : :py:`Out(QUEUE)`, retired : :py:`In(1)`
        From ``retire`` on nothing new begins on ``retire_queue``. ``retired``, looked at from the second
        cycle of ``retire`` on, says that nothing of it is left anywhere.
    clear : :py:`Out(1)`, cleared : :py:`In(1)`
        The context of ``retire_queue`` is to be cleared, until ``cleared``; ``retire`` is high yet.
    """

    def __init__(self, *, queues: int):
        check_queues(queues, 2)
        self.queues = queues
        super().__init__(
            {
                "request": In(stream.Signature(QUEUE, always_ready=True)),
                "retire": Out(1),
                "retire_queue": Out(QUEUE),
                "retired": In(1),
                "clear": Out(1),
                "cleared": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the line of queues and the FSM that serves its head."""
        m = Module()
        m.submodules.line = line = Fifo(shape=QUEUE, depth=self.queues)
        m.d.comb += [
            line.i.payload.eq(self.request.payload),
            line.i.valid.eq(self.request.valid),
            self.retire_queue.eq(line.o.payload),
        ]
        done = Signal()
        m.d.sync += done.eq(self.clear & self.cleared)
        with m.FSM():
            with m.State("IDLE"):
                with m.If(line.o.valid):
                    m.next = "RAISE"
            with m.State("RAISE"):  # all parts see ``retire`` for the first time
                m.d.comb += self.retire.eq(1)
                m.next = "RETIRE"
            with m.State("RETIRE"):
                m.d.comb += self.retire.eq(1)
                with m.If(self.retired):
                    m.next = "CLEAR"
            with m.State("CLEAR"):
                m.d.comb += [self.retire.eq(1), self.clear.eq(~done), line.o.ready.eq(done)]
                with m.If(done):
                    m.next = "IDLE"
        return m

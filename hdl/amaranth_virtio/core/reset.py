"""The one way a reset goes."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ResetSequencer"]


class ResetSequencer(wiring.Component):
    """Drain, then clear, then tell.  [virtio 1.4 §2.4, §4.1.4.3.1]

    ``reset`` rises in the cycle after the request. From the second cycle with it on ``idle`` is
    looked at; then the queue contexts are swept, then ``clear`` falls together with ``reset``. The
    sequencer starts with a sweep, so that a reset of the clock domain clears the contexts too.

    Members
    -------
    request : :py:`In(1)`
        Strobe: the driver wrote 0 to status.
    function_reset : :py:`In(1)`
        FLR or the like; high until ``function_reset_done``.
    function_reset_done : :py:`Out(1)`
        Strobe in the last cycle of the reset.
    reset : :py:`Out(1)`
        A reset is under way.
    idle : :py:`In(1)`
        Nothing of before the reset can have an effect any more.
    sweep : :py:`Out(1)`, swept : :py:`In(1)`
        Queue contexts are to be cleared, until ``swept``.
    clear : :py:`Out(1)`
        Strobe in the last cycle: registers go to their initial values.
    """

    request: In(1)
    function_reset: In(1)
    function_reset_done: Out(1)
    reset: Out(1)
    idle: In(1)
    sweep: Out(1)
    swept: In(1)
    clear: Out(1)

    def elaborate(self, platform):
        m = Module()
        with m.FSM(init="SWEEP") as fsm:
            with m.State("READY"), m.If(self.request | self.function_reset):
                m.next = "RAISE"
            with m.State("RAISE"):  # clients see ``reset`` for the first time
                m.next = "DRAIN"
            with m.State("DRAIN"), m.If(self.idle):
                m.next = "SWEEP"
            with m.State("SWEEP"):
                m.d.comb += self.sweep.eq(1)
                with m.If(self.swept):
                    m.next = "CLEAR"
            with m.State("CLEAR"):
                m.d.comb += [self.clear.eq(1), self.function_reset_done.eq(self.function_reset)]
                m.next = "READY"
        m.d.comb += self.reset.eq(~fsm.ongoing("READY"))
        return m

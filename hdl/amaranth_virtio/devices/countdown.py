"""A time-out."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Countdown"]


class Countdown(wiring.Component):
    """Tell when a number of cycles is over.

    Parameters
    ----------
    limit : :class:`int`
        Most cycles, at least 1.

    Members
    -------
    start : :py:`In(1)`, cycles : :py:`In(range(limit + 1))`
        Begin to count 1 or more ``cycles``, also if it counts already.
    stop : :py:`In(1)`
        Count no more; a ``start`` in the same cycle wins.
    expired : :py:`Out(1)`
        High from ``cycles`` cycles after ``start`` until the cycle of the next ``start`` or ``stop``.
    """

    def __init__(self, *, limit: int):
        if limit < 1:
            raise ValueError(f"limit must be 1 or more cycles, not {limit}")
        self.limit = limit
        super().__init__({"start": In(1), "cycles": In(range(limit + 1)), "stop": In(1), "expired": Out(1)})

    def elaborate(self, platform):
        m = Module()
        running = Signal()
        left = Signal(range(-2, self.limit))
        # The sign alone tells the end, so that no comparison of the whole word is needed.
        over = left[-1]
        m.d.comb += self.expired.eq(running & over)
        with m.If(self.start):
            m.d.sync += [running.eq(1), left.eq(self.cycles - 2)]
        with m.Elif(self.stop):
            m.d.sync += running.eq(0)
        with m.Elif(~over):
            m.d.sync += left.eq(left - 1)
        return m

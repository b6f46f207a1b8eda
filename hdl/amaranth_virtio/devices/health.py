"""Health tests of a noise source.  [NIST SP 800-90B §4.4]"""

from math import ceil, comb

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .commit_fifo import CommitFifo

__all__ = ["STARTUP", "WINDOW", "HealthMonitor", "proportion_cutoff", "repetition_cutoff"]

WINDOW = 512  # samples of an adaptive proportion test, for a source that is not binary
STARTUP = 1024  # samples of the start-up test
FALSE_POSITIVE_BITS = 20  # a good source fails a test with probability 2**-20


def repetition_cutoff(min_entropy: float) -> int:
    """Equal samples in a row at which the repetition count test fails.  [§4.4.1]"""
    return 1 + ceil(FALSE_POSITIVE_BITS / min_entropy)


def proportion_cutoff(min_entropy: float) -> int:
    """Samples in a window equal to its first at which the adaptive proportion test fails.  [§4.4.2]"""
    probability = 2.0**-min_entropy
    tail = 0.0
    count = WINDOW
    while True:  # down from the top, so that small terms are added first
        tail += comb(WINDOW, count) * probability**count * (1 - probability) ** (WINDOW - count)
        if tail > 2.0**-FALSE_POSITIVE_BITS:
            return count + 1
        count -= 1


class HealthMonitor(wiring.Component):
    """Pass the samples of a noise source on only while its health tests succeed.

    Every sample goes through the repetition count test and the adaptive proportion test. A sample is
    held until the window it lies in has ended well, so that none leaves that stood beside a failure.
    When a test fails, everything held is dropped, and the start-up test has to succeed anew.

    One sample per cycle. The samples of a start-up test are never passed on.

    Parameters
    ----------
    min_entropy : :class:`float`
        Assessed min-entropy of a sample in bits, more than 0 and up to 8.

    Members
    -------
    i : :py:`In(stream.Signature(8))`
        Samples of the source.
    o : :py:`Out(stream.Signature(8))`
        Good samples. One that waits here is withdrawn when a test fails: the one exception to the
        rule that an offered payload stays.
    alarm : :py:`Out(1)`
        A test has failed, and no start-up test has succeeded since.
    """

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))
    alarm: Out(1)

    def __init__(self, *, min_entropy: float):
        if not 0 < min_entropy <= 8:
            raise ValueError(f"min_entropy must be more than 0 and at most 8 bits, not {min_entropy}")
        self.min_entropy = min_entropy
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.held = held = CommitFifo(shape=8, depth=2 * WINDOW)
        repetitions = repetition_cutoff(self.min_entropy)
        proportion = proportion_cutoff(self.min_entropy)

        taken = Signal()
        failure = Signal()
        passing = Signal()
        m.d.comb += [
            self.i.ready.eq(held.i.ready),
            taken.eq(self.i.valid & self.i.ready),
            held.i.p.eq(self.i.p),
            held.i.valid.eq(self.i.valid & passing),
            held.clear.eq(failure),
        ]
        wiring.connect(m, held.o, wiring.flipped(self.o))

        last = Signal(8)
        run = Signal(range(repetitions + 1))  # 0 before the first sample
        same = Signal.like(run)
        m.d.comb += same.eq(1)
        with m.If((self.i.p == last) & (run != 0)):
            m.d.comb += same.eq(run + 1)

        first = Signal(8)
        position = Signal(range(WINDOW))
        count = Signal(range(proportion + 1))
        equal = Signal.like(count)
        with m.If(position == 0):
            m.d.comb += equal.eq(1)
        with m.Else():
            m.d.comb += equal.eq(count + (self.i.p == first))

        windows = Signal(range(STARTUP // WINDOW))  # that the start-up test has behind it
        m.d.comb += failure.eq(taken & ((same == repetitions) | (equal == proportion)))
        with m.If(failure):
            m.d.sync += [run.eq(0), position.eq(0), windows.eq(0), passing.eq(0), self.alarm.eq(1)]
        with m.Elif(taken):
            m.d.sync += [last.eq(self.i.p), run.eq(same), count.eq(equal), position.eq(position + 1)]
            with m.If(position == 0):
                m.d.sync += first.eq(self.i.p)
            with m.If(position == WINDOW - 1):
                m.d.comb += held.commit.eq(passing)
                with m.If(~passing):
                    m.d.sync += windows.eq(windows + 1)
                    with m.If(windows == STARTUP // WINDOW - 1):
                        m.d.sync += [passing.eq(1), self.alarm.eq(0)]
        return m

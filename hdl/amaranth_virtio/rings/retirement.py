"""Forgetting one queue while the others go on."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..chain import QUEUE
from .parameters import check_queues
from .poll_layout import RetireSignature

__all__ = ["Retirement"]

READS = 511  # outstanding; a channel has at most 256 tags


class Retirement(wiring.Component):
    """Find the moment in which the poller holds nothing of a queue any more.  [virtio 1.4 §2.6.1]

    While ``retire`` is high, the poller lays the queue to sleep when it comes by. Once it was seen at rest,
    so that no read starts, all reads that are under way then have to end; if it is at rest then, its state
    is cleared in one cycle.

    Parameters
    ----------
    queues : :class:`int`
        Number of virtqueues.

    Members
    -------
    retire : :py:`In(1)`, retire_queue : :py:`In(QUEUE)`
        Held until ``forgotten``, and then as long as anybody else holds something of the queue.
    forgotten : :py:`Out(1)`
        Stays high with ``retire``.
    poller : :py:`In(RetireSignature(queues))`
    started, ended : :py:`In(1)`
        A read of any queue was started, has ended.
    busy : :py:`In(1)`
        A head or item of the queue is on offer, or memories cannot be cleared in this cycle.
    clear : :py:`Out(1)`
        Clear the queue's state.
    """

    def __init__(self, *, queues: int):
        self.queues = check_queues(queues)
        super().__init__(
            {
                "retire": In(1),
                "retire_queue": In(QUEUE),
                "forgotten": Out(1),
                "poller": In(RetireSignature(queues=queues)),
                "started": In(1),
                "ended": In(1),
                "busy": In(1),
                "clear": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the counters of reads."""
        m = Module()
        reads, left, seen = Signal(range(READS + 1)), Signal(range(READS + 1)), Signal()
        following = Signal.like(reads)
        started, ended = Signal(), Signal()  # late, for the sake of timing
        m.d.sync += [started.eq(self.started), ended.eq(self.ended), reads.eq(following)]
        m.d.comb += [
            following.eq(reads + started - ended),
            self.poller.queue.eq(self.retire_queue),
            self.poller.active.eq(self.retire),
            self.poller.check.eq(self.retire & ~self.forgotten),
            self.clear.eq(self.poller.check & self.poller.rests & seen & (left == 0) & ~self.busy),
        ]
        with m.If(~seen):
            # Reads end in the order of their start.
            m.d.sync += [left.eq(following), seen.eq(self.poller.rests & self.poller.check)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - ended)
        with m.If(~self.retire):
            m.d.sync += [seen.eq(0), self.forgotten.eq(0)]
        with m.Elif(self.clear):
            m.d.sync += self.forgotten.eq(1)
        return m

"""Used buffer notifications, as the driver's event structure asks for them."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.layout import Cause
from virtio_spec.packed import EventFlags, EventSuppression
from virtio_spec.split import AvailFlags

from ..chain import QUEUE
from ..dma.layout import read_data_layout
from ..tlp import check_width
from .layout import ErrorReport
from .options import RingFeatures, RingOptions
from .parameters import check_queues

__all__ = ["UNDER_WAY", "Notifier", "crossed", "event_context"]

#: Event structures that may be read at a time.
UNDER_WAY = 63


def event_context(queues: int, options: RingOptions) -> data.StructLayout:
    """Context of the reads of event structures: whose it is, and where the ring was before and after.

    ``old`` and ``new`` (only with EVENT_IDX): ``used.idx`` or, in a packed ring, the next used descriptor's
    place in bits 14:0 and the wrap counter there in bit 15.
    """
    indices = {"old": 16, "new": 16} if options.event_idx else {}
    return data.StructLayout({"queue": max(1, (queues - 1).bit_length()), **indices})


def crossed(event: Any, old: Any, new: Any) -> Any:
    """Whether ``event`` is one of the places from ``old`` up to, but without, ``new``.

    [virtio 1.4 §2.7.7.2, §2.8.14] A place is counted in bits 14:0; bit 15 flips with each lap. That is so
    for offset and wrap counter of packed rings, and for the indices of split ones, whose laps are 32768
    long. From ``old`` to ``new`` it is not more than a lap.
    """
    behind_old = (event[15] == old[15]) & (event[:15] >= old[:15])
    before_new = (event[15] == new[15]) & (event[:15] < new[:15])
    return Mux(old[15] == new[15], behind_old & before_new, behind_old | before_new)


class Notifier(wiring.Component):
    """Decide on each event structure that was read whether its queue's driver is interrupted.

    Two cycles from data to ``interrupt``; one structure per cycle.

    Parameters
    ----------
    width : :class:`int`
        Width of ``data`` in bits.
    queues : :class:`int`
        Number of virtqueues, 1 to 256.
    options : :class:`RingOptions`
        What there is logic for.

    Members
    -------
    features : :py:`In(RingFeatures)`
    data : :py:`In(stream.Signature(read_data_layout(width, event_context(queues, options))))`
        Split: ``avail.flags``, or ``used_event`` with EVENT_IDX. Packed: the driver's event suppression
        structure, at a multiple of 4.
    began : :py:`In(1)`
        Strobe: a read was requested.
    room : :py:`Out(1)`
        Less than :data:`UNDER_WAY` reads are under way.
    retire : :py:`In(1)`, retire_queue : :py:`In(QUEUE)`
        While high, this queue is not interrupted for.
    last : :py:`In(1)`
        Strobe: from now on, until ``retire`` ends, no read begins for ``retire_queue``.
    quiet : :py:`Out(1)`
        All reads that were under way at ``last`` have ended; no interrupt for ``retire_queue`` is offered.
    interrupt : :py:`Out(stream.Signature(QUEUE))`
    error : :py:`Out(stream.Signature(ErrorReport, always_ready=True))`
        DMA_ERROR: the structure could not be read; there is no interrupt then.
    """

    def __init__(self, *, width: int, queues: int, options: RingOptions):
        self.width = check_width(width)
        self.queues = check_queues(queues)
        self.options = options
        super().__init__(
            {
                "features": In(RingFeatures),
                "data": In(stream.Signature(read_data_layout(width, event_context(queues, options)))),
                "began": In(1),
                "room": Out(1),
                "retire": In(1),
                "retire_queue": In(QUEUE),
                "last": In(1),
                "quiet": Out(1),
                "interrupt": Out(stream.Signature(QUEUE)),
                "error": Out(stream.Signature(ErrorReport, always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build a register for what was read, one for the interrupt, and the count of reads."""
        m = Module()
        beat = self.data.payload
        word = Signal(EventSuppression)  # its first half is all there is of a split ring
        context = Signal(event_context(self.queues, self.options))
        valid, failed = Signal(), Signal()
        wanted, ends = Signal(), Signal()

        half = beat.data.word_select(beat.start[1:], 16)
        if self.options.packed:
            # Both halves: those of the dword, the one at ``start`` first.
            dword = beat.data.word_select(beat.start[2:], 32)
            half = dword.word_select(beat.start[1], 16)
        with m.If(self.data.ready):
            m.d.sync += [
                valid.eq(self.data.valid),
                failed.eq(beat.error),
                context.eq(beat.context),
                word.as_value()[:16].eq(half),
            ]
            if self.options.packed:
                m.d.sync += word.as_value()[16:].eq(dword[16:])

        m.d.comb += wanted.eq(self._wanted(word, context) & ~failed)
        with m.If(self.retire & (context.queue == self.retire_queue)):
            m.d.comb += wanted.eq(0)
        m.d.comb += [
            ends.eq(valid & (~wanted | ~self.interrupt.valid | self.interrupt.ready)),
            self.data.ready.eq(~valid | ends),
            self.error.valid.eq(valid & failed),
            self.error.payload.cause.eq(Cause.DMA_ERROR),
            self.error.payload.queue.eq(context.queue),
        ]
        with m.If(self.interrupt.ready):
            m.d.sync += self.interrupt.valid.eq(0)
        with m.If(ends & wanted):
            m.d.sync += [self.interrupt.valid.eq(1), self.interrupt.payload.eq(context.queue)]

        reads = Signal(range(UNDER_WAY + 1))
        before = Signal.like(reads)  # of those, the ones that began before ``last``
        m.d.comb += [
            self.room.eq(reads != UNDER_WAY),
            self.quiet.eq(
                (before == 0) & ~(self.interrupt.valid & (self.interrupt.payload == self.retire_queue))
            ),
        ]
        m.d.sync += reads.eq(reads + self.began - ends)
        with m.If(self.last):
            m.d.sync += before.eq(reads - ends)
        with m.Elif(ends & (before != 0)):
            m.d.sync += before.eq(before - 1)
        return m

    def _wanted(self, word: Any, context: Any) -> Any:
        """Whether the driver wants to hear of what was used, by the structure that was read."""
        event = word.as_value()[:16]
        wanted = (event & AvailFlags.NO_INTERRUPT) == 0
        if self.options.event_idx:
            cross = crossed(event, context.old, context.new)
            wanted = Mux(self.features.event_idx, cross, wanted)
        if self.options.packed:
            packed = word.flags != EventFlags.DISABLE
            if self.options.event_idx:
                packed &= (word.flags != EventFlags.DESC) | ~self.features.event_idx | cross
            wanted = Mux(self.features.packed, packed, wanted)
        return wanted

"""The available ring."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from virtio_spec.layout import Cause
from virtio_spec.split import AvailHeader, avail_ring_offset

from ..chain import QUEUE
from ..dma.layout import read_data_layout, read_request_layout
from ..tlp import check_width
from .kicks import KickQueue
from .layout import NO_CONTEXT, ErrorReport, Head, QueueLookup
from .parameters import check_queues

__all__ = ["AvailFetcher"]

BATCH = 32  # ring entries of one read: 64 bytes
IDX_OFFSET = data.Layout.cast(AvailHeader)["idx"].offset // 8


class AvailFetcher(wiring.Component):
    """Find out which chains the driver made available.  [virtio 1.4 §2.7.6, §2.7.13]

    For each kicked queue in turn: read ``avail.idx``, then up to 32 ring entries in one read, which
    never wraps around the ring. Heads follow at one per cycle. If more entries are available, the
    queue goes to the end of the line.

    A queue is only looked at while ``running``; kicks before are remembered. A kick for a queue that
    is not enabled is dropped. An error is reported once; then the component rests until it is
    reset. Reset is that of the clock domain; it clears the ring indices in one cycle per queue.

    Parameters
    ----------
    width : :class:`int`
        Width of ``data`` in bits.
    queues : :class:`int`
        Number of virtqueues.

    Members
    -------
    kick : :py:`In(stream.Signature(16, always_ready=True))`
        Queue numbers as the driver notifies them.
    running : :py:`In(1)`
        Chains may be fetched. While low, no read is started.
    lookup : :py:`Out(QueueLookup)`
        Queue contexts. ``size`` is a power of two.
    read, data
        Read channel for the available rings: ``Out(stream.Signature(read_request_layout(NO_CONTEXT)))`` and
        ``In(stream.Signature(read_data_layout(width, NO_CONTEXT)))``.
    head : :py:`Out(stream.Signature(Head))`
        Chains in ring order per queue; ``head`` is inside the descriptor table.
    error : :py:`Out(stream.Signature(ErrorReport, always_ready=True))`
        AVAIL_INDEX, HEAD_INDEX or DMA_ERROR; ``head`` is the ring entry in HEAD_INDEX, else 0.
    """

    def __init__(self, *, width: int, queues: int):
        self.width = check_width(width)
        self.queues = check_queues(queues)
        # Ring index of the next entry to fetch, by queue. Within reach of simulations, which would
        # else need 65536 chains to see it wrap.
        self.next_avail = Memory(shape=unsigned(16), depth=queues, init=[])
        self._stored = self.next_avail.read_port()
        self._store = self.next_avail.write_port()
        super().__init__(
            {
                "kick": In(stream.Signature(QUEUE, always_ready=True)),
                "running": In(1),
                "lookup": Out(QueueLookup),
                "read": Out(stream.Signature(read_request_layout(NO_CONTEXT))),
                "data": In(stream.Signature(read_data_layout(width, NO_CONTEXT))),
                "head": Out(stream.Signature(Head)),
                "error": Out(stream.Signature(ErrorReport, always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the FSM that serves one queue after another."""
        m = Module()
        m.submodules.kicks = kicks = KickQueue(queues=self.queues)
        wiring.connect(m, wiring.flipped(self.kick), kicks.kick)

        m.submodules.next_avail = self.next_avail
        stored, store = self._stored, self._store

        context = self.lookup.context
        queue = Signal(QUEUE)
        index = Signal(16)  # ring index of the next entry
        available = Signal(16)  # entries available from there on
        left = Signal(range(BATCH + 1))  # entries of the read under way
        words = self.width // 16
        lane = Signal(range(words))  # 16-bit lane of the next entry in its beat
        m.d.comb += [
            self.lookup.queue.eq(queue),
            stored.addr.eq(queue),
            store.addr.eq(queue),
            kicks.again.payload.eq(queue),
        ]

        # Alignment is the driver's duty [§2.7]; without bit 0 no word can lie across two beats.
        driver = Cat(Const(0, 1), context.driver[1:])
        # Entries are fetched in naturally aligned blocks, which do not wrap around the ring.
        block_mask = (context.size - 1)[: exact_log2(BATCH)]
        block_left = Signal(range(BATCH + 1))
        m.d.comb += block_left.eq(block_mask + 1 - (index & block_mask))

        word = Signal(16)
        found = Signal(16)  # bytes of avail.idx: it never lies across two beats
        m.d.comb += [
            word.eq(self.data.payload.data.word_select(lane, 16)),
            found.eq(self.data.payload.data.word_select(self.data.payload.start[1:], 16)),
        ]

        def fail(cause: Cause, head: Any = 0) -> None:
            m.d.sync += [
                self.error.valid.eq(1),
                self.error.payload.cause.eq(cause),
                self.error.payload.queue.eq(queue),
                self.error.payload.head.eq(head),
            ]
            m.next = "REST"

        m.d.sync += self.error.valid.eq(0)
        with m.If(self.head.ready):
            m.d.sync += self.head.valid.eq(0)

        with m.FSM():
            with m.State("CLEAR"):
                m.d.comb += store.en.eq(1)
                m.d.sync += queue.eq(queue + 1)
                with m.If(queue == self.queues - 1):
                    m.next = "SELECT"
            with m.State("SELECT"):
                m.d.comb += kicks.queue.ready.eq(self.running)
                m.d.sync += queue.eq(kicks.queue.payload)
                with m.If(self.running & kicks.queue.valid):
                    m.next = "LOOK_UP"
            with m.State("LOOK_UP"):
                m.next = "ADDRESS_INDEX"
            with m.State("ADDRESS_INDEX"):
                m.d.sync += [
                    index.eq(stored.data),
                    self.read.payload.address.eq(driver + IDX_OFFSET),
                    self.read.payload.length.eq(2),
                ]
                m.next = "SELECT"
                with m.If(context.enable & self.running):
                    m.d.sync += self.read.valid.eq(1)
                    m.next = "READ_INDEX"
            with m.State("READ_INDEX"):
                with m.If(self.read.ready):
                    m.d.sync += self.read.valid.eq(0)
                m.d.comb += self.data.ready.eq(1)
                m.d.sync += available.eq(found - index)
                with m.If(self.data.valid):
                    m.next = "CHECK_INDEX"
                    with m.If(self.data.payload.error):
                        fail(Cause.DMA_ERROR)
            with m.State("CHECK_INDEX"):
                m.d.sync += [
                    left.eq(Mux(available < block_left, available, block_left)),
                    self.read.payload.address.eq(
                        driver + avail_ring_offset(0) + Cat(Const(0, 1), index & (context.size - 1))
                    ),
                ]
                with m.If(available > context.size):
                    fail(Cause.AVAIL_INDEX)
                with m.Elif(available == 0):
                    m.next = "SELECT"
                with m.Else():
                    m.next = "ADDRESS_ENTRIES"
            with m.State("ADDRESS_ENTRIES"):
                m.d.sync += [
                    self.read.payload.length.eq(Cat(Const(0, 1), left)),
                    self.read.valid.eq(self.running),
                    lane.eq(self.read.payload.address[1:]),
                ]
                m.next = "SELECT"
                with m.If(self.running):
                    m.next = "READ_ENTRIES"
            with m.State("READ_ENTRIES"):
                with m.If(self.read.ready):
                    m.d.sync += self.read.valid.eq(0)
                with m.If(self.data.valid & self.data.payload.error):
                    fail(Cause.DMA_ERROR)
                with m.Elif(self.data.valid & (~self.head.valid | self.head.ready)):
                    m.d.comb += self.data.ready.eq((lane == words - 1) | (left == 1))
                    m.d.sync += [
                        self.head.valid.eq(1),
                        self.head.payload.queue.eq(queue),
                        self.head.payload.head.eq(word),
                        lane.eq(lane + 1),
                        index.eq(index + 1),
                        left.eq(left - 1),
                        available.eq(available - 1),
                    ]
                    with m.If(left == 1):
                        m.next = "STORE"
                    with m.If(word >= context.size):
                        m.d.sync += self.head.valid.eq(0)
                        fail(Cause.HEAD_INDEX, word)
            with m.State("STORE"):
                m.d.comb += [store.data.eq(index), store.en.eq(1)]
                m.next = "SELECT"
                with m.If(available != 0):
                    m.d.comb += kicks.again.valid.eq(1)
                    with m.If(~kicks.again.ready):
                        m.next = "STORE"
            with m.State("REST"):
                pass
        return m

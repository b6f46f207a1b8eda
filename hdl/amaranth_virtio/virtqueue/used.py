"""The used ring."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from virtio_spec.layout import Cause
from virtio_spec.split import AvailFlags, UsedElem, UsedHeader, used_ring_offset

from ..chain import QUEUE, TOKEN
from ..dma.layout import read_data_layout, read_request_layout, word_write_layout
from ..tlp import check_width
from .layout import ChainDone, ChainLookup, ErrorReport, QueueLookup
from .parameters import check_queues, check_slots

__all__ = ["UsedWriter"]

IDX_OFFSET = data.Layout.cast(UsedHeader)["idx"].offset // 8
ELEMENT_BYTES = data.Layout.cast(UsedElem).size // 8


class UsedWriter(wiring.Component):
    """Give completed chains back to the driver.  [virtio 1.4 §2.7.8, §2.7.14]

    For each completed chain in turn: write the used element, then ``used.idx``, then read
    ``avail.flags`` and, if the driver wants it, interrupt. The next chain's writes do not wait for
    the flags. The flags are read after ``used.idx`` was written, so in posted order they are as
    fresh as the driver's decision to sleep requires. A chain takes 7 cycles if nothing waits.

    Of a chain reported ``broken`` nothing is written. Reset is that of the clock domain; it clears
    the ring indices in one cycle per queue.

    Parameters
    ----------
    width : :class:`int`
        Width of ``data`` in bits.
    queues : :class:`int`
        Number of virtqueues.
    slots : :class:`int`
        Number of chains in flight.

    Members
    -------
    done : :py:`In(stream.Signature(ChainDone))`
        Chains whose data is written.
    broken : :py:`In(stream.Signature(8, always_ready=True))`
        Token of a chain that the driver must not see used; until reset.
    lookup : :py:`Out(QueueLookup)`
        Queue contexts. ``size`` is a power of two.
    chain : :py:`Out(ChainLookup)`
        Where the chain came from.
    write : :py:`Out(stream.Signature(word_write_layout))`
        Writes; taken means written, as far as posted order is concerned.
    read, data
        Read channel for the flags: ``Out(stream.Signature(read_request_layout(16)))`` and
        ``In(stream.Signature(read_data_layout(width, 16)))``; the context is the queue.
    release : :py:`Out(stream.Signature(8, always_ready=True))`
        Token that is free again.
    interrupt : :py:`Out(stream.Signature(16))`
        Queue whose used buffers the driver wants to hear of.
    error : :py:`Out(stream.Signature(ErrorReport, always_ready=True))`
        DMA_ERROR: the flags could not be read.
    """

    def __init__(self, *, width: int, queues: int, slots: int):
        self.width = check_width(width)
        self.queues = check_queues(queues)
        self.slots = check_slots(slots)
        # used.idx by queue. Within reach of simulations, which would else need 65536 chains to see
        # it wrap.
        self.used_idx = Memory(shape=unsigned(16), depth=queues, init=[])
        self._stored = self.used_idx.read_port()
        self._store = self.used_idx.write_port()
        super().__init__(
            {
                "done": In(stream.Signature(ChainDone)),
                "broken": In(stream.Signature(TOKEN, always_ready=True)),
                "lookup": Out(QueueLookup),
                "chain": Out(ChainLookup),
                "write": Out(stream.Signature(word_write_layout)),
                "read": Out(stream.Signature(read_request_layout(QUEUE))),
                "data": In(stream.Signature(read_data_layout(width, QUEUE))),
                "release": Out(stream.Signature(TOKEN, always_ready=True)),
                "interrupt": Out(stream.Signature(QUEUE)),
                "error": Out(stream.Signature(ErrorReport, always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the writer of the ring and, beside it, the path from flags to interrupts."""
        m = Module()
        self._write_ring(m)
        self._interrupt(m)
        return m

    def _write_ring(self, m: Module) -> None:
        m.submodules.used_idx = self.used_idx
        stored, store = self._stored, self._store

        done = Signal(ChainDone)
        broken = Signal(self.slots)
        sweep = Signal(range(self.queues))
        index = Signal(16)
        context = self.lookup.context
        record = self.chain.record
        # Alignment is the driver's duty [§2.7].
        device = Cat(Const(0, 2), context.device[2:])
        m.d.comb += [
            self.chain.token.eq(done.token),
            self.lookup.queue.eq(record.queue),
            stored.addr.eq(record.queue),
            store.addr.eq(record.queue),
            store.data.eq(index),
            self.release.payload.eq(done.token),
            self.read.payload.address.eq(Cat(Const(0, 1), context.driver[1:])),
            self.read.payload.length.eq(2),
            self.read.payload.context.eq(record.queue),
        ]
        with m.If(self.broken.valid):
            m.d.sync += broken.bit_select(self.broken.payload, 1).eq(1)

        with m.FSM():
            with m.State("CLEAR"):
                m.d.comb += [store.addr.eq(sweep), store.data.eq(0), store.en.eq(1)]
                m.d.sync += sweep.eq(sweep + 1)
                with m.If(sweep == self.queues - 1):
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.d.comb += self.done.ready.eq(1)
                m.d.sync += done.eq(self.done.payload)
                with m.If(self.done.valid & ~broken.bit_select(self.done.payload.token, 1)):
                    m.next = "LOOK_UP_CHAIN"
            with m.State("LOOK_UP_CHAIN"):
                m.next = "LOOK_UP_QUEUE"
            with m.State("LOOK_UP_QUEUE"):
                m.next = "ADDRESS"
            with m.State("ADDRESS"):
                m.d.sync += [
                    index.eq(stored.data + 1),
                    self.write.payload.address.eq(
                        device + used_ring_offset(0) + Cat(Const(0, 3), stored.data & (context.size - 1))
                    ),
                    self.write.payload.length.eq(ELEMENT_BYTES),
                    self.write.payload.data.eq(Cat(record.head, Const(0, 16), done.written)),
                    self.write.valid.eq(1),
                ]
                m.next = "ELEMENT"
            with m.State("ELEMENT"):
                with m.If(self.write.ready):
                    m.d.sync += [
                        self.write.payload.address.eq(device + IDX_OFFSET),
                        self.write.payload.length.eq(2),
                        self.write.payload.data.eq(index),
                    ]
                    m.next = "INDEX"
            with m.State("INDEX"):
                m.d.comb += store.en.eq(self.write.ready)
                with m.If(self.write.ready):
                    m.d.sync += self.write.valid.eq(0)
                    m.next = "FLAGS"
            with m.State("FLAGS"):
                # The token goes last: what its chain's record says is needed up to here.
                m.d.comb += [self.read.valid.eq(1), self.release.valid.eq(self.read.ready)]
                with m.If(self.read.ready):
                    m.next = "TAKE"

    def _interrupt(self, m: Module) -> None:
        beat = self.data.payload
        flags = beat.data.word_select(beat.start[1:], 16)
        wanted = ~beat.error & ((flags & AvailFlags.NO_INTERRUPT) == 0)
        m.d.comb += [
            self.interrupt.payload.eq(beat.context),
            self.interrupt.valid.eq(self.data.valid & wanted),
            self.data.ready.eq(self.interrupt.ready | ~wanted),
            self.error.valid.eq(self.data.valid & beat.error),
            self.error.payload.cause.eq(Cause.DMA_ERROR),
            self.error.payload.queue.eq(beat.context),
        ]

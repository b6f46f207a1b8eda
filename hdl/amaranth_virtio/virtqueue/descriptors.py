"""The descriptor table."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.layout import Cause
from virtio_spec.split import Descriptor, DescriptorFlag

from ..chain import TOKEN, Chain
from ..dma.layout import read_data_layout, read_request_layout
from ..tlp import check_width
from .layout import NO_CONTEXT, ChainWrite, ErrorReport, Head, QueueLookup, ReadableJob, SegmentWrite

__all__ = ["DescriptorFetcher"]

DESCRIPTOR_BYTES = data.Layout.cast(Descriptor).size // 8


class DescriptorFetcher(wiring.Component):
    """Fetch descriptor chains one after another and check each descriptor.  [virtio 1.4 §2.7.5]

    A chain goes to the device only after the whole of it passed; its segments are stored before. A
    descriptor takes the latency of its read and 3 cycles. Reserved flag bits are ignored. An error
    is reported once; then the component rests until it is reset. Reset is that of the clock domain.

    The ``next`` of a descriptor is followed only if NEXT is set and it is inside the table, and a
    chain has no more descriptors than the queue, so no read leaves the table and no walk is endless.

    Parameters
    ----------
    width : :class:`int`
        Width of ``data`` in bits.

    Members
    -------
    head : :py:`In(stream.Signature(Head))`
        Chains to fetch; ``head`` must be inside the table. One is taken when ``running``.
    slot : :py:`In(stream.Signature(8))`
        Tokens that are free; one is taken with each head.
    running : :py:`In(1)`
        Chains may be fetched. While low, no read is started and no chain is announced that was not.
    lookup : :py:`Out(QueueLookup)`
        Queue contexts. ``size`` is a power of two.
    read, data
        Read channel for the descriptor tables: ``Out(stream.Signature(read_request_layout(NO_CONTEXT)))`` and
        ``In(stream.Signature(read_data_layout(width, NO_CONTEXT)))``.
    segment : :py:`Out(stream.Signature(SegmentWrite, always_ready=True))`
        Segments, as they are found.
    record : :py:`Out(stream.Signature(ChainWrite, always_ready=True))`
        Chains that passed, before they are announced.
    chain : :py:`Out(stream.Signature(Chain))`
        Announcement to the device.
    job : :py:`Out(stream.Signature(ReadableJob))`
        Announcement to the fetcher of readable bytes, for a chain that has some; follows ``chain``.
    error : :py:`Out(stream.Signature(ErrorReport, always_ready=True))`
        NEXT_INDEX, CHAIN_LOOP, ZERO_LENGTH, READABLE_AFTER_WRITABLE, INDIRECT, TOTAL_LENGTH or
        DMA_ERROR; ``descriptor`` is the one that could not be accepted or read.
    """

    def __init__(self, *, width: int):
        self.width = check_width(width)
        super().__init__(
            {
                "head": In(stream.Signature(Head)),
                "slot": In(stream.Signature(TOKEN)),
                "running": In(1),
                "lookup": Out(QueueLookup),
                "read": Out(stream.Signature(read_request_layout(NO_CONTEXT))),
                "data": In(stream.Signature(read_data_layout(width, NO_CONTEXT))),
                "segment": Out(stream.Signature(SegmentWrite, always_ready=True)),
                "record": Out(stream.Signature(ChainWrite, always_ready=True)),
                "chain": Out(stream.Signature(Chain)),
                "job": Out(stream.Signature(ReadableJob)),
                "error": Out(stream.Signature(ErrorReport, always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the FSM that walks one chain after another."""
        m = Module()

        context = self.lookup.context
        head = Signal(Head)
        token = Signal(TOKEN)
        index = Signal(16)  # of the descriptor under way
        descriptor = Signal(Descriptor)
        writable = (descriptor.flags & DescriptorFlag.WRITE) != 0
        # Segments of the chain so far, and their bytes with one bit against overflow.
        segments = {
            direction: Signal(16, name=f"{direction}_segments") for direction in ("readable", "writable")
        }
        totals = {direction: Signal(33, name=f"{direction}_bytes") for direction in ("readable", "writable")}
        position = Signal(16)  # descriptors of the chain before this one

        m.d.comb += [
            self.lookup.queue.eq(head.queue),
            self.segment.payload.token.eq(token),
            self.segment.payload.writable.eq(writable),
            self.segment.payload.segment.address.eq(descriptor.addr),
            self.segment.payload.segment.length.eq(descriptor.len),
            self.record.payload.token.eq(token),
            self.record.payload.record.queue.eq(head.queue),
            self.record.payload.record.head.eq(head.head),
            self.record.payload.readable.eq(segments["readable"]),
            self.record.payload.writable.eq(segments["writable"]),
            self.chain.payload.token.eq(token),
            self.chain.payload.queue.eq(head.queue),
            self.chain.payload.readable.eq(totals["readable"]),
            self.chain.payload.writable.eq(totals["writable"]),
            self.job.payload.token.eq(token),
            self.job.payload.segments.eq(segments["readable"]),
        ]

        def fail(cause: Cause) -> None:
            m.d.sync += [
                self.error.valid.eq(1),
                self.error.payload.cause.eq(cause),
                self.error.payload.queue.eq(head.queue),
                self.error.payload.head.eq(head.head),
                self.error.payload.descriptor.eq(index),
            ]
            m.next = "REST"

        m.d.sync += self.error.valid.eq(0)

        with m.FSM():
            with m.State("TAKE"):
                take = self.running & self.head.valid & self.slot.valid
                m.d.comb += [self.head.ready.eq(take), self.slot.ready.eq(take)]
                m.d.sync += [
                    head.eq(self.head.payload),
                    token.eq(self.slot.payload),
                    index.eq(self.head.payload.head),
                    position.eq(0),
                    *(signal.eq(0) for signal in (*segments.values(), *totals.values())),
                ]
                with m.If(take):
                    m.next = "LOOK_UP"
            with m.State("LOOK_UP"):
                m.next = "ADDRESS"
            with m.State("ADDRESS"):
                # Alignment is the driver's duty [§2.7]; without the low bits no descriptor can lie
                # across two beats of 128 bits or more.
                m.d.sync += [
                    self.read.payload.address.eq(
                        Cat(Const(0, 4), context.desc[4:]) + Cat(Const(0, 4), index)
                    ),
                    self.read.payload.length.eq(DESCRIPTOR_BYTES),
                    self.read.valid.eq(self.running),
                ]
                with m.If(self.running):
                    m.next = "READ"
            with m.State("READ"):
                with m.If(self.read.ready):
                    m.d.sync += self.read.valid.eq(0)
                m.d.comb += self.data.ready.eq(1)
                with m.If(self.data.valid):
                    if self.width < 8 * DESCRIPTOR_BYTES:
                        m.d.sync += descriptor.eq(
                            Cat(descriptor.as_value()[self.width :], self.data.payload.data)
                        )
                    else:
                        part = self.data.payload.start[4:]
                        m.d.sync += descriptor.eq(
                            self.data.payload.data.word_select(part, 8 * DESCRIPTOR_BYTES)
                        )
                    with m.If(self.data.payload.error):
                        fail(Cause.DMA_ERROR)
                    with m.Elif(self.data.payload.last):
                        m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "STORE"
                with m.If((descriptor.flags & DescriptorFlag.INDIRECT) != 0):
                    fail(Cause.INDIRECT)
                with m.Elif(descriptor.len == 0):
                    fail(Cause.ZERO_LENGTH)
                with m.Elif(~writable & (segments["writable"] != 0)):
                    fail(Cause.READABLE_AFTER_WRITABLE)
                for direction, chosen in (("readable", ~writable), ("writable", writable)):
                    with m.If(chosen):
                        m.d.comb += self.segment.payload.index.eq(segments[direction])
                        m.d.sync += [
                            segments[direction].eq(segments[direction] + 1),
                            totals[direction].eq(totals[direction] + descriptor.len),
                        ]
                m.d.comb += self.segment.valid.eq(1)
                m.d.sync += position.eq(position + 1)
            with m.State("STORE"):
                m.d.comb += self.record.valid.eq(1)
                with m.If(totals["readable"][32] | totals["writable"][32]):
                    fail(Cause.TOTAL_LENGTH)
                with m.Elif((descriptor.flags & DescriptorFlag.NEXT) == 0):
                    m.next = "STORE"
                    with m.If(self.running):
                        m.next = "ANNOUNCE"
                with m.Elif(position == context.size):
                    fail(Cause.CHAIN_LOOP)
                with m.Elif(descriptor.next >= context.size):
                    fail(Cause.NEXT_INDEX)
                with m.Else():
                    m.d.sync += index.eq(descriptor.next)
                    m.next = "ADDRESS"
            with m.State("ANNOUNCE"):
                m.d.comb += self.chain.valid.eq(1)
                with m.If(self.chain.ready):
                    m.next = "TAKE"
                    with m.If(segments["readable"] != 0):
                        m.next = "JOB"
            with m.State("JOB"):
                m.d.comb += self.job.valid.eq(1)
                with m.If(self.job.ready):
                    m.next = "TAKE"
            with m.State("REST"):
                pass
        return m

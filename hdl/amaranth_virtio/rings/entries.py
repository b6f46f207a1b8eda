"""What the poller reads of available rings."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2
from virtio_spec.layout import Cause

from ..dma.layout import read_data_layout
from ..skid import Skid
from ..tlp import check_width
from .layout import ErrorReport, Head
from .parameters import check_queues, check_quota
from .poll_layout import PollContext, queue_shape

__all__ = ["EntryReader", "answer_layout"]


def answer_layout(queues: int) -> data.StructLayout:
    """``avail.idx`` of a queue as it was read, and ``asked`` of the read's context."""
    return data.StructLayout({"queue": queue_shape(queues), "index": 16, "asked": 1})


class EntryReader(wiring.Component):
    """Cut what was read of available rings into heads and indices.  [virtio 1.4 §2.7.6]

    One head per cycle, or one index in 2; the first one is on offer in the cycle after its beat came. Words
    never lie across two beats, as rings have even addresses.

    After an error nothing more is taken until reset, which is that of the clock domain.

    Parameters
    ----------
    width : :class:`int`
        Width of ``data`` in bits.
    queues : :class:`int`
        Number of virtqueues.
    quota : :class:`int`
        Tokens of a queue.

    Members
    -------
    data : :py:`In(stream.Signature(read_data_layout(width, PollContext)))`
    head : :py:`Out(stream.Signature(Head))`
        Heads inside the table, with their tokens.
    answer : :py:`Out(stream.Signature(answer_layout(queues)))`
    coming : :py:`Out(queue)`
        Queue of the answer that is on offer in the next cycle, if one is.
    error : :py:`Out(stream.Signature(ErrorReport, always_ready=True))`
        HEAD_INDEX, with the entry as ``head``, or DMA_ERROR.
    """

    def __init__(self, *, width: int, queues: int, quota: int):
        self.width = check_width(width)
        self.queues = check_queues(queues)
        self.quota = check_quota(quota, queues)
        super().__init__(
            {
                "data": In(stream.Signature(read_data_layout(width, PollContext))),
                "head": Out(stream.Signature(Head)),
                "answer": Out(stream.Signature(answer_layout(queues))),
                "coming": Out(queue_shape(queues)),
                "error": Out(stream.Signature(ErrorReport, always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build one register behind a multiplexer of words."""
        m = Module()
        bits = exact_log2(self.quota)
        beat, context = self.data.payload, self.data.payload.context
        lanes = exact_log2(self.width // 16)

        full, failed = Signal(), Signal()
        entry, index, mask, asked = Signal(), Signal(16), Signal.like(context.last), Signal()
        token = Signal.like(context.token)
        position = Signal(lanes)  # words of the beat that were taken
        done = Signal(bits)  # entries of the read that were taken

        m.submodules.heads = heads = Skid(shape=Head)
        connect(m, heads.o, flipped(self.head))

        queue = token[bits:]
        bad = Signal()
        m.d.comb += [
            bad.eq(entry & (index & ~Cat(mask, *([0] * (16 - len(mask))))).any()),
            heads.i.valid.eq(full & entry & ~bad),
            heads.i.payload.token.eq(token),
            heads.i.payload.head.eq(index),
            self.answer.valid.eq(full & ~entry),
            self.answer.payload.queue.eq(queue),
            self.answer.payload.index.eq(index),
            self.answer.payload.asked.eq(asked),
        ]

        free, final = Signal(), Signal()
        word_taken = Signal()
        m.d.comb += [
            free.eq(~full | (heads.i.valid & heads.i.ready)),
            final.eq((position + 1 == beat.count[1:]) | beat.error),
            word_taken.eq(self.data.valid & free & ~failed),
            self.data.ready.eq(free & final & ~failed),
            self.coming.eq(Mux(free, context.token[bits:], queue)),
        ]
        m.d.sync += self.error.valid.eq(0)
        with m.If(self.answer.valid & self.answer.ready):
            m.d.sync += full.eq(0)
        with m.If(free):
            m.d.sync += [
                full.eq(word_taken & ~beat.error),
                entry.eq(context.entries),
                index.eq(beat.data.word_select((beat.start[1:] + position)[:lanes], 16)),
                mask.eq(context.last),
                asked.eq(context.asked),
                token.eq(Cat((context.token[:bits] + done)[:bits], context.token[bits:])),
            ]
        with m.If(word_taken):
            m.d.sync += [position.eq(position + 1), done.eq(done + context.entries)]
            with m.If(final):
                m.d.sync += position.eq(0)
            with m.If(final & beat.last):
                m.d.sync += done.eq(0)
            with m.If(beat.error):
                m.d.sync += [self.error.valid.eq(1), self.error.payload.cause.eq(Cause.DMA_ERROR)]
                m.d.sync += [self.error.payload.queue.eq(context.token[bits:]), failed.eq(1)]
        with m.If(full & bad & ~failed):
            m.d.sync += [
                self.error.valid.eq(1),
                self.error.payload.cause.eq(Cause.HEAD_INDEX),
                self.error.payload.queue.eq(queue),
                self.error.payload.head.eq(index),
                failed.eq(1),
            ]
        return m

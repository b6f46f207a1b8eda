"""Tokens that come in any order, put into ring order."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..chain import TOKEN
from .parameters import check_queues, check_quota

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Take tokens in any order, and give each out as soon as all before it in its queue were given out.

    Each queue's tokens start at sequence 0 and each comes once per lap, so that one bit per token says in
    which lap it came last; a queue has a pointer to the token it gives out next. Queues do not wait for
    each other, but all for ``o``.

    A token that comes in order takes 3 cycles and is on offer in the second one after it was taken, one that
    waited for it 2 cycles more, one that has to wait 2 cycles. After a reset, which is that of the clock
    domain, nothing is taken for ``queues * quota`` cycles.

    Parameters
    ----------
    queues : :class:`int`
        Number of virtqueues, 1 to 256.
    quota : :class:`int`
        Tokens of a queue; a power of two from 1 to 128.

    Members
    -------
    i, o : streams of :data:`TOKEN`
        See :func:`token_of`.
    """

    i: In(stream.Signature(TOKEN))
    o: Out(stream.Signature(TOKEN))

    def __init__(self, *, queues: int, quota: int):
        self.queues = check_queues(queues)
        self.quota = check_quota(quota, queues)
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        """Build the marks, the pointers and the FSM that compares them."""
        m = Module()
        bits = exact_log2(self.quota)
        if bits == 0:  # always in order
            m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
            with m.If(self.i.ready):
                m.d.sync += [self.o.payload.eq(self.i.payload), self.o.valid.eq(self.i.valid)]
            return m

        pointer = data.StructLayout({"sequence": bits, "lap": 1})
        tokens = self.queues * self.quota
        m.submodules.marks = marks = Memory(shape=1, depth=tokens, init=[])
        m.submodules.pointers = pointers = Memory(shape=pointer, depth=self.queues, init=[])
        mark, put_mark = marks.read_port(), marks.write_port()
        point, put_point = pointers.read_port(), pointers.write_port()

        token = Signal(TOKEN)  # the one that came, or that is given out
        sequence, queue = token[:bits], token[bits:]
        following = Signal(bits + 1)  # with its carry
        lap = Signal()  # of ``token``
        ready = Signal()  # the next one waits
        sweep = Signal(range(tokens))

        m.d.comb += [
            following.eq(sequence + 1),
            point.addr.eq(self.i.payload[bits:]),
            mark.addr.eq(Cat(following[:bits], queue)),
            put_mark.addr.eq(token),
            # What memory holds at first are the marks of the lap before the first.
            put_mark.data.eq(~(point.data.lap ^ (sequence < point.data.sequence))),
            put_point.addr.eq(queue),
            put_point.data.sequence.eq(following),
            put_point.data.lap.eq(lap ^ following[bits]),
            ready.eq(mark.data == ~(lap ^ following[bits])),
            self.o.payload.eq(token),
        ]
        with m.FSM():
            with m.State("SWEEP"):
                m.d.comb += [
                    put_mark.addr.eq(sweep),
                    put_mark.data.eq(0),
                    put_mark.en.eq(1),
                    put_point.addr.eq(sweep[bits:]),
                    put_point.data.eq(0),
                    put_point.en.eq(1),
                ]
                m.d.sync += sweep.eq(sweep + 1)
                with m.If(sweep == tokens - 1):
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += token.eq(self.i.payload)
                with m.If(self.i.valid):
                    m.next = "MARK"
            with m.State("MARK"):
                m.d.comb += put_mark.en.eq(1)
                m.d.sync += lap.eq(point.data.lap)
                m.next = "TAKE"
                with m.If(point.data.sequence == sequence):
                    m.next = "GIVE"
            with m.State("LOOK"):
                m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += [self.o.valid.eq(1), put_point.en.eq(1)]
                with m.If(self.o.ready):
                    m.next = "TAKE"
                    with m.If(ready):
                        m.d.sync += [sequence.eq(following), lap.eq(lap ^ following[bits])]
                        m.next = "LOOK"
        return m

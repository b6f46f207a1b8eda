"""Tokens that come in any order, put into ring order."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
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

    A token that comes in order takes 3 cycles and is on offer in the third one after it was taken, one that
    waited for it 3 cycles more, one that has to wait 3 cycles. ``o.payload`` stands for 2 cycles before it
    is valid, for whoever looks up something by it. After a reset, which is that of the clock domain,
    nothing is taken for ``queues * quota`` cycles.

    **Refusal.** With ``refuse``, what is taken from ``o`` is not given out: its queue rests there, without
    holding up others, and the same token is offered again after ``wake`` named the queue.

    Parameters
    ----------
    queues : :class:`int`
        Number of virtqueues, 1 to 256.
    quota : :class:`int`
        Tokens of a queue; a power of two from 1 to 256; from 2 on with ``refusal``.
    refusal : :class:`bool`
        There are ``refuse``, ``wake`` and ``waiting``.

    Members
    -------
    i, o : streams of :data:`TOKEN`
        See :func:`token_of`.
    refuse : :py:`In(1)`
    wake : :py:`In(stream of QUEUE)`
    waiting : :py:`Out(1)`
        Some queue rests: high from the second cycle after its refusal on, at the latest.
    """

    def __init__(self, *, queues: int, quota: int, refusal: bool = False):
        self.queues = check_queues(queues)
        self.quota = check_quota(quota, queues)
        self.refusal = refusal
        if refusal and quota < 2:
            raise ValueError("A sequencer with refusal needs a quota of 2 or more")
        members: dict[str, Any] = {"i": In(stream.Signature(TOKEN)), "o": Out(stream.Signature(TOKEN))}
        if refusal:
            members["refuse"] = In(1)
            members["wake"] = In(stream.Signature(TOKEN.width - exact_log2(quota)))
            members["waiting"] = Out(1)
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        """Build the marks, the pointers and the FSM that compares them."""
        m = Module()
        bits = exact_log2(self.quota)
        if bits == 0:  # always in order
            m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
            with m.If(self.i.ready):
                m.d.sync += [self.o.payload.eq(self.i.payload), self.o.valid.eq(self.i.valid)]
            return m

        pointer = data.StructLayout({"sequence": bits, "lap": 1, "waiting": 1})
        tokens = self.queues * self.quota
        m.submodules.marks = marks = Memory(shape=1, depth=tokens, init=[])
        m.submodules.pointers = pointers = Memory(shape=pointer, depth=self.queues, init=[])
        mark, put_mark = marks.read_port(), marks.write_port()
        put_point = pointers.write_port()
        point = pointers.read_port(transparent_for=(put_point,))

        token = Signal(TOKEN)  # the one that came, or that is given out
        sequence, queue = token[:bits], token[bits:]
        following = Signal(bits + 1)  # with its carry
        expected = Signal(bits)  # what the pointer says
        lap = Signal()  # of ``expected``
        given = Signal()  # ``token`` is the one to be given out
        ready = Signal()  # the next one waits
        came = Signal()
        sweep = Signal(range(tokens))

        m.d.comb += [
            following.eq(sequence + 1),
            point.addr.eq(self.i.payload[bits:]),
            mark.addr.eq(Cat(following[:bits], queue)),
            put_mark.addr.eq(token),
            # What memory holds at first are the marks of the lap before the first.
            put_mark.data.eq(~(lap ^ (sequence < expected))),
            put_point.addr.eq(queue),
            put_point.data.sequence.eq(following),
            put_point.data.lap.eq(lap ^ following[bits]),
            ready.eq(came == ~(lap ^ following[bits])),
            self.o.payload.eq(token),
        ]
        refuse, rested = Signal(), Signal()  # ``rested``: ``token`` was refused before
        if self.refusal:
            m.d.comb += refuse.eq(self.refuse)
            with m.If(refuse):
                m.d.comb += [
                    put_point.data.sequence.eq(sequence),
                    put_point.data.lap.eq(lap),
                    put_point.data.waiting.eq(1),
                ]

        def take() -> None:
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += [token.eq(self.i.payload), given.eq(0), rested.eq(0)]
            with m.If(self.i.valid):
                m.next = "MARK"

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
                take()
                if self.refusal:
                    with m.If(self.wake.valid):
                        m.d.comb += [
                            self.i.ready.eq(0),
                            self.wake.ready.eq(1),
                            point.addr.eq(self.wake.payload),
                        ]
                        m.d.sync += queue.eq(self.wake.payload)
                        m.next = "WAKE"
            if self.refusal:
                with m.State("WAKE"):
                    m.d.sync += [
                        sequence.eq(point.data.sequence),
                        lap.eq(point.data.lap),
                        given.eq(1),
                        rested.eq(1),
                    ]
                    m.next = "TAKE"
                    with m.If(point.data.waiting):
                        m.next = "MARK"
            with m.State("MARK"):
                with m.If(~given):
                    m.d.sync += [expected.eq(point.data.sequence), lap.eq(point.data.lap)]
                m.next = "TEST"
            with m.State("TEST"):
                m.d.comb += put_mark.en.eq(~given)
                m.d.sync += came.eq(mark.data)
                m.next = "TAKE"
                with m.If(given | (expected == sequence)):
                    m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += [self.o.valid.eq(1), put_point.en.eq(self.o.ready)]
                with m.If(self.o.ready):
                    m.next = "TAKE"
                    with m.If(ready & ~refuse):
                        m.d.sync += [
                            sequence.eq(following),
                            lap.eq(lap ^ following[bits]),
                            given.eq(1),
                            rested.eq(0),
                        ]
                        m.next = "MARK"
                    with m.Elif(~self.wake.valid if self.refusal else 1):
                        take()
        if self.refusal:
            resting = Signal(range(self.queues + 1))
            m.d.comb += self.waiting.eq(resting != 0)
            with m.If(self.o.valid & self.o.ready & (refuse ^ rested)):
                m.d.sync += resting.eq(resting + Mux(refuse, 1, -1))
        return m

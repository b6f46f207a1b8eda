"""Queues that wait for their turn."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from ..chain import QUEUE
from .parameters import check_queues

__all__ = ["QueueLine"]


class QueueLine(wiring.Component):
    """First in, first out, for queues of which each stands in line at most once; so there is always room.

    One that joins an empty line is at its head in the next cycle. Behind one that leaves, the next is there
    after one or two cycles.

    Parameters
    ----------
    queues : :class:`int`
        Number of virtqueues, 1 to 256.

    Members
    -------
    join : :py:`In(stream.Signature(QUEUE, always_ready=True))`
    head : :py:`Out(stream.Signature(QUEUE))`
    """

    join: In(stream.Signature(QUEUE, always_ready=True))
    head: Out(stream.Signature(QUEUE))

    def __init__(self, *, queues: int):
        self.queues = check_queues(queues)
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        """Build a register for the head and, for what stands behind it, a ring in memory."""
        m = Module()
        vacant = Signal()
        m.d.comb += vacant.eq(~self.head.valid | self.head.ready)
        with m.If(self.head.ready):
            m.d.sync += self.head.valid.eq(0)
        if self.queues == 1:
            with m.If(self.join.valid):
                m.d.sync += self.head.valid.eq(1)
            return m

        # One less than there are queues stand behind the head, so equal pointers mean that none does.
        depth = 1 << ceil_log2(self.queues)
        bits = bits_for(self.queues - 1)
        m.submodules.behind = behind = Memory(shape=bits, depth=depth, init=[])
        get, put = behind.read_port(), behind.write_port()
        empty, fetched, moves = Signal(), Signal(), Signal()
        m.d.comb += [
            empty.eq(get.addr == put.addr),
            moves.eq(fetched & vacant),
            put.data.eq(self.join.payload),
            put.en.eq(self.join.valid & ~(empty & vacant)),
        ]
        m.d.sync += [
            put.addr.eq(put.addr + put.en),
            get.addr.eq(get.addr + moves),
            fetched.eq(~empty & ~moves),
        ]
        with m.If(moves | (self.join.valid & empty & vacant)):
            m.d.sync += [
                self.head.payload.eq(Mux(empty, self.join.payload[:bits], get.data)),
                self.head.valid.eq(1),
            ]
        return m

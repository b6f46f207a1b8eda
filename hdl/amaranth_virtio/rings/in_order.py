"""Completions in ring order."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..chain import TOKEN
from .collector import CompleteChain
from .parameters import check_queues, check_quota
from .sequencer import Sequencer

__all__ = ["InOrder"]


class InOrder(wiring.Component):
    """Put completions into ring order if IN_ORDER was negotiated, else let them through.

    [virtio 1.4 §2.7.9, §2.8.11]

    Parameters
    ----------
    queues : :class:`int`
        Number of virtqueues, 1 to 256.
    quota : :class:`int`
        Chains in flight of one queue; a power of two from 1 to 256.

    Members
    -------
    i, o : streams of :class:`CompleteChain`
        Every token must come, also those of chains that are given up: the queue waits for it.
    in_order : :py:`In(1)`
        Negotiated; changes only while nothing is inside.
    """

    i: In(stream.Signature(CompleteChain))
    o: Out(stream.Signature(CompleteChain))
    in_order: In(1)

    def __init__(self, *, queues: int, quota: int):
        self.queues = check_queues(queues)
        self.quota = check_quota(quota, queues)
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        """Build the way through the sequencer, which carries tokens only, and the one round it."""
        m = Module()
        m.submodules.sequencer = sequencer = Sequencer(queues=self.queues, quota=self.quota)
        m.submodules.more = more = Memory(shape=1, depth=self.queues * self.quota, init=[])
        get, put = more.read_port(), more.write_port()
        held = Signal(TOKEN)
        holds = Signal()
        m.d.comb += [
            put.addr.eq(self.i.payload.token),
            put.data.eq(self.i.payload.more),
            put.en.eq(self.i.valid & self.i.ready),
            get.addr.eq(sequencer.o.payload),
            get.en.eq(sequencer.o.ready),
            sequencer.i.payload.eq(self.i.payload.token),
            sequencer.i.valid.eq(self.i.valid & self.in_order),
            sequencer.o.ready.eq(~holds | self.o.ready),
        ]
        with m.If(sequencer.o.ready):
            m.d.sync += [held.eq(sequencer.o.payload), holds.eq(sequencer.o.valid)]
        with m.If(self.in_order):
            m.d.comb += [
                self.i.ready.eq(sequencer.i.ready),
                self.o.valid.eq(holds),
                self.o.payload.token.eq(held),
                self.o.payload.more.eq(get.data),
            ]
        with m.Else():
            m.d.comb += [
                self.i.ready.eq(self.o.ready),
                self.o.valid.eq(self.i.valid),
                self.o.payload.eq(self.i.payload),
            ]
        return m

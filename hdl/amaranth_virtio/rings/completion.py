"""Chains that the device completed."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..block_ram import NO_COLLISION
from ..chain import TOKEN
from .fifo import Fifo
from .layout import ChainDone

__all__ = ["Completion"]


class Completion(wiring.Component):
    """Pass a completed chain on when nothing of it is used any more.

    A device may complete a chain whose readable bytes it has not taken yet. As long as they are not fetched
    the driver must not have the buffer back; so that chain goes round in a FIFO, where it holds up no
    other one. Nor is a chain passed on before its writable segments were ended.

    A chain that was fetched takes 3 cycles and is on offer in the second one after it was taken. After a
    reset, which is that of the clock domain, ``ready`` is low for ``tokens`` cycles.

    Parameters
    ----------
    tokens : :class:`int`
        Chains in flight.

    Members
    -------
    ready : :py:`Out(1)`
    announced : :py:`In(stream of TOKEN, always_ready)`
        A chain with readable bytes, before the device is told; at most one every 2 cycles.
    fetched : :py:`In(stream of TOKEN, always_ready)`
        All readable bytes of the chain are here. Must not be the token of the cycle before.
    ended : :py:`In(1)`
        Strobe: one chain's writable segments were ended, in the order of ``i``.
    i : :py:`In(stream of ChainDone)`
        Completed chains.
    dropped : :py:`In(stream of TOKEN)`
        Chains that the device was not told of; ``written`` means nothing for them.
    o : :py:`Out(stream of ChainDone)`
    """

    def __init__(self, *, tokens: int):
        self.tokens = tokens
        super().__init__(
            {
                "ready": Out(1),
                "announced": In(stream.Signature(TOKEN, always_ready=True)),
                "fetched": In(stream.Signature(TOKEN, always_ready=True)),
                "ended": In(1),
                "i": In(stream.Signature(ChainDone)),
                "dropped": In(stream.Signature(TOKEN)),
                "o": Out(stream.Signature(ChainDone)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the parities of what was announced and fetched, and the round."""
        m = Module()
        sweep = Signal(range(self.tokens))
        with m.If(~self.ready):
            m.d.sync += [sweep.eq(sweep + 1), self.ready.eq(sweep == self.tokens - 1)]
        token, following = Signal(TOKEN), Signal(TOKEN)
        m.d.comb += following.eq(token)
        m.d.sync += token.eq(following)

        # Each chain with readable bytes inverts its token's bit when it is announced, and when it is fetched.
        bits = []
        for name, source in (("announced", self.announced), ("fetched", self.fetched)):
            memory = Memory(shape=1, depth=self.tokens, init=[])
            m.submodules[name] = memory
            put, turn, get = memory.write_port(), memory.read_port(), memory.read_port()
            came, turned = Signal(name=f"{name}_came"), Signal(TOKEN, name=f"{name}_token")
            m.d.sync += [came.eq(source.valid), turned.eq(source.payload)]
            m.d.comb += [
                turn.addr.eq(source.payload),
                put.addr.eq(turned),
                put.data.eq(~turn.data),
                put.en.eq(came),
                get.addr.eq(following),
            ]
            with m.If(~self.ready):
                m.d.comb += [put.addr.eq(sweep), put.data.eq(0), put.en.eq(1)]
            bits.append(get.data)

        m.submodules.round = round_ = Fifo(shape=TOKEN, depth=self.tokens)
        done_layout = data.StructLayout({"written": 32, "more": 1})
        m.submodules.written = written = Memory(
            shape=done_layout, depth=self.tokens, init=[], attrs=NO_COLLISION
        )
        put_done, get_done = written.write_port(), written.read_port()
        ended = Signal(range(self.tokens + 1))  # chains whose segments were ended before they were taken
        came = self.i.valid & self.i.ready
        with m.If(self.ended ^ came):
            m.d.sync += ended.eq(ended + Mux(came, -1, 1))
        dropped, fetched = Signal(), Signal()
        m.d.comb += [
            put_done.addr.eq(self.i.payload.token),
            put_done.data.written.eq(self.i.payload.written),
            put_done.data.more.eq(self.i.payload.more),
            put_done.en.eq(came),
            get_done.addr.eq(token),
            self.o.payload.token.eq(token),
            self.o.payload.written.eq(get_done.data.written),
            self.o.payload.more.eq(get_done.data.more & ~dropped),
            round_.i.payload.eq(token),
        ]
        with m.FSM():
            with m.State("TAKE"):
                m.d.sync += dropped.eq(self.dropped.valid)
                with m.If(self.dropped.valid):
                    m.d.comb += [self.dropped.ready.eq(1), following.eq(self.dropped.payload)]
                    m.next = "LOOK"
                with m.Elif(self.i.valid & (ended != 0)):
                    m.d.comb += [self.i.ready.eq(1), following.eq(self.i.payload.token)]
                    m.next = "LOOK"
                with m.Elif(round_.o.valid):
                    m.d.comb += [round_.o.ready.eq(1), following.eq(round_.o.payload)]
                    m.next = "LOOK"
            with m.State("LOOK"):
                m.d.sync += fetched.eq(dropped | (bits[0] == bits[1]))
                m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += [self.o.valid.eq(fetched), round_.i.valid.eq(~fetched)]
                with m.If(~fetched | self.o.ready):
                    m.next = "TAKE"
        return m

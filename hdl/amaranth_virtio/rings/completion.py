"""Chains that the device completed."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..chain import TOKEN
from .fifo import Fifo
from .layout import ChainDone

__all__ = ["Completion"]


class Completion(wiring.Component):
    """Pass a completed chain on when nothing of it is used any more.

    A device may complete a chain whose readable bytes it has not taken yet. As long as they are not fetched
    the driver must not have the buffer back; so that chain goes round in a FIFO, where it holds up no
    other one. Nor is a chain passed on before its writable segments were ended.

    A chain that was fetched takes 4 cycles and is on offer in the third one after it was taken. After a
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
        Chains that the device was not told of: nothing is written.
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
        sweep = Signal(range(2 * self.tokens))
        m.d.comb += self.ready.eq(sweep >= self.tokens)
        m.d.sync += sweep.eq(sweep + ~self.ready)
        token = Signal(TOKEN)

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
                get.addr.eq(token),
            ]
            with m.If(~self.ready):
                m.d.comb += [put.addr.eq(sweep), put.data.eq(0), put.en.eq(1)]
            bits.append(get.data)

        m.submodules.round = round_ = Fifo(shape=ChainDone, depth=self.tokens)
        ended = Signal(range(self.tokens + 1))  # chains whose segments were ended before they were taken
        m.d.sync += ended.eq(ended + self.ended - (self.i.valid & self.i.ready))
        done, dropped, fetched = Signal(ChainDone), Signal(), Signal()
        m.d.comb += [token.eq(done.token), self.o.payload.eq(done), round_.i.payload.eq(done)]
        with m.FSM():
            with m.State("TAKE"):
                m.d.sync += dropped.eq(0)
                with m.If(self.dropped.valid):
                    m.d.comb += self.dropped.ready.eq(1)
                    m.d.sync += [
                        done.token.eq(self.dropped.payload),
                        done.written.eq(0),
                        done.more.eq(0),
                        dropped.eq(1),
                    ]
                    m.next = "LOOK"
                with m.Elif(self.i.valid & (ended != 0)):
                    m.d.comb += self.i.ready.eq(1)
                    m.d.sync += done.eq(self.i.payload)
                    m.next = "LOOK"
                with m.Elif(round_.o.valid):
                    m.d.comb += round_.o.ready.eq(1)
                    m.d.sync += done.eq(round_.o.payload)
                    m.next = "LOOK"
            with m.State("LOOK"):
                m.next = "TEST"
            with m.State("TEST"):
                m.d.sync += fetched.eq(dropped | (bits[0] == bits[1]))
                m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += [self.o.valid.eq(fetched), round_.i.valid.eq(~fetched)]
                with m.If(~fetched | self.o.ready):
                    m.next = "TAKE"
        return m

"""A FIFO whose entries come out only after they were committed."""

from amaranth.hdl import Module, Mux, Shape, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..block_ram import NO_COLLISION

__all__ = ["CommitFifo"]


class CommitFifo(wiring.Component):
    """Hold entries back until it is known that they are good.

    One entry per cycle on either side; an entry comes out two cycles after its commit at the earliest.

    Parameters
    ----------
    shape : :class:`Shape`
        Of an entry.
    depth : :class:`int`
        Entries, a power of two, at least 2.

    Members
    -------
    i, o : streams of ``shape``
        In and out.
    commit : :py:`In(1)`
        What went in so far, in this cycle too, may come out.
    discard : :py:`In(1)`
        What went in since the last commit, in this cycle too, is dropped.
    clear : :py:`In(1)`
        Everything is dropped, and an entry that waits on ``o`` is withdrawn.
    empty : :py:`Out(1)`
        Every committed entry came out.
    """

    def __init__(self, *, shape: int, depth: int):
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two of at least 2, not {depth}")
        self.shape = Shape.cast(shape)
        self.depth = depth
        super().__init__(
            {
                "i": In(stream.Signature(self.shape)),
                "o": Out(stream.Signature(self.shape)),
                "commit": In(1),
                "discard": In(1),
                "clear": In(1),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=self.shape, depth=self.depth, init=[], attrs=NO_COLLISION)
        write = memory.write_port()
        read = memory.read_port()
        # One bit more than the address, to tell full from empty.
        written, committed, fetched = (
            Signal(range(2 * self.depth), name=name) for name in ("written", "committed", "fetched")
        )

        taken = self.i.valid & self.i.ready
        after = Signal.like(written)
        m.d.comb += [
            self.i.ready.eq((written ^ fetched) != self.depth),
            write.addr.eq(written),
            write.data.eq(self.i.p),
            write.en.eq(taken),
            after.eq(written + taken),
        ]
        m.d.sync += written.eq(Mux(self.discard, committed, after))
        with m.If(self.commit):
            m.d.sync += committed.eq(after)

        m.d.comb += [
            read.addr.eq(fetched),
            read.en.eq((fetched != committed) & (~self.o.valid | self.o.ready)),
            self.o.p.eq(read.data),
            self.empty.eq((fetched == committed) & ~self.o.valid),
        ]
        with m.If(read.en):
            m.d.sync += [fetched.eq(fetched + 1), self.o.valid.eq(1)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        with m.If(self.clear):
            m.d.sync += [written.eq(0), committed.eq(0), fetched.eq(0), self.o.valid.eq(0)]
        return m

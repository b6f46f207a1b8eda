"""A FIFO that is never overfilled."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..block_ram import NO_COLLISION

__all__ = ["Fifo"]

SMALL = 32  # rows that are cheap in LUT RAM, which is read in the same cycle


class Fifo(wiring.Component):
    """Hold up to ``depth`` payloads; whoever writes sees to it that there are not more.

    What enters an empty FIFO is on offer in the next cycle with up to 32 payloads, 3 cycles later with
    more: then they are in block RAM, and leave through a register.

    Parameters
    ----------
    shape
        Shape of the payload.
    depth : :class:`int`
        Payloads, 1 or more.

    Members
    -------
    i : :py:`In(stream.Signature(shape, always_ready=True))`
    o : :py:`Out(stream.Signature(shape))`
    """

    def __init__(self, *, shape: Any, depth: int):
        if not isinstance(depth, int) or depth < 1:
            raise ValueError(f"Depth must be a positive integer, not {depth!r}")
        self.shape = shape
        self.depth = depth
        super().__init__(
            {"i": In(stream.Signature(shape, always_ready=True)), "o": Out(stream.Signature(shape))}
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the memory and two counters."""
        m = Module()
        bits = ceil_log2(self.depth)
        m.submodules.memory = memory = Memory(shape=self.shape, depth=1 << bits, init=[], attrs=NO_COLLISION)
        put = memory.write_port()
        get = memory.read_port(domain="comb" if self.depth <= SMALL else "sync")
        written, read = Signal(bits + 1), Signal(bits + 1)
        some = Signal()
        m.d.comb += [
            put.addr.eq(written[:bits]),
            put.data.eq(self.i.payload),
            put.en.eq(self.i.valid),
            get.addr.eq(read[:bits]),
            some.eq(written != read),
        ]
        with m.If(self.i.valid):
            m.d.sync += written.eq(written + 1)
        if self.depth <= SMALL:
            m.d.comb += [self.o.payload.eq(get.data), self.o.valid.eq(some)]
            with m.If(some & self.o.ready):
                m.d.sync += read.eq(read + 1)
            return m
        fetched = Signal()  # ``get.data`` is the next one
        on, fetch = Signal(), Signal()
        m.d.comb += [
            on.eq(~self.o.valid | self.o.ready),
            fetch.eq(~fetched | on),
            get.en.eq(fetch),
        ]
        with m.If(fetch):
            m.d.sync += fetched.eq(some)
            with m.If(some):
                m.d.sync += read.eq(read + 1)
        with m.If(on):
            m.d.sync += [self.o.payload.eq(get.data), self.o.valid.eq(fetched)]
        return m

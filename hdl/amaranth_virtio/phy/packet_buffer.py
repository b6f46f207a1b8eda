"""Store-and-forward buffer for packets that may turn out bad at their end."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..block_ram import NO_COLLISION

__all__ = ["PacketBuffer"]


class PacketBuffer(wiring.Component):
    """FIFO whose beats come out only once their packet is committed.

    One beat per cycle; the first beat of a packet leaves two cycles after its commit at the
    earliest. A packet that is longer than ``depth`` blocks the buffer for ever: do not send one.

    Parameters
    ----------
    shape : shape-like
        Shape of a beat.
    depth : :class:`int`
        Beats; a power of two.

    Members
    -------
    i : :py:`In(stream.Signature(shape))`
        Beats in.
    restart : :py:`In(1)`
        Beside a beat: it is a packet's first, and what was not committed is gone.
    commit : :py:`In(1)`
        Beside a beat: it ends a good packet, which may leave.
    o : :py:`Out(stream.Signature(shape))`
        Beats of committed packets.
    """

    def __init__(self, *, shape: Any, depth: int):
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two from 2 on, not {depth!r}")
        self.shape = shape
        self.depth = depth
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "restart": In(1),
                "commit": In(1),
                "o": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.storage = storage = memory.Memory(
            shape=self.shape, depth=self.depth, init=[], attrs={"ram_style": "block", **NO_COLLISION}
        )
        write_port = storage.write_port()
        read_port = storage.read_port()

        # Pointers have one bit more than the address, which tells full from empty.
        bits = ceil_log2(self.depth) + 1
        written = Signal(bits)
        committed = Signal(bits)
        read = Signal(bits)

        here = Signal(bits)
        after = Signal(bits)
        with m.If(self.restart):
            m.d.comb += here.eq(committed)
        with m.Else():
            m.d.comb += here.eq(written)
        m.d.comb += [
            after.eq(here + 1),
            self.i.ready.eq((here - read)[:bits] != self.depth),
            write_port.addr.eq(here),
            write_port.data.eq(self.i.payload),
            write_port.en.eq(self.i.valid & self.i.ready),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += written.eq(after)
            with m.If(self.commit):
                m.d.sync += committed.eq(after)

        # What is committed was written in an earlier cycle; what is read while it is written is not offered.
        following = Signal(bits)
        m.d.comb += [
            following.eq(read + (self.o.valid & self.o.ready)),
            read_port.addr.eq(following),
            self.o.payload.eq(read_port.data),
        ]
        m.d.sync += [read.eq(following), self.o.valid.eq(following != committed)]
        return m

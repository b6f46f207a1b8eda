"""Collects a completion's payload before the packet starts."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from virtio_spec.tlp import TlpHeader

from ..tlp import TlpSignature, check_width

__all__ = ["CompletionBuffer"]


class CompletionBuffer(wiring.Component):
    """Payload first, dword by dword, then the header: a packet leaves without a gap.

    One beat per cycle from the cycle in which the header is offered.

    Parameters
    ----------
    width : :class:`int`
        64, 128, 256 or 512.
    dwords : :class:`int`
        Longest payload; a power of two, at least ``width/32``.

    Members
    -------
    dword : :py:`In(stream.Signature(32, always_ready=True))`
        Payload; none may come while a header is offered, nor more than ``dwords``.
    header : :py:`In(stream.Signature(TlpHeader))`
        Taken with the packet's last beat. Its Fmt and Length say how many dwords leave.
    o : :py:`Out(TlpSignature(width))`
        The packet.
    """

    def __init__(self, *, width: int, dwords: int = 32):
        self.width = check_width(width)
        if dwords & (dwords - 1) or dwords < width // 32:
            raise ValueError(f"dwords must be a power of two from {width // 32} on, not {dwords!r}")
        self.dwords = dwords
        super().__init__(
            {
                "dword": In(stream.Signature(32, always_ready=True)),
                "header": In(stream.Signature(TlpHeader)),
                "o": Out(TlpSignature(width)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lanes = self.width // 32
        row_at = ceil_log2(lanes)
        m.submodules.storage = storage = memory.Memory(
            shape=data.ArrayLayout(32, lanes), depth=self.dwords // lanes, init=[]
        )
        write_port = storage.write_port(granularity=1)
        read_port = storage.read_port(domain="comb")

        filled = Signal(range(self.dwords + 1))
        row = Signal(range(self.dwords // lanes + 1))
        header = TlpHeader(self.header.payload)
        left = Signal(range(self.dwords + 1))
        m.d.comb += [
            write_port.addr.eq(filled[row_at:]),
            write_port.data.eq(Cat(self.dword.payload for _ in range(lanes))),
            write_port.en.eq(Mux(self.dword.valid, Const(1, lanes) << filled[:row_at], 0)),
            read_port.addr.eq(row),
            left.eq(
                Mux(header.common.fmt[1], header.common.length[: len(left)] - Cat(Const(0, row_at), row), 0)
            ),
            self.o.valid.eq(self.header.valid),
            self.o.payload.header.eq(header),
            self.o.payload.data.eq(read_port.data),
            self.o.payload.enable.eq(Cat(left > lane for lane in range(lanes))),
            self.o.payload.first.eq(row == 0),
            self.o.payload.last.eq(left <= lanes),
            self.header.ready.eq(self.o.ready & self.o.payload.last),
        ]
        with m.If(self.dword.valid):
            m.d.sync += filled.eq(filled + 1)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += row.eq(row + 1)
            with m.If(self.o.payload.last):
                m.d.sync += [row.eq(0), filled.eq(0)]
        return m

"""Received frames with their headers."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from virtio_spec.net import NetHdrFlag, NetHeader

from .net_layout import HEADER_BYTES, job_layout

__all__ = ["FrameReader"]


class FrameReader(wiring.Component):
    """Read frames out of the buffer, and put a header before each.  [virtio 1.4 §5.1.6.4]

    One row per cycle, and one cycle more per frame but at 64 bits. Reset is that of the clock domain.

    Parameters
    ----------
    width : :class:`int`
        Of a row in bits.
    mtu : :class:`int`
    size : :class:`int`
        Bytes of the buffer.
    quota : :class:`int`

    Members
    -------
    job : :py:`In(stream of job_layout(width, mtu, quota))`
    data_valid : :py:`In(1)`
        The driver is to be told that a checksum was looked at.
    address, enable, data
        As in :class:`ReceiveBuffer`.
    o : :py:`Out(stream of width)`
        Rows: header and frame without a gap, and rubbish behind.
    hold : :py:`In(1)`
        The payload of ``o`` stays as it is, even if it is not valid.
    """

    job: Any
    data_valid: Any
    address: Any
    enable: Any
    data: Any
    o: Any
    hold: Any

    def __init__(self, *, width: int, mtu: int, size: int, quota: int):
        self.width = width
        self.mtu = mtu
        self.size = size
        self.quota = quota
        super().__init__(
            {
                "job": In(stream.Signature(job_layout(width, mtu, quota))),
                "data_valid": In(1),
                "address": Out(ceil_log2(size // (width // 8))),
                "enable": Out(1),
                "data": In(width),
                "o": Out(stream.Signature(width)),
                "hold": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the FSM; what does not fit in a row is kept for the next, and so is the header at first."""
        m = Module()
        whole, shift = divmod(8 * HEADER_BYTES, self.width)  # rows of header only, bits of it in the next one
        job = self.job.payload
        header = Signal(NetHeader)
        m.d.comb += header.num_buffers.eq(job.buffers)
        with m.If(job.checked & self.data_valid):
            m.d.comb += header.flags.eq(NetHdrFlag.DATA_VALID)
        header_bits = Signal(8 * HEADER_BYTES)
        m.d.comb += header_bits.eq(header)

        kept = Signal(shift)
        left = Signal.like(job.rows)  # rows that were not read yet
        tail, room = Signal(), Signal()
        m.d.comb += room.eq((~self.o.valid | self.o.ready) & ~self.hold)
        with m.If(self.enable):
            m.d.sync += [self.address.eq(self.address + 1), left.eq(left - 1)]
        with m.If(room):
            m.d.sync += [
                self.o.valid.eq(0),
                self.o.payload.eq(Cat(kept, self.data[: self.width - shift])),
            ]
        with m.FSM():
            with m.State("HEADER"):
                m.d.sync += [tail.eq(job.tail), kept.eq(header_bits[whole * self.width :])]
                with m.If(self.job.valid & job.drop):
                    m.d.comb += self.job.ready.eq(1)
                    m.d.sync += self.address.eq(self.address + job.rows)
                with m.Elif(self.job.valid & (room if whole else 1)):
                    m.d.comb += [self.job.ready.eq(1), self.enable.eq(1)]
                    m.d.sync += left.eq(job.rows - 1)
                    if whole:
                        m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(header_bits[: self.width])]
                    m.next = "FRAME"
            with m.State("FRAME"):
                with m.If(room):
                    m.d.comb += self.enable.eq(left != 0)
                    m.d.sync += [self.o.valid.eq(1), kept.eq(self.data[self.width - shift :])]
                    with m.If((left == 0) & tail):
                        m.next = "TAIL"
                    with m.Elif(left == 0):
                        m.next = "HEADER"
            with m.State("TAIL"):
                with m.If(room):
                    m.d.sync += self.o.valid.eq(1)
                    m.next = "HEADER"
        return m

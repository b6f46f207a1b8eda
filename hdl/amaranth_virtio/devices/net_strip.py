"""Frames out of the readable bytes of chains."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.net import GSO_UDP_TUNNEL_IPV4, GSO_UDP_TUNNEL_IPV6, NetHdrFlag, NetHeader
from virtio_spec.wire import field_offset

from ..chain import readable_layout
from .net_layout import HEADER_BYTES, SentHeader, frame_row_layout

__all__ = ["HeaderStrip"]

APART = 4


class HeaderStrip(wiring.Component):
    """Take the header off the frames to be sent, and move them to lane 0.  [virtio 1.4 §5.1.6.2]

    One beat per cycle, and one cycle more for a frame that has as many rows as beats. Last rows are at least
    4 cycles apart. A chain without a byte behind the header gives no row. Reset is that of the clock domain.

    Parameters
    ----------
    width : :class:`int`

    Members
    -------
    i : :py:`In(stream of readable_layout(width))`
        Chains, one frame each.
    go : :py:`In(1)`
        A beat may be taken.
    o : :py:`Out(stream of frame_row_layout(width), always_ready)`
        Comes 1 or 2 cycles after the beat.
    header : :py:`Out(SentHeader)`
        That of the frame on ``o``; stands from 2 cycles before the frame's last row at the latest until then.
    """

    i: Any
    go: Any
    o: Any
    header: Any

    def __init__(self, *, width: int):
        self.width = width
        super().__init__(
            {
                "i": In(stream.Signature(readable_layout(width))),
                "go": In(1),
                "o": Out(stream.Signature(frame_row_layout(width), always_ready=True)),
                "header": Out(SentHeader),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the counter of beats and the register for what begins the next row."""
        m = Module()
        lanes = self.width // 8
        whole, shift = divmod(HEADER_BYTES, lanes)  # beats of header only, and what the next one has of it
        beat, row = self.i.payload, self.o.payload
        taken = Signal()
        seen = Signal(range(whole + 2))  # beats of the chain, at most those up to the frame's first byte
        begin, body = Signal(), Signal()  # this beat has the frame's first bytes, those behind
        kept = Signal(8 * (lanes - shift))
        tail, left = Signal(), Signal(range(lanes + 1))  # ``left`` kept bytes are the last row
        over = Signal()  # there are bytes that do not fit in the row
        wait = Signal(range(APART))
        m.d.comb += [
            self.i.ready.eq(self.go & ~tail & ~(beat.last & wait.any())),
            taken.eq(self.i.valid & self.i.ready),
            begin.eq(seen == whole),
            body.eq(seen == whole + 1),
            over.eq(beat.last & (beat.count > shift)),
        ]
        m.d.sync += [
            tail.eq(taken & over & (begin | body)),
            self.o.valid.eq((taken & body) | tail),
            row.data.eq(Cat(kept, beat.data[: 8 * shift])),
            row.count.eq(Mux(tail, left, Mux(beat.last & ~over, beat.count + (lanes - shift), lanes))),
            row.last.eq(tail | (beat.last & ~over)),
            row.error.eq(~tail & beat.error),
        ]
        with m.If(wait.any() & ~tail):
            m.d.sync += wait.eq(wait - 1)
        with m.If(taken):
            m.d.sync += [
                kept.eq(beat.data[8 * shift :]),
                left.eq(beat.count - shift),
                seen.eq(Mux(beat.last, 0, Mux(body, seen, seen + 1))),
            ]
            with m.If(beat.last):
                m.d.sync += wait.eq(APART - 1)
        self._header(m, taken, seen)
        return m

    def _header(self, m: Module, taken: Any, seen: Any) -> None:
        """Keep the header's fields as they pass."""
        data, header = self.i.payload.data, self.header
        with m.If(taken & (seen == 0)):
            start = 8 * field_offset(NetHeader, "csum_start")
            gso_type = data[8 * field_offset(NetHeader, "gso_type") :][:8]
            m.d.sync += [
                header.needs_csum.eq((data[:8] & NetHdrFlag.NEEDS_CSUM).any()),
                header.refused.eq(
                    (gso_type & GSO_UDP_TUNNEL_IPV4).any() & (gso_type & GSO_UDP_TUNNEL_IPV6).any()
                ),
                header.csum_start.eq(data[start : start + 16]),
                header.token.eq(self.i.payload.token),
            ]
        number, offset = divmod(8 * field_offset(NetHeader, "csum_offset"), self.width)
        with m.If(taken & (seen == number)):
            m.d.sync += header.csum_offset.eq(data[offset : offset + 16])

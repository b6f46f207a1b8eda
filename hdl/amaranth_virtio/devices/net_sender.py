"""Frames to the MAC."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .mac import packet_layout
from .net_layout import sent_layout

__all__ = ["FrameSender"]


class FrameSender(wiring.Component):
    """Read one frame after another out of the buffer, put its checksum in, and send it.

    One beat per cycle, without a pause within frames or between them.

    Parameters
    ----------
    width : :class:`int`
        Of a beat in bits.
    mtu : :class:`int`
    size : :class:`int`
        Bytes of the buffer.

    Members
    -------
    frame, address, enable, data
        As in :class:`SentStore`.
    transmit : :py:`Out(stream of packet_layout(width))`
    reset : :py:`In(1)`
        Frames are forgotten. One of which the first beat was offered ends with an error.
    idle : :py:`Out(1)`
        No frame is on its way; sampled while ``reset`` is high, from its second cycle on.
    """

    frame: Any
    address: Any
    enable: Any
    data: Any
    transmit: Any
    reset: Any
    idle: Any

    def __init__(self, *, width: int, mtu: int, size: int):
        self.width = width
        self.mtu = mtu
        self.size = size
        super().__init__(
            {
                "frame": In(stream.Signature(sent_layout(width, mtu))),
                "address": Out(ceil_log2(size // (width // 8))),
                "enable": Out(1),
                "data": In(width),
                "transmit": Out(stream.Signature(packet_layout(width))),
                "reset": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build two steps: read a row, and patch it on its way to the output."""
        m = Module()
        lanes = self.width // 8
        words = self.width // 16
        frame, out = self.frame.payload, self.transmit.payload
        number = Signal.like(frame.rows)
        last = Signal()
        issue, move, room = Signal(), Signal(), Signal()
        m.d.comb += [
            room.eq(~self.transmit.valid | self.transmit.ready),
            last.eq(number == frame.rows),
            issue.eq(self.frame.valid & move & ~self.reset),
            self.enable.eq(issue),
            self.frame.ready.eq(issue & last),
        ]
        read, read_first, read_last = Signal(), Signal(), Signal()  # there is a row in ``data``
        read_end, checksum = Signal.like(frame.end), Signal(16)
        lower, upper = Signal(words), Signal(words)  # words of the row whose lower, upper byte is patched
        m.d.comb += move.eq(~read | room)
        within = ceil_log2(words)
        with m.If(move):
            m.d.sync += [
                read.eq(issue),
                read_first.eq(number == 0),
                read_last.eq(last),
                read_end.eq(frame.end),
                checksum.eq(frame.checksum),
            ]
            for flags, position in ((lower, frame.lower), (upper, frame.upper)):
                here = frame.patch & (position[within:] == number)
                m.d.sync += flags.eq(Cat(here & (position[:within] == word) for word in range(words)))
        with m.If(issue):
            m.d.sync += [self.address.eq(self.address + 1), number.eq(number + 1)]
            with m.If(last):
                m.d.sync += number.eq(0)

        begun = Signal()  # a frame of which the last beat was not offered yet
        m.d.comb += self.idle.eq(~begun & ~self.transmit.valid)
        with m.If(room):
            m.d.sync += [
                self.transmit.valid.eq(read & ~self.reset),
                out.first.eq(read_first),
                out.last.eq(read_last),
                out.error.eq(0),
                out.keep.eq(Cat(1, (~read_last | (read_end >= lane) for lane in range(1, lanes)))),
            ]
            for word in range(words):
                for flag, byte in ((lower[word], 2 * word), (upper[word], 2 * word + 1)):
                    lane = slice(8 * byte, 8 * byte + 8)
                    new = checksum[8 * (byte & 1) : 8 * (byte & 1) + 8]
                    m.d.sync += out.data[lane].eq(
                        (self.data[lane] & ~flag.replicate(8)) | (new & flag.replicate(8))
                    )
            with m.If(read & ~self.reset):
                m.d.sync += begun.eq(~read_last)
            with m.If(self.reset & begun):
                m.d.sync += [
                    self.transmit.valid.eq(1),
                    out.first.eq(0),
                    out.last.eq(1),
                    out.error.eq(1),
                    begun.eq(0),
                ]
        with m.If(self.reset):
            m.d.sync += [read.eq(0), number.eq(0), self.address.eq(0)]
        return m

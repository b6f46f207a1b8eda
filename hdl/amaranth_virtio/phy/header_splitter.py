"""Moves the header out of a raw packet and the payload into lane 0."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.tlp import TlpHeader

from ..tlp import RawSignature, TlpSignature, check_width, raw_layout

__all__ = ["HeaderSplitter", "payload_length"]


def payload_length(common: Any) -> Any:
    """Payload in dwords, 0 to 1024, from dword 0 of a header."""
    return Mux(common.fmt[1], Cat(common.length, common.length == 0), 0)


class HeaderSplitter(wiring.Component):
    """Raw packets to the internal TLP stream.

    One raw beat per cycle. The packets must be as long as their headers say; a digest is dropped.

    A beat is held back until the next one is there, because a beat of payload is made from two when the
    header does not end with a beat. So a packet's beats leave without a gap if they come without one.

    Parameters
    ----------
    width : :class:`int`
        64, 128, 256 or 512.

    Members
    -------
    i : :py:`In(RawSignature(width))`
        Raw packets.
    o : :py:`Out(TlpSignature(width))`
        The same packets.
    """

    def __init__(self, *, width: int):
        self.width = check_width(width)
        super().__init__({"i": In(RawSignature(width)), "o": Out(TlpSignature(width))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lanes = self.width // 32
        following = self.i.payload

        held = Signal()
        beat = Signal(raw_layout(self.width))
        index = Signal(2)  # of the beat in its packet; stays at 2

        # The header is complete in beat 0, or in beat 1 where a beat has only two dwords.
        header_end = index == (1 if lanes == 2 else 0)
        known = Signal(TlpHeader)
        header = Signal(TlpHeader)
        first_dword = Signal(32)
        common = data.View(TlpHeader, Cat(first_dword, Const(0, 96))).common
        four = common.fmt[0]
        if lanes == 2:
            m.d.comb += first_dword.eq(known.dwords[0])
            complete = Cat(known.dwords[0], known.dwords[1], beat.data[:32], Mux(four, beat.data[32:], 0))
        else:
            m.d.comb += first_dword.eq(Mux(header_end, beat.data[:32], known.dwords[0]))
            complete = Cat(beat.data[:96], Mux(four, beat.data[96:128], 0))
        with m.If(header_end):
            m.d.comb += header.eq(complete)
        if lanes == 2:
            with m.Elif(index == 0):
                m.d.comb += header.eq(beat.data)
        with m.Else():
            m.d.comb += header.eq(known)

        remaining = Signal(11)
        left = Signal(11)
        m.d.comb += left.eq(Mux(header_end, payload_length(common), remaining))

        # Lane of payload dword 0 behind a 3-dword and a 4-dword header, and for every beat after.
        start_3, start_4 = 3 % lanes, 4 % lanes
        draining = Signal()  # only a digest is left
        started = Signal()  # a beat of this packet has left

        only_header = Signal()
        m.d.comb += only_header.eq((lanes == 2) & (index == 0))
        if lanes <= 4:
            with m.If(header_end & four & common.fmt[1]):
                m.d.comb += only_header.eq(1)
        alone = Signal()  # this beat needs nothing of the next
        m.d.comb += alone.eq(left <= Mux(four, lanes - start_4, lanes - start_3))

        # What is offered must not change when the next packet comes behind a beat that is complete.
        window = Cat(beat.data, Mux(alone, 0, following.data))

        skip = Signal()
        sent = Signal()
        load = Signal()
        m.d.comb += [
            skip.eq(held & (only_header | draining)),
            self.o.valid.eq(held & ~only_header & ~draining & (alone | self.i.valid)),
            self.o.payload.header.eq(header),
            self.o.payload.data.eq(
                Mux(four, window[32 * start_4 :][: self.width], window[32 * start_3 :][: self.width])
            ),
            self.o.payload.enable.eq(Cat(left > lane for lane in range(lanes))),
            self.o.payload.first.eq(~started),
            self.o.payload.last.eq(left <= lanes),
            sent.eq(self.o.valid & self.o.ready),
            self.i.ready.eq(~held | skip | sent),
            load.eq(self.i.valid & self.i.ready),
        ]

        with m.If(skip | sent):
            m.d.sync += [held.eq(0), known.eq(header), remaining.eq(left)]
        with m.If(sent):
            m.d.sync += [
                started.eq(1),
                remaining.eq(left - lanes),
                draining.eq(self.o.payload.last & ~Mux(alone, beat.last, following.last)),
            ]
        with m.If(load):
            # The next beat may be used up already, together with this one.
            used_up = sent & self.o.payload.last & ~alone & following.last
            m.d.sync += [held.eq(~used_up), beat.eq(following), index.eq(Mux(index == 2, 2, index + 1))]
            with m.If(following.first):
                m.d.sync += [index.eq(0), started.eq(0), draining.eq(0)]
        return m

"""Moves the header out of a raw packet and the payload into lane 0."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from virtio_spec.tlp import TlpHeader

from ..tlp import RawSignature, TlpSignature, check_width, raw_layout

__all__ = ["HeaderSplitter", "payload_length"]


def payload_length(common: Any) -> Any:
    """Payload in dwords, 0 to 1024, from dword 0 of a header."""
    return Mux(common.fmt[1], Cat(common.length, common.length == 0), 0)


class HeaderSplitter(wiring.Component):
    """Raw packets to the internal TLP stream.

    One raw beat per cycle. The packets must be as long as their headers say; a digest is dropped.

    A beat is held back until the next one is there, because a beat of payload is made from two, or lies
    in the one behind that where the header ends. So a packet's beats leave without a gap if they come
    without one.

    Parameters
    ----------
    width : :class:`int`
        64, 128, 256 or 512.
    max_payload : :class:`int`
        Largest payload in bytes; a multiple of the width.

    Members
    -------
    i : :py:`In(RawSignature(width))`
        Raw packets.
    o : :py:`Out(TlpSignature(width))`
        The same packets.
    """

    def __init__(self, *, width: int, max_payload: int):
        self.width = check_width(width)
        self.max_payload = max_payload
        super().__init__({"i": In(RawSignature(width)), "o": Out(TlpSignature(width))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lanes = self.width // 32
        following = self.i.payload

        held = Signal()
        beat = Signal(raw_layout(self.width))
        four = Signal()  # the packet's header has 4 dwords
        left = Signal(range(self.max_payload // 4 + 1))  # dwords of payload that have not left
        started = Signal()  # a beat of this packet has left
        draining = Signal()  # only a digest is left

        # With two lanes the header takes two beats, and the first is only remembered.
        behind = 2 if lanes == 2 else 0
        only_header = beat.first if lanes == 2 else Const(0)
        before = Signal(32 * behind)
        header = Cat(before, beat.data)[:128]
        # Payload dword 0 has its lane in the held beat or in the one that follows.
        start_3, start_4 = 3 - behind, 4 - behind

        common = data.View(TlpHeader, Cat(following.data[:32], Const(0, 96))).common
        length = payload_length(common)
        alone = Signal()  # the held beat needs nothing of the next
        m.d.comb += alone.eq(left <= Mux(four, lanes - start_4, lanes - start_3))
        # What is offered must not change when the next packet comes behind a beat that is complete.
        window = Cat(beat.data, following.data & (~alone).replicate(self.width))

        skip = Signal()
        sent = Signal()
        load = Signal()
        # The lanes are a power of two: whole beats of payload are the upper bits.
        inside, whole = left[: exact_log2(lanes)], left[exact_log2(lanes) :]
        m.d.comb += [
            skip.eq(held & (only_header | draining)),
            self.o.valid.eq(held & ~only_header & ~draining & (alone | self.i.valid)),
            self.o.payload.header.eq(Cat(header[:96], header[96:] & four.replicate(32))),
            self.o.payload.data.eq(
                Mux(four, window[32 * start_4 :][: self.width], window[32 * start_3 :][: self.width])
            ),
            self.o.payload.enable.eq(
                Cat(*(whole.any() | (inside > lane) for lane in range(lanes - 1)), whole.any())
            ),
            self.o.payload.first.eq(~started),
            self.o.payload.last.eq(~whole.any() | ((whole == 1) & ~inside.any())),
            sent.eq(self.o.valid & self.o.ready),
            self.i.ready.eq(~held | skip | sent),
            load.eq(self.i.valid & self.i.ready),
        ]

        with m.If(skip | sent):
            m.d.sync += held.eq(0)
        with m.If(sent):
            m.d.sync += [
                started.eq(1),
                whole.eq(whole - 1),
                draining.eq(self.o.payload.last & ~Mux(alone, beat.last, following.last)),
            ]
        with m.If(load):
            # The next beat may be used up already, together with this one.
            used_up = sent & self.o.payload.last & ~alone & following.last
            m.d.sync += [held.eq(~used_up), beat.eq(following), before.eq(beat.data)]
            with m.If(following.first):
                m.d.sync += [started.eq(0), draining.eq(0), four.eq(common.fmt[0]), left.eq(length)]
        return m

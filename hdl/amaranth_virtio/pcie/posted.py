"""Memory writes of the host onto the register bus."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.tlp import TlpHeader

from ..registers import RegisterBus
from ..tlp import TlpSignature, check_width
from .bars import Bar, BarDecoder, BarSettings, check_bars

__all__ = ["PostedWriter", "request_address"]


def request_address(header: Any) -> Any:
    """64-bit dword-aligned address of a memory request."""
    wide = header.common.fmt[0]
    low = Mux(wide, header.memory64.address_low, header.memory32.address)
    return Cat(Const(0, 2), low[2:], Mux(wide, header.memory64.address_high, 0))


class PostedWriter(wiring.Component):
    """Execute memory writes dword by dword.  [PCIe base 5.0 §2.2.7, §2.7.2]

    One dword per cycle as the bus takes them, none lost between packets. A beat is acknowledged when
    it enters the unit. The packets obey :class:`.rules.HeaderRules`.

    A write outside the BARs, with memory space disabled or outside D0, is an unsupported request and
    dropped; of a write that runs past the end of its BAR the part outside is. A poisoned write is
    dropped.

    Parameters
    ----------
    width : :class:`int`
        64, 128, 256 or 512.
    bars : sequence of :class:`.bars.Bar`
        The function's BARs.

    Members
    -------
    i : :py:`In(TlpSignature(width))`
        Memory writes.
    bus : :py:`Out(RegisterBus)`
        Writes only; disabled bytes do not count.
    decode : :py:`In(BarSettings(bars))`
        From configuration space.
    d0 : :py:`In(1)`
        The function is in D0.
    busy : :py:`Out(1)`
        If low in a cycle, all that was acknowledged before it is on the bus at its end. Low for at
        least one cycle per beat, so who waits for it is not starved by a stream of writes.
    unsupported : :py:`Out(1)`
        Strobe, once per packet.
    poisoned : :py:`Out(1)`
        Strobe: a write that would have hit was poisoned.
    """

    def __init__(self, *, width: int, bars: Sequence[Bar]):
        self.width = check_width(width)
        self.bars = check_bars(bars)
        super().__init__(
            {
                "i": In(TlpSignature(width)),
                "bus": Out(RegisterBus),
                "decode": In(BarSettings(self.bars)),
                "d0": In(1, init=1),
                "busy": Out(1),
                "unsupported": Out(1),
                "poisoned": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.decoder = decoder = BarDecoder(bars=self.bars)
        lanes = self.width // 32
        beat = self.i.payload
        header = TlpHeader(beat.header)
        request = header.memory32

        # The beat in work, shifted as its dwords are written.
        held = Signal()
        words = Signal(self.width)
        enable = Signal(lanes)
        last_beat = Signal()
        # The packet in work, as of the dword in lane 0 of ``words``.
        bar = Signal(3)
        offset = Signal(16)
        limit = Signal(16)
        byte_enable = Signal(4)
        last_be = Signal(4)
        single = Signal()
        drop = Signal()

        hit = decoder.hit & self.d0
        m.d.comb += [decoder.settings.eq(self.decode), decoder.address.eq(request_address(header))]

        end_of_beat = ~enable[1]
        end_of_packet = end_of_beat & last_beat
        # BARs are naturally aligned, so the last dword has all offset bits below the size set.
        end_of_bar = offset[2:] == limit[2:]

        step = Signal()  # one dword, or the whole beat of a dropped packet
        done = Signal()
        write = self.bus.request
        m.d.comb += [
            write.valid.eq(held & ~drop),
            write.payload.bar.eq(bar),
            write.payload.address.eq(offset),
            write.payload.write.eq(1),
            write.payload.data.eq(words[:32]),
            write.payload.byte_enable.eq(Mux(end_of_packet & ~single, last_be, byte_enable)),
            step.eq(held & (drop | write.ready)),
            done.eq(step & (drop | end_of_beat)),
            self.busy.eq(held & ~done),
            self.i.ready.eq(~held | done),
        ]

        with m.If(step):
            m.d.sync += [
                words.eq(Cat(words[32:], words[-32:])),
                enable.eq(enable >> 1),
                offset.eq(offset + 4),
                byte_enable.eq(0xF),
            ]
            with m.If(end_of_bar & ~end_of_packet & ~drop):
                m.d.sync += drop.eq(1)
                m.d.comb += self.unsupported.eq(1)
        with m.If(self.i.ready):
            m.d.sync += held.eq(self.i.valid)
            with m.If(self.i.valid):
                m.d.sync += [words.eq(beat.data), enable.eq(beat.enable), last_beat.eq(beat.last)]
                with m.If(beat.first):
                    m.d.sync += [
                        bar.eq(decoder.bar),
                        offset.eq(decoder.offset),
                        limit.eq(decoder.limit),
                        byte_enable.eq(request.first_be),
                        last_be.eq(request.last_be),
                        single.eq(header.common.length == 1),
                        drop.eq(~hit | header.common.poisoned),
                    ]
                    m.d.comb += self.poisoned.eq(hit & header.common.poisoned)
                    with m.If(~hit):
                        m.d.comb += self.unsupported.eq(1)
        return m

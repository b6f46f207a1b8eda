"""Received packets to the units that handle them."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.tlp import MessageCode, TlpHeader

from ..tlp import TlpSignature, check_width, tlp_layout
from .rules import HeaderRules, PacketClass

__all__ = ["Router"]


class Router(wiring.Component):
    """Split received packets by class.

    One beat per cycle; one register stage. Malformed packets (:class:`.rules.HeaderRules`) and
    messages are taken and dropped.

    A message whose code the function does not know is an unsupported request. Unlock,
    PM_Active_State_Nak, PME_Turn_Off, Set_Slot_Power_Limit, the Ignored Messages and
    Vendor_Defined Type 1 are dropped without an error.  [PCIe base 5.0 §2.2.8, §2.3.1]

    Parameters
    ----------
    width : :class:`int`
        64, 128, 256 or 512.

    Members
    -------
    i : :py:`In(TlpSignature(width))`
        Everything received.
    posted : :py:`Out(TlpSignature(width))`
        Memory writes.
    non_posted : :py:`Out(TlpSignature(width))`
        Requests of any type that need a completion.
    completion : :py:`Out(TlpSignature(width))`
        Completions.
    malformed : :py:`Out(1)`
        Strobe: a malformed packet was dropped.
    unsupported : :py:`Out(1)`
        Strobe: a message was dropped that nobody handles.
    """

    def __init__(self, *, width: int):
        self.width = check_width(width)
        super().__init__(
            {
                "i": In(TlpSignature(width)),
                "posted": Out(TlpSignature(width)),
                "non_posted": Out(TlpSignature(width)),
                "completion": Out(TlpSignature(width)),
                "malformed": Out(1),
                "unsupported": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.rules = rules = HeaderRules()

        held = Signal()
        beat = Signal(tlp_layout(self.width))
        kind = Signal(PacketClass)
        dropped = Signal()
        taken = Signal()

        header = TlpHeader(self.i.payload.header)
        known = Signal()
        with m.Switch(header.message.code):
            with m.Case(*MessageCode):
                m.d.comb += known.eq(1)

        m.d.comb += [rules.header.eq(header), self.i.ready.eq(~held | taken)]
        # The class is found while the beat enters the register, so that outputs start from registers.
        with m.If(self.i.ready):
            m.d.sync += [held.eq(self.i.valid), beat.eq(self.i.payload)]
            with m.If(self.i.valid & self.i.payload.first):
                m.d.sync += [
                    kind.eq(rules.kind),
                    dropped.eq(rules.kind.message | ~rules.kind.as_value().any()),
                ]
                m.d.comb += [
                    self.malformed.eq(~rules.kind.as_value().any()),
                    self.unsupported.eq(rules.kind.message & ~known),
                ]

        m.d.comb += taken.eq(dropped)
        for output, mine in (
            (self.posted, kind.posted),
            (self.non_posted, kind.non_posted),
            (self.completion, kind.completion),
        ):
            m.d.comb += [output.valid.eq(held & mine), output.payload.eq(beat)]
            with m.If(mine):
                m.d.comb += taken.eq(output.ready)
        return m

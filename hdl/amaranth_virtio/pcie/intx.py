"""The virtual wire INTA.  [PCIe base 5.0 §2.2.8.1, §6.1.2]"""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.tlp import Fmt, InterruptMessage, TlpHeader, TlpType

from ..tlp import TlpSignature, check_width

__all__ = ["Intx"]

_TO_RECEIVER = 0b100  # routing: local, terminate at receiver  [§2.2.8]


class Intx(wiring.Component):
    """Turn a level into Assert_INTA and Deassert_INTA messages.

    The two alternate, Assert_INTA first. A message is offered in the cycle after ``level`` was found
    different from what the last one said, one at a time, and stays as it is until it is taken; what
    ``level`` has become then decides whether another follows. So a change back to the last message's
    level while a message waits is not seen, and one that began a message is always undone by another.

    Parameters
    ----------
    width : :class:`int`
        64, 128, 256 or 512.

    Members
    -------
    level : :py:`In(1)`
        The function requests an interrupt.
    requester_id : :py:`In(16)`
        Bus, device and function number.
    o : :py:`Out(TlpSignature(width))`
        Messages: one beat each, without data, traffic class 0.
    idle : :py:`Out(1)`
        No message is on its way, and the last one said what ``level`` is.
    """

    def __init__(self, *, width: int):
        self.width = check_width(width)
        super().__init__(
            {
                "level": In(1),
                "requester_id": In(16),
                "o": Out(TlpSignature(width)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        offered = Signal()
        asserted = Signal()  # what the message on offer says, or else the last one
        requester_id = Signal(16)
        message = TlpHeader(self.o.payload.header).message
        m.d.comb += [
            self.o.valid.eq(offered),
            self.o.payload.first.eq(1),
            self.o.payload.last.eq(1),
            message.common.fmt.eq(Fmt.HEADER_4DW),
            message.common.type.eq(TlpType.MESSAGE | _TO_RECEIVER),
            message.code.eq(
                Mux(asserted, InterruptMessage.ASSERT_INTA.value, InterruptMessage.DEASSERT_INTA.value)
            ),
            message.requester_id.eq(requester_id),
            self.idle.eq(~offered & (asserted == self.level)),
        ]
        with m.If(offered):
            m.d.sync += offered.eq(~self.o.ready)
        with m.Elif(asserted != self.level):
            m.d.sync += [offered.eq(1), asserted.eq(self.level), requester_id.eq(self.requester_id)]
        return m

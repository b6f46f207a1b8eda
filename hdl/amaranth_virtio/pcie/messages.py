"""Interrupt messages as memory writes on the link."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..dma.headers import memory_request
from ..tlp import TlpSignature, check_width
from .msix import message_layout

__all__ = ["MessageWriter"]


class MessageWriter(wiring.Component):
    """Make a TLP of each message.  [PCIe base 5.0 §2.2.7, §6.1.4]

    It is on offer one cycle after its message, which is taken in the cycle in which the TLP is: a message
    that was taken is written, in posted order.

    Parameters
    ----------
    width : :class:`int`
        64, 128, 256 or 512.

    Members
    -------
    i : :py:`In(stream.Signature(message_layout))`
    o : :py:`Out(TlpSignature(width))`
        Memory writes of one dword, one beat each.
    requester_id : :py:`In(16)`
        Stable while a message is on offer.
    """

    def __init__(self, *, width: int):
        self.width = check_width(width)
        super().__init__(
            {
                "i": In(stream.Signature(message_layout)),
                "o": Out(TlpSignature(width)),
                "requester_id": In(16),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the register that says which header it is."""
        m = Module()
        message, long = self.i.payload, Signal()
        m.d.sync += [
            long.eq(message.address[32:].any()),
            self.o.valid.eq(self.i.valid & ~(self.o.valid & self.o.ready)),
        ]
        m.d.comb += [
            self.i.ready.eq(self.o.valid & self.o.ready),
            self.o.payload.first.eq(1),
            self.o.payload.last.eq(1),
            self.o.payload.enable.eq(1),
            self.o.payload.data.eq(message.data),
            *memory_request(
                self.o.payload.header,
                write=True,
                address=message.address,
                dwords=1,
                first_be=0b1111,
                last_be=0,
                requester_id=self.requester_id,
                tag=0,
                long=long,
            ),
        ]
        return m

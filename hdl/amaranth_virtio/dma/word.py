"""Single words into host memory: ring indices, used elements, interrupt messages."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..tlp import TlpSignature, check_width
from .headers import byte_enables, memory_request
from .layout import DmaSettings, word_write_layout

__all__ = ["WordWriter"]


class WordWriter(wiring.Component):
    """Write 1 to 8 bytes at any byte address.  [PCIe base 5.0 §2.2.7]

    A request is taken in the cycle in which its last TLP is accepted at ``o``: a taken request is
    written, in posted order. Two cycles per TLP of one beat; a request across a 4 KiB boundary
    becomes two TLPs.

    **Bus mastering off.** No TLP is started. One that was offered before is sent.

    **Flush.** While high, a request is taken without being written, unless its TLP was started: then it
    is taken with its end as always. Of a request across a 4 KiB boundary the second TLP may be
    left out so.

    Parameters
    ----------
    width : :class:`int`

    Members
    -------
    request : :py:`In(stream of word_write_layout)`
        ``length`` 1 to 8.
    o : :py:`Out(TlpSignature(width))`
        Memory writes.
    settings : :py:`In(DmaSettings)`
    flush : :py:`In(1)`
    idle : :py:`Out(1)`
        No TLP is offered.
    """

    def __init__(self, *, width: int):
        self.width = check_width(width)
        super().__init__(
            {
                "request": In(stream.Signature(word_write_layout)),
                "o": Out(TlpSignature(width)),
                "settings": In(DmaSettings),
                "flush": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the writer: a packet is prepared in one cycle and offered from the next one on."""
        m = Module()
        lanes = self.width // 32
        request = self.request.payload

        # The one or two runs of bytes inside a page. The second begins at a page's first byte.
        second = Signal()
        final = Signal(13)  # address of the last byte, modulo 8 KiB from the first byte's page
        crosses = Signal()
        address = Signal(64)
        to_boundary = Signal(3)  # bytes before it, if it is crossed
        first_be, last_be = Signal(4), Signal(4)
        dwords = Signal(2)
        last_dword = Signal(10)
        payload = Signal(96)
        m.d.comb += [
            final.eq(request.address[:12] + request.length - 1),
            crosses.eq(final[12]),
            to_boundary.eq(-request.address[:3]),
            address.eq(request.address),
            last_dword.eq(Mux(crosses, 0x3FF, final[2:12])),
            payload.eq(request.data << (request.address[:2] << 3)),
        ]
        final_byte = Signal(2)
        m.d.comb += final_byte.eq(Mux(crosses, 3, final[:2]))
        with m.If(second):
            m.d.comb += [
                address.eq(((request.address >> 12) + 1) << 12),
                last_dword.eq(final[2:12]),
                final_byte.eq(final[:2]),
                payload.eq(request.data >> (to_boundary << 3)),
            ]
        m.d.comb += dwords.eq(last_dword - address[2:12] + 1)
        enables = byte_enables(address[:2], final_byte, dwords == 1)
        m.d.comb += [first_be.eq(enables[0]), last_be.eq(enables[1])]

        rest = Signal(96)
        left = Signal(2)  # dwords of this beat and those behind it
        m.d.comb += [
            *(self.o.payload.enable[lane].eq(left > lane) for lane in range(min(lanes, 3))),
            self.o.payload.data.eq(rest),
            self.o.payload.last.eq(left <= lanes),
        ]
        with m.FSM():
            with m.State("WAIT"):
                m.d.comb += [self.idle.eq(1), self.request.ready.eq(self.flush)]
                with m.If(self.flush):
                    m.d.sync += second.eq(0)
                with m.Elif(self.request.valid & self.settings.bus_master):
                    m.d.sync += [
                        rest.eq(payload),
                        left.eq(dwords),
                        self.o.payload.first.eq(1),
                        *memory_request(
                            self.o.payload.header,
                            write=True,
                            address=address,
                            dwords=dwords,
                            first_be=first_be,
                            last_be=last_be,
                            requester_id=self.settings.requester_id,
                            tag=0,
                        ),
                    ]
                    m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [
                        rest.eq(rest >> self.width),
                        left.eq(left - lanes),
                        self.o.payload.first.eq(0),
                    ]
                    with m.If(self.o.payload.last):
                        m.d.comb += self.request.ready.eq(~crosses | second)
                        m.d.sync += second.eq(crosses & ~second)
                        m.next = "WAIT"
        return m

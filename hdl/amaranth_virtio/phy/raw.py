"""Raw TLPs (contiguous header and payload) to and from the internal TLP stream."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2
from virtio_spec.tlp import TlpHeader

from ..tlp import RawSignature, TlpSignature, check_width, raw_layout
from .header_splitter import HeaderSplitter, payload_length
from .packet_buffer import PacketBuffer
from .raw_transmitter import RawTransmitter

__all__ = ["RawReceiver", "RawTransmitter"]

PAYLOADS = (128, 256, 512, 1024, 2048, 4096)


class RawReceiver(wiring.Component):
    """Check raw packets against their headers and split header from payload.  [PCIe base 5.0 §2.2, §2.3]

    Store and forward: downstream sees a packet only after its last beat was found good, so a
    malformed one is never acted upon. One raw beat per cycle, whatever the packets' lengths; a packet
    appears three cycles after its last beat.

    Malformed is a packet that has a prefix or an undefined Fmt, whose payload exceeds
    ``limit``, or whose size is not what Length, Fmt and TD say. (Rules about the meaning of
    fields are the router's.) The digest is not checked, and dropped.

    A packet whose end never comes (``first`` appears again) is dropped without ``malformed``: so a
    phy can take back a nullified packet. Beats outside a packet are dropped, too.

    Parameters
    ----------
    width : :class:`int`
        64, 128, 256 or 512.
    max_payload : :class:`int`
        Largest payload in bytes, as Max_Payload_Size Supported in configuration space says.

    Members
    -------
    i : :py:`In(RawSignature(width))`
        From the link.
    o : :py:`Out(TlpSignature(width))`
        Good packets. Once a packet's first beat is offered, the others follow without a gap.
    limit : :py:`In(3)`
        Max_Payload_Size as it is set: 128 << ``limit`` bytes, not above ``max_payload``. Holds from the
        cycle after next on.
    malformed : :py:`Out(1)`
        Strobe: a malformed packet was dropped.
    """

    def __init__(self, *, width: int, max_payload: int = 512):
        self.width = check_width(width)
        if max_payload not in PAYLOADS:
            raise ValueError(
                f"max_payload must be one of {', '.join(map(str, PAYLOADS))}, not {max_payload!r}"
            )
        self.max_payload = max_payload
        super().__init__(
            {
                "i": In(RawSignature(width)),
                "o": Out(TlpSignature(width)),
                "limit": In(3, init=exact_log2(max_payload // 128)),
                "malformed": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lanes = self.width // 32
        # Room for header, payload and digest of one packet, and for what arrives until it starts to leave.
        longest = -(-(4 + self.max_payload // 4 + 1) // lanes)
        m.submodules.buffer = buffer = PacketBuffer(
            shape=raw_layout(self.width), depth=1 << ceil_log2(longest + 4)
        )
        m.submodules.splitter = splitter = HeaderSplitter(width=self.width, max_payload=self.max_payload)
        wiring.connect(m, buffer.o, splitter.i)
        wiring.connect(m, splitter.o, wiring.flipped(self.o))

        beat = self.i.payload
        common = data.View(TlpHeader, Cat(beat.data[:32], Const(0, 96))).common
        payload = Signal(11)
        longest_payload = Signal(11, init=self.max_payload // 4)  # in dwords
        m.d.comb += payload.eq(payload_length(common))
        m.d.sync += longest_payload.eq(32 << self.limit)

        # Dwords of the packet: what the header says, and what has come before this beat.
        expected = Signal(range(4 + 1024 + 1 + 1))
        expected_here = Signal.like(expected)
        count = Signal(range(4 + 1024 + 1 + lanes + 1))
        total = Signal.like(count)
        inside = Signal()
        bad = Signal()
        bad_here = Signal()

        present = sum(beat.enable[lane] for lane in range(lanes))
        with m.If(beat.first):
            m.d.comb += [
                expected_here.eq(3 + common.fmt[0] + payload + common.digest),
                total.eq(present),
                bad_here.eq(common.fmt[2] | (payload > longest_payload)),
            ]
        with m.Else():
            m.d.comb += [
                expected_here.eq(expected),
                total.eq(count + present),
                bad_here.eq(bad | ~inside),
            ]
        # A packet that runs on for ever must not fill the buffer; once bad it stays so.
        good = ~bad_here & (total <= expected_here)

        m.d.comb += [
            self.i.ready.eq(buffer.i.ready),
            buffer.i.valid.eq(self.i.valid & good),
            buffer.i.payload.eq(beat),
            buffer.restart.eq(beat.first),
            buffer.commit.eq(beat.last & (total == expected_here)),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                inside.eq((beat.first | inside) & ~beat.last),
                expected.eq(expected_here),
                bad.eq(~good),
                count.eq(total),
            ]
            m.d.comb += self.malformed.eq(
                (beat.first | inside) & beat.last & ~(good & (total == expected_here))
            )
        return m

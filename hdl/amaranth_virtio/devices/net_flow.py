"""Which conversation a frame belongs to, in 8 bits."""

from functools import reduce
from operator import xor
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .net_layout import FLOW, frame_row_layout

__all__ = ["FlowHash"]

VLAN, IPV4, IPV6 = 0x8100, 0x0800, 0x86DD
TCP, UDP = 6, 17
ETHERNET, TAG = 14, 4  # bytes
V4_PLAIN = 0x45  # version 4 and no options


class FlowHash(wiring.Component):
    """Hash the two ends of the conversation that a frame belongs to, so that both directions are the same.

    With TCP and UDP over IPv4 and IPv6 an end is address and port; with what else IP carries, and behind
    options of IPv4, the address; with other frames the Ethernet address. There may be a VLAN tag. The hash is
    the XOR of all these bytes. Of frames that break off before it is just any.

    One row per cycle. Reset is that of the clock domain.

    Parameters
    ----------
    width : :class:`int`
        Of a row in bits.

    Members
    -------
    i : :py:`In(stream of frame_row_layout(width), always_ready)`
        ``count`` is not looked at.
    o : :py:`Out(stream of FLOW, always_ready)`
        2 cycles behind the frame's last row.
    """

    i: Any
    o: Any

    def __init__(self, *, width: int):
        self.width = width
        super().__init__(
            {
                "i": In(stream.Signature(frame_row_layout(width), always_ready=True)),
                "o": Out(stream.Signature(FLOW, always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build three steps: look at the headers, select the bytes, add them up."""
        m = Module()
        words = self.width // 16
        rows = -(-(ETHERNET + TAG + 44) // (self.width // 8))  # rows that have bytes that may count
        row = self.i.payload
        number = Signal(range(rows + 1))
        with m.If(self.i.valid):
            m.d.sync += number.eq(Mux(row.last, 0, Mux(number == rows, number, number + 1)))

        def seen(name: str, offset: int, values: tuple[bytes, ...]) -> Signal:
            """Whether the frame has one of ``values`` at ``offset``."""
            flag = Signal(name=name)
            at, lane = divmod(offset, self.width // 8)
            found = row.data[8 * lane : 8 * (lane + len(values[0]))]
            with m.If(self.i.valid & (number == at)):
                m.d.sync += flag.eq(Cat(found == int.from_bytes(value, "little") for value in values).any())
            return flag

        tagged = seen("tagged", 12, (VLAN.to_bytes(2, "big"),))
        counts: list[list[Any]] = [[] for _ in range(rows * words)]  # what makes each word count
        ip = []
        for tag in (0, TAG):
            here = tagged if tag else ~tagged
            at = ETHERNET + tag
            v4 = here & seen(f"v4_{tag}", 12 + tag, (IPV4.to_bytes(2, "big"),))
            v6 = here & seen(f"v6_{tag}", 12 + tag, (IPV6.to_bytes(2, "big"),))
            ported = (TCP.to_bytes(1), UDP.to_bytes(1))
            plain = seen(f"plain_{tag}", at, (V4_PLAIN.to_bytes(1),))
            v4_ports = v4 & plain & seen(f"ports4_{tag}", at + 9, ported)
            v6_ports = v6 & seen(f"ports6_{tag}", at + 6, ported)
            ip += [v4, v6]
            for flag, first, length in (
                (v4, at + 12, 8),
                (v4_ports, at + 20, 4),
                (v6, at + 8, 32),
                (v6_ports, at + 40, 4),
            ):
                for word in range(first // 2, (first + length) // 2):
                    counts[word].append(flag)

        # Of each word the XOR of its bytes, with the flags of its row.
        valid, first, last = Signal(), Signal(), Signal()
        folded = [Signal(8, name=f"folded_{word}") for word in range(words)]
        at_row = Signal(rows)
        m.d.sync += [valid.eq(self.i.valid), first.eq(number == 0), last.eq(row.last)]
        for word in range(words):
            value = row.data.word_select(word, 16)
            m.d.sync += folded[word].eq(value[:8] ^ value[8:])
        for n in range(rows):
            m.d.sync += at_row[n].eq(number == n)
        ends, stations, is_ip, done = Signal(8), Signal(8), Signal(), Signal()

        def selected(word: int, flags: Any) -> Any:
            return folded[word] & flags.replicate(8)

        now = reduce(
            xor,
            (
                selected(
                    word, Cat(at_row[n] & Cat(flags).any() for n, flags in enumerate(terms) if flags).any()
                )
                for word in range(words)
                if any(terms := counts[word::words])
            ),
        )
        addresses = reduce(
            xor,
            (
                selected(word, Cat(at_row[n] for n in range(rows) if 2 * (n * words + word) < 12).any())
                for word in range(min(words, 6))
            ),
        )
        m.d.sync += done.eq(valid & last)
        with m.If(valid):
            m.d.sync += [
                ends.eq(Mux(first, 0, ends) ^ now),
                stations.eq(Mux(first, 0, stations) ^ addresses),
                is_ip.eq(Cat(ip).any()),
            ]
        m.d.comb += [self.o.payload.eq(Mux(is_ip, ends, stations)), self.o.valid.eq(done)]
        return m

"""Whether the driver wants a frame."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from .net_layout import FLOW, judged_layout, received_layout

__all__ = ["FilterSettings", "ReceiveFilter"]

STEPS = 5  # the tables are read in the first 4


class FilterSettings(data.Struct):
    """What passes besides the addresses in the tables.

    ``all``
        Everything.
    ``all_groups``
        All frames to group addresses.
    ``own``
        Frames to this address; the first octet is the lowest byte.
    """

    all: 1
    all_groups: 1
    own: 48


class ReceiveFilter(wiring.Component):
    """Look at the destination of each frame.  [virtio 1.4 §5.1.6.5.1, §5.1.6.5.2]

    2 cycles per frame, 6 if it has to be looked for in the tables. Reset is that of the clock domain.

    Parameters
    ----------
    width : :class:`int`
    mtu : :class:`int`
    pairs : :class:`int`

    Members
    -------
    frame : :py:`In(stream of received_layout(width, mtu))`
    flow : :py:`In(stream of FLOW)`
        Of the same frames; absent with one pair.
    known : :py:`In`
        The pair of ``flow``, one cycle after it is there; absent with one pair.
    settings : :py:`In(FilterSettings)`
    address : :py:`Out(48)`, step : :py:`Out(2)`, hit : :py:`In(1)`
        To an :class:`AddressTable`.
    o : :py:`Out(stream of judged_layout(width, mtu, pairs))`
    """

    frame: Any
    flow: Any
    known: Any
    settings: Any
    address: Any
    step: Any
    hit: Any
    o: Any

    def __init__(self, *, width: int, mtu: int, pairs: int):
        self.width = width
        self.mtu = mtu
        self.pairs = pairs
        members: dict[str, Any] = {
            "frame": In(stream.Signature(received_layout(width, mtu))),
            "settings": In(FilterSettings),
            "address": Out(48),
            "step": Out(2),
            "hit": In(1),
            "o": Out(stream.Signature(judged_layout(width, mtu, pairs))),
        }
        if pairs > 1:
            members |= {"flow": In(stream.Signature(FLOW)), "known": In(bits_for(pairs))}
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        """Build the counter of steps, and what is found out in them."""
        m = Module()
        frame, settings, out = self.frame.payload, self.settings, self.o.payload
        step = Signal(range(STEPS + 1))
        passes, found, over = Signal(), Signal(), Signal()
        there, room = Signal(), Signal()
        m.d.comb += [
            self.address.eq(frame.address),
            self.step.eq(step),
            there.eq(self.frame.valid),
            over.eq((step != 0) & (passes | found | (step == STEPS))),
            room.eq(~self.o.valid | self.o.ready),
            self.frame.ready.eq(over & room),
        ]
        m.d.sync += [
            passes.eq(
                settings.all
                | frame.address.all()
                | (frame.address == settings.own)
                | (settings.all_groups & frame.address[0])
            ),
            found.eq((step != 0) & (self.hit | found)),
        ]
        if self.pairs > 1:
            m.d.comb += [there.eq(self.frame.valid & self.flow.valid), self.flow.ready.eq(over & room)]
            with m.If(over & room):
                m.d.sync += out.pair.eq(self.known)
        with m.If(over & room):
            m.d.sync += step.eq(0)
        with m.Elif(there & ~over):
            m.d.sync += step.eq(step + 1)
        with m.If(room):
            m.d.sync += [
                self.o.valid.eq(over),
                out.wanted.eq(passes | found),
                out.rows.eq(frame.rows),
                out.total.eq(frame.total),
                out.tail.eq(frame.tail),
                out.checked.eq(frame.checked),
            ]
        return m

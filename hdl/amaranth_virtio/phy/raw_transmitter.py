"""The internal TLP stream to raw TLPs."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from ..one_hot import one_hot_mux
from ..tlp import RawSignature, TlpSignature, check_width, raw_layout, tlp_layout

__all__ = ["RawTransmitter"]

#: What the next raw beat is made of; one bit is set. ``head`` and ``tail`` are full of header, its first
#: dwords and its last. In the others a few dwords come before the payload, of the header (``first``) or of
#: the beat before (``later``); how many depends on whether the header has 3 dwords or 4.
_Step = data.StructLayout({"head": 1, "tail": 1, "first_3": 1, "later_3": 1, "first_4": 1, "later_4": 1})


class RawTransmitter(wiring.Component):
    """Internal TLP stream to raw packets.

    One raw beat per cycle as long as there is input, the first two cycles after its packet's first beat
    was taken. Input and output are registered; the output is a small FIFO, so that nobody who sends waits for
    the link in the same cycle.

    Parameters
    ----------
    width : :class:`int`
        64, 128, 256 or 512.

    Members
    -------
    i : :py:`In(TlpSignature(width))`
        Packets; Length and Fmt agree with the payload, TD is 0.
    o : :py:`Out(RawSignature(width))`
        The same packets, to the link. Lanes that are not enabled have any content.
    """

    def __init__(self, *, width: int):
        self.width = check_width(width)
        super().__init__({"i": In(TlpSignature(width)), "o": Out(RawSignature(width))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lanes = self.width // 32
        held = Signal()
        beat = Signal(tlp_layout(self.width))
        carry = Signal(self.width)  # payload of the beat before
        opening = Signal()  # nothing of the packet was sent
        four = Signal()  # its header has 4 dwords
        step = Signal(_Step)
        following = Signal(_Step)
        flush = Signal()  # nothing is left but what did not fit behind the dwords before it

        raw = Signal(raw_layout(self.width))
        full = step.head | step.tail
        empty = ~beat.enable[0]
        over = Signal()  # a joined beat does not take all of the payload

        def by_size(of_size: Any) -> Any:
            return Mux(four, of_size(4 % lanes), of_size(3 % lanes))

        joined = by_size(lambda shift: Cat(Const((1 << shift) - 1, shift), beat.enable)[:lanes])
        rest = by_size(lambda shift: Cat(beat.enable[lanes - shift :], Const(0, lanes - shift)))
        m.d.comb += [
            over.eq(rest[0] & beat.last),
            raw.data.eq(Cat(self._dword(m, lane, following, beat, carry) for lane in range(lanes))),
            raw.enable.eq(Mux(flush, rest, joined | full.replicate(lanes))),
            raw.first.eq(opening),
            raw.last.eq(flush | Mux(full, step.tail & empty, beat.last & ~over)),
        ]

        m.submodules.sent = sent = SyncFIFO(width=len(raw.as_value()), depth=4)
        advance = sent.w_rdy
        done = Signal()  # with this step all of the beat is sent; a register, as all who send wait for it
        m.d.comb += [
            sent.w_data.eq(raw),
            sent.w_en.eq(held),
            self.o.valid.eq(sent.r_rdy),
            self.o.payload.eq(sent.r_data),
            sent.r_en.eq(self.o.ready),
            self.i.ready.eq(~held | (advance & done)),
        ]

        def ends(beat: Any, over: Any) -> Any:
            return Mux(following.head | following.tail, following.tail & ~beat.enable[0], ~over)

        later = Signal(_Step)
        m.d.comb += [later.later_3.eq(~four), later.later_4.eq(four), following.eq(step)]
        m.d.sync += step.eq(following)
        with m.If(advance & held):
            m.d.sync += [carry.eq(beat.data), opening.eq(0), flush.eq(~full)]
            m.d.sync += done.eq(ends(beat, over & full))
            m.d.comb += following.eq(later)
            with m.If(step.head):
                m.d.comb += [following.eq(0), following.tail.eq(four), following.first_3.eq(~four)]
        with m.If(self.i.ready):
            m.d.sync += [held.eq(self.i.valid), beat.eq(self.i.payload), flush.eq(0)]
            m.d.comb += following.eq(later)
            long = self.i.p.header.common.fmt[0]
            longer = Mux(self.i.p.first, long, four)
            above = [self.i.p.enable[lanes - size % lanes] if size % lanes else 0 for size in (3, 4)]
            m.d.sync += done.eq(ends(self.i.p, self.i.p.last & Mux(longer, above[1], above[0])))
            with m.If(self.i.valid & self.i.p.first):
                m.d.sync += [opening.eq(1), four.eq(long)]
                m.d.comb += following.eq(0)
                if lanes == 2:
                    m.d.comb += following.head.eq(1)
                elif lanes == 4:
                    m.d.comb += [following.tail.eq(long), following.first_3.eq(~long)]
                else:
                    m.d.comb += [following.first_4.eq(long), following.first_3.eq(~long)]
        return m

    def _dword(self, m: Module, lane: int, following: Any, beat: Any, carry: Any) -> Any:
        """What stands in a lane, by registers that say from where, made from the step to come."""
        lanes = self.width // 32
        header, payload = beat.header.dwords, beat.data
        choices: dict[Any, list[Any]] = {}  # from a dword's place to the steps in which it stands here

        def choose(name: str, kind: str, index: int) -> None:
            choices.setdefault((kind, index), []).append(following[name])

        if lanes == 2:
            choose("head", "header", lane)
        if lanes <= 4:
            choose("tail", "header", 4 - lanes + lane)
        for size in (3, 4):
            shift = size % lanes
            if lane >= shift:
                choose(f"first_{size}", "payload", lane - shift)
                choose(f"later_{size}", "payload", lane - shift)
            else:
                choose(f"first_{size}", "header", size - shift + lane)
                choose(f"later_{size}", "carry", lanes - shift + lane)
        sources = {
            "header": header,
            "payload": [payload[32 * n : 32 * n + 32] for n in range(lanes)],
            "carry": [carry[32 * n : 32 * n + 32] for n in range(lanes)],
        }
        select = Signal(len(choices), name=f"select_{lane}")
        m.d.sync += select.eq(Cat(Cat(steps).any() for steps in choices.values()))
        return one_hot_mux(select, [sources[kind][index] for kind, index in choices])

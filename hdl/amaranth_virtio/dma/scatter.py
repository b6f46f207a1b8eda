"""The bytes that a device writes, over the writable segments of their chain."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from ..chain import TOKEN, writable_layout
from ..rings.layout import ChainDone
from ..rings.walk_layout import SegmentOrEnd
from ..tlp import TlpSignature, check_width
from .align import Aligner
from .layout import DmaSettings
from .split import Splitter, check_max_bytes
from .write_buffer import WriteBuffer, chunk_layout

__all__ = ["ScatterWriter"]

BEAT_BITS = 32  # of the width for each beat that can wait


class ScatterWriter(wiring.Component):
    """Write a chain's bytes to its segments as memory writes.  [PCIe base 5.0 §2.2.7, virtio 1.4 §2.7.4]

    Segments are split at multiples of ``min(max_payload, 128 << settings.max_payload)`` bytes, which
    also keeps a TLP inside a 4 KiB page. Where such a chunk ends, a segment ends, or the chain
    ends, a TLP is closed; it is offered only when closed, so a slow device holds nobody up.

    Full beats are taken one per cycle, also over the boundaries of aligned segments. A beat that lies
    across a boundary takes one cycle more, and so does one that ends a TLP in a beat of its own. A
    chain's first beat waits for the first segment, and for 3 cycles behind it; the next ones are hidden
    behind the bytes of the one before. Up to ``width/32`` beats wait here, and chains are begun as soon as
    their first beat is here, so that short ones do not wait for a look-up each.

    Bytes behind the last segment are dropped; ``written`` counts what was sent.

    **Bus mastering off.** No TLP is started. One that was offered before is sent.

    **Flush.** While high, beats are taken and dropped, and everything inside but a started TLP. To be held
    until ``idle``. A ``done`` that waits is withdrawn.

    Parameters
    ----------
    width : :class:`int`
    max_payload : :class:`int`
        Most bytes of a TLP; a power of two from 128 to 4096. Two of them are buffered.

    Members
    -------
    i : :py:`In(stream of writable_layout(width))`
    begin : :py:`Out(stream of TOKEN)`, segment : :py:`In(stream of SegmentOrEnd)`, end : :py:`Out(1)`
        The writable segments of one chain after the other, whose lengths are not 0. Chains are begun ahead,
        as far as ``begin`` is taken, and ended in the same order; see
        :class:`..rings.writable.WritableSegments`.
    o : :py:`Out(TlpSignature(width))`
        Memory writes.
    done : :py:`Out(stream of ChainDone)`
        In the order of the chains, each after its last TLP was accepted, or without one.
    settings : :py:`In(DmaSettings)`
        But for ``bus_master``, changes only while ``idle``.
    flush : :py:`In(1)`
    idle : :py:`Out(1)`
        No byte, TLP or ``done`` inside, and no chain half taken.
    """

    def __init__(self, *, width: int, max_payload: int):
        self.width = check_width(width)
        self.max_payload = check_max_bytes(max_payload)
        super().__init__(
            {
                "i": In(stream.Signature(writable_layout(width))),
                "begin": Out(stream.Signature(TOKEN)),
                "segment": In(stream.Signature(SegmentOrEnd)),
                "end": Out(1),
                "o": Out(TlpSignature(width)),
                "done": Out(stream.Signature(ChainDone)),
                "settings": In(DmaSettings),
                "flush": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the segment walk, and cut beats into the pieces of chunks."""
        m = Module()
        lanes = self.width // 8
        # The context is not used, and one bit because Verilog has no signals of none.
        m.submodules.splitter = splitter = Splitter(max_bytes=self.max_payload, context=unsigned(1))
        m.submodules.aligner = aligner = Aligner(width=self.width, context=chunk_layout)
        m.submodules.buffer = buffer = WriteBuffer(width=self.width, max_payload=self.max_payload)
        connect(m, aligner.o, buffer.i)
        connect(m, buffer.o, flipped(self.o))
        m.d.comb += [
            self.done.payload.eq(buffer.done.payload),
            self.done.valid.eq(buffer.done.valid & ~self.flush),
            buffer.done.ready.eq(self.done.ready),
            buffer.settings.eq(self.settings),
            buffer.flush.eq(self.flush),
            aligner.flush.eq(self.flush),
            splitter.size.eq(self.settings.max_payload),
        ]

        # Beats that wait, and the beginnings of their chains.
        beats = self.width // BEAT_BITS
        m.submodules.waiting = waiting = SyncFIFO(width=writable_layout(self.width).size, depth=beats)
        taken = Signal()
        inside = Signal()  # of a chain, behind its first beat
        chain_ends = Signal()
        begun = Signal(range(beats + 2))  # chains, but for those that were ended
        m.d.comb += [
            self.i.ready.eq((waiting.w_rdy & (inside | ~self.begin.valid)) | self.flush),
            taken.eq(self.i.valid & self.i.ready & ~self.flush),
            waiting.w_en.eq(taken),
            waiting.w_data.eq(self.i.payload),
            self.end.eq(chain_ends),
        ]
        with m.If(self.begin.ready):
            m.d.sync += self.begin.valid.eq(0)
        with m.If(taken):
            m.d.sync += inside.eq(~self.i.payload.last)
            with m.If(~inside):
                m.d.sync += [self.begin.valid.eq(1), self.begin.payload.eq(self.i.payload.token)]
        begins = self.begin.valid & self.begin.ready
        with m.If(begins ^ chain_ends):
            m.d.sync += begun.eq(begun + Mux(begins, 1, -1))

        # The beat that is being cut up.
        beat = Signal(writable_layout(self.width))  # ``count``: bytes left
        beat_valid = Signal()
        start = Signal(ceil_log2(lanes))  # lane of the first byte left
        beat_ends = Signal()
        next_beat = data.View(writable_layout(self.width), waiting.r_data)
        load = Signal()
        m.d.comb += [
            waiting.r_en.eq(~beat_valid | beat_ends | self.flush),
            load.eq(waiting.r_rdy & waiting.r_en),
        ]
        with m.If(beat_ends):
            m.d.sync += beat_valid.eq(0)
        with m.If(load):
            m.d.sync += [beat.eq(next_beat), beat_valid.eq(1), start.eq(0)]

        # Segments of the beat's chain, one after the other, into the splitter.
        restart = Signal()
        exhausted = Signal()
        found = self.segment.payload
        m.d.comb += [
            restart.eq(chain_ends | self.flush),
            splitter.flush.eq(restart),
            splitter.i.payload.address.eq(found.segment.address),
            splitter.i.payload.length.eq(found.segment.length),
            splitter.i.valid.eq((begun != 0) & self.segment.valid & found.exists),
            self.segment.ready.eq((begun != 0) & splitter.i.ready & found.exists),
            exhausted.eq((begun != 0) & self.segment.valid & ~found.exists & ~splitter.busy),
        ]

        # The chunk that is being filled.
        chunk_valid = Signal()
        address = Signal(64)
        room = Signal(13)  # bytes that it still takes
        at = Signal(12)  # bits of the address of the next one
        empty = Signal()
        count = Signal(ceil_log2(lanes + 1))  # bytes of the beat that go into it now
        whole = Signal()  # the beat's bytes
        fills = Signal()
        piece = Signal()
        part = splitter.o.payload
        m.d.comb += [
            whole.eq(beat.count <= room),
            fills.eq(chunk_valid & (room <= beat.count)),
            count.eq(Mux(chunk_valid, Mux(whole, beat.count, room), 0)),
        ]
        ready = aligner.i.ready
        with m.If(beat_valid & (begun != 0) & ~self.flush):
            with m.If(chunk_valid):
                m.d.comb += [
                    piece.eq((count != 0) | beat.last),
                    beat_ends.eq(whole & (ready | ~piece)),
                    chain_ends.eq(whole & beat.last & ready),
                ]
            with m.Elif(exhausted | (beat.count == 0)):
                m.d.comb += [
                    piece.eq(beat.last),
                    beat_ends.eq(ready | ~piece),
                    chain_ends.eq(beat.last & ready),
                ]
        context = aligner.i.payload.context
        m.d.comb += [
            aligner.i.valid.eq(piece),
            aligner.i.payload.data.eq(beat.data),
            aligner.i.payload.start.eq(start),
            aligner.i.payload.count.eq(count),
            aligner.i.payload.first.eq(~chunk_valid | empty),
            aligner.i.payload.origin.eq(Mux(chunk_valid, address[:2], 0)),
            aligner.i.payload.last.eq(fills | (beat.last & (whole | ~chunk_valid))),
            context.address.eq(address),
            context.final.eq(at + count - 1),
            context.data.eq(chunk_valid & (~empty | (count != 0))),
            context.end.eq(beat.last & (whole | ~chunk_valid)),
            context.more.eq(beat.more),
            context.token.eq(beat.token),
        ]
        with m.If(piece & ready):
            m.d.sync += [
                beat.count.eq(beat.count - count),
                start.eq(start + count),
                room.eq(room - count),
                at.eq(at + count),
                empty.eq(0),
            ]
            with m.If(fills):
                m.d.sync += chunk_valid.eq(0)
        m.d.comb += splitter.o.ready.eq(~chunk_valid | (piece & ready & fills))
        with m.If(splitter.o.valid & splitter.o.ready):
            m.d.sync += [
                chunk_valid.eq(1),
                address.eq(part.address),
                room.eq(part.final - part.address[:12] + 1),
                at.eq(part.address),
                empty.eq(1),
            ]
        with m.If(chain_ends):
            m.d.sync += chunk_valid.eq(0)
        with m.If(load):
            m.d.sync += [beat.count.eq(next_beat.count), start.eq(0)]
        with m.If(self.flush):
            m.d.sync += [
                *(signal.eq(0) for signal in (self.begin.valid, inside, begun, beat_valid, chunk_valid))
            ]

        m.d.comb += self.idle.eq(~inside & ~waiting.r_rdy & ~beat_valid & ~aligner.busy & buffer.idle)
        return m

"""The readable bytes of block requests: header, segments, data to be written."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.blk import BlkReqHeader, BlkSegment, BlkSegmentFlag

from ..chain import readable_layout
from .storage import COUNT, SECTOR, write_beat_layout

__all__ = ["BlkReader", "Unit"]

UNIT = 128  # bits of a header, and of a segment
UNMAP_BIT = BlkSegmentFlag.UNMAP.bit_length() - 1


class Unit(data.Struct):
    """A header or a segment; what of it is too large for its field is told in a bit.

    ``type`` and ``type_large`` are those of the header, ``sector`` and ``sector_large`` of the last of
    either, the others of a segment.
    """

    type: 4
    type_large: 1
    sector: SECTOR
    sector_large: 1
    count: COUNT
    count_large: 1
    unmap: 1
    flags_other: 1


class BlkReader(wiring.Component):
    """Take the readable bytes apart as they are wanted.

    Parameters
    ----------
    width : :class:`int`
        Of a beat in bits.

    Members
    -------
    readable : :py:`In(stream)` of :func:`readable_layout`
        The bytes.
    header, segment : :py:`In(1)`
        The next 16 bytes are wanted as one of these; a header at the start of a chain, a segment behind one
        of either. May be taken back only on a reset.
    taken : :py:`Out(1)`
        Strobe: they are in ``unit`` from the next cycle on, or the chain has ended before.
    unit : :py:`Out(Unit)`
        Header and segment.
    drop : :py:`In(1)`
        The next beat is not wanted.
    store : :py:`In(1)`, keep : :py:`In(1)`
        The next beat is data to be written. It is dropped unless ``keep`` is high in the cycle in which it
        is taken; ``keep`` is looked at late.
    abort : :py:`In(1)`
        Instead of ``store``: end what is written here.
    stored : :py:`Out(1)`
        Strobe: the last beat is stored, dropped or not, or the abort is.
    write_data : :py:`Out(stream)` of :func:`write_beat_layout`
        To the storage, one cycle later.
    ended : :py:`Out(1)`, broken : :py:`Out(1)`
        The chain's last beat was taken; it is one that says that the rest could not be read. For a chain
        that has beats, from its first one on.
    empty : :py:`Out(1)`
        There are no more segments: ``ended``, and nothing waits here.
    reset : :py:`In(1)`
        A beat of a header that was taken is forgotten.
    """

    readable: Any
    header: Any
    segment: Any
    taken: Any
    unit: Any
    drop: Any
    store: Any
    keep: Any
    abort: Any
    stored: Any
    write_data: Any
    ended: Any
    broken: Any
    empty: Any
    reset: Any

    def __init__(self, *, width: int):
        self.width = width
        # What a beat has behind its first unit; the header shifts data by that much.
        self._rest = Signal(width - UNIT) if width > UNIT else Const(0, 0)
        self._units = Signal(range(max(width // UNIT, 1)))  # of it that wait to be taken as segments
        super().__init__(
            {
                "readable": In(stream.Signature(readable_layout(width))),
                "header": In(1),
                "segment": In(1),
                "taken": Out(1),
                "unit": Out(Unit),
                "drop": In(1),
                "store": In(1),
                "keep": In(1),
                "abort": In(1),
                "stored": Out(1),
                "write_data": Out(stream.Signature(write_beat_layout(width))),
                "ended": Out(1),
                "broken": Out(1),
                "empty": Out(1),
                "reset": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        readable, write_data = self.readable, self.write_data
        free = Signal()
        wanted = self._halves(m) if self.width < UNIT else self._wholes(m)
        m.d.comb += [
            free.eq(~write_data.valid | write_data.ready),
            readable.ready.eq(wanted | self.drop | (self.store & free)),
            self.empty.eq(self.ended & (self._units == 0)),
        ]
        with m.If(readable.valid & readable.ready):
            m.d.sync += [self.ended.eq(readable.p.last), self.broken.eq(readable.p.error)]
            if len(self._rest):
                m.d.sync += self._rest.eq(readable.p.data[UNIT:])

        with m.If(free):
            m.d.sync += [
                write_data.valid.eq(self.keep & (self.abort | (self.store & readable.valid))),
                write_data.p.data.eq(Cat(self._rest, readable.p.data)),
                write_data.p.abort.eq(self.abort | readable.p.error),
                write_data.p.last.eq(self.abort | readable.p.last),
            ]
        m.d.comb += self.stored.eq(free & (self.abort | (self.store & readable.valid & readable.p.last)))
        return m

    def _halves(self, m: Module) -> Any:
        """Two beats are a unit."""
        word = self.readable.p.data
        second = Signal()
        wanted = self.header | self.segment
        with m.If(wanted & self.readable.valid):
            m.d.sync += second.eq(~second & ~self.readable.p.last)
            with m.If(self.header & ~second):
                self._take_type(m, word)
            with m.If(self.header == second):
                self._take_sector(m, word)
            with m.If(second):
                self._take_count(m, word)
        with m.If(self.reset):
            m.d.sync += second.eq(0)
        m.d.comb += self.taken.eq(wanted & self.readable.valid & (second | self.readable.p.last))
        return wanted

    def _wholes(self, m: Module) -> Any:
        """A beat is one unit, or several: what is behind the first of them waits."""
        beat = self.readable.p
        waiting = Signal()
        unit = Signal(UNIT)
        wanted = Signal()
        m.d.comb += [
            waiting.eq((self._units != 0) & ~self.header),
            unit.eq(Mux(waiting, self._rest, beat.data)),
            wanted.eq((self.header | self.segment) & ~waiting),
            self.taken.eq((self.segment & waiting) | (wanted & self.readable.valid)),
        ]
        if len(self._rest):
            with m.If(self.taken):
                with m.If(waiting):
                    m.d.sync += [self._units.eq(self._units - 1), self._rest.eq(self._rest >> UNIT)]
                with m.Else():
                    m.d.sync += self._units.eq(Mux(beat.error, 0, (beat.count >> 4) - 1))
        with m.If(self.taken):
            with m.If(self.header):
                self._take_type(m, unit[:64])
            self._take_sector(m, Mux(self.header, unit[64:], unit[:64]))
            self._take_count(m, unit[64:])
        return wanted

    def _take_type(self, m: Module, word: Any) -> None:
        header = data.View(BlkReqHeader, Cat(word, Const(0, 64)))
        bits = len(self.unit.type)
        m.d.sync += [
            self.unit.type.eq(header.type),
            self.unit.type_large.eq(header.type[bits:].any()),
        ]

    def _take_sector(self, m: Module, word: Any) -> None:
        bits = SECTOR.width
        m.d.sync += [self.unit.sector.eq(word), self.unit.sector_large.eq(word[bits:].any())]

    def _take_count(self, m: Module, word: Any) -> None:
        segment = data.View(BlkSegment, Cat(Const(0, 64), word))
        m.d.sync += [
            self.unit.count.eq(segment.num_sectors),
            self.unit.count_large.eq(segment.num_sectors[COUNT.width :].any()),
            self.unit.unmap.eq(segment.flags[UNMAP_BIT]),
            self.unit.flags_other.eq((segment.flags & ~(1 << UNMAP_BIT)).any()),
        ]

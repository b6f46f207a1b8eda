"""From chains to storage operations."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from virtio_spec.blk import SECTOR_BYTES, BlkReqHeader, BlkReqType, BlkSegment, BlkStatus
from virtio_spec.wire import size

from ..chain import TOKEN, Chain, readable_layout
from .blk_answer import Place
from .blk_clear import STATUS, ending_layout
from .blk_reader import BlkReader
from .storage import SECTOR, StorageOperation, request_layout, tag_shape, write_beat_layout

__all__ = ["BlkIntake"]

HEADER_BYTES = size(BlkReqHeader)
SEGMENT_BYTES = size(BlkSegment)
SECTOR_BITS = ceil_log2(SECTOR_BYTES)
SEGMENT_BITS = ceil_log2(SEGMENT_BYTES)


class Held(data.Struct):
    """A chain whose header is awaited. Of the readable bytes only what they are for each request."""

    token: TOKEN
    writable: 32
    empty: 1  # no readable bytes
    short: 1  # no whole header
    out_whole: 1  # whole sectors behind the header
    out_sectors: 23
    segments_fit: 1  # a number of whole segments behind it, and not too many
    silent: 1  # no room for a status


class BlkIntake(wiring.Component):
    """Take in one block request after another, check it, and hand it on.  [virtio 1.4 §5.2.6]

    The rules are those of :class:`BlkDevice`. Every request gets a tag; it ends with the answer of the
    storage, or goes to ``ending``. So does every segment of a DISCARD or WRITE_ZEROES.

    Data to be written follows its header without a pause, and the next header follows the data: whether the
    data is wanted is known when its first beat is at ``write_data``. A request without data to be written
    takes 5 cycles, and one more at 64 bits; so do segments, but for one cycle less.

    Parameters
    ----------
    width : :class:`int`
        Of a beat in bits.
    requests : :class:`int`
        Number of tags.
    read_only : :class:`bool`
        Refuse writes, and do not know DISCARD and WRITE_ZEROES.
    max_clear_sectors, max_clear_seg : :class:`int`
        Greatest number of sectors in a segment of DISCARD and WRITE_ZEROES, and of segments.

    Members
    -------
    chain, readable : :py:`In(stream)`
        As in :class:`ChainSignature`.
    reset : :py:`In(1)`
        As there. What is on its way to the storage goes there.
    capacity : :py:`In(48)`
        Sectors, as the driver is told.
    write_back : :py:`In(1)`
        Writes need not be durable when they end.
    legacy : :py:`In(1)`
        FLUSH_OUT is the same as FLUSH.
    tag : :py:`In(n)`, tag_available : :py:`In(1)`, tag_taken : :py:`Out(1)`
        Of a :class:`TagPool`.
    place : :py:`Out(Place)`, placed : :py:`Out(1)`
        Where the answer to request ``tag`` goes; while ``placed``.
    request, write_data : :py:`Out(stream)`
        To the storage.
    ending : :py:`Out(stream)` of :func:`ending_layout`
        Requests that end without the storage.
    clear_begin, clear_issue, clear_seal : :py:`Out(1)`, clear_status : :py:`Out(2)`
        To a :class:`ClearTracker`.
    clear_active : :py:`In(1)`
        From it.
    idle : :py:`Out(1)`
        Nothing is on its way to the storage. Sampled while ``reset`` is high.
    """

    chain: Any
    readable: Any
    reset: Any
    capacity: Any
    write_back: Any
    legacy: Any
    tag: Any
    tag_available: Any
    tag_taken: Any
    place: Any
    placed: Any
    request: Any
    write_data: Any
    ending: Any
    clear_begin: Any
    clear_issue: Any
    clear_seal: Any
    clear_status: Any
    clear_active: Any
    idle: Any

    def __init__(
        self, *, width: int, requests: int, read_only: bool, max_clear_sectors: int, max_clear_seg: int
    ):
        self.width = width
        self.requests = requests
        self.read_only = read_only
        self.max_clear_sectors = max_clear_sectors
        self.max_clear_seg = max_clear_seg
        self._held: Any = Signal(Held)
        self._waits = Signal()  # a chain is held
        self._status = Signal(STATUS)
        self._operate = Signal()  # what was judged is for the storage
        self._durable = Signal()
        self._clearing = Signal()  # the header of a DISCARD or WRITE_ZEROES was judged, and segments are now
        super().__init__(
            {
                "chain": In(stream.Signature(Chain)),
                "readable": In(stream.Signature(readable_layout(width))),
                "reset": In(1),
                "capacity": In(SECTOR),
                "write_back": In(1),
                "legacy": In(1),
                "tag": In(tag_shape(requests)),
                "tag_available": In(1),
                "tag_taken": Out(1),
                "place": Out(Place),
                "placed": Out(1),
                "request": Out(stream.Signature(request_layout(requests))),
                "write_data": Out(stream.Signature(write_beat_layout(width))),
                "ending": Out(stream.Signature(ending_layout(requests))),
                "clear_begin": Out(1),
                "clear_issue": Out(1),
                "clear_seal": Out(1),
                "clear_status": Out(STATUS),
                "clear_active": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.reader = reader = BlkReader(width=self.width)
        wiring.connect(m, wiring.flipped(self.readable), reader.readable)
        wiring.connect(m, reader.write_data, wiring.flipped(self.write_data))
        held = self._held
        self._hold(m)
        kind = {
            request: (reader.unit.type == request) & ~reader.unit.type_large
            for request in BlkReqType
            if request < 1 << len(reader.unit.type)
        }
        writes = Signal()  # its data is to be written
        over = Signal()  # no readable bytes are left
        m.d.comb += [
            writes.eq(kind[BlkReqType.OUT] & ~self._clearing),
            over.eq(held.empty | reader.ended),
            reader.reset.eq(self.reset),
            self.place.token.eq(held.token),
            self.place.writable.eq(held.writable),
        ]

        judging = Signal()
        fits = self._range(m, judging, writes, reader.unit)

        with m.FSM() as fsm:
            with m.State("HEADER"):
                self._await_header(m, reader)
            with m.State("JUDGE"):
                settled = Signal()
                m.d.comb += [self.placed.eq(1), reader.store.eq(writes & ~over & ~self.reset)]
                m.d.sync += settled.eq(~settled)
                with m.If(self.reset & ~self._clearing):
                    m.d.sync += [settled.eq(0), self._waits.eq(0)]
                    m.next = "HEADER"
                with m.Elif(settled | writes):
                    m.d.sync += settled.eq(0)
                    with m.If(~self._clearing):
                        self._judge(m, kind, fits, reader, over)
                    if not self.read_only:
                        with m.Else():
                            self._judge_segment(m, kind, fits, reader)
            with m.State("SWALLOW"):
                self._swallow(m, reader)
            with m.State("ISSUE"):
                self._issue(m, writes, reader)
            with m.State("DATA"):
                m.d.comb += [
                    reader.store.eq(~reader.ended & ~self.reset),
                    reader.keep.eq(1),
                    reader.abort.eq(~reader.ended & self.reset),
                ]
                with m.If(reader.stored | reader.ended):
                    m.next = "HEADER"
            if not self.read_only:
                with m.State("SEGMENT"):
                    self._await_segment(m, reader)
            with m.State("END"):
                m.d.comb += [self.ending.valid.eq(~self._clearing), self.clear_seal.eq(self._clearing)]
                with m.If(self.ending.ready | self._clearing):
                    self._hand_on(m)
                    m.next = "HEADER"
        m.d.comb += [
            judging.eq(fsm.ongoing("JUDGE") | fsm.ongoing("ISSUE")),
            self.idle.eq(fsm.ongoing("HEADER") & ~self._waits & ~self.write_data.valid),
            self.ending.p.tag.eq(self.tag),
            self.ending.p.status.eq(self._status),
            self.ending.p.identify.eq(kind[BlkReqType.GET_ID] & (self._status == BlkStatus.OK)),
            self.clear_status.eq(self._status),
            self._operation(reader.unit),
        ]
        return m

    def _hold(self, m: Module) -> None:
        """Take chains in, one ahead of the header that is awaited."""
        chain, held = self.chain, self._held
        units = chain.p.readable[SEGMENT_BITS:]
        rest = chain.p.readable[:SEGMENT_BITS]
        m.d.comb += chain.ready.eq(~self._waits & ~self.reset)
        with m.If(chain.ready):
            m.d.sync += [
                self._waits.eq(chain.valid),
                held.token.eq(chain.p.token),
                held.writable.eq(chain.p.writable),
                held.empty.eq(chain.p.readable == 0),
                held.short.eq(units == 0),
                held.out_whole.eq((rest == 0) & (units[: SECTOR_BITS - SEGMENT_BITS] == 1)),
                held.out_sectors.eq(chain.p.readable >> SECTOR_BITS),
                held.segments_fit.eq((rest == 0) & (units <= self.max_clear_seg + 1)),
                held.silent.eq(chain.p.writable == 0),
            ]

    def _hand_on(self, m: Module) -> None:
        """The request has left; its tag is in use, which a DISCARD or WRITE_ZEROES had from its beginning."""
        m.d.comb += self.tag_taken.eq(~self._clearing)
        m.d.sync += self._waits.eq(0)

    def _range(self, m: Module, judging: Any, writes: Any, unit: Any) -> Any:
        """Whether the sectors are on the disk; one cycle after their number is known."""
        held, count = self._held, self.request.p.count
        # The number of sectors of an OUT is known before its header.
        with m.If(~judging | writes):
            m.d.comb += count.eq(held.out_sectors)
        with m.Elif(self._clearing):
            m.d.comb += count.eq(unit.count)
        with m.Else():
            m.d.comb += count.eq(held.writable >> SECTOR_BITS)
        highest = Signal(SECTOR.width + 1)  # first sector that is possible; negative if there is none
        m.d.sync += highest.eq(self.capacity - count)
        return ~highest[-1] & ~unit.sector_large & (unit.sector <= highest[:-1])

    def _await_header(self, m: Module, reader: Any) -> None:
        open = Signal()
        m.d.comb += [
            open.eq(self._waits & self.tag_available & ~self.reset),
            reader.header.eq(open & ~self._held.empty),
        ]
        m.d.sync += [
            self._clearing.eq(0),
            self._status.eq(BlkStatus.IOERR),
            self._operate.eq(0),
            self._durable.eq(~self.write_back),
        ]
        with m.If(open & (reader.taken | self._held.empty)):
            m.next = "JUDGE"
        with m.If(self.reset):
            m.d.sync += self._waits.eq(0)

    def _judge(self, m: Module, kind: Any, fits: Any, reader: Any, over: Any) -> None:
        """A header, whose first beat of data may be taken in the same cycle."""
        held = self._held
        operate, clear = Signal(), Signal()
        status = Signal(STATUS, init=BlkStatus.IOERR)
        in_whole = held.writable[:SECTOR_BITS] == 1
        in_some = held.writable[SECTOR_BITS:].any()
        served = [BlkReqType.IN, BlkReqType.OUT, BlkReqType.FLUSH, BlkReqType.GET_ID]
        with m.If(kind[BlkReqType.IN]):
            m.d.comb += [status.eq(Mux(fits & in_whole, 0, 1)), operate.eq(fits & in_whole & in_some)]
        if not self.read_only:
            whole = fits & held.out_whole
            with m.If(kind[BlkReqType.OUT]):
                m.d.comb += [status.eq(~whole), operate.eq(whole & held.out_sectors.any())]
            with m.If(kind[BlkReqType.DISCARD] | kind[BlkReqType.WRITE_ZEROES]):
                m.d.comb += clear.eq(held.segments_fit)
            served += [BlkReqType.DISCARD, BlkReqType.WRITE_ZEROES]
        flushes = kind[BlkReqType.FLUSH] | (kind[BlkReqType.FLUSH_OUT] & self.legacy)
        with m.If(flushes):
            m.d.comb += [status.eq(BlkStatus.OK), operate.eq(1)]
        with m.If(kind[BlkReqType.GET_ID]):
            m.d.comb += status.eq(BlkStatus.OK)
        known = flushes
        for request in served:
            known = known | kind[request]
        with m.If(~known):
            m.d.comb += status.eq(BlkStatus.UNSUPP)

        m.next = "END"
        with m.If(held.short | held.silent | (reader.ended & reader.broken & ~held.empty)):
            with m.If(~over):
                m.next = "SWALLOW"
        with m.Else():
            m.d.sync += [
                self._status.eq(status),
                self._operate.eq(operate),
            ]
            m.d.comb += reader.keep.eq(operate)
            with m.If(operate & (over | kind[BlkReqType.OUT])):
                m.next = "ISSUE"
            with m.Elif(~over):
                m.next = "SWALLOW"
            if not self.read_only:
                with m.If(clear):
                    m.next = "JUDGE"  # until the one before is over
                    with m.If(~self.clear_active):
                        m.d.comb += [self.clear_begin.eq(1), self.tag_taken.eq(1)]
                        m.d.sync += self._clearing.eq(1)
                        m.next = "SEGMENT"

    def _judge_segment(self, m: Module, kind: Any, fits: Any, reader: Any) -> None:
        unit = reader.unit
        refused = Signal()
        m.d.comb += refused.eq(unit.flags_other | (unit.unmap & kind[BlkReqType.DISCARD]))
        m.next = "SWALLOW"
        with m.If(reader.broken):
            pass  # nothing was read
        with m.Elif(refused):
            m.d.sync += self._status.eq(BlkStatus.UNSUPP)
        with m.Elif(~fits | unit.count_large | (unit.count > self.max_clear_sectors)):
            m.d.sync += self._status.eq(BlkStatus.IOERR)
        with m.Elif(unit.count == 0):
            m.next = "SEGMENT"
        with m.Else():
            m.next = "ISSUE"

    def _await_segment(self, m: Module, reader: Any) -> None:
        m.d.sync += [self._status.eq(BlkStatus.OK), self._operate.eq(0)]
        m.d.comb += reader.segment.eq(~self.reset & ~reader.empty & self.tag_available)
        with m.If(self.reset | reader.empty):
            with m.If(reader.broken):
                m.d.sync += self._status.eq(BlkStatus.IOERR)
            m.next = "END"
        with m.Elif(reader.taken):
            m.next = "JUDGE"

    def _swallow(self, m: Module, reader: Any) -> None:
        """Readable bytes that nobody wants."""
        m.d.comb += reader.drop.eq(~reader.ended)
        with m.If(self.reset):
            m.next = "END"
        with m.Elif(reader.ended):
            m.next = "END"
            with m.If(reader.broken):
                m.d.sync += self._status.eq(BlkStatus.IOERR)
            with m.Elif(self._operate):
                m.next = "ISSUE"

    def _issue(self, m: Module, writes: Any, reader: Any) -> None:
        m.d.comb += [
            self.request.valid.eq(1),
            reader.store.eq(writes & ~reader.ended & ~self.reset),
            reader.keep.eq(1),
        ]
        with m.If(self.request.ready):
            with m.If(~self._clearing):
                self._hand_on(m)
                m.next = "HEADER"
                with m.If(writes):
                    m.next = "DATA"
            if not self.read_only:
                with m.Else():
                    m.d.comb += [self.clear_issue.eq(1), self.tag_taken.eq(1)]
                    m.next = "SEGMENT"

    def _operation(self, unit: Any) -> list[Any]:
        """What the storage is asked for, by the type of a request that is for it."""
        operation = StorageOperation.FLUSH
        for request, other in (
            (BlkReqType.IN, StorageOperation.READ),
            (BlkReqType.OUT, StorageOperation.WRITE),
            (BlkReqType.DISCARD, StorageOperation.DISCARD),
            (BlkReqType.WRITE_ZEROES, StorageOperation.WRITE_ZEROES),
        ):
            operation = Mux(unit.type == request, other, operation)
        return [
            self.request.p.operation.eq(operation),
            self.request.p.unmap.eq(unit.unmap),
            self.request.p.durable.eq(self._durable),
            self.request.p.sector.eq(unit.sector),
            self.request.p.tag.eq(self.tag),
        ]

"""Reads from host memory with many tags outstanding: one client's side."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from ..tlp import check_width
from .completion import outcome_layout
from .layout import DmaSettings, read_data_layout, read_request_layout
from .readout import ReadOut, extent_layout
from .slots import SlotMemory, slot_shape, slot_write_layout
from .split import Splitter, Whole, check_max_bytes

__all__ = ["ReadChannel", "issue_layout"]

SHORT_TAGS = 32  # without Extended Tag Field Enable, tags have 5 bits  [PCIe base 5.0 §2.2.6.2]
STAMP_BITS = 3
EXPIRED = 5  # ticks: more than four of them went by for certain
#: Ticks (quarters of the time-out) without another loss, after which a channel reads again.
QUARANTINE = 5

#: A read that is to be sent, from ``address`` to ``final``, which has bits 11:0 of the last byte's address;
#: with ``tag``, whose ring is in lap ``lap``.
issue_layout = data.StructLayout({"address": 64, "final": 12, "tag": 8, "lap": 1, "last": 1})

#: Outcome of a read: the lap in which it became known, and whether it failed.
MARK = data.StructLayout({"lap": 1, "failed": 1})


class ReadChannel(wiring.Component):
    """One client's part of :class:`.reads.Reads`, where its behaviour is written down.

    A ring of tags, each with a slot of ``max_bytes``, used in circular order. A read is over if its mark
    names the lap in which it was sent.

    Parameters
    ----------
    width, timeout
        As for :class:`.reads.Reads`.
    front, behind : :class:`range`
        The channel's tags, of which there are ``tags``; those ``behind``, if any, begin a multiple of
        ``1 << slot_shape(tags).width`` above the end of ``front``.
    max_bytes : :class:`int`
        Most bytes of one read, and the size of a slot; a power of two from 128 to 4096.
    longest : :class:`int`
        ``max_bytes`` of the channel with the greatest slots.
    context, whole
        As for :class:`.reads.Client`.

    Members
    -------
    request : :py:`In(stream of read_request_layout(context))`
    data : :py:`Out(stream of read_data_layout(width, context))`
    settings : :py:`In(DmaSettings)`, completion_timeout_disable : :py:`In(1)`, flush : :py:`In(1)`
    idle : :py:`Out(1)`
    issue : :py:`Out(stream of issue_layout)`
        The next read; given up with ``flush`` or without bus mastering. Its tag is armed when it is taken.
    sent : :py:`In(1)`
        The oldest read that was taken is on its way.
    tick : :py:`In(1)`, now : :py:`In(STAMP_BITS)`
        Four ticks per time-out, and their number.
    forget, forget_tag, forgot, ended, outcome, write, write_enable
        Of :class:`.completion.CompletionTracker`.
    timed_out : :py:`Out(1)`
    """

    def __init__(
        self,
        *,
        width: int,
        front: range,
        behind: range = range(0),
        max_bytes: int,
        longest: int,
        context: Any,
        whole: bool = False,
    ):
        for tags in (front, behind):
            if tags.start < 0 or tags.stop > 256 or not front:
                raise ValueError(f"tags {tags.start} to {tags.stop - 1} are not a range inside 0 to 255")
        if front.start >= SHORT_TAGS:
            raise ValueError(f"tags must begin below 32 to work without extended tags, not at {front.start}")
        self.width = check_width(width)
        self.front = front
        self.behind = behind
        self.tags = len(front) + len(behind)
        self.first_tag = front.start
        if behind and (behind.start - front.stop) % (1 << slot_shape(self.tags).width):
            raise ValueError(f"tags from {behind.start} on do not continue those before {front.stop}")
        self.max_bytes = check_max_bytes(max_bytes)
        self.longest = longest
        self.context = context
        self.whole = whole
        super().__init__(
            {
                "request": In(stream.Signature(read_request_layout(context))),
                "data": Out(stream.Signature(read_data_layout(width, context))),
                "settings": In(DmaSettings),
                "completion_timeout_disable": In(1),
                "flush": In(1),
                "idle": Out(1),
                "issue": Out(stream.Signature(issue_layout)),
                "sent": In(1),
                "tick": In(1),
                "now": In(STAMP_BITS),
                "forget": Out(1),
                "forget_tag": Out(8),
                "forgot": In(1),
                "ended": In(1),
                "outcome": In(outcome_layout),
                "write": In(slot_write_layout(width, longest)),
                "write_enable": In(1),
                "timed_out": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the ring of tags between splitter, slots and readout."""
        m = Module()
        rows = self.max_bytes * 8 // self.width
        slot_bits = slot_shape(self.tags)
        m.submodules.splitter = splitter = (
            Whole(context=self.context)
            if self.whole
            else Splitter(max_bytes=self.max_bytes, context=self.context)
        )
        m.submodules.slots = slots = SlotMemory(
            width=self.width,
            slots=self.tags,
            first_tag=self.first_tag,
            max_bytes=self.max_bytes,
            longest=self.longest,
        )
        m.submodules.readout = readout = ReadOut(width=self.width, rows=rows, context=self.context)
        connect(m, flipped(self.request), splitter.i)
        connect(m, readout.o, flipped(self.data))
        m.d.comb += [
            splitter.size.eq(self.settings.max_read_request),
            splitter.flush.eq(self.flush),
            slots.write.eq(self.write),
            slots.write_enable.eq(self.write_enable),
            slots.read_row.eq(readout.read_row),
            slots.read_enable.eq(readout.read_enable),
            readout.data.eq(slots.data),
            readout.flush.eq(self.flush),
        ]

        # The ring: slots [head, sent) are outstanding or complete, [sent, alloc) is the TLP on offer.
        place = data.StructLayout({"slot": slot_bits, "lap": 1})
        alloc, sent, head = (Signal(place, name=name, init={"lap": 1}) for name in ("alloc", "sent", "head"))
        used = Signal(range(self.tags + 1))  # slots that cannot be allocated
        last_slot = Signal(slot_bits)
        few = min(len(self.front), SHORT_TAGS - self.first_tag)
        m.d.comb += last_slot.eq(Mux(self.settings.extended_tag, self.tags, few) - 1)

        def advance(pointer: Any) -> Any:
            ends = pointer.slot == last_slot
            return pointer.eq(Cat(Mux(ends, 0, pointer.slot + 1)[: slot_bits.width], pointer.lap ^ ends))

        m.d.comb += self.idle.eq(~splitter.busy & ~readout.busy & (used == 0))

        # Before the first lap all slots are cleared: after a reset, and when the ring's size changes.
        stale = Signal()
        clearing = Signal(init=1)
        clear_slot = Signal(slot_bits)
        with m.If(clearing & self.forgot):
            m.d.sync += clear_slot.eq(Mux(clear_slot == self.tags - 1, 0, clear_slot + 1))
            with m.If(clear_slot == self.tags - 1):
                m.d.sync += clearing.eq(0)
        m.d.comb += stale.eq(clearing)
        if few != self.tags:
            extended = Signal()
            changes = extended != self.settings.extended_tag
            with m.If((used == 0) & ~readout.busy & ~clearing):
                m.d.sync += extended.eq(self.settings.extended_tag)
                with m.If(changes):
                    m.d.sync += [
                        clearing.eq(1),
                        *(pointer.eq(place.const({"lap": 1})) for pointer in (alloc, sent, head)),
                    ]
            m.d.comb += stale.eq(clearing | changes)

        # Issue.
        part, issue = splitter.o.payload, self.issue.payload
        load = Signal()
        drop = Signal()  # of a failed request nothing is left but what is not issued
        wounded = Signal()
        m.d.comb += [
            self.issue.valid.eq(
                splitter.o.valid
                & (used <= last_slot)
                & ~stale
                & ~wounded
                & self.settings.bus_master
                & ~readout.discarding
                & ~self.flush
            ),
            issue.address.eq(part.address),
            issue.final.eq(part.final),
            issue.tag.eq(self._tag(alloc.slot)),
            issue.lap.eq(alloc.lap),
            issue.last.eq(1),
            load.eq(self.issue.valid & self.issue.ready),
            drop.eq(readout.discarding & (used == 0)),
            splitter.cut.eq(drop & ~(splitter.o.valid & part.last)),
            splitter.o.ready.eq(load | drop),
            readout.dropped.eq(drop & splitter.o.valid & part.last),
        ]
        with m.If(load):
            m.d.sync += advance(alloc)
        with m.If(load & ~readout.free):
            m.d.sync += used.eq(used + 1)
        with m.Elif(readout.free & ~load):
            m.d.sync += used.eq(used - 1)
        with m.If(self.sent):
            m.d.sync += advance(sent)

        size = ceil_log2(self.max_bytes)
        lane_bits = ceil_log2(self.width // 8)
        m.submodules.extents = extents = Memory(
            shape=extent_layout(self.width, rows, self.context), depth=max(self.tags, 2), init=[]
        )
        extent_write = extents.write_port()
        extent_read = extents.read_port(domain="comb")
        extent = extent_write.data
        m.d.comb += [
            extent_write.addr.eq(alloc.slot),
            extent_write.en.eq(load),
            extent.first_row.eq(part.address[lane_bits:size]),
            extent.start.eq(part.address[:lane_bits]),
            extent.last_row.eq(part.final[lane_bits:size]),
            extent.final.eq(part.final[:lane_bits]),
            extent.last.eq(part.last),
            extent.context.eq(part.context),
            extent_read.addr.eq(head.slot),
            readout.extent.eq(extent_read.data),
        ]

        # Outcomes, and what is delivered.
        m.submodules.marks = marks = Memory(shape=MARK, depth=max(self.tags, 2), init=[])
        put_mark = marks.write_port()
        get_mark = marks.read_port(domain="comb")
        waiting = head != sent
        done, expired = Signal(), Signal()
        m.d.comb += [
            get_mark.addr.eq(head.slot),
            done.eq(waiting & (get_mark.data.lap == head.lap)),
            self.forget_tag.eq(self._tag(Mux(clearing, clear_slot, head.slot))),
            self.timed_out.eq(self.forgot & ~clearing),
            put_mark.en.eq(self.ended | self.forgot),
            put_mark.addr.eq((self.outcome.tag - self.first_tag)[: slot_bits.width]),
            put_mark.data.lap.eq(self.outcome.lap),
            put_mark.data.failed.eq(self.outcome.failed),
            slots.read_slot.eq(head.slot),
            readout.done.eq(done),
            readout.failed.eq(get_mark.data.failed),
        ]
        # A register, for all that is sent waits for it. What is known meanwhile is not forgotten.
        m.d.sync += self.forget.eq((clearing | (expired & waiting & ~done)) & ~self.ended & ~self.forgot)
        with m.If(clearing):
            m.d.comb += [put_mark.addr.eq(clear_slot), put_mark.data.eq(0)]
        with m.Elif(self.forgot):
            m.d.comb += [
                put_mark.addr.eq(head.slot),
                put_mark.data.lap.eq(head.lap),
                put_mark.data.failed.eq(1),
            ]
        with m.If(readout.free):
            m.d.sync += advance(head)

        # Time-out: each read has the time it was sent at, in ticks.
        m.submodules.stamps = stamps = Memory(shape=STAMP_BITS, depth=max(self.tags, 2), init=[])
        stamp_write = stamps.write_port()
        stamp_read = stamps.read_port(domain="comb")
        age = Signal(STAMP_BITS)
        m.d.comb += [
            stamp_write.addr.eq(sent.slot),
            stamp_write.data.eq(self.now),
            stamp_write.en.eq(self.sent),
            stamp_read.addr.eq(head.slot),
            age.eq(self.now - stamp_read.data),
            expired.eq((age >= EXPIRED) & (self.flush | ~self.completion_timeout_disable)),
        ]
        quiet = Signal(range(QUARANTINE + 1), init=QUARANTINE)
        m.d.comb += wounded.eq(quiet != QUARANTINE)
        with m.If(self.timed_out | (self.ended & self.outcome.breaks)):
            m.d.sync += quiet.eq(0)
        with m.Elif(self.tick & wounded):
            m.d.sync += quiet.eq(quiet + 1)
        return m

    def _tag(self, slot: Any) -> Any:
        """The tag of a slot."""
        first: Any = self.front.start
        if self.behind:
            first = Mux(slot >= len(self.front), self.behind.start - len(self.front), first)
        return slot + first

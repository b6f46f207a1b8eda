"""Reads from host memory with many tags outstanding."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from ..tlp import TlpSignature, check_width
from .completion import CompletionTracker
from .headers import byte_enables, memory_request
from .layout import DmaSettings, read_data_layout, read_request_layout
from .readout import ReadOut, extent_layout
from .router import CompletionRouter
from .slots import SlotMemory, slot_shape
from .split import Splitter, Whole, check_max_bytes

__all__ = ["CompletionRouter", "ReadChannel"]

SHORT_TAGS = 32  # without Extended Tag Field Enable, tags have 5 bits  [PCIe base 5.0 §2.2.6.2]
STAMP_BITS = 3
EXPIRED = 5  # ticks: more than four of them went by for certain


class ReadChannel(wiring.Component):
    """Read host memory for one client: any length, any alignment, in order.  [PCIe base 5.0 §2.2.7]

    A request is split at multiples of ``min(max_bytes, 128 << max_read_request)`` bytes, so that no
    TLP crosses 4 KiB. Each tag has a slot of ``max_bytes``, used in circular order, in which its
    completions are put together; a slot is streamed out when it and all before it are complete, one
    beat per cycle without a gap. A tag is in use from its TLP until its slot was streamed out.
    One TLP per cycle, the first three cycles after its request.

    **Errors.** UR, CA, another bad status, poisoned data, a completion that does not fit, or a
    time-out end the client's request with one ``error`` beat behind the data that was good. The
    rest of that request is not issued, or discarded when it comes; later requests go on.

    **Time-out.** A read that is not complete ``timeout`` to ``1.25 * timeout`` cycles after its
    TLP was accepted has failed (looked at for the oldest read only, so that a failure shows in
    order). Its completion may still be under way and must not be taken for another read's, so the
    channel sends no read until ``timeout`` to ``1.25 * timeout`` cycles went by without another time-out,
    and discards what comes late. So it does after a completion that did not fit.

    **Bus mastering off.** No TLP is offered. One that was offered before stays, as the rule for streams
    demands: it was initiated when that was allowed. Reads under way are completed.

    **Flush.** While high, requests are taken and dropped, ``data`` is not valid (a waiting beat
    is withdrawn), and what arrives is discarded. A TLP that is offered stays. To be held until
    ``idle``, which comes for certain: time-outs count in a flush whatever
    ``completion_timeout_disable`` says. The rest after a time-out does not hold ``idle`` back and
    outlives the flush.

    ``extended_tag`` low restricts the channel to those of its tags that are below 32.

    Parameters
    ----------
    width : :class:`int`
        Of the streams in bits.
    tags : :class:`int`
        Reads outstanding at most.
    first_tag : :class:`int`
        Tags ``first_tag`` to ``first_tag + tags - 1`` are the channel's.
    max_bytes : :class:`int`
        Most bytes of one read, and the size of a slot; a power of two from 128 to 4096.
    context : shape
        Given back beside the data.
    timeout : :class:`int`
        Completion time-out in cycles, at least 16.
    whole : :class:`bool`
        No request crosses a multiple of 128 bytes: the client sees to that, and the channel does not split.
        The first TLP leaves two cycles after its request.

    Members
    -------
    request : :py:`In(stream of read_request_layout(context))`
    data : :py:`Out(stream of read_data_layout(width, context))`
    o : :py:`Out(TlpSignature(width))`
        Memory reads, one beat each.
    completion : :py:`In(TlpSignature(width))`
        Always accepted. Completions with others' tags are ignored. A packet's length field
        agrees with its beats: whoever receives packets sees to that.
    settings : :py:`In(DmaSettings)`
        But for ``bus_master``, changes only while ``idle``.
    completion_timeout_disable : :py:`In(1)`
    flush : :py:`In(1)`
    idle : :py:`Out(1)`
        No request, read or data inside.
    ur_received, ca_received, poisoned, unexpected, timed_out : :py:`Out(1)`
        Strobes for the error bits of configuration space, one per completion or time-out.
        ``unexpected``: one that was late, twice, or did not fit. A status other than successful
        and completer abort counts as UR.
    """

    def __init__(
        self,
        *,
        width: int,
        tags: int,
        first_tag: int,
        max_bytes: int,
        context: Any,
        timeout: int,
        whole: bool = False,
    ):
        if not 1 <= tags <= 256 or not 0 <= first_tag or first_tag + tags > 256:
            raise ValueError(f"tags {first_tag} to {first_tag + tags - 1} are not a range inside 0 to 255")
        if first_tag >= SHORT_TAGS:
            raise ValueError(f"first_tag must be below 32 to work without extended tags, not {first_tag}")
        if timeout < 16:
            raise ValueError(f"timeout must be at least 16 cycles, not {timeout}")
        self.width = check_width(width)
        self.tags = tags
        self.first_tag = first_tag
        self.max_bytes = check_max_bytes(max_bytes)
        self.context = context
        self.timeout = timeout
        self.whole = whole
        super().__init__(
            {
                "request": In(stream.Signature(read_request_layout(context))),
                "data": Out(stream.Signature(read_data_layout(width, context))),
                "o": Out(TlpSignature(width)),
                "completion": In(TlpSignature(width)),
                "settings": In(DmaSettings),
                "completion_timeout_disable": In(1),
                "flush": In(1),
                "idle": Out(1),
                "ur_received": Out(1),
                "ca_received": Out(1),
                "poisoned": Out(1),
                "unexpected": Out(1),
                "timed_out": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the ring of tags between splitter, tracker and readout."""
        m = Module()
        rows = self.max_bytes * 8 // self.width
        slot_bits = slot_shape(self.tags)
        m.submodules.splitter = splitter = (
            Whole(context=self.context)
            if self.whole
            else Splitter(max_bytes=self.max_bytes, context=self.context)
        )
        m.submodules.tracker = tracker = CompletionTracker(
            width=self.width, tags=self.tags, first_tag=self.first_tag, max_bytes=self.max_bytes
        )
        m.submodules.slots = slots = SlotMemory(width=self.width, slots=self.tags, rows=rows)
        m.submodules.readout = readout = ReadOut(
            width=self.width, tags=self.tags, rows=rows, context=self.context
        )
        connect(m, flipped(self.request), splitter.i)
        connect(m, flipped(self.completion), tracker.completion)
        connect(m, readout.o, flipped(self.data))
        m.d.comb += [
            splitter.size.eq(self.settings.max_read_request),
            splitter.flush.eq(self.flush),
            tracker.requester_id.eq(self.settings.requester_id),
            slots.write.eq(tracker.write),
            slots.write_enable.eq(tracker.write_enable),
            slots.read_slot.eq(readout.read_slot),
            slots.read_row.eq(readout.read_row),
            slots.read_enable.eq(readout.read_enable),
            readout.data.eq(slots.data),
            readout.flush.eq(self.flush),
            self.ur_received.eq(tracker.ur_received),
            self.ca_received.eq(tracker.ca_received),
            self.poisoned.eq(tracker.poisoned),
            self.unexpected.eq(tracker.unexpected),
            self.timed_out.eq(tracker.timed_out),
        ]

        # The ring: slots [head, sent) are outstanding or complete, [sent, alloc) is the TLP on offer.
        place = data.StructLayout({"slot": slot_bits, "lap": 1})
        alloc, sent, head = (Signal(place, name=name, init={"lap": 1}) for name in ("alloc", "sent", "head"))
        used = Signal(range(self.tags + 1))  # slots that cannot be allocated
        last_slot = Signal(slot_bits)
        few = min(self.tags, SHORT_TAGS - self.first_tag)
        m.d.comb += last_slot.eq(Mux(self.settings.extended_tag, self.tags, few) - 1)

        def advance(pointer: Any) -> Any:
            ends = pointer.slot == last_slot
            return pointer.eq(Cat(Mux(ends, 0, pointer.slot + 1)[: slot_bits.width], pointer.lap ^ ends))

        m.d.comb += self.idle.eq(~splitter.busy & ~readout.busy & (used == 0))

        # Before the first lap all slots are cleared: after a reset, and when the ring's size changes.
        stale = Signal()
        clearing = Signal(init=1)
        clear_slot = Signal(slot_bits)
        m.d.comb += [tracker.clear.eq(clearing), tracker.clear_slot.eq(clear_slot)]
        with m.If(clearing):
            m.d.sync += clear_slot.eq(Mux(clear_slot == self.tags - 1, 0, clear_slot + 1))
            with m.If(clear_slot == self.tags - 1):
                m.d.sync += clearing.eq(0)
        if few != self.tags:
            extended = Signal()
            with m.If((used == 0) & ~readout.busy & ~clearing):
                m.d.sync += extended.eq(self.settings.extended_tag)
                with m.If(extended != self.settings.extended_tag):
                    m.d.sync += [
                        clearing.eq(1),
                        *(pointer.eq(place.const({"lap": 1})) for pointer in (alloc, sent, head)),
                    ]
            m.d.comb += stale.eq(extended != self.settings.extended_tag)

        # Issue.
        part = splitter.o.payload
        load = Signal()
        drop = Signal()  # of a failed request nothing is left but what is not issued
        m.d.comb += [
            load.eq(
                splitter.o.valid
                & (~self.o.valid | self.o.ready)
                & (used <= last_slot)
                & ~stale
                & tracker.arm_ready
                & self.settings.bus_master
                & ~readout.discarding
                & ~self.flush
            ),
            drop.eq(readout.discarding & (used == 0)),
            splitter.cut.eq(drop & ~(splitter.o.valid & part.last)),
            splitter.o.ready.eq(load | drop),
            readout.dropped.eq(drop & splitter.o.valid & part.last),
        ]
        single = part.address[2:12] == part.final[2:12]
        first_be, last_be = byte_enables(part.address[:2], part.final[:2], single)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        m.d.comb += [self.o.payload.first.eq(1), self.o.payload.last.eq(1)]
        with m.If(load):
            m.d.sync += [
                self.o.valid.eq(1),
                advance(alloc),
                *memory_request(
                    self.o.payload.header,
                    write=False,
                    address=part.address,
                    dwords=part.final[2:12] - part.address[2:12] + 1,
                    first_be=first_be,
                    last_be=last_be,
                    requester_id=self.settings.requester_id,
                    tag=alloc.slot + self.first_tag,
                ),
            ]
        with m.If(load & ~readout.free):
            m.d.sync += used.eq(used + 1)
        with m.Elif(readout.free & ~load):
            m.d.sync += used.eq(used - 1)

        size = ceil_log2(self.max_bytes)
        lane_bits = ceil_log2(self.width // 8)
        m.d.comb += [
            tracker.arm.eq(load),
            tracker.arm_slot.eq(alloc.slot),
            tracker.arm_expect.lap.eq(alloc.lap),
            tracker.arm_expect.address.eq(part.address),
            tracker.arm_expect.remaining.eq(part.final[:size] - part.address[:size] + 1),
            tracker.offered.eq(self.o.valid),
            tracker.offered_slot.eq(sent.slot),
        ]
        leaves = self.o.valid & self.o.ready
        with m.If(leaves):
            m.d.sync += advance(sent)

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

        # Deliver.
        m.d.comb += [
            tracker.head.eq(head.slot),
            tracker.lap.eq(head.lap),
            tracker.waiting.eq(head != sent),
            readout.slot.eq(head.slot),
            readout.done.eq(tracker.done),
            readout.failed.eq(tracker.failed),
        ]
        with m.If(readout.take):
            m.d.sync += advance(head)

        # Time-out: each read has the time it was sent at, in ticks.
        ticks = -(-self.timeout // 4)
        prescaler = Signal(range(ticks))
        now = Signal(STAMP_BITS)
        m.d.comb += tracker.tick.eq(prescaler == ticks - 1)
        m.d.sync += prescaler.eq(Mux(tracker.tick, 0, prescaler + 1))
        m.d.sync += now.eq(now + tracker.tick)
        m.submodules.stamps = stamps = Memory(shape=STAMP_BITS, depth=max(self.tags, 2), init=[])
        stamp_write = stamps.write_port()
        stamp_read = stamps.read_port(domain="comb")
        age = Signal(STAMP_BITS)
        m.d.comb += [
            stamp_write.addr.eq(sent.slot),
            stamp_write.data.eq(now),
            stamp_write.en.eq(leaves),
            stamp_read.addr.eq(head.slot),
            age.eq(now - stamp_read.data),
            tracker.expire.eq((age >= EXPIRED) & (self.flush | ~self.completion_timeout_disable)),
        ]
        return m

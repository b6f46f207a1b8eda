"""Used rings, batch by batch."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from virtio_spec.packed import PackedFlag

from ..chain import QUEUE, TOKEN
from ..dma.layout import read_request_layout
from .collector import BatchSignature
from .layout import QueueLookup, ring_write_layout
from .notifier import event_context
from .options import RingFeatures, RingOptions
from .parameters import check_queue_size, check_queues, check_quota
from .walk_layout import RecordLookup

__all__ = ["UsedWriter"]


class _State:
    """The writer's registers, and the signals that its parts share."""

    def __init__(self, writer: "UsedWriter"):
        sequence = Signal(max(1, exact_log2(writer.quota)))
        slot = writer.batches.slot
        # The batch
        self.queue = Signal(range(writer.queues))
        self.muted = Signal()
        self.old = Signal(16)  # place of its first element
        self.defer, self.back = Signal(), Signal()  # its first element is written last; that is now
        self.end = Signal.like(slot)
        self.ahead = Signal.like(slot)  # slot behind that of the element at hand
        self.limit = Signal(exact_log2(writer.queue_size))  # queue size - 1
        self.fetch = Signal()  # get the first one
        # The element at hand
        self.place = Signal(16)
        self.sequence = sequence
        self.deferred = Signal.like(sequence)
        self.half = Signal()  # the first half of it is written
        self.final = Signal()  # the last one of the batch
        self.shift = Signal()  # go on to the next one
        # The write
        self.base = Signal(63)  # in units of 2 bytes, like ``offset``
        self.offset = Signal(len(self.limit) + 3)
        self.address = Signal(64)
        self.in_last_block = Signal()  # it begins in the last 64 bytes of a page
        self.dword = Signal(4)  # of those 64 bytes, that which its next beat begins with
        self.beats = Signal(3)  # before this one
        self.straddles = Signal()  # this beat crosses the end of a page
        self.page_end = Signal()  # the next one would be in another page
        self.ring_end = Signal()  # the next element would be at the ring's beginning
        self.onward = Signal()  # the next element follows at once
        self.last = Signal()  # it ends with this element
        self.joined = Signal()  # it goes on with the next descriptor
        self.between = Signal()  # this beat is the next descriptor's ``address``
        self.publish = Signal()  # this beat is ``used.idx``


class UsedWriter(wiring.Component):
    """Write batches of used elements, publish them, then ask whether the driver wants to hear of it.

    **Split rings** [virtio 1.4 §2.7.8]: the elements, one per cycle, then ``used.idx``, then the request
    for the event structure. **Packed rings** [§2.8.6]: a used descriptor per chain in 2 cycles, or 3 if it
    does not stand right behind the one before; beats are ``{len, id, flags}`` and, between two descriptors,
    ``address``, which means nothing in a used one. Of a batch with chains that become visible together, the
    first descriptor is written last [§2.8.8]. Each batch costs 3 cycles more.

    A write covers up to 64 bytes that neither wrap around the ring nor cross a multiple of 4096; the element
    that does is two writes. The request leaves when the writes are taken, so in posted order the event
    structure is read later than the driver can see them. The next batch does not wait for the answer.

    Each element is written, with IN_ORDER too. One for a whole batch would say that the buffers before
    were written in full [§2.7.9], which is not so in general and not known here.

    Parameters
    ----------
    queues : :class:`int`
        Number of virtqueues, 1 to 256.
    queue_size : :class:`int`
        Greatest queue size, a power of two from 2 to 1024.
    quota : :class:`int`
        Chains in flight of one queue; a power of two from 1 to 256.
    options : :class:`RingOptions`
        What there is logic for.

    Members
    -------
    features : :py:`In(RingFeatures)`
    batches : :py:`In(BatchSignature(quota))`
        Of one that is retired nothing is written and nothing asked; its chains finish.
    lookup : :py:`Out(QueueLookup)`
        Queue contexts.
    chain : :py:`Out(RecordLookup)`
        Records of chains.
    look : :py:`Out(1)`, written : :py:`In(32)`
        Bytes written into the chain that ``chain.token`` was in the last cycle of ``look``.
    write : :py:`Out(stream.Signature(ring_write_layout))`
        Taken means written, in posted order.
    request : :py:`Out(stream.Signature(read_request_layout(event_context(queues, options))))`
        2 bytes, with a packed ring 4.
    room : :py:`In(1)`
        A request may be made.
    finished : :py:`Out(stream.Signature(TOKEN, always_ready=True))`
        Chains whose element is written.
    idle : :py:`Out(1)`
        Between two batches.
    clear : :py:`In(1)`, clear_queue : :py:`In(QUEUE)`
        The queue's place in its ring becomes that after reset; only while ``idle``. A queue must have been
        cleared once.
    """

    def __init__(self, *, queues: int, queue_size: int, quota: int, options: RingOptions):
        self.queues = check_queues(queues)
        self.queue_size = check_queue_size(queue_size)
        self.quota = check_quota(quota, queues)
        self.options = options
        # ``used.idx``, or the place in a packed ring with the complement of the wrap counter in bit 15: by
        # queue. Within reach of simulations, which would else need 65536 chains to see it wrap.
        self.places = Memory(shape=unsigned(16), depth=queues, init=[])
        self._get, self._put = self.places.read_port(), self.places.write_port()
        super().__init__(
            {
                "features": In(RingFeatures),
                "batches": In(BatchSignature(quota)),
                "lookup": Out(QueueLookup),
                "chain": Out(RecordLookup),
                "look": Out(1),
                "written": In(32),
                "write": Out(stream.Signature(ring_write_layout)),
                "request": Out(stream.Signature(read_request_layout(event_context(queues, options)))),
                "room": In(1),
                "finished": Out(stream.Signature(TOKEN, always_ready=True)),
                "idle": Out(1),
                "clear": In(1),
                "clear_queue": In(QUEUE),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the way from a batch to its elements, what is written of them, and the FSM."""
        m = Module()
        m.submodules.places = self.places
        s = _State(self)
        packed = self.features.packed if self.options.packed else Const(0, 1)
        self._elements(m, s)
        self._write(m, s, packed)
        self._run(m, s, packed)
        return m

    def _elements(self, m: Module, s: _State) -> None:
        """From the order of completion to the record; from place to address."""
        batches, sequence_bits = self.batches, exact_log2(self.quota)
        m.d.comb += [
            self.chain.token.eq(Cat(Mux(s.shift, batches.sequence, s.sequence)[:sequence_bits], s.queue)),
            batches.slot.eq(s.ahead + 1),
            batches.fetch.eq(s.fetch | s.shift),
            self.finished.payload.eq(Cat(s.sequence[:sequence_bits], s.queue)),
        ]
        with m.If(s.shift):
            m.d.sync += [
                s.sequence.eq(batches.sequence),
                s.ahead.eq(s.ahead + 1),
                s.final.eq(batches.slot == s.end),
            ]

        # ``half`` counts as another 2, beside the one in ``offset``.
        m.d.comb += s.address[1:].eq((Cat(Const(1, 1), s.base) + Cat(s.half, s.offset))[1:])

    def _write(self, m: Module, s: _State, packed: Any) -> None:
        """What is written, and where a write ends."""
        write, record, written = self.write.payload, self.chain.record, self.written
        size_bits = len(s.limit)
        m.d.comb += write.address.eq(s.address)

        # Where a write ends. It is no longer than a block of 64 bytes, so the only block that can be the
        # last of its page before the write's end is the one it begins in.
        even = (s.place[:size_bits] | ~s.limit | 1).all()
        m.d.sync += s.ring_end.eq(even & (s.place[0] ^ s.onward | ~s.limit[0]))
        m.d.comb += [
            s.last.eq(
                s.final
                | s.back
                | s.half
                | s.straddles
                | s.page_end
                | s.ring_end
                | Mux(packed, (s.beats[1:] == 3) | (record.skip != 1), s.beats == 7)
            ),
        ]

        # What is written
        wrap = ~Mux(s.back, s.old[15], s.place[15])
        flags = Cat(
            Const(0, 1),
            written.any(),
            Const(0, exact_log2(PackedFlag.AVAIL) - 2),
            wrap,
            Const(0, exact_log2(PackedFlag.USED) - exact_log2(PackedFlag.AVAIL) - 1),
            wrap,
        )
        m.d.comb += [
            write.last.eq(s.publish | (s.last & ~s.between)),
            write.count.eq(Mux(s.publish, 2, Mux(s.half | s.straddles, 4, 8))),
            write.data[:16].eq(s.place),
            write.data[16:32].eq(Mux(packed | s.half, written[16:], 0)),
            write.data[32:48].eq(Mux(packed, Mux(s.between, 0, record.id), written[:16])),
            write.data[48:].eq(Mux(packed, flags, written[16:])),
            # What is on offer stays as it is, though the record may be another chain's by now.
            self.look.eq(s.shift | ~(s.publish | s.between)),
        ]
        with m.If(~s.publish & ~s.between):
            m.d.comb += write.data[:16].eq(Mux(packed | s.half, written[:16], record.id))

    def _run(self, m: Module, s: _State, packed: Any) -> None:
        """Go from batch to batch."""
        batches, context, record = self.batches, self.lookup.context, self.chain.record
        size_bits = len(s.limit)
        # Alignment is the driver's duty [§2.7, §2.8.10].
        driver = Cat(context.driver[1] & ~packed, context.driver[2:])
        taken = Signal()
        excess = Signal(signed(size_bits + 2))  # of a place in a packed ring beyond the ring's end
        here = Mux(s.back, s.old, s.place)[:size_bits]
        offset = Signal.like(s.offset)
        in_page = Signal(12)  # address there
        m.d.comb += [
            offset.eq(Mux(packed, Cat(Const(0b100, 3), here), Cat(s.half, Const(1, 1), here & s.limit))),
            in_page.eq(Cat(Const(1, 1), s.base[:11]) + Cat(s.half, offset)),
        ]
        begin = [
            s.offset.eq(offset),
            s.in_last_block.eq(in_page[6:].all()),
            s.dword.eq(in_page[2:6]),
            s.straddles.eq(in_page[2:].all()),
            s.page_end.eq(in_page[3:].all() & ~in_page[2]),
            s.beats.eq(0),
        ]
        go_on = [
            s.dword.eq(s.dword + 2),
            s.straddles.eq(s.in_last_block & (s.dword == 13)),
            s.page_end.eq(s.in_last_block & (s.dword == 12)),
            s.beats.eq(s.beats + 1),
        ]
        # Without EVENT_IDX, what is read stands where the driver area begins.
        ask = []
        asked = Cat(Const(0, 1), driver)
        if self.options.event_idx:
            ask = [s.base.eq(driver), s.offset.eq(Mux(self.features.event_idx & ~packed, s.limit + 3, 0))]
            asked = s.address
        m.d.comb += [
            taken.eq(s.muted | self.write.ready),
            excess.eq(s.place[: size_bits + 1] + (~Cat(s.limit, 0)).as_signed()),
            self.lookup.queue.eq(s.queue),
            self._get.addr.eq(self.lookup.queue),
            self._put.addr.eq(self.clear_queue),
            self._put.data.eq(0),
            self._put.en.eq(self.clear),
            self.request.payload.address.eq(asked),
            self.request.payload.length.eq(Mux(packed, 4, 2)),
            self.request.payload.context.queue.eq(s.queue),
        ]
        if self.options.event_idx:
            m.d.comb += [
                self.request.payload.context.old.eq(Cat(s.old[:15], s.old[15] ^ packed)),
                self.request.payload.context.new.eq(Cat(s.place[:15], s.place[15] ^ packed)),
            ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [
                    self.idle.eq(1),
                    batches.queue.ready.eq(1),
                    self.lookup.queue.eq(batches.queue.payload),
                ]
                m.d.sync += s.queue.eq(batches.queue.payload)
                with m.If(batches.queue.valid):
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += [s.fetch.eq(1), batches.slot.eq(batches.first)]
                m.d.sync += [
                    s.ahead.eq(batches.first),
                    s.end.eq(batches.end),
                    s.muted.eq(batches.retired),
                    s.defer.eq(batches.grouped & packed & ~batches.retired),
                    s.back.eq(0),
                    s.old.eq(self._get.data),
                    s.place.eq(self._get.data),
                    s.limit.eq(context.size - 1),
                    s.base.eq(
                        Mux(packed, Cat(Const(0, 3), context.desc[4:]), Cat(Const(0, 1), context.device[2:]))
                    ),
                ]
                m.next = "START"
            with m.State("START"):
                m.d.comb += s.shift.eq(1)
                m.d.sync += begin
                m.next = "ELEMENT"
                with m.If(s.defer):
                    m.next = "SKIP"
            with m.State("AIM"):
                m.d.sync += begin
                m.next = "ELEMENT"
            with m.State("ELEMENT"):
                m.d.comb += self.write.valid.eq(~s.muted)
                with m.If(taken):
                    m.d.comb += self.finished.valid.eq(~s.straddles)
                    m.d.sync += [
                        s.half.eq(s.straddles),
                        s.joined.eq(~s.last),
                        *go_on,
                    ]
                    with m.If(~s.straddles & ~s.back):
                        m.d.sync += s.place.eq(s.place + Mux(packed, record.skip[: size_bits + 1], 1))
                    with m.If(packed):
                        m.next = "STEP"
                        with m.If(s.back):
                            m.d.sync += ask
                            m.next = "ASK"
                    with m.Else():
                        m.d.comb += [s.shift.eq(~s.straddles), s.onward.eq(~s.straddles)]
                        with m.If(s.straddles | (s.last & ~s.final)):
                            m.next = "AIM"
                        with m.Elif(s.final):
                            m.d.sync += s.offset.eq(1)
                            m.next = "PUBLISH"
                            with m.If(s.muted):
                                m.next = "IDLE"
            with m.State("SKIP"):
                # Its slot may be another's when the others are finished.
                m.d.sync += [
                    s.deferred.eq(s.sequence),
                    s.place.eq(s.place + record.skip[: size_bits + 1]),
                    s.joined.eq(0),
                ]
                m.next = "STEP"
            with m.State("STEP"):
                m.d.comb += [s.between.eq(1), self.write.valid.eq(s.joined & ~s.muted)]
                with m.If(taken | ~s.joined):
                    m.d.comb += s.shift.eq(1)
                    m.d.sync += go_on
                    with m.If(excess >= 0):
                        m.d.sync += [s.place[:15].eq(excess), s.place[15].eq(~s.place[15])]
                    with m.If(s.joined):
                        m.next = "ELEMENT"
                    with m.Elif(~s.final):
                        m.next = "AIM"
                    with m.Elif(s.muted):
                        m.next = "IDLE"
                    with m.Elif(s.defer):
                        m.next = "RETURN"
                    with m.Else():
                        m.d.sync += ask
                        m.next = "ASK"
            with m.State("RETURN"):
                m.d.sync += [s.sequence.eq(s.deferred), s.back.eq(1)]
                m.next = "AIM"
            with m.State("PUBLISH"):
                m.d.comb += [s.publish.eq(1), self.write.valid.eq(1)]
                with m.If(self.write.ready):
                    m.d.sync += ask
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += [
                    self.request.valid.eq(self.room),
                    self._put.addr.eq(s.queue),
                    self._put.data.eq(s.place),
                    self._put.en.eq(1),
                ]
                with m.If(self.request.ready & self.room):
                    m.next = "IDLE"

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
from .layout import ChainRecord, QueueLookup, ring_write_layout
from .notifier import event_context
from .options import RingFeatures, RingOptions
from .parameters import check_queue_size, check_queues, check_quota

__all__ = ["ChainLookup", "UsedWriter"]

# Read port on what is known of the chains in flight: ``record`` is that of the ``token`` of the cycle before.
ChainLookup = wiring.Signature({"token": Out(TOKEN), "record": In(ChainRecord)})


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
        Chains in flight of one queue; a power of two from 1 to 128.
    options : :class:`RingOptions`
        What there is logic for.

    Members
    -------
    features : :py:`In(RingFeatures)`
    batches : :py:`In(BatchSignature(quota))`
        Of one that is retired nothing is written and nothing asked; its chains finish.
    lookup : :py:`Out(QueueLookup)`
        Queue contexts.
    chain : :py:`Out(ChainLookup)`, written : :py:`In(32)`
        Record of a chain and the bytes written into it, both of the ``chain.token`` of the cycle before.
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
                "chain": Out(ChainLookup),
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
        """Build the FSM, and around it the registers that say what is written where."""
        m = Module()
        m.submodules.places = self.places
        packed = self.features.packed if self.options.packed else Const(0, 1)
        event_idx = self.features.event_idx if self.options.event_idx else Const(0, 1)
        size_bits = exact_log2(self.queue_size)
        sequence_bits = exact_log2(self.quota)
        batches, write, record, context = (
            self.batches,
            self.write.payload,
            self.chain.record,
            self.lookup.context,
        )

        # The batch
        queue = Signal(range(self.queues))
        muted = Signal()
        old = Signal(16)  # place of its first element
        defer, back = Signal(), Signal()  # its first element is written last; that is now
        end = Signal.like(batches.slot)
        ahead = Signal.like(batches.slot)  # slot behind that of the element at hand
        limit = Signal(size_bits)  # queue size - 1
        # The element at hand
        place = Signal(16)
        sequence = Signal(max(1, sequence_bits))
        deferred = Signal.like(sequence)
        half = Signal()  # the first half of it is written
        # The write
        base = Signal(63)  # in units of 2 bytes, like ``offset``
        offset = Signal(size_bits + 3)
        beats = Signal(3)
        joined = Signal()  # it goes on with the next descriptor

        # Addresses. Alignment is the driver's duty [§2.7, §2.8.10].
        address = Signal(64)
        driver = Cat(context.driver[1] & ~packed, context.driver[2:])
        m.d.comb += [
            # ``half`` counts as another 2, beside the one in ``offset``.
            address[1:].eq((Cat(Const(1, 1), base) + Cat(half, offset))[1:]),
            write.address.eq(address),
        ]

        # From the order of completion to the record.
        shift, fetch = Signal(), Signal()
        m.d.comb += [
            self.chain.token.eq(Cat(Mux(shift, batches.sequence, sequence)[:sequence_bits], queue)),
            batches.slot.eq(ahead + 1),
            batches.fetch.eq(fetch | shift),
            self.finished.payload.eq(Cat(sequence[:sequence_bits], queue)),
        ]
        with m.If(shift):
            m.d.sync += [sequence.eq(batches.sequence), ahead.eq(ahead + 1)]

        # Where a write ends. It is no longer than a block of 64 bytes, so the only block that can be the
        # last of its page before the write's end is the one it begins in.
        final, page_end, straddles, last = Signal(), Signal(), Signal(), Signal()
        dword = Signal(4)
        block_end = address[6:12].all()
        m.d.comb += [
            dword.eq(address[2:6] + Cat(Const(0, 1), beats)),
            page_end.eq(block_end & (dword == 14)),
            straddles.eq(block_end & (dword == 15) & ~half),
            final.eq(ahead == end),
            last.eq(
                final
                | back
                | half
                | straddles
                | page_end
                | (place[:size_bits] | ~limit).all()
                | Mux(packed, (beats[1:] == 3) | (record.skip != 1), beats == 7)
            ),
        ]

        # What is written
        wrap = ~Mux(back, old[15], place[15])
        flags = Cat(
            Const(0, 1),
            self.written.any(),
            Const(0, exact_log2(PackedFlag.AVAIL) - 2),
            wrap,
            Const(0, exact_log2(PackedFlag.USED) - exact_log2(PackedFlag.AVAIL) - 1),
            wrap,
        )
        written = self.written
        publish, between = (
            Signal(),
            Signal(),
        )  # it is ``used.idx``; it is the ``address`` of the next descriptor
        m.d.comb += [
            write.last.eq(publish | (last & ~between)),
            write.count.eq(Mux(publish, 2, Mux(half | straddles, 4, 8))),
            write.data[:16].eq(place),
        ]
        # Else the record may be another chain's already, so nothing of it may be on offer.
        with m.If(~publish & ~between):
            m.d.comb += [
                write.data[:16].eq(Mux(packed | half, written[:16], record.id)),
                write.data[16:32].eq(Mux(packed | half, written[16:], 0)),
                write.data[32:48].eq(Mux(packed, record.id, written[:16])),
                write.data[48:].eq(Mux(packed, flags, written[16:])),
            ]

        # Places
        taken = Signal()
        excess = Signal(signed(size_bits + 2))  # of a place in a packed ring beyond the ring's end
        here = Mux(back, old, place)[:size_bits]
        begin = [
            offset.eq(Mux(packed, Cat(Const(0b100, 3), here), Cat(half, Const(1, 1), here & limit))),
            beats.eq(0),
        ]
        ask = [base.eq(driver), offset.eq(Mux(event_idx & ~packed, limit + 3, 0))]
        m.d.comb += [
            taken.eq(muted | self.write.ready),
            excess.eq(place[: size_bits + 1] + (~Cat(limit, 0)).as_signed()),
            self.lookup.queue.eq(queue),
            self._get.addr.eq(self.lookup.queue),
            self._put.addr.eq(self.clear_queue),
            self._put.data.eq(0),
            self._put.en.eq(self.clear),
            self.request.payload.address.eq(address),
            self.request.payload.length.eq(Mux(packed, 4, 2)),
            self.request.payload.context.queue.eq(queue),
        ]
        if self.options.event_idx:
            m.d.comb += [
                self.request.payload.context.old.eq(Cat(old[:15], old[15] ^ packed)),
                self.request.payload.context.new.eq(Cat(place[:15], place[15] ^ packed)),
            ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [
                    self.idle.eq(1),
                    batches.queue.ready.eq(1),
                    self.lookup.queue.eq(batches.queue.payload),
                ]
                m.d.sync += queue.eq(batches.queue.payload)
                with m.If(batches.queue.valid):
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += [fetch.eq(1), batches.slot.eq(batches.first)]
                m.d.sync += [
                    ahead.eq(batches.first),
                    end.eq(batches.end),
                    muted.eq(batches.retired),
                    defer.eq(batches.grouped & packed & ~batches.retired),
                    back.eq(0),
                    old.eq(self._get.data),
                    place.eq(self._get.data),
                    limit.eq(context.size - 1),
                    base.eq(
                        Mux(packed, Cat(Const(0, 3), context.desc[4:]), Cat(Const(0, 1), context.device[2:]))
                    ),
                ]
                m.next = "START"
            with m.State("START"):
                m.d.comb += shift.eq(1)
                m.d.sync += begin
                m.next = "ELEMENT"
                with m.If(defer):
                    m.next = "SKIP"
            with m.State("AIM"):
                m.d.sync += begin
                m.next = "ELEMENT"
            with m.State("ELEMENT"):
                m.d.comb += self.write.valid.eq(~muted)
                with m.If(taken):
                    m.d.comb += self.finished.valid.eq(~straddles)
                    m.d.sync += [half.eq(straddles), beats.eq(beats + 1), joined.eq(~last)]
                    with m.If(~straddles & ~back):
                        m.d.sync += place.eq(place + Mux(packed, record.skip[: size_bits + 1], 1))
                    with m.If(packed):
                        m.next = "STEP"
                        with m.If(back):
                            m.d.sync += ask
                            m.next = "ASK"
                    with m.Else():
                        m.d.comb += shift.eq(~straddles)
                        with m.If(straddles | (last & ~final)):
                            m.next = "AIM"
                        with m.Elif(final):
                            m.d.sync += offset.eq(1)
                            m.next = "PUBLISH"
                            with m.If(muted):
                                m.next = "IDLE"
            with m.State("SKIP"):
                # Its slot may be another's when the others are finished.
                m.d.sync += [
                    deferred.eq(sequence),
                    place.eq(place + record.skip[: size_bits + 1]),
                    joined.eq(0),
                ]
                m.next = "STEP"
            with m.State("STEP"):
                m.d.comb += [between.eq(1), self.write.valid.eq(joined & ~muted)]
                with m.If(taken | ~joined):
                    m.d.comb += shift.eq(1)
                    m.d.sync += beats.eq(beats + 1)
                    with m.If(excess >= 0):
                        m.d.sync += [place[:15].eq(excess), place[15].eq(~place[15])]
                    with m.If(joined):
                        m.next = "ELEMENT"
                    with m.Elif(~final):
                        m.next = "AIM"
                    with m.Elif(muted):
                        m.next = "IDLE"
                    with m.Elif(defer):
                        m.next = "RETURN"
                    with m.Else():
                        m.d.sync += ask
                        m.next = "ASK"
            with m.State("RETURN"):
                m.d.sync += [sequence.eq(deferred), back.eq(1)]
                m.next = "AIM"
            with m.State("PUBLISH"):
                m.d.comb += [publish.eq(1), self.write.valid.eq(1)]
                with m.If(self.write.ready):
                    m.d.sync += ask
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += [
                    self.request.valid.eq(self.room),
                    self._put.addr.eq(queue),
                    self._put.data.eq(place),
                    self._put.en.eq(1),
                ]
                with m.If(self.request.ready & self.room):
                    m.next = "IDLE"
        return m

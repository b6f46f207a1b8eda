"""What the poller reads of descriptor rings."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2
from virtio_spec.layout import Cause
from virtio_spec.packed import PackedDescriptor, PackedFlag

from ..dma.layout import read_data_layout
from ..skid import Skid
from ..tlp import check_width
from .layout import ErrorReport, Item
from .parameters import check_queues, check_quota
from .poll_layout import PollContext, place_layout, queue_shape

__all__ = ["DescriptorReader"]


class DescriptorReader(wiring.Component):
    """Go through blocks of a descriptor ring, as far as they are available.  [virtio 1.4 §2.8.1, §2.8.13]

    Only what was made available is looked at, in ring order, and from where the block before ended. A block
    ends early at a descriptor that is not available, and at the head of a chain for which there is no token,
    or whose queue is to be retired: what was read ahead of that is dropped when it comes.

    One item per cycle within a block, or what ``data`` brings. An item is on offer in the cycle after its
    last beat, or in the third one if the block starts with that. There are 3 cycles between blocks.

    After an error nothing more is taken until reset, which is that of the clock domain.

    Parameters
    ----------
    width, queues, quota : :class:`int`
        Width of ``data`` in bits, number of virtqueues, tokens of each.

    Members
    -------
    data : :py:`In(stream.Signature(read_data_layout(width, PollContext)))`
    item : :py:`Out(stream.Signature(Item))`
    block : :py:`Out(queue)`, count : :py:`In(log2(quota) + 1)`
        Queue of the block that is gone through, and how many of its tokens were released; one cycle later.
    select : :py:`In(queue)`, place : :py:`Out(place_layout(quota))`
        Where a queue is; one cycle later.
    ended : :py:`Out(stream.Signature(queue))`
        A block ended, and ``place`` of its queue says so from the next cycle on.
    retire : :py:`In(1)`, retire_queue : :py:`In(queue)`
        No chain of this queue begins in the blocks that come from here on.
    clear : :py:`In(1)`, clear_queue : :py:`In(queue)`
        Start this queue's ring from the beginning; not while a block of any queue ends.
    keep : :py:`In(1)`
        With ``clear``, of the queue of the cycle's ``place``: its tokens go on.
    error : :py:`Out(stream.Signature(ErrorReport, always_ready=True))`
        CHAIN_LOOP, with ``descriptor``, or DMA_ERROR.
    """

    def __init__(self, *, width: int, queues: int, quota: int):
        self.width = check_width(width)
        self.queues = check_queues(queues)
        self.quota = check_quota(quota, queues)
        shape = queue_shape(queues)
        super().__init__(
            {
                "data": In(stream.Signature(read_data_layout(width, PollContext))),
                "item": Out(stream.Signature(Item)),
                "block": Out(shape),
                "count": In(exact_log2(quota) + 1),
                "select": In(shape),
                "place": Out(place_layout(quota)),
                "ended": Out(stream.Signature(shape)),
                "retire": In(1),
                "retire_queue": In(shape),
                "clear": In(1),
                "clear_queue": In(shape),
                "keep": In(1),
                "error": Out(stream.Signature(ErrorReport, always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the FSM of a block."""
        m = Module()
        bits = exact_log2(self.quota)
        layout = place_layout(self.quota)
        m.submodules.places = places = Memory(shape=layout, depth=self.queues, init=[])
        load, show, store = places.read_port(), places.read_port(), places.write_port()

        beat, context = self.data.payload, self.data.payload.context
        queue = Signal(queue_shape(self.queues))  # of the block
        now = Signal(layout)  # of the block's queue
        room = Signal(bits + 1)  # tokens
        skip = Signal()  # the rest of the block is dropped

        # The descriptor that is looked at, when all of it is there, and the item that comes of it
        found = Signal(PackedDescriptor)
        whole, final = Signal(), Signal()  # of the descriptor; the beat's last one
        descriptors = self.width // 128
        items = self.item
        if descriptors > 0:
            m.submodules.items = skid = Skid(shape=Item)
            connect(m, skid.o, flipped(self.item))
            items = skid.i
        item = items.payload
        # The next one takes two beats, or ``ready`` is a register.
        free = ~items.valid if descriptors == 0 else ~items.valid | items.ready
        if descriptors == 0:
            half, address = Signal(), Signal(64)
            m.d.comb += [found.eq(Cat(address, beat.data)), whole.eq(half), final.eq(1)]
        elif descriptors == 1:
            m.d.comb += [found.eq(beat.data), whole.eq(1), final.eq(1)]
        else:
            taken = Signal(range(descriptors))  # of the beat
            at = Signal(range(descriptors))
            m.d.comb += [
                at.eq(taken + beat.start[4:]),
                found.eq(beat.data.word_select(at, 128)),
                whole.eq(1),
                final.eq(taken + 1 == beat.count[4:]),
            ]

        def flag(name: PackedFlag) -> Any:
            return found.flags[name.bit_length() - 1]

        available, looped, step = Signal(), Signal(), Signal()
        m.d.comb += [
            available.eq((flag(PackedFlag.AVAIL) != now.odd) & (flag(PackedFlag.USED) == now.odd)),
            looped.eq(now.open & (now.position == now.begin)),
            self.block.eq(context.token[bits:]),
            load.addr.eq(self.block),
            show.addr.eq(self.select),
            self.place.eq(show.data),
            store.addr.eq(queue),
            store.data.eq(now),
            self.ended.payload.eq(queue),
        ]
        m.d.sync += self.error.valid.eq(0)
        with m.If(items.ready):
            m.d.sync += items.valid.eq(0)

        def fail(cause: Cause) -> None:
            m.d.sync += [
                self.error.valid.eq(1),
                self.error.payload.cause.eq(cause),
                self.error.payload.queue.eq(queue),
                self.error.payload.descriptor.eq(now.position),
            ]
            m.next = "REST"

        def stop() -> None:
            m.d.sync += [skip.eq(1), now.going.eq(0), now.epoch.eq(~now.epoch), now.streak.eq(0)]

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += queue.eq(self.block)
                with m.If(self.data.valid):
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.sync += [
                    now.eq(load.data),
                    now.answered.eq(load.data.answered + 1),
                    room.eq(self.count - load.data.count + self.quota),
                    skip.eq(context.asked != load.data.epoch),
                ]
                with m.If(self.retire & (queue == self.retire_queue)):
                    m.d.sync += room.eq(0)
                with m.If(context.asked == load.data.epoch):
                    m.d.sync += [
                        now.moved.eq(0),
                        now.held.eq(0),
                        now.going.eq(1),
                        now.streak.eq(load.data.streak + (load.data.streak != 3)),
                    ]
                m.next = "BLOCK"
            with m.State("BLOCK"):
                m.d.comb += [
                    step.eq(self.data.valid & (free | ~whole | skip)),
                    self.data.ready.eq(step & (final | skip | beat.error)),
                ]
                if descriptors == 0:
                    with m.If(step):
                        m.d.sync += [half.eq(~half), address.eq(beat.data)]
                elif descriptors > 1:
                    with m.If(step):
                        m.d.sync += taken.eq(Mux(self.data.ready, 0, taken + 1))
                with m.If(step & whole & ~skip & ~beat.error):
                    with m.If(~available):
                        stop()
                    with m.Elif(~now.open & (room == 0)):
                        stop()
                        m.d.sync += now.held.eq(1)
                    with m.Else():
                        m.d.sync += [
                            items.valid.eq(~looped),
                            item.token.eq(Cat((now.count - now.open)[:bits], queue)),
                            item.start.eq(~now.open),
                            item.next.eq(flag(PackedFlag.NEXT)),
                            item.writable.eq(flag(PackedFlag.WRITE)),
                            item.indirect.eq(flag(PackedFlag.INDIRECT)),
                            item.id.eq(found.id),
                            item.index.eq(now.position),
                            item.address.eq(found.addr),
                            item.length.eq(found.len),
                            now.moved.eq(1),
                            now.open.eq(flag(PackedFlag.NEXT)),
                            now.position.eq(now.position + 1),
                        ]
                        with m.If(now.position == context.last):
                            m.d.sync += [now.position.eq(0), now.odd.eq(~now.odd)]
                        with m.If(~now.open):
                            m.d.sync += [
                                now.begin.eq(now.position),
                                now.count.eq(now.count + 1),
                                room.eq(room - 1),
                            ]
                with m.If(self.data.ready & beat.last):
                    m.next = "END"
                with m.If(step & ~skip):
                    with m.If(beat.error):
                        fail(Cause.DMA_ERROR)
                    with m.Elif(whole & available & looped):
                        fail(Cause.CHAIN_LOOP)
            with m.State("END"):
                m.d.comb += [self.ended.valid.eq(1), store.en.eq(1)]
                if descriptors == 0:
                    m.d.sync += half.eq(0)
                with m.If(self.ended.ready):
                    m.next = "IDLE"
            with m.State("REST"):
                pass
        with m.If(self.clear):
            m.d.comb += [store.addr.eq(self.clear_queue), store.data.eq(0), store.en.eq(1)]
            with m.If(self.keep):
                m.d.comb += store.data.count.eq(show.data.count)
        return m

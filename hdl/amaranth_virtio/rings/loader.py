"""Descriptors from the rings and tables into the rows."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from virtio_spec.layout import Cause
from virtio_spec.packed import PackedDescriptor
from virtio_spec.split import Descriptor, DescriptorFlag

from ..chain import QUEUE, TOKEN
from ..dma.layout import read_data_layout
from .deserializer import Deserializer
from .layout import Item
from .options import RingFeatures, RingOptions
from .walk_layout import INDEX, BrokenChain, DirectEnd, FollowUp, TableContext, TablePlace, WalkShape

__all__ = ["Loader"]

NEXT, WRITE, INDIRECT = 0, 1, 2  # bits of the flags
assert (DescriptorFlag.NEXT, DescriptorFlag.WRITE, DescriptorFlag.INDIRECT) == (1, 2, 4)


class Loader(wiring.Component):
    """Store descriptors as they come, and say where each chain goes on.  [virtio 1.4 §2.7.5, §2.8]

    One descriptor per 2 cycles. Those that were read along with a chain's but are not part of it are left
    out in one, but for those of indirect tables, which are stored whole: which of them are part of the chain,
    and whether any of them is right, is seen when the chain is checked.

    Parameters
    ----------
    width : :class:`int`
        Width of ``data`` in bits.
    shape : :class:`WalkShape`
    options : :class:`RingOptions`

    Members
    -------
    data : :py:`In(stream of read_data_layout(width, TableContext))`
    item : :py:`In(stream of Item)`
        With ``options.packed``: descriptors of packed rings.
    size : :py:`In(16)`
        Size of the queue of the ``item`` of the cycle before.
    features : :py:`In(RingFeatures)`
    table_token : :py:`Out(12)`, table : :py:`In(TablePlace)`
        Rows of the indirect table of the chain of the cycle before.
    probe_queue, probe_index, held, holder, store
        See :class:`Rows`.
    begun : :py:`Out(stream of token and index, always_ready)`
        First descriptor of a chain.
    runs : :py:`Out(1)`
        With ``begun``: the chain goes on with the next descriptor.
    ended : :py:`Out(stream of DirectEnd, always_ready)`
        Last descriptor of a chain but for those of an indirect table.
    follow : :py:`Out(stream of FollowUp, always_ready)`
        Descriptors to be read.
    loaded : :py:`Out(1)`
        Strobe: an indirect table is complete; in the order of their reads.
    error : :py:`Out(stream of BrokenChain, always_ready)`
        CHAIN_LOOP, DESCRIPTOR_REUSE, INDIRECT_NESTED or DMA_ERROR.
    """

    def __init__(self, *, width: int, shape: WalkShape, options: RingOptions):
        self.width = width
        self.shape = shape
        self.options = options
        begun = data.StructLayout({"token": TOKEN, "index": INDEX})
        members: dict[str, Any] = {
            "data": In(stream.Signature(read_data_layout(width, TableContext))),
            "features": In(RingFeatures),
            "table_token": Out(TOKEN),
            "table": In(TablePlace),
            "probe_queue": Out(QUEUE),
            "probe_index": Out(INDEX),
            "held": In(1),
            "holder": In(shape.sequence_bits),
            "store": Out(stream.Signature(shape.store)),
            "begun": Out(stream.Signature(begun, always_ready=True)),
            "runs": Out(1),
            "ended": Out(stream.Signature(DirectEnd, always_ready=True)),
            "follow": Out(stream.Signature(FollowUp, always_ready=True)),
            "loaded": Out(1),
            "error": Out(stream.Signature(BrokenChain, always_ready=True)),
        }
        if options.packed:
            members["item"] = In(stream.Signature(Item))
            members["size"] = In(16)
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        """Build the register of the descriptor under way, and the two steps it takes."""
        m = Module()
        m.submodules.deserializer = deserializer = Deserializer(width=self.width)
        connect(m, flipped(self.data), deserializer.i)
        raw, context = deserializer.o.payload, deserializer.o.payload.context
        shape, bits = self.shape, self.shape.sequence_bits

        # The descriptor under way. ``link`` is ``next``, or the buffer id of a packed ring.
        token, index = Signal(TOKEN), Signal(shape.index_bits)
        address, length, flags, link = Signal(64), Signal(32), Signal(3), Signal(16)
        starts, certain, more = Signal(), Signal(), Signal()
        next_starts, error, last = Signal(), Signal(), Signal()
        table, item, size = Signal(), Signal(), Signal(4)
        continues = Signal()  # the descriptor behind the last one is the same chain's
        live = starts | certain | continues

        # Step 1: it comes.
        load, take = Signal(), Signal()
        first = raw.position == 0
        following_token = Cat((token[:bits] + 1)[:bits], token[bits:])
        split: Any = Descriptor(raw.descriptor)
        packed: Any = PackedDescriptor(raw.descriptor)
        raw_index = (context.index + raw.position)[: shape.index_bits]
        raw_starts = context.starts.bit_select(raw.position, 1)
        m.d.comb += [
            self.table_token.eq(context.token),
            self.probe_queue.eq(context.token[bits:]),
            self.probe_index.eq(raw_index),
            take.eq(load & deserializer.o.valid),
            deserializer.o.ready.eq(load),
        ]
        with m.If(take):
            m.d.sync += [
                address.eq(split.addr),
                length.eq(split.len),
                flags.eq(split.flags),
                link.eq(split.next),
                index.eq(raw_index),
                starts.eq(raw_starts),
                certain.eq(first | context.table | raw.error),
                more.eq(raw.more),
                next_starts.eq((context.starts >> 1).bit_select(raw.position, 1)),
                error.eq(raw.error),
                last.eq(context.last & ~raw.more),
                table.eq(context.table),
                size.eq(context.size),
                item.eq(0),
            ]
            with m.If(first | context.table):  # items may come between the entries of a table
                m.d.sync += token.eq(context.token)
            with m.Elif(raw_starts):
                m.d.sync += token.eq(following_token)
            if self.options.packed:
                with m.If(self.features.packed):
                    m.d.sync += flags.eq(packed.flags)
        if self.options.packed:
            came = self.item.payload
            m.d.comb += self.item.ready.eq(load & ~deserializer.o.valid)
            with m.If(~deserializer.o.valid):
                m.d.comb += [
                    take.eq(load & self.item.valid),
                    self.probe_queue.eq(came.token[bits:]),
                    self.probe_index.eq(came.index),
                ]
                with m.If(take):
                    m.d.sync += [
                        token.eq(came.token),
                        address.eq(came.address),
                        length.eq(came.length),
                        flags.eq(Cat(came.next, came.writable, came.indirect)),
                        link.eq(came.id),
                        index.eq(came.index),
                        starts.eq(came.start),
                        certain.eq(1),
                        error.eq(0),
                        table.eq(0),
                        item.eq(1),
                    ]

        # Step 2: what is known of its row comes from memory.
        holder, place = Signal(bits), Signal(TablePlace)
        ring_size = Signal(shape.index_bits + 1)

        # Step 3: it is stored.
        following = Signal(shape.index_bits + 1)
        sequential, on, bad = Signal(), Signal(), Signal()
        failed = Signal()  # a register, for the reads of descriptors wait for it
        mixed = Signal()  # packed: a table beside other descriptors of its chain  [§2.8.8]
        entry = self.store.payload
        m.d.comb += [
            following.eq(index + 1),
            sequential.eq(link == following),
            on.eq(flags[NEXT] & ~flags[INDIRECT]),
            bad.eq((link >> size) != 0),
            entry.queue.eq(token[bits:]),
            entry.sequence.eq(token[:bits]),
            entry.hold.eq(~table),
            entry.place.index.eq(index),
            entry.row.address.eq(address),
            entry.row.length.eq(length),
            entry.row.writable.eq(flags[WRITE]),
            entry.row.next.eq(flags[NEXT]),
            entry.row.indirect.eq(flags[INDIRECT]),
            entry.row.bad.eq(bad),
            entry.row.link.eq(link[: shape.index_bits]),
            self.begun.payload.token.eq(token),
            self.begun.payload.index.eq(index),
            self.runs.eq(on & sequential),
            self.ended.payload.token.eq(token),
            self.ended.payload.index.eq(index),
            self.ended.payload.indirect.eq(flags[INDIRECT]),
            self.ended.payload.id.eq(link),
            self.follow.payload.token.eq(token),
            self.follow.payload.index.eq(link),
            self.follow.payload.sequential.eq(sequential),
            self.follow.payload.run.eq(sequential & continues),
            self.error.payload.token.eq(token),
            self.error.payload.descriptor.eq(index),
        ]
        cause = Mux(holder == token[:bits], Cause.CHAIN_LOOP, Cause.DESCRIPTOR_REUSE)
        if self.options.packed:
            cause = Mux(mixed, Cause.INDIRECT_NESTED, cause)
        m.d.comb += self.error.payload.cause.eq(Mux(error, Cause.DMA_ERROR, cause))
        if self.options.packed:
            with m.If(item):
                m.d.comb += [
                    bad.eq(0),
                    mixed.eq(self.features.indirect & flags[INDIRECT] & (flags[NEXT] | ~starts)),
                    entry.row.link.eq(Mux(following == ring_size, 0, following)[: shape.index_bits]),
                ]
        if shape.indirect:
            with m.If(table):
                m.d.comb += [
                    bad.eq(link >= place.entries),
                    entry.place.eq(shape.of_table(place.start + index)),
                    entry.row.link.eq(place.start + link),
                ]
                if self.options.packed:
                    # All entries count, and nothing in their flags but WRITE.  [§2.8.7]
                    with m.If(self.features.packed):
                        m.d.comb += [
                            bad.eq(0),
                            entry.row.next.eq(following != place.entries),
                            entry.row.indirect.eq(0),
                            entry.row.link.eq(place.start + following),
                        ]

        with m.FSM():
            with m.State("WAIT"):
                m.d.comb += load.eq(1)
                with m.If(take):
                    m.next = "LOOK"
            with m.State("LOOK"):
                m.d.sync += [failed.eq(error | (self.held & ~table) | mixed), holder.eq(self.holder)]
                if shape.indirect:
                    m.d.sync += place.eq(self.table)
                if self.options.packed:
                    m.d.sync += ring_size.eq(self.size)
                m.next = "STORE"
                with m.If(~live):
                    m.d.comb += load.eq(1)
                    m.next = "WAIT"
                    with m.If(take):
                        m.next = "LOOK"
            with m.State("STORE"):
                m.d.comb += self.store.valid.eq(~failed)
                with m.If(failed | self.store.ready):
                    m.d.comb += [load.eq(1), self.error.valid.eq(failed), self.begun.valid.eq(starts)]
                    m.next = "WAIT"
                    with m.If(take):
                        m.next = "LOOK"
                    with m.If(~failed):
                        m.d.comb += [
                            self.ended.valid.eq(~table & (~on | (bad & ~item))),
                            self.loaded.eq(table & last),
                        ]
                        m.d.sync += continues.eq(0)
                        with m.If(~table & ~item & on & ~bad):
                            with m.If(sequential & more & ~next_starts):
                                m.d.sync += continues.eq(1)
                            with m.Else():
                                m.d.comb += self.follow.valid.eq(1)
        return m

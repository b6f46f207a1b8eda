"""From heads to chains that passed, and what is known of them until they are used."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2
from virtio_spec.layout import Cause

from ..block_ram import NO_COLLISION
from ..chain import QUEUE, TOKEN, Chain
from ..dma.layout import ChainContext, read_data_layout, read_request_layout
from ..tlp import check_width
from .checker import Checker
from .completion import Completion
from .fifo import Fifo
from .layout import ChainDone, ChainRecord, ErrorReport, Head, Item, QueueLookup
from .loader import Loader
from .options import RingFeatures, RingOptions
from .parameters import check_queue_size, check_queues, check_quota
from .readable import ReadableMover
from .rows import Rows
from .schedule import Schedule
from .sequencer import Sequencer
from .table_requests import TableRequests
from .walk_layout import (
    BrokenChain,
    FollowUp,
    RecordLookup,
    SegmentOrEnd,
    TableContext,
    WalkShape,
)
from .writable import WritableSegments

__all__ = ["Walker"]

SEGMENTS, READABLE, CHECK, TABLES = range(4)  # read ports on the rows; the first one that asks is served


class Walker(wiring.Component):
    """Walk chains, announce those that passed, and keep them until they are used.

    **Walk.** Descriptors are read and stored with any number of chains of any queues under way; in ring
    order of their queue, chains then get rows for their indirect tables, and are checked and announced as
    a whole. A queue waits only for its own chains: whatever is limited is limited per queue.

    **Life of a token.** It is taken with a head. When the device completed the chain (``completed``) and the
    readable bytes came (``fetched``), it goes on as ``done``. When its used element is written, ``finished``
    gives it back; it is ``released`` in ring order of its queue, and may be used again.

    **Errors.** The first one is reported, and stops the walk until reset; chains that were announced before
    run to their end. A chain whose readable bytes do not come never gets ``done``. Reset is that
    of the clock domain; after it, nothing is taken for as many cycles as there are tokens, or descriptors in
    the rings of all queues.

    **Queue reset.** While ``retire`` is high, chains of ``retire_queue`` are not announced any more; they
    go to ``done`` with nothing written, like those that the device completes. The sequence numbers of the
    queue go on; it is out of the walk when all its tokens were released. A packed chain of which an item was
    given must be given to its end.

    Parameters
    ----------
    width : :class:`int`
        Width of ``table_data`` in bits.
    queues : :class:`int`
        Number of virtqueues, 1 to 256.
    queue_size : :class:`int`
        Greatest queue size, and number of entries of an indirect table; a power of two from 2 to 1024.
    quota : :class:`int`
        Chains in flight per queue; a power of two from 2 to 256.
    options : :class:`RingOptions`

    Members
    -------
    running : :py:`In(1)`
        While low, no read of descriptors is started, and no chain is announced that was not.
    features : :py:`In(RingFeatures)`
    head : :py:`In(stream of Head)`
        Split rings: chains, per queue in ring order.
    item : :py:`In(stream of Item)`
        With ``options.packed``: descriptors of packed rings, in ring order. Chains of different queues may
        mix.
    lookup : :py:`Out(QueueLookup)`
    table_request, table_data : read channel with a :class:`TableContext`
        Each request lies inside an aligned block of 128 bytes. Data is never refused for long.
    chain : :py:`Out(stream of Chain)`
        Announcements.
    data_request : :py:`Out(stream of read_request_layout(ChainContext))`
        Readable bytes, in the order of announcement.
    fetched : :py:`In(stream of TOKEN, always_ready)`
        The last readable byte of the chain came.
    fault : :py:`In(stream of TOKEN, always_ready)`
        Readable bytes of the chain could not be read. There is no ``fetched`` for it.
    begin, segment, end
        Writable segments, see :class:`WritableSegments`. Every chain that is announced is begun and ended.
    completed : :py:`In(stream of ChainDone)`
        The device completed the chain, in the order of ``begin``, after ``end``.
    done : :py:`Out(stream of ChainDone)`
        Chains that the driver may have back.
    record : :py:`In(RecordLookup)`
        What the used side needs to know, until ``finished``.
    finished : :py:`In(stream of TOKEN, always_ready)`
    released : :py:`Out(stream of TOKEN, always_ready)`
    retire : :py:`In(1)`, retire_queue : :py:`In(QUEUE)`
    error : :py:`Out(stream of ErrorReport, always_ready)`
        One report between two resets. ``head`` is the index of the chain's first descriptor, also with
        packed rings; ``descriptor`` an index in the ring, or in the indirect table if it stands there.
    """

    def __init__(self, *, width: int, queues: int, queue_size: int, quota: int, options: RingOptions):
        self.width = check_width(width)
        self.queues = check_queues(queues)
        self.queue_size = check_queue_size(queue_size)
        self.quota = check_quota(quota, queues)
        if quota < 2:
            raise ValueError("A walk needs a quota of 2 or more")
        self.options = options
        members: dict[str, Any] = {
            "running": In(1),
            "features": In(RingFeatures),
            "head": In(stream.Signature(Head)),
            "lookup": Out(QueueLookup),
            "table_request": Out(stream.Signature(read_request_layout(TableContext))),
            "table_data": In(stream.Signature(read_data_layout(width, TableContext))),
            "chain": Out(stream.Signature(Chain)),
            "data_request": Out(stream.Signature(read_request_layout(ChainContext))),
            "fetched": In(stream.Signature(TOKEN, always_ready=True)),
            "fault": In(stream.Signature(TOKEN, always_ready=True)),
            "begin": In(stream.Signature(TOKEN)),
            "segment": Out(stream.Signature(SegmentOrEnd)),
            "end": In(1),
            "completed": In(stream.Signature(ChainDone)),
            "done": Out(stream.Signature(ChainDone)),
            "record": In(RecordLookup),
            "finished": In(stream.Signature(TOKEN, always_ready=True)),
            "released": Out(stream.Signature(TOKEN, always_ready=True)),
            "retire": In(1),
            "retire_queue": In(QUEUE),
            "error": Out(stream.Signature(ErrorReport, always_ready=True)),
        }
        if options.packed:
            members["item"] = In(stream.Signature(Item))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        """Put the parts together."""
        m = Module()
        options, quota, tokens = self.options, self.quota, self.queues * self.quota
        bits = exact_log2(quota)
        shape = WalkShape(
            queues=self.queues, queue_size=self.queue_size, quota=quota, indirect=options.indirect
        )
        m.submodules.rows = rows = Rows(shape=shape, readers=4 if options.indirect else 3)
        m.submodules.requests = requests = TableRequests(shape=shape)
        m.submodules.follow = follow = Fifo(shape=FollowUp, depth=tokens)
        m.submodules.loader = loader = Loader(width=self.width, shape=shape, options=options)
        m.submodules.schedule = schedule = Schedule(shape=shape, queues=self.queues, quota=quota)
        m.submodules.checker = checker = Checker(shape=shape, packed=options.packed)
        m.submodules.mover = mover = ReadableMover(shape=shape, tokens=tokens)
        m.submodules.segments = segments = WritableSegments(shape=shape, tokens=tokens)
        m.submodules.completion = completion = Completion(tokens=tokens)
        m.submodules.finish = finish = Fifo(shape=TOKEN, depth=tokens)
        m.submodules.release = release = Sequencer(queues=self.queues, quota=quota)

        running, halted = Signal(), Signal()
        ready = rows.ready & completion.ready
        m.d.comb += running.eq(self.running & ~halted & ready)

        # Reads
        connect(m, flipped(self.head), requests.head)
        connect(m, follow.o, requests.follow)
        connect(m, requests.request, flipped(self.table_request))
        m.d.comb += [
            requests.running.eq(running),
            requests.context.eq(self.lookup.context),
            requests.began.eq(loader.begun.valid),
            requests.began_queue.eq(loader.begun.payload.token[bits:]),
            requests.runs.eq(loader.runs),
            self.lookup.queue.eq(requests.queue),
        ]

        # Descriptors
        connect(m, flipped(self.table_data), loader.data)
        connect(m, loader.store, rows.store)
        connect(m, loader.follow, follow.i)
        m.d.comb += [
            rows.probe_queue.eq(loader.probe_queue),
            rows.probe_index.eq(loader.probe_index),
            loader.held.eq(rows.held),
            loader.holder.eq(rows.holder),
            loader.features.eq(self.features),
        ]
        if options.packed:
            m.d.comb += [
                loader.item.payload.eq(self.item.payload),
                loader.item.valid.eq(self.item.valid & running),
                self.item.ready.eq(loader.item.ready & running),
                loader.size.eq(self.lookup.context.size),
            ]
            with m.If(self.features.packed):
                m.d.comb += self.lookup.queue.eq(self.item.payload.token[bits:])

        # Chains in ring order
        connect(m, loader.begun, schedule.begun)
        connect(m, loader.ended, schedule.ended)
        connect(m, schedule.chain, checker.i)
        m.d.comb += schedule.features.eq(self.features)
        if options.indirect:
            connect(m, schedule.read, rows.read[TABLES])
            connect(m, schedule.job, requests.job)
            m.d.comb += [
                schedule.table_token.eq(loader.table_token),
                loader.table.eq(schedule.table),
                schedule.release.payload.eq(release.o.payload),
                schedule.release.valid.eq(release.o.valid),
                release.o.ready.eq(schedule.release.ready),
            ]
        else:
            m.d.comb += release.o.ready.eq(1)

        # Chains that passed
        connect(m, checker.read, rows.read[CHECK])
        m.d.comb += [
            checker.running.eq(running),
            checker.features.eq(self.features),
            checker.retire.eq(self.retire),
            checker.retire_queue.eq(self.retire_queue),
            checker.loaded.eq(loader.loaded),
        ]
        announced = data.StructLayout({"token": TOKEN, "readable": 32, "writable": 32})
        m.submodules.chains = chains = Fifo(shape=announced, depth=tokens)
        m.submodules.records = records = Memory(shape=ChainRecord, depth=tokens, init=[], attrs=NO_COLLISION)
        put_record, get_record = records.write_port(), records.read_port()
        passed = checker.chain
        m.d.comb += [
            chains.i.payload.token.eq(passed.payload.token),
            chains.i.payload.readable.eq(passed.payload.readable),
            chains.i.payload.writable.eq(passed.payload.writable),
            chains.i.valid.eq(passed.valid),
            self.chain.payload.token.eq(chains.o.payload.token),
            self.chain.payload.queue.eq(chains.o.payload.token[bits:]),
            self.chain.payload.readable.eq(chains.o.payload.readable),
            self.chain.payload.writable.eq(chains.o.payload.writable),
            self.chain.valid.eq(chains.o.valid),
            chains.o.ready.eq(self.chain.ready),
            put_record.addr.eq(passed.payload.token),
            put_record.data.eq(checker.record),
            put_record.en.eq(passed.valid),
            get_record.addr.eq(self.record.token),
            self.record.record.eq(get_record.data),
        ]

        # Their bytes
        connect(m, mover.read, rows.read[READABLE])
        connect(m, segments.read, rows.read[SEGMENTS])
        connect(m, checker.readable, mover.chain)
        connect(m, checker.writable, segments.chain)
        connect(m, mover.request, flipped(self.data_request))
        connect(m, flipped(self.begin), segments.begin)
        connect(m, segments.segment, flipped(self.segment))
        m.d.comb += segments.end.eq(self.end)

        # Their end
        connect(m, flipped(self.completed), completion.i)
        connect(m, checker.dropped, completion.dropped)
        connect(m, flipped(self.fetched), completion.fetched)
        connect(m, completion.o, flipped(self.done))
        connect(m, flipped(self.finished), finish.i)
        connect(m, finish.o, release.i)
        m.d.comb += [
            completion.announced.payload.eq(checker.readable.payload.token),
            completion.announced.valid.eq(checker.readable.valid),
            completion.ended.eq(segments.ended),
            self.released.payload.eq(release.o.payload),
            self.released.valid.eq(release.o.valid & release.o.ready),
        ]

        # Tokens that do not exist need no logic.
        for token in (
            requests.head.payload.token,
            loader.data.payload.context.token,
            *([loader.item.payload.token] if options.packed else []),
            segments.begin.payload,
            completion.i.payload.token,
            completion.fetched.payload,
            finish.i.payload,
        ):
            m.d.comb += token[shape.sequence_bits + shape.queue_bits :].eq(0)

        # The first error, and then where its chain began
        broken, looked = Signal(BrokenChain), Signal(2)
        sources = [loader.error, checker.error, *([schedule.error] if options.indirect else [])]
        m.d.comb += schedule.first_token.eq(broken.token)
        m.d.sync += [
            looked.eq(looked << 1),
            self.error.valid.eq(looked[1]),
            self.error.payload.cause.eq(broken.cause),
            self.error.payload.queue.eq(broken.token[bits:]),
            self.error.payload.head.eq(schedule.first),
            self.error.payload.descriptor.eq(broken.descriptor),
        ]
        with m.If(~halted):
            with m.If(self.fault.valid):
                m.d.sync += [
                    broken.token.eq(self.fault.payload),
                    broken.cause.eq(Cause.DMA_ERROR),
                    broken.descriptor.eq(0),
                    looked.eq(1),
                    halted.eq(1),
                ]
            for source in sources:
                with m.If(source.valid):
                    m.d.sync += [broken.eq(source.payload), looked.eq(1), halted.eq(1)]
        return m

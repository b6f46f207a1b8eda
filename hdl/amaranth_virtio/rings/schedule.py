"""From descriptors that were loaded to chains in ring order."""

from typing import Any

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import exact_log2
from virtio_spec.layout import Cause

from ..block_ram import NO_COLLISION
from ..chain import TOKEN
from .fifo import Fifo
from .layout import TableJob
from .options import RingFeatures
from .sequencer import Sequencer
from .walk_layout import INDEX, BrokenChain, DirectEnd, TablePlace, WalkShape

__all__ = ["Schedule", "candidate_layout"]


# A chain to be checked: its first descriptor, its buffer id with packed rings, and the rows of its indirect
# table if it has one (``entries`` is 0 otherwise).
candidate_layout = data.StructLayout({"token": TOKEN, "first": INDEX, "id": 16, "table": TablePlace})


class Schedule(wiring.Component):
    """Put chains into ring order when their own descriptors are loaded, and start on indirect tables.

    An indirect table is read once there are rows for all of it. They are given out in ring order, and come
    back in ring order with the release of chains, so that the oldest chain always gets them sooner or later;
    a queue that waits for rows holds up no other one. A chain takes 4 cycles, one with a table 5 more.

    A table has to lie at a multiple of 16. The standard lets it be anywhere in memory [virtio 1.4 §2.7.5.3],
    but drivers get theirs from allocators that align, and turning bytes at any place into descriptors would
    take a rotator as wide as the data.

    Parameters
    ----------
    shape : :class:`WalkShape`
    queues : :class:`int`
    quota : :class:`int`
        Chains in flight per queue; a power of two from 2 to 256.

    Members
    -------
    begun, ended : streams, always ready
        First and last descriptors of chains, of :class:`Loader`.
    features : :py:`In(RingFeatures)`
    read : :py:`Out(shape.read)`
        Read port on the rows; with ``shape.indirect``, like all that follows it.
    job : :py:`Out(stream of TableJob)`
    table_token : :py:`In(TOKEN)`, table : :py:`Out(TablePlace)`
        Rows of the table of the chain of the cycle before.
    release : :py:`In(stream of TOKEN)`
        Chains of which nothing is left, in ring order; ``payload`` stands for 2 cycles before it is valid.
    error : :py:`Out(stream of BrokenChain, always_ready)`
        INDIRECT, INDIRECT_NESTED or INDIRECT_TABLE.
    chain : :py:`Out(stream of candidate_layout)`
        In per-queue ring order; those with tables in the order of ``job``.
    first_token : :py:`In(TOKEN)`, first : :py:`Out(INDEX)`
        First descriptor of the chain of the cycle before.
    """

    def __init__(self, *, shape: WalkShape, queues: int, quota: int):
        self.shape = shape
        self.queues = queues
        self.quota = quota
        begun = data.StructLayout({"token": TOKEN, "index": INDEX})
        members: dict[str, Any] = {
            "begun": In(stream.Signature(begun, always_ready=True)),
            "ended": In(stream.Signature(DirectEnd, always_ready=True)),
            "features": In(RingFeatures),
            "chain": Out(stream.Signature(candidate_layout)),
            "first_token": In(TOKEN),
            "first": Out(INDEX),
        }
        if shape.indirect:
            members |= {
                "read": Out(shape.read),
                "job": Out(stream.Signature(TableJob)),
                "table_token": In(TOKEN),
                "table": Out(TablePlace),
                "release": In(stream.Signature(TOKEN)),
                "error": Out(stream.Signature(BrokenChain, always_ready=True)),
            }
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        """Build the memories of ends, the sequencer, and what follows it."""
        m = Module()
        shape, tokens = self.shape, self.queues * self.quota
        m.submodules.decided = decided = Fifo(shape=TOKEN, depth=tokens)
        m.submodules.sequencer = sequencer = Sequencer(
            queues=self.queues, quota=self.quota, refusal=shape.indirect
        )
        m.submodules.checks = checks = Fifo(shape=candidate_layout, depth=tokens)
        connect(m, decided.o, sequencer.i)
        m.d.comb += [
            decided.i.payload.eq(self.ended.payload.token),
            decided.i.valid.eq(self.ended.valid),
            self.chain.payload.eq(checks.o.payload),
            self.chain.valid.eq(checks.o.valid),
            checks.o.ready.eq(self.chain.ready),
        ]

        # What is known of a chain stands in a register when the sequencer gives it out.
        m.submodules.firsts = firsts = Memory(shape=INDEX, depth=tokens, init=[], attrs=NO_COLLISION)
        end_layout = data.StructLayout({"index": INDEX, "indirect": 1, "id": 16})
        m.submodules.ends = ends = Memory(shape=end_layout, depth=tokens, init=[], attrs=NO_COLLISION)
        put_first, get_first, tell_first = firsts.write_port(), firsts.read_port(), firsts.read_port()
        put_end, get_end = ends.write_port(), ends.read_port()
        first, end = Signal(INDEX), Signal(end_layout)
        out, token = checks.i.payload, sequencer.o.payload
        m.d.comb += [
            put_first.addr.eq(self.begun.payload.token),
            put_first.data.eq(self.begun.payload.index),
            put_first.en.eq(self.begun.valid),
            tell_first.addr.eq(self.first_token),
            self.first.eq(tell_first.data),
            put_end.addr.eq(self.ended.payload.token),
            put_end.data.index.eq(self.ended.payload.index),
            put_end.data.indirect.eq(self.ended.payload.indirect),
            put_end.data.id.eq(self.ended.payload.id),
            put_end.en.eq(self.ended.valid),
            get_first.addr.eq(token),
            get_end.addr.eq(token),
            out.token.eq(token),
            out.first.eq(first),
            out.id.eq(end.id),
        ]
        m.d.sync += [first.eq(get_first.data), end.eq(get_end.data)]
        if shape.indirect:
            self._tables(m, sequencer, checks, end)
        else:
            m.d.comb += [checks.i.valid.eq(sequencer.o.valid), sequencer.o.ready.eq(1)]
        return m

    def _tables(self, m: Module, sequencer: Sequencer, checks: Fifo, end: Any) -> None:
        """Build the accounts of rows, and the FSM that looks at a chain's indirect descriptor."""
        shape, bits, rows = self.shape, exact_log2(self.quota), 2 << self.shape.index_bits
        counter = unsigned(shape.index_bits + 2)  # rows, modulo twice their number
        m.submodules.tables = tables = Memory(
            shape=TablePlace, depth=self.queues * self.quota, init=[], attrs=NO_COLLISION
        )
        m.submodules.given = given = Memory(shape=counter, depth=self.queues, init=[])
        m.submodules.returned = returned = Memory(shape=counter, depth=self.queues, init=[])
        put_table, get_table, end_table = tables.write_port(), tables.read_port(), tables.read_port()
        put_given, get_given = given.write_port(), given.read_port()
        put_returned, get_returned, see_returned = (
            returned.write_port(),
            returned.read_port(),
            returned.read_port(),
        )

        # The accounts start at 0.
        sweep = Signal(range(self.queues + 1))
        ready = sweep == self.queues
        m.d.sync += sweep.eq(sweep + ~ready)

        out, token = checks.i.payload, sequencer.o.payload
        queue = token[bits:]
        start, room = Signal(counter), Signal(counter)
        address, length, nested = Signal(64), Signal(32), Signal()
        entries = length[4:]
        wrong, fits = Signal(), Signal()
        row: Any = self.read.row
        m.d.comb += [
            self.table.eq(get_table.data),
            get_table.addr.eq(self.table_token),
            put_table.addr.eq(token),
            put_given.addr.eq(queue),
            get_given.addr.eq(queue),
            see_returned.addr.eq(queue),
            self.read.queue.eq(queue),
            self.read.place.index.eq(end.index),
            self.job.payload.token.eq(token),
            self.job.payload.address.eq(address),
            self.job.payload.entries.eq(entries),
            self.error.payload.token.eq(token),
            self.error.payload.descriptor.eq(end.index),
        ]
        with m.FSM():
            with m.State("TAKE"):
                with m.If(sequencer.o.valid & ready):
                    with m.If(end.indirect):
                        m.next = "READ"
                    with m.Else():
                        m.d.comb += [
                            sequencer.o.ready.eq(1),
                            checks.i.valid.eq(1),
                            put_table.en.eq(1),
                        ]
            with m.State("READ"):
                m.d.comb += self.read.valid.eq(1)
                m.d.sync += start.eq(get_given.data)
                with m.If(self.read.ready):
                    m.next = "CATCH"
            with m.State("CATCH"):
                m.d.sync += [
                    address.eq(row.address),
                    length.eq(row.length),
                    nested.eq(row.next),
                    room.eq(rows - (start - see_returned.data)),
                ]
                m.next = "JUDGE"
            with m.State("JUDGE"):
                m.d.sync += [
                    wrong.eq(
                        (length[:4] != 0)
                        | (address[:4] != 0)
                        | (entries == 0)
                        | (entries > 1 << shape.index_bits)
                    ),
                    fits.eq(entries <= room),
                ]
                m.next = "START"
            with m.State("START"):
                with m.If(~self.features.indirect | nested | wrong):
                    m.d.comb += self.error.valid.eq(1)
                    m.next = "REST"
                with m.Elif(fits):
                    m.d.comb += [
                        self.job.valid.eq(1),
                        put_table.data.start.eq(start[: shape.index_bits + 1]),
                        put_table.data.entries.eq(entries),
                        put_given.data.eq(start + entries),
                    ]
                    with m.If(self.job.ready):
                        m.d.comb += [
                            put_table.en.eq(1),
                            put_given.en.eq(1),
                            sequencer.o.ready.eq(1),
                            checks.i.valid.eq(1),
                        ]
                        m.next = "TAKE"
                with m.Else():
                    m.d.comb += [sequencer.refuse.eq(1), sequencer.o.ready.eq(1)]
                    m.next = "TAKE"
            with m.State("REST"):
                pass
        m.d.comb += out.table.eq(put_table.data)
        with m.If(~self.features.indirect):
            m.d.comb += self.error.payload.cause.eq(Cause.INDIRECT)
        with m.Elif(nested):
            m.d.comb += self.error.payload.cause.eq(Cause.INDIRECT_NESTED)
        with m.Else():
            m.d.comb += self.error.payload.cause.eq(Cause.INDIRECT_TABLE)

        # A queue is woken if it waits for rows, or is just being looked at and may be about to.
        end_entries, before = Signal(11), Signal(counter)
        wakes = Signal()
        m.d.comb += [
            end_table.addr.eq(self.release.payload),
            get_returned.addr.eq(self.release.payload[bits:]),
            put_returned.addr.eq(self.release.payload[bits:]),
            put_returned.data.eq(before + end_entries),
            put_returned.en.eq(self.release.valid & self.release.ready),
            wakes.eq(sequencer.waiting | sequencer.o.valid),
            sequencer.wake.payload.eq(self.release.payload[bits:]),
            sequencer.wake.valid.eq(self.release.valid & wakes & (end_entries != 0)),
            self.release.ready.eq(~wakes | sequencer.wake.ready | (end_entries == 0)),
        ]
        m.d.sync += [end_entries.eq(end_table.data.entries), before.eq(get_returned.data)]
        with m.If(~ready):
            for put in (put_given, put_returned):
                m.d.comb += [put.addr.eq(sweep), put.data.eq(0), put.en.eq(1)]

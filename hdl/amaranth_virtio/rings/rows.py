"""The descriptors of the chains in flight."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..block_ram import NO_COLLISION
from ..chain import QUEUE
from .walk_layout import INDEX, WalkShape

__all__ = ["Rows"]


class Rows(wiring.Component):
    """Memory for descriptors, and which of those in a ring of its own are held by a chain in flight.

    One read per cycle: of the ports that ask, the first one is served. A row is held from its ``store`` with
    ``hold`` until it is read with ``clear``. After a reset, which is that of the clock domain,
    ``ready`` is low while nothing is held; that takes a cycle for each descriptor of each queue.

    Parameters
    ----------
    shape : :class:`WalkShape`
    readers : :class:`int`
        Number of read ports.

    Members
    -------
    ready : :py:`Out(1)`
    store : :py:`In(stream of shape.store)`
    probe_queue, probe_index : :py:`In`
        Of a row that is no table's.
    held, holder : :py:`Out`
        Whether the row of the cycle before is held, and by which sequence.
    read : array of :py:`In(shape.read)`
    """

    def __init__(self, *, shape: WalkShape, readers: int):
        self.shape = shape
        self.readers = readers
        super().__init__(
            {
                "ready": Out(1),
                "store": In(stream.Signature(shape.store)),
                "probe_queue": In(QUEUE),
                "probe_index": In(INDEX),
                "held": Out(1),
                "holder": Out(self.shape.sequence_bits),
                "read": In(shape.read).array(readers),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the two memories and the choice among readers."""
        m = Module()
        shape = self.shape
        direct = shape.index_bits + shape.queue_bits
        m.submodules.memory = rows = Memory(shape=shape.row, depth=shape.rows, init=[], attrs=NO_COLLISION)
        put, get = rows.write_port(), rows.read_port()
        holder = data.StructLayout({"held": 1, "sequence": self.shape.sequence_bits})
        m.submodules.holders = holders = Memory(shape=holder, depth=1 << direct, init=[])
        put_holder, get_holder = holders.write_port(), holders.read_port()

        clearing, clear, clear_address = Signal(), Signal(), Signal(direct)
        store, sweep = self.store.payload, Signal(direct + 1)
        m.d.comb += [
            put.addr.eq(shape.address(store.queue, store.place)),
            put.data.eq(store.row),
            put.en.eq(self.store.valid & self.store.ready),
            self.store.ready.eq(~(store.hold & clear)),
            get_holder.addr.eq(
                Cat(self.probe_index[: shape.index_bits], self.probe_queue[: shape.queue_bits])
            ),
            self.held.eq(get_holder.data.held),
            self.holder.eq(get_holder.data.sequence),
            put_holder.addr.eq(shape.address(store.queue, store.place)),
            put_holder.data.held.eq(1),
            put_holder.data.sequence.eq(store.sequence),
            put_holder.en.eq(self.store.valid & store.hold),
            self.ready.eq(sweep[-1]),
        ]

        asked = Signal(self.readers)
        for number, port in enumerate(self.read):
            took = Signal(name=f"took_{number}")
            grant = port.valid & ~asked[:number].any()
            m.d.comb += [
                asked[number].eq(port.valid),
                port.ready.eq(~asked[:number].any()),
                port.took.eq(took),
                port.row.eq(get.data),
            ]
            m.d.sync += took.eq(grant)
            with m.If(grant):
                m.d.comb += [
                    get.addr.eq(shape.address(port.queue, port.place)),
                    clearing.eq(port.clear & ~shape.in_table(port.place)),
                ]
        # One cycle later, so that no store waits for the choice among readers.
        m.d.sync += [clear.eq(clearing), clear_address.eq(get.addr)]
        with m.If(clear):
            m.d.comb += [put_holder.addr.eq(clear_address), put_holder.data.eq(0), put_holder.en.eq(1)]
        with m.If(~self.ready):
            m.d.comb += [put_holder.addr.eq(sweep), put_holder.data.eq(0), put_holder.en.eq(1)]
            m.d.sync += sweep.eq(sweep + 1)
        return m

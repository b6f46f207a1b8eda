"""The segments of the chains in flight."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2, exact_log2

from .layout import ChainLookup, ChainRecord, ChainWrite, Segment, SegmentLookup, SegmentWrite
from .parameters import check_queue_size, check_slots

__all__ = ["SegmentStore"]

COUNTS = data.StructLayout({"readable": 16, "writable": 16})


class SegmentStore(wiring.Component):
    """Memory for what is known of each chain in flight, in block RAM.

    A chain has ``queue_size`` rows. Readable segments fill them from the first row on, writable ones
    from the last row down, so that either end is found without knowing how many the other has.
    A read in the cycle of a write of the same row gives the old value.

    Parameters
    ----------
    queue_size : :class:`int`
        Largest number of segments of a chain; a power of two.
    slots : :class:`int`
        Number of chains.

    Members
    -------
    segment : :py:`In(stream.Signature(SegmentWrite, always_ready=True))`
        Stores one segment.
    chain : :py:`In(stream.Signature(ChainWrite, always_ready=True))`
        Stores the chain's origin, and how many of its segments exist.
    readable, writable : :py:`In(SegmentLookup)`
        Read ports, answering in the next cycle.
    records : :py:`In(ChainLookup).array(2)`
        Read ports, answering in the next cycle.
    """

    segment: In(stream.Signature(SegmentWrite, always_ready=True))
    chain: In(stream.Signature(ChainWrite, always_ready=True))
    readable: In(SegmentLookup)
    writable: In(SegmentLookup)
    records: In(ChainLookup).array(2)

    def __init__(self, *, queue_size: int, slots: int):
        self.queue_size = check_queue_size(queue_size)
        self.slots = check_slots(slots)
        super().__init__()

    def _row(self, token: Any, index: Any, writable: Any) -> Any:
        index = index[: exact_log2(self.queue_size)]
        return Cat(Mux(writable, ~index, index), token[: ceil_log2(self.slots)])

    def elaborate(self, platform: Any) -> Module:
        """Build the memories and their ports."""
        m = Module()
        m.submodules.segments = segments = Memory(shape=Segment, depth=self.slots * self.queue_size, init=[])
        m.submodules.counts = counts = Memory(shape=COUNTS, depth=self.slots, init=[])
        m.submodules.origins = origins = Memory(shape=ChainRecord, depth=self.slots, init=[])

        put_segment, segment = segments.write_port(), self.segment.payload
        put_counts, put_origin, chain = counts.write_port(), origins.write_port(), self.chain.payload
        m.d.comb += [
            put_segment.addr.eq(self._row(segment.token, segment.index, segment.writable)),
            put_segment.data.eq(segment.segment),
            put_segment.en.eq(self.segment.valid),
            put_counts.addr.eq(chain.token),
            put_counts.data.readable.eq(chain.readable),
            put_counts.data.writable.eq(chain.writable),
            put_counts.en.eq(self.chain.valid),
            put_origin.addr.eq(chain.token),
            put_origin.data.eq(chain.record),
            put_origin.en.eq(self.chain.valid),
        ]

        for direction, port in (("readable", self.readable), ("writable", self.writable)):
            get_segment, get_counts = segments.read_port(), counts.read_port()
            index = Signal(16, name=f"{direction}_index")
            m.d.sync += index.eq(port.select.index)
            m.d.comb += [
                get_segment.addr.eq(self._row(port.select.token, port.select.index, direction == "writable")),
                get_counts.addr.eq(port.select.token),
                port.segment.eq(get_segment.data),
                port.exists.eq(index < get_counts.data[direction]),
            ]
        for port in self.records:
            get_origin = origins.read_port()
            m.d.comb += [get_origin.addr.eq(port.token), port.record.eq(get_origin.data)]
        return m

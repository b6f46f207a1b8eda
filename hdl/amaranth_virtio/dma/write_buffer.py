"""Store and forward of memory writes."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from virtio_spec.tlp import TlpHeader

from ..block_ram import NO_COLLISION
from ..chain import TOKEN
from ..rings.layout import ChainDone
from ..tlp import TlpSignature
from .align import row_layout
from .headers import byte_enables, memory_request
from .layout import DmaSettings

__all__ = ["WriteBuffer", "chunk_layout"]

HEADERS = 8  # closed chunks that can wait, less two for those that come before this is known


chunk_layout = data.StructLayout(
    {
        "address": 64,  # of the first byte
        "final": 12,  # bits 11:0 of the address of the last byte, which is in the same page
        "data": 1,  # there are bytes at all
        "end": 1,  # last chunk of its chain
        "more": 1,  # the chain becomes visible together with the next one
        "token": TOKEN,
    }
)


class WriteBuffer(wiring.Component):
    """Keep the rows of chunks until a chunk is complete, then send it as one TLP.

    Room for two chunks of ``max_payload``, so that one is filled while the other one leaves; one row
    in and one beat out per cycle, TLPs one after the other without a gap.

    Parameters
    ----------
    width : :class:`int`
    max_payload : :class:`int`
        Most bytes of a chunk.

    Members
    -------
    i : :py:`In(stream of row_layout(width, chunk_layout))`
        A group is a chunk, which begins in lane ``address % 4``.
    o : :py:`Out(TlpSignature(width))`
        Memory writes. Started only with bus mastering on, then sent to the end.
    done : :py:`Out(stream of ChainDone)`
        After the TLPs of a chain were accepted; ``written`` are the bytes in them.
    settings : :py:`In(DmaSettings)`
    flush : :py:`In(1)`
        While high, all is dropped but for a TLP that was started.
    idle : :py:`Out(1)`
    """

    def __init__(self, *, width: int, max_payload: int):
        self.width = width
        self.max_payload = max_payload
        super().__init__(
            {
                "i": In(stream.Signature(row_layout(width, chunk_layout))),
                "o": Out(TlpSignature(width)),
                "done": Out(stream.Signature(ChainDone)),
                "settings": In(DmaSettings),
                "flush": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the row memory, the queue of closed chunks, and the stages that make beats of them."""
        m = Module()
        lanes = self.width // 32
        depth = 2 * self.max_payload * 8 // self.width

        # Store.
        m.submodules.rows = rows = Memory(shape=self.width, depth=depth, init=[], attrs=NO_COLLISION)
        row_write = rows.write_port()
        row_read = rows.read_port()
        write_at = Signal(range(depth))
        read_at = Signal(range(depth))
        stored, stored_next = Signal(range(depth + 1)), Signal(range(depth + 1))
        full = Signal()
        m.submodules.chunks = chunks = SyncFIFO(width=chunk_layout.size, depth=HEADERS)
        row = self.i.payload
        taken = Signal()
        stores = Signal()
        fetches = Signal()
        m.d.comb += [
            # A register, though not every row needs both: what is written waits for it in one cycle.
            self.i.ready.eq(~full),
            taken.eq(self.i.valid & self.i.ready & ~self.flush),
            stores.eq(taken & (row.count != 0)),
            row_write.addr.eq(write_at),
            row_write.data.eq(row.data),
            row_write.en.eq(stores),
            chunks.w_en.eq(taken & row.last),
            chunks.w_data.eq(row.context),
            stored_next.eq(stored + stores - fetches),
        ]
        m.d.sync += [
            write_at.eq(write_at + stores),
            read_at.eq(read_at + fetches),
            stored.eq(stored_next),
            full.eq((stored_next == depth) | (chunks.w_level >= HEADERS - 2)),
        ]

        # Head: the chunk whose rows are being fetched.
        active = Signal()
        started = Signal()
        chunk = Signal(chunk_layout)
        size = Signal(13)  # bytes
        left = Signal(ceil_log2(1024 // lanes))  # rows behind the next one
        lasts = Signal()  # there are none
        tail = Signal(lanes)  # dwords of the last row
        header = Signal(TlpHeader)
        finish = Signal()
        following = data.View(chunk_layout, chunks.r_data)
        dwords = Signal(11)
        first_be, last_be = byte_enables(following.address[:2], following.final[:2], dwords == 1)
        m.d.comb += [
            dwords.eq(following.final[2:12] - following.address[2:12] + 1),
            chunks.r_en.eq(~active | finish | self.flush),
        ]
        # Beat: what the row memory shows.
        advance = Signal()
        ending = Signal()  # the packet in this stage is its chain's last
        closing = Signal()  # a chain's end is on its way to ``done``
        written = Signal(32)
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            closing.eq(ending | self.done.valid),
            row_read.addr.eq(read_at),
            row_read.en.eq(advance),
            self.o.payload.data.eq(row_read.data),
        ]
        with m.If(self.done.ready):
            m.d.sync += self.done.valid.eq(0)
        with m.If(self.o.valid & self.o.ready & self.o.payload.last & ending):
            m.d.sync += [ending.eq(0), self.done.valid.eq(1)]
        with m.If(advance):
            m.d.sync += self.o.valid.eq(0)
        with m.If(active & advance):
            # A packet does not wait in its middle, so all that it may wait for comes before its start.
            may_start = self.settings.bus_master & ~self.flush & ~(chunk.end & closing)
            with m.If(chunk.data & (started | may_start)):
                m.d.comb += [fetches.eq(1), finish.eq(lasts)]
                m.d.sync += [
                    started.eq(1),
                    left.eq(left - 1),
                    lasts.eq(left == 1),
                    self.o.valid.eq(1),
                    self.o.payload.header.eq(header),
                    self.o.payload.enable.eq(Mux(lasts, tail, ~0)),
                    self.o.payload.first.eq(~started),
                    self.o.payload.last.eq(lasts),
                ]
                with m.If(lasts):
                    m.d.sync += [written.eq(written + size), ending.eq(chunk.end)]
                    with m.If(chunk.end):
                        m.d.sync += [
                            written.eq(0),
                            self.done.payload.token.eq(chunk.token),
                            self.done.payload.more.eq(chunk.more),
                            self.done.payload.written.eq(written + size),
                        ]
            with m.Elif(~chunk.data & ~closing):
                m.d.comb += finish.eq(1)
                m.d.sync += [
                    written.eq(0),
                    self.done.valid.eq(1),
                    self.done.payload.token.eq(chunk.token),
                    self.done.payload.more.eq(chunk.more),
                    self.done.payload.written.eq(written),
                ]
        # The next chunk follows without a gap.
        with m.If(finish):
            m.d.sync += active.eq(0)
        with m.If(chunks.r_rdy & (~active | finish) & ~self.flush):
            m.d.sync += [
                active.eq(1),
                started.eq(0),
                chunk.eq(following),
                size.eq(following.final - following.address[:12] + 1),
                left.eq((dwords - 1) >> ceil_log2(lanes)),
                lasts.eq(dwords <= lanes),
                # As many ones as the last row has dwords, at least one.
                tail[0].eq(1),
                *(tail[lane].eq((dwords - 1)[: ceil_log2(lanes)] >= lane) for lane in range(1, lanes)),
                *memory_request(
                    header,
                    write=True,
                    address=following.address,
                    dwords=dwords,
                    first_be=first_be,
                    last_be=last_be,
                    requester_id=self.settings.requester_id,
                    tag=0,
                ),
            ]

        m.d.comb += self.idle.eq(~active & ~self.o.valid & ~self.done.valid & ~chunks.r_rdy)

        with m.If(self.flush):
            m.d.sync += [self.done.valid.eq(0), ending.eq(0), written.eq(0)]
            with m.If(~active | ~started | finish):
                m.d.sync += [active.eq(0), write_at.eq(0), read_at.eq(0), stored.eq(0), full.eq(0)]
        return m

"""A disk in block RAM."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from virtio_spec.blk import SECTOR_BYTES

from .commit_fifo import CommitFifo
from .storage import (
    StorageOperation,
    StorageSignature,
    request_layout,
    response_layout,
    tag_shape,
    write_beat_layout,
)

__all__ = ["RamDisk"]


class RamDisk(wiring.Component):
    """A storage in block RAM: one beat per cycle, no operation fails, every write is as durable as any.

    READs are carried out in their order, and everything else in its own; so a READ passes a WRITE whose data
    has not come. Reading and writing go on at the same time, the one without a pause between requests, the
    other with one of a cycle. A sector is stored once it is complete, so an aborted write leaves whole
    sectors. WRITE_ZEROES takes as long as a WRITE would; DISCARD does nothing.

    Parameters
    ----------
    width : :class:`int`
        Of the data streams in bits.
    sectors : :class:`int`
        Capacity in sectors of 512 bytes.
    init : :class:`bytes`
        Content at power-up from sector 0 on; zeros behind it.
    requests : :class:`int`
        That can be under way.

    Members
    -------
    storage : :py:`In(StorageSignature(width, requests))`
        The block device.
    """

    storage: Any

    def __init__(self, *, width: int, sectors: int, init: bytes = b"", requests: int = 8):
        if sectors < 1:
            raise ValueError(f"sectors must be at least 1, not {sectors}")
        if len(init) > sectors * SECTOR_BYTES:
            raise ValueError(f"init has {len(init)} bytes, more than {sectors} sectors")
        self.width = width
        self.sectors = sectors
        self.init = bytes(init)
        self.requests = requests
        super().__init__({"storage": In(StorageSignature(width, requests))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lanes = self.width // 8
        depth = self.sectors * SECTOR_BYTES // lanes
        words = [
            int.from_bytes(self.init[at : at + lanes], "little") for at in range(0, len(self.init), lanes)
        ]
        m.submodules.memory = memory = Memory(shape=self.width, depth=depth, init=words)
        options = {"width": self.width, "depth": depth, "requests": self.requests}
        m.submodules.reader = reader = RamReader(**options)
        m.submodules.writer = writer = RamWriter(**options)
        read, write = memory.read_port(), memory.write_port()
        storage = self.storage
        reads = storage.request.p.operation == StorageOperation.READ
        wiring.connect(m, wiring.flipped(storage).write_data, writer.write_data)
        wiring.connect(m, writer.response, wiring.flipped(storage).response)
        m.d.comb += [
            storage.capacity.eq(self.sectors),
            reader.request.valid.eq(storage.request.valid & reads),
            writer.request.valid.eq(storage.request.valid & ~reads),
            storage.request.ready.eq(Mux(reads, reader.request.ready, writer.request.ready)),
            reader.request.p.eq(storage.request.p),
            writer.request.p.eq(storage.request.p),
            read.en.eq(reader.fetch),
            read.addr.eq(reader.address),
            storage.read_data.valid.eq(reader.valid),
            storage.read_data.p.data.eq(read.data),
            storage.read_data.p.last.eq(reader.last),
            storage.read_data.p.tag.eq(reader.tag),
            reader.ready.eq(storage.read_data.ready),
            write.en.eq(writer.store),
            write.addr.eq(writer.address),
            write.data.eq(writer.data),
        ]
        return m


class RamReader(wiring.Component):
    """Fetch the beats of one READ after another.

    Parameters
    ----------
    width, depth : :class:`int`
        Of the memory: bits and rows.
    requests : :class:`int`
        Number of tags.

    Members
    -------
    request : :py:`In(stream)`
        READs.
    fetch : :py:`Out(1)`, address : :py:`Out(range(depth))`
        Read the memory.
    valid, last : :py:`Out(1)`, tag : :py:`Out(n)`, ready : :py:`In(1)`
        A stream beside the memory's output.
    """

    request: Any
    fetch: Any
    address: Any
    valid: Any
    last: Any
    tag: Any
    ready: Any

    def __init__(self, *, width: int, depth: int, requests: int):
        self.beats = SECTOR_BYTES * 8 // width
        super().__init__(
            {
                "request": In(stream.Signature(request_layout(requests))),
                "fetch": Out(1),
                "address": Out(range(depth)),
                "valid": Out(1),
                "last": Out(1),
                "tag": Out(tag_shape(requests)),
                "ready": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shift = self.beats.bit_length() - 1
        left = Signal(len(self.request.p.count) + shift)
        tag = Signal.like(self.tag)
        final = Signal()  # nothing is left, or what is fetched now is the last of it
        m.d.comb += [
            self.fetch.eq((left != 0) & (~self.valid | self.ready)),
            final.eq((left == 0) | ((left == 1) & self.fetch)),
            self.request.ready.eq(final),
        ]
        with m.If(self.fetch):
            m.d.sync += [
                self.address.eq(self.address + 1),
                left.eq(left - 1),
                self.valid.eq(1),
                self.last.eq(left == 1),
                self.tag.eq(tag),
            ]
        with m.Elif(self.ready):
            m.d.sync += self.valid.eq(0)
        with m.If(self.request.valid & final):
            m.d.sync += [
                self.address.eq(self.request.p.sector << shift),
                left.eq(self.request.p.count << shift),
                tag.eq(self.request.p.tag),
            ]
        return m


class RamWriter(wiring.Component):
    """Carry out everything but READs, one after the other.

    Parameters
    ----------
    width, depth : :class:`int`
        Of the memory: bits and rows.
    requests : :class:`int`
        Number of tags.

    Members
    -------
    request, write_data : :py:`In(stream)`, response : :py:`Out(stream)`
        Of the storage.
    store : :py:`Out(1)`, address : :py:`Out(range(depth))`, data : :py:`Out(width)`
        Write the memory.
    """

    request: Any
    write_data: Any
    response: Any
    store: Any
    address: Any
    data: Any

    def __init__(self, *, width: int, depth: int, requests: int):
        self.width = width
        self.depth = depth
        self.requests = requests
        self.beats = SECTOR_BYTES * 8 // width
        super().__init__(
            {
                "request": In(stream.Signature(request_layout(requests))),
                "write_data": In(stream.Signature(write_beat_layout(width))),
                "response": Out(stream.Signature(response_layout(requests))),
                "store": Out(1),
                "address": Out(range(depth)),
                "data": Out(width),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shift = self.beats.bit_length() - 1
        entry = data.StructLayout(
            {
                "data": self.width,
                "address": range(self.depth),
                "store": 1,
                "last": 1,  # of the request
                "error": 1,
                "tag": tag_shape(self.requests),
            }
        )
        # Beats of a sector wait here until it is complete; room for two keeps the stream going.
        m.submodules.waiting = waiting = CommitFifo(shape=entry, depth=2 * self.beats)
        request, beat, response = self.request, self.write_data, self.response
        entering = data.View(entry, waiting.i.p)
        leaving = data.View(entry, waiting.o.p)
        address = Signal(range(self.depth))
        left = Signal(len(request.p.count) + shift)  # beats of zeros
        tag = Signal(tag_shape(self.requests))
        failed = Signal()
        whole = Signal()  # the beat is the last of its sector
        m.d.comb += [
            whole.eq(address[:shift].all()),
            entering.address.eq(address),
            entering.tag.eq(tag),
        ]
        with m.If(waiting.i.valid & waiting.i.ready):
            m.d.sync += [address.eq(address + 1), left.eq(left - 1)]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += request.ready.eq(1)
                m.d.sync += [
                    address.eq(request.p.sector << shift),
                    left.eq(request.p.count << shift),
                    tag.eq(request.p.tag),
                    failed.eq(0),
                ]
                with m.If(request.valid), m.Switch(request.p.operation):
                    with m.Case(StorageOperation.WRITE):
                        m.next = "WRITE"
                    with m.Case(StorageOperation.WRITE_ZEROES):
                        m.next = "ZERO"
                    with m.Default():
                        m.next = "MARK"
            with m.State("WRITE"):
                m.d.comb += [
                    entering.data.eq(beat.p.data),
                    entering.store.eq(1),
                    entering.last.eq(beat.p.last),
                    waiting.i.valid.eq(beat.valid & ~beat.p.abort),
                    beat.ready.eq(waiting.i.ready | beat.p.abort),
                    waiting.commit.eq(whole & waiting.i.valid & waiting.i.ready),
                    waiting.discard.eq(beat.valid & beat.p.abort),
                ]
                with m.If(beat.valid & beat.ready & beat.p.last):
                    m.next = "IDLE"
                    with m.If(beat.p.abort):
                        m.d.sync += failed.eq(1)
                        m.next = "MARK"
            with m.State("ZERO"):
                m.d.comb += [
                    entering.store.eq(1),
                    entering.last.eq(left == 1),
                    waiting.i.valid.eq(1),
                    waiting.commit.eq(1),
                ]
                with m.If(waiting.i.ready & entering.last):
                    m.next = "IDLE"
            with m.State("MARK"):  # behind what is to be stored before
                m.d.comb += [
                    entering.last.eq(1),
                    entering.error.eq(failed),
                    waiting.i.valid.eq(1),
                    waiting.commit.eq(1),
                ]
                with m.If(waiting.i.ready):
                    m.next = "IDLE"

        m.d.comb += [
            self.store.eq(waiting.o.valid & leaving.store),
            self.address.eq(leaving.address),
            self.data.eq(leaving.data),
            response.valid.eq(waiting.o.valid & leaving.last),
            response.p.error.eq(leaving.error),
            response.p.tag.eq(leaving.tag),
            waiting.o.ready.eq(response.ready | ~leaving.last),
        ]
        return m

"""Frames from the network: taken in at any rate, and kept as long as there is room."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from ..block_ram import NO_COLLISION
from ..rings.fifo import Fifo
from .mac import packet_layout
from .net_flow import FlowHash
from .net_layout import FLOW, HEADER_BYTES, TAGGED_HEADER_BYTES, received_layout

__all__ = ["ReceiveBuffer"]

LEAST = 64  # bytes of buffer for each frame that it can hold
TYPE, TAG = 12, int.from_bytes(bytes.fromhex("8100"), "little")  # position of a frame's type, one of them
TAG_BYTES = 4
MARGIN = 4  # rows, and frames, that may come yet when it is found that there is no room


class ReceiveBuffer(wiring.Component):
    """Keep whole frames from the network.

    One beat in each cycle. A frame is dropped if it does not find room, if it is bad, and if it is longer
    than an Ethernet header, with VLAN tag if it has one, and ``mtu`` [§5.1.4.1]; so is one that began before
    ``accept``. Reset is that of the clock domain.

    Parameters
    ----------
    width : :class:`int`
        Of a beat in bits.
    mtu : :class:`int`
    size : :class:`int`
        Bytes of the buffer, a power of two; at most one frame in 64 bytes of it.
    flows : :class:`bool`
        There is ``flow``.

    Members
    -------
    receive : :py:`In(stream of packet_layout(width))`
        Always ready.
    accept : :py:`In(1)`
        Frames that begin now are taken.
    frame : :py:`Out(stream of received_layout(width, mtu))`
        Frames in the buffer.
    flow : :py:`Out(stream of FLOW)`
        Of the same frames.
    address, enable : :py:`In`, data : :py:`Out(width)`
        Read port on the buffer; ``data`` is that of the last cycle with ``enable``. The address goes through
        all rows of all frames: what is before it is free.
    """

    receive: Any
    accept: Any
    frame: Any
    flow: Any
    address: Any
    enable: Any
    data: Any

    def __init__(self, *, width: int, mtu: int, size: int, flows: bool):
        self.width = width
        self.mtu = mtu
        self.size = size
        self.flows = flows
        self._depth = size // (width // 8)
        members: dict[str, Any] = {
            "receive": In(stream.Signature(packet_layout(width))),
            "accept": In(1),
            "frame": Out(stream.Signature(received_layout(width, mtu))),
            "address": In(ceil_log2(self._depth)),
            "enable": In(1),
            "data": Out(width),
        }
        if flows:
            members["flow"] = Out(stream.Signature(FLOW))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        """Build a register for the beat, the ring of rows, and the FIFO of what is known of frames."""
        m = Module()
        lanes = self.width // 8
        most = self.size // LEAST
        m.submodules.memory = memory = Memory(
            shape=self.width, depth=self._depth, init=[], attrs=NO_COLLISION
        )
        m.submodules.frames = frames = Fifo(shape=received_layout(self.width, self.mtu), depth=most)
        put, get = memory.write_port(), memory.read_port()
        connect(m, frames.o, flipped(self.frame))

        valid, data = Signal(), Signal(self.width)
        first, last, error, checked = Signal(), Signal(), Signal(), Signal()
        end = Signal(ceil_log2(lanes))  # lane of the last byte
        packet = self.receive.payload
        m.d.comb += self.receive.ready.eq(1)
        m.d.sync += [
            valid.eq(self.receive.valid),
            data.eq(packet.data),
            first.eq(packet.first),
            last.eq(packet.last),
            error.eq(packet.error),
            checked.eq(packet.checked),
            end.eq(_last_lane(m, packet.keep)),
        ]

        start = Signal.like(put.addr)  # of the frame
        number = Signal(range(self._depth))  # of the row
        held = Signal(range(most + 1))  # frames in the buffer
        spoiled, bad, good = Signal(init=1), Signal(), Signal()
        used, full = Signal.like(put.addr), Signal()
        going, fits = Signal(), Signal()
        crowded, pushed = Signal(), Signal()
        address, kept_address = Signal(48), Signal(48)
        tagged, was_tagged, second = Signal(), Signal(), Signal()
        position = Cat(end, number)  # of the last byte
        row, lane = divmod(TYPE, lanes)
        longest = TAGGED_HEADER_BYTES + self.mtu
        known = Signal(received_layout(self.width, self.mtu))
        m.d.comb += [
            put.data.eq(data),
            put.en.eq(valid & going),
            get.addr.eq(self.address),
            get.en.eq(self.enable),
            self.data.eq(get.data),
            used.eq(put.addr - self.address),
            going.eq(first | ~spoiled),
            bad.eq(Mux(first, ~self.accept | crowded, spoiled) | full),
            tagged.eq(Mux(second if row else first, data[8 * lane : 8 * lane + 16] == TAG, was_tagged)),
            fits.eq(Mux(tagged, position < longest, position < longest - TAG_BYTES)),
            good.eq(valid & last & ~bad & ~error & fits),
            address.eq(Mux(first, data[:48], kept_address)),
            frames.i.payload.eq(known),
            frames.i.valid.eq(pushed),
        ]
        m.d.sync += [
            known.address.eq(address),
            known.rows.eq(number + 1),
            known.total.eq(position + (HEADER_BYTES + 1)),
            known.tail.eq(end >= lanes - HEADER_BYTES % lanes),
            known.checked.eq(checked),
            pushed.eq(good),
            held.eq(held + pushed - (self.frame.valid & self.frame.ready)),
            crowded.eq(held >= most - MARGIN),
            full.eq(used >= self._depth - MARGIN),
        ]
        with m.If(valid):
            m.d.sync += [
                kept_address.eq(address),
                second.eq(first),
                was_tagged.eq(tagged),
                spoiled.eq(bad | last),
            ]
            with m.If(last):
                m.d.sync += number.eq(0)
            with m.Elif(going):
                m.d.sync += number.eq(number + 1)
            with m.If(last & ~good):
                m.d.sync += put.addr.eq(start)
            with m.Elif(going):
                m.d.sync += put.addr.eq(put.addr + 1)
        with m.If(good):
            m.d.sync += start.eq(put.addr + 1)
        if self.flows:
            m.submodules.hasher = hasher = FlowHash(width=self.width)
            m.submodules.flows = flows = Fifo(shape=FLOW, depth=most)
            connect(m, flows.o, flipped(self.flow))
            taken = Signal(2)
            m.d.sync += taken.eq(Cat(good, taken[0]))
            m.d.comb += [
                hasher.i.valid.eq(valid),
                hasher.i.payload.data.eq(data),
                hasher.i.payload.last.eq(last),
                flows.i.payload.eq(hasher.o.payload),
                flows.i.valid.eq(hasher.o.valid & taken[1]),
            ]
        return m


def _last_lane(m: Module, keep: Any) -> Any:
    """The number of the last lane that is set: they are contiguous, and the first one is set."""
    # A search by halves: each bit says whether the lane in the middle of what is left is set.
    bits: list[Any] = []
    for level in reversed(range(ceil_log2(len(keep)))):
        bit: Any = keep[1 << level]
        for upper in range(1, 1 << len(bits)):
            path = Cat(reversed(bits)) == upper
            bit = Mux(path, keep[(upper << (level + 1)) | (1 << level)], bit)
        found = Signal(name=f"last_lane{level}")
        m.d.comb += found.eq(bit)
        bits.append(found)
    return Cat(reversed(bits))

"""Frames to be sent: taken in whole, judged and kept."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from ..block_ram import NO_COLLISION
from ..chain import TOKEN, readable_layout
from ..rings.fifo import Fifo
from .net_checksum import Checksum
from .net_flow import FlowHash
from .net_layout import FLOW, TAGGED_HEADER_BYTES, sent_layout
from .net_strip import HeaderStrip

__all__ = ["SentStore"]

FRAMES = 16
ON_THE_WAY = 8, 4  # rows and frames, at most, that come yet after it was found that there is no room


class SentStore(wiring.Component):
    """Keep the frames of the driver until they are sent, and complete their checksums.  [virtio 1.4 §5.1.6.2]

    A frame is dropped if its chain could not be read, if it has no byte, if its checksum would lie outside,
    if its header has both tunnel bits, or if it is longer than ``mtu`` and an Ethernet header with a VLAN
    tag.
    One beat per cycle; a frame takes 4 cycles at least. Reset is that of the clock domain.

    Parameters
    ----------
    width : :class:`int`
        Of a beat in bits.
    mtu : :class:`int`
    size : :class:`int`
        Bytes that are kept; a power of two.
    flows : :class:`bool`
        There is ``flow``.

    Members
    -------
    readable : :py:`In(stream of readable_layout(width))`
        Chains, a header and a frame each.
    csum : :py:`In(1)`
        A frame may ask for a checksum.
    hurry : :py:`In(1)`
        What does not find room is dropped; else it waits.
    frame : :py:`Out(stream of sent_layout(width, mtu))`
        Frames in the buffer.
    address, enable : :py:`In`, data : :py:`Out(width)`
        Read port on the buffer; ``data`` is that of the last cycle with ``enable``. The address goes through
        all rows of all frames: what is before it is free.
    flow : :py:`Out(stream of FLOW, always_ready)`, token : :py:`Out(TOKEN)`
        The flow of a frame that will be sent, and the chain that it came in.
    """

    readable: Any
    csum: Any
    hurry: Any
    frame: Any
    address: Any
    enable: Any
    data: Any
    flow: Any
    token: Any

    def __init__(self, *, width: int, mtu: int, size: int, flows: bool):
        self.width = width
        self.mtu = mtu
        self.size = size
        self.flows = flows
        self._depth = size // (width // 8)
        members: dict[str, Any] = {
            "readable": In(stream.Signature(readable_layout(width))),
            "csum": In(1),
            "hurry": In(1),
            "frame": Out(stream.Signature(sent_layout(width, mtu))),
            "address": In(ceil_log2(self._depth)),
            "enable": In(1),
            "data": Out(width),
        }
        if flows:
            members |= {"flow": Out(stream.Signature(FLOW, always_ready=True)), "token": Out(TOKEN)}
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        """Build the ring of rows; a frame becomes valid when its checksum is known."""
        m = Module()
        lanes = self.width // 8
        most = -(-(self.mtu + TAGGED_HEADER_BYTES) // lanes)  # rows of a frame
        m.submodules.strip = strip = HeaderStrip(width=self.width)
        m.submodules.checksum = checksum = Checksum(width=self.width, mtu=self.mtu)
        m.submodules.memory = memory = Memory(
            shape=self.width, depth=self._depth, init=[], attrs=NO_COLLISION
        )
        m.submodules.frames = frames = Fifo(shape=sent_layout(self.width, self.mtu), depth=FRAMES)
        put, get = memory.write_port(), memory.read_port()
        connect(m, flipped(self.readable), strip.i)
        connect(m, frames.o, flipped(self.frame))

        row, header = strip.o.payload, strip.header
        start = Signal.like(put.addr)  # of the frame
        used = Signal.like(put.addr)
        end = Signal(ceil_log2(lanes))  # lane of the row's last byte
        number = Signal(range(most + 1))
        room, spoiled = Signal(), Signal()
        held = Signal(range(FRAMES + 1))  # frames in the buffer
        at, behind = Signal(17), Signal(17)  # position of the checksum's first byte, and the one behind
        patch, inside, good = Signal(), Signal(), Signal()
        m.d.comb += [
            put.data.eq(row.data),
            put.en.eq(strip.o.valid & ~spoiled),
            get.addr.eq(self.address),
            get.en.eq(self.enable),
            self.data.eq(get.data),
            used.eq(put.addr - self.address),
            strip.go.eq(room | spoiled),
            patch.eq(header.needs_csum & self.csum),
            end.eq(row.count - 1),
            inside.eq(behind <= Cat(end, number)),
            good.eq(~row.error & ~spoiled & ~header.refused & (number != most) & (inside | ~patch)),
        ]
        m.d.sync += [
            room.eq((used < self._depth - ON_THE_WAY[0]) & (held < FRAMES - ON_THE_WAY[1])),
            at.eq(header.csum_start + header.csum_offset),
            behind.eq(header.csum_start + header.csum_offset + 1),
        ]
        with m.If(self.hurry & self.readable.valid & ~room):
            m.d.sync += spoiled.eq(1)
        with m.If(strip.o.valid):
            with m.If(row.last):
                m.d.sync += [number.eq(0), spoiled.eq(0)]
                m.d.sync += put.addr.eq(start)
                with m.If(good):
                    m.d.sync += [put.addr.eq(put.addr + 1), start.eq(put.addr + 1)]
            with m.Elif(number != most):
                m.d.sync += [number.eq(number + 1), put.addr.eq(put.addr + 1)]

        # All that is known of a frame at its last row waits for its checksum.
        ending = Signal(sent_layout(self.width, self.mtu))
        swap, ended = Signal(), Signal()
        with m.If(strip.o.valid & row.last):
            m.d.sync += [
                ending.rows.eq(number),
                ending.end.eq(end),
                ending.patch.eq(patch),
                ending.lower.eq(behind >> 1),
                ending.upper.eq(at >> 1),
                swap.eq(header.csum_offset[0]),
                ended.eq(good),
            ]
        value = checksum.o.payload
        entry = frames.i.payload
        m.d.comb += [
            checksum.i.valid.eq(strip.o.valid),
            checksum.i.payload.eq(row),
            checksum.start.eq(header.csum_start),
            entry.eq(ending),
            entry.checksum.eq(Mux(swap, Cat(value[8:], value[:8]), value)),
            frames.i.valid.eq(checksum.o.valid & ended),
        ]
        m.d.sync += held.eq(held + frames.i.valid - (frames.o.valid & frames.o.ready))
        if self.flows:
            m.submodules.flow = flow = FlowHash(width=self.width)
            m.d.comb += [
                flow.i.valid.eq(strip.o.valid),
                flow.i.payload.eq(row),
                self.flow.payload.eq(flow.o.payload),
                self.flow.valid.eq(flow.o.valid & ended),
            ]
            with m.If(strip.o.valid & row.last):
                m.d.sync += self.token.eq(header.token)
        return m

"""Ring writes as memory writes on the link."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..dma.headers import memory_request
from ..dma.layout import DmaSettings
from ..tlp import TlpSignature, check_width
from .layout import ring_write_layout

__all__ = ["RingWriter"]

MOST_BYTES = 64


class RingWriter(wiring.Component):
    """Turn each write into one memory write TLP.  [PCIe base 5.0 §2.2.7]

    A write that is one beat of 2 bytes lies in one dword; any other is whole dwords. Up to 64 bytes, and no
    crossing of a multiple of 4096: the clients see to that.

    A write is gathered, one beat per cycle, and its TLP offered from the cycle after its last beat came,
    which is taken in the cycle in which the TLP's last beat is accepted at ``o``: a write that was taken is
    written, in posted order. One of a single beat takes two cycles; one of ``i[1]`` that comes while there is
    nothing to do is noticed a cycle later.

    **Bus mastering off.** No TLP is started. One that was offered before is sent.

    **Flush.** While high, beats are taken without being written, unless their TLP was started: then the
    write's last beat is taken with the TLP's as always. What was gathered of a write is forgotten, so its
    client is to give it up too.

    Parameters
    ----------
    width : :class:`int`
        Of ``o`` in bits.
    inputs : :class:`int`
        1 or 2.

    Members
    -------
    i : :py:`In(stream.Signature(ring_write_layout)).array(inputs)`
        Writes, in turn if both have some. Those of ``i[1]`` are of up to 4 bytes.
    o : :py:`Out(TlpSignature(width))`
        Memory writes; the beats of one come without a pause.
    settings : :py:`In(DmaSettings)`
    flush : :py:`In(1)`
    idle : :py:`Out(1)`
        No TLP is offered.
    """

    def __init__(self, *, width: int, inputs: int = 2):
        self.width = check_width(width)
        if inputs not in (1, 2):
            raise ValueError(f"inputs must be 1 or 2, not {inputs!r}")
        self.inputs = inputs
        super().__init__(
            {
                "i": In(stream.Signature(ring_write_layout)).array(inputs),
                "o": Out(TlpSignature(width)),
                "settings": In(DmaSettings),
                "flush": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the choice between the inputs, the buffer for one write, and the FSM that fills and sends."""
        m = Module()
        dword_lanes = self.width // 32
        word_lanes = self.width // 64  # a beat that comes is as wide as one of these

        # Which input: a register, and it stays until its write is taken.
        second, kept = Signal(), Signal()
        one, other = self.i[0], self.i[-1]
        valid, gathers, wrote = Signal(), Signal(), Signal()
        if self.inputs == 2:
            with m.If(wrote):
                m.d.sync += second.eq(other.valid & ~second)
            with m.Elif(~valid & ~kept):
                m.d.sync += second.eq(other.valid)
        beat = Signal(ring_write_layout)
        m.d.comb += [valid.eq(one.valid), beat.eq(one.payload)]
        with m.If(second):
            m.d.comb += [
                valid.eq(other.valid),
                beat.address.eq(other.payload.address),
                beat.data[:32].eq(other.payload.data),
                beat.count.eq(other.payload.count),
                beat.last.eq(1),
            ]

        # The write at hand
        address = Signal(64)
        single = Signal()  # 2 bytes
        words = Signal(range(MOST_BYTES // 8))  # that were gathered
        left = Signal(range(MOST_BYTES // 4 + 1))  # dwords still to be sent
        dwords = Signal.like(left)
        sent = Signal(range(MOST_BYTES * 8 // self.width))
        m.submodules.buffer = buffer = Memory(
            shape=unsigned(self.width), depth=MOST_BYTES * 8 // self.width, init=[]
        )
        put, get = buffer.write_port(granularity=64), buffer.read_port(domain="comb")
        low = Cat(beat.data[:16], Mux(beat.address[1], beat.data[:16], beat.data[16:32]))
        enable = Mux(address[1], 0b1100, 0b0011)
        m.d.comb += [
            put.addr.eq(words >> exact_log2(word_lanes)),
            put.data.eq(Cat(low, beat.data[32:]).replicate(word_lanes)),
            get.addr.eq(sent),
            self.o.payload.data.eq(get.data),
            self.o.payload.enable.eq(Cat(left > lane for lane in range(dword_lanes))),
            self.o.payload.first.eq(sent == 0),
            self.o.payload.last.eq(left <= dword_lanes),
            *memory_request(
                self.o.payload.header,
                write=True,
                address=address,
                dwords=dwords,
                first_be=Mux(single, enable, 0b1111),
                last_be=Mux(dwords == 1, 0, 0b1111),
                requester_id=self.settings.requester_id,
                tag=0,
            ),
        ]

        with m.FSM():
            with m.State("GATHER"):
                m.d.comb += [
                    self.idle.eq(1),
                    gathers.eq(1),
                    put.en.eq(1 << words[: exact_log2(word_lanes)]),
                ]
                gathered = Cat(beat.count > 4, words) + 1
                m.d.sync += [
                    address.eq(beat.address),
                    single.eq(beat.count == 2),
                    left.eq(gathered),
                    dwords.eq(gathered),
                    sent.eq(0),
                    kept.eq(kept | valid),
                ]
                with m.If(self.flush):
                    m.d.sync += [words.eq(0), kept.eq(0)]
                with m.Elif(valid & ~beat.last):
                    m.d.sync += words.eq(words + 1)
                with m.Elif(valid & self.settings.bus_master):
                    m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [left.eq(left - dword_lanes), sent.eq(sent + 1)]
                    with m.If(self.o.payload.last):
                        m.d.comb += wrote.eq(1)
                        m.d.sync += [words.eq(0), kept.eq(0)]
                        m.next = "GATHER"

        # ``last`` of the one input is nothing to the other.
        m.d.comb += one.ready.eq(~second & (wrote | (gathers & (~one.payload.last | self.flush))))
        if self.inputs == 2:
            m.d.comb += other.ready.eq(second & (wrote | (gathers & self.flush)))
        return m

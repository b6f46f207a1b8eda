"""Requests that need a completion: configuration and I/O, register reads, and all that is refused."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.tlp import CompletionStatus, Fmt, TlpHeader, TlpType

from ..phy.packet_buffer import PacketBuffer
from ..registers import ConfigBus, RegisterBus
from ..tlp import TlpSignature, check_width
from .bars import Bar, BarDecoder, BarSettings, check_bars
from .byte_enables import byte_count, bytes_before
from .completion_buffer import CompletionBuffer
from .posted import request_address

__all__ = ["NonPosted"]

CHUNK = 32  # dwords between read completion boundaries (128 bytes)  [PCIe base 5.0 §2.3.1.1]

# What is kept of a request: the header, and if that has 3 dwords, the first of the payload. What has more
# payload, or payload behind a header of 4 dwords, is refused.
queued_layout = data.ArrayLayout(32, 4)


class NonPosted(wiring.Component):
    """Execute non-posted requests in their order.  [PCIe base 5.0 §2.2.9, §2.3.1]

    ``depth`` requests wait without holding up what arrives behind them; the packets obey
    :class:`.rules.HeaderRules`. A request starts only after ``writes_busy`` was seen low, so after
    the writes that arrived before it. One dword is read at a time, and a completion starts when all
    its payload is there.

    - Configuration requests of type 0 to function 0 go to ``config``; while ``function_reset`` they
      are answered with Request Retry Status. A poisoned write is an unsupported request. A write that was
      carried out is answered once ``settled``.
    - Memory reads go to ``bus``, if they lie in one BAR from end to end, memory space is enabled and
      the function in D0 and not in reset. A completion ends at each multiple of 128 bytes. A read of
      zero bytes returns one dword from an access without byte enables.
    - I/O requests go to ``bus`` with their byte enables, none included, if they hit an I/O BAR, I/O
      space is enabled and the function in D0 and not in reset. While ``io_hold`` none is issued: it
      waits, and all requests behind it do. A write is answered when the bus has taken it. A poisoned
      write is an unsupported request.
    - Everything else is unsupported: locked reads (with CplLk), AtomicOps, deferrable writes, other
      functions, type 1.

    Parameters
    ----------
    width : :class:`int`
        64, 128, 256 or 512.
    bars : sequence of :class:`.bars.Bar`
        The function's BARs.
    depth : :class:`int`
        Requests that can wait, a power of two: the non-posted header credits that the phy advertises.

    Members
    -------
    i : :py:`In(TlpSignature(width))`
        Non-posted requests.
    o : :py:`Out(TlpSignature(width))`
        Completions.
    config : :py:`Out(ConfigBus)`
        Configuration space.
    bus : :py:`Out(RegisterBus)`
        Reads; and writes of one dword, from I/O requests.
    decode : :py:`In(BarSettings(bars))`
        From configuration space.
    d0 : :py:`In(1)`
        The function is in D0.
    writes_busy : :py:`In(1)`
        :class:`.posted.PostedWriter`'s ``busy``.
    function_reset : :py:`In(1)`
        The function is being reset.
    io_hold : :py:`In(1)`
        Issue no I/O request to ``bus``. Looked at 4 cycles or more after an I/O write was taken there;
        a request already offered stays.
    settled : :py:`In(1)`
        Nothing is on offer that configuration space forbids by now. Looked at from the cycle behind the
        answer of ``config`` on.
    completer_id : :py:`Out(16)`
        Bus and device number of the last configuration write of type 0, function 0.  [§2.2.6.2]
    unsupported : :py:`Out(1)`
        Strobe: a request was answered with Unsupported Request (not for poison alone).
    poisoned : :py:`Out(1)`
        Strobe: a configuration or I/O write that would have been executed was poisoned.
    """

    def __init__(self, *, width: int, bars: Sequence[Bar], depth: int = 32):
        self.width = check_width(width)
        self.bars = check_bars(bars)
        if depth not in (1 << n for n in range(1, 11)):
            raise ValueError(f"depth must be a power of two from 2 to 1024, not {depth!r}")
        self.depth = depth
        super().__init__(
            {
                "i": In(TlpSignature(width)),
                "o": Out(TlpSignature(width)),
                "config": Out(ConfigBus),
                "bus": Out(RegisterBus),
                "decode": In(BarSettings(self.bars)),
                "d0": In(1, init=1),
                "writes_busy": In(1),
                "function_reset": In(1),
                "io_hold": In(1),
                "settled": In(1, init=1),
                "completer_id": Out(16),
                "unsupported": Out(1),
                "poisoned": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.queue = queue = PacketBuffer(shape=queued_layout, depth=self.depth)
        m.submodules.decoder = decoder = BarDecoder(bars=self.bars)
        m.submodules.buffer = buffer = CompletionBuffer(width=self.width, dwords=CHUNK)
        wiring.connect(m, buffer.o, wiring.flipped(self.o))

        beat = self.i.payload
        arriving = TlpHeader(beat.header)
        m.d.comb += [
            Cat(*queue.i.payload[:3]).eq(Cat(*arriving.dwords[:3])),
            queue.i.payload[3].eq(Mux(arriving.common.fmt[0], arriving.dwords[3], beat.data[:32])),
            queue.i.valid.eq(self.i.valid & beat.first),
            queue.commit.eq(1),
            # The rest of a packet needs no room, so it does not wait for any.
            self.i.ready.eq(queue.i.ready | ~beat.first),
        ]

        queued = Signal(queued_layout)
        header = data.View(TlpHeader, Value.cast(queued))
        common = header.common
        request = header.memory32
        config = header.config
        length = Cat(common.length, common.length == 0)
        writing = common.fmt[1]  # among the requests that are executed

        status = Signal(CompletionStatus)
        reading = Signal()  # the answer to a memory read, with data
        remaining = Signal(11)  # dwords
        fresh = Signal()  # none has been read
        offset = Signal(16)
        chunk = Signal(range(CHUNK + 1))  # dwords in the buffer
        bytes_left = Signal(13)
        lower_address = Signal(7)
        hit = Signal()
        inside = Signal()
        bar = Signal(3)

        end = Signal(16)
        m.d.comb += [
            decoder.settings.eq(self.decode),
            decoder.address.eq(request_address(header)),
            decoder.io.eq(common.type == TlpType.IO),
            end.eq(decoder.offset[2:] + length),  # first dword behind the read
        ]

        is_memory = Signal()
        memory_count = Signal(13)
        m.d.comb += [
            is_memory.eq((common.type == TlpType.MEMORY) | (common.type == TlpType.MEMORY_LOCKED)),
            memory_count.eq(byte_count(length, request.first_be, request.last_be)),
        ]

        locked = common.type == TlpType.MEMORY_LOCKED
        m.d.comb += self._completion(
            buffer.header.payload, header, status, locked, chunk, bytes_left, lower_address
        )
        byte_enable = Signal(4)
        m.d.comb += [
            self.bus.request.payload.bar.eq(bar),
            self.bus.request.payload.address.eq(offset),
            self.bus.request.payload.write.eq(writing),
            self.bus.request.payload.byte_enable.eq(byte_enable),
            self.bus.request.payload.data.eq(queued[3]),
            self.config.request.payload.register.eq(config.register),
            self.config.request.payload.write.eq(writing),
            self.config.request.payload.byte_enable.eq(config.first_be),
            self.config.request.payload.data.eq(queued[3]),
        ]
        with m.If(fresh):
            m.d.comb += byte_enable.eq(request.first_be)
        with m.Elif(remaining == 1):
            m.d.comb += byte_enable.eq(request.last_be)
        with m.Else():
            m.d.comb += byte_enable.eq(0xF)

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [chunk.eq(0), reading.eq(0)]
                with m.If(queue.o.valid & ~self.writes_busy):
                    m.d.comb += queue.o.ready.eq(1)
                    m.d.sync += queued.eq(queue.o.payload)
                    m.next = "DECODE"

            with m.State("DECODE"):
                m.d.sync += [
                    hit.eq(decoder.hit & self.d0 & ~self.function_reset),
                    inside.eq(end <= decoder.limit[2:] + 1),
                    bar.eq(decoder.bar),
                    offset.eq(decoder.offset),
                    remaining.eq(length),
                    fresh.eq(1),
                    bytes_left.eq(4),
                    lower_address.eq(0),
                ]
                with m.If(is_memory):
                    m.d.sync += [
                        bytes_left.eq(memory_count),
                        lower_address.eq(Cat(bytes_before(request.first_be), decoder.address[2:7])),
                    ]
                with m.Elif((common.type == TlpType.FETCH_ADD) | (common.type == TlpType.SWAP)):
                    m.d.sync += bytes_left.eq(length << 2)
                with m.Elif(common.type == TlpType.COMPARE_AND_SWAP):
                    m.d.sync += bytes_left.eq(length << 1)  # two operands
                m.next = "EXECUTE"

            with m.State("EXECUTE"):
                m.d.sync += status.eq(CompletionStatus.SUCCESSFUL)
                with m.If((common.type == TlpType.MEMORY) & hit & inside):
                    m.d.sync += reading.eq(1)
                    m.next = "ACCESS"
                with m.Elif((common.type == TlpType.IO) & hit):
                    with m.If(writing & common.poisoned):
                        m.d.comb += self.poisoned.eq(1)
                        m.d.sync += status.eq(CompletionStatus.UNSUPPORTED_REQUEST)
                        m.next = "COMPLETE"
                    with m.Elif(~self.io_hold):
                        m.next = "ACCESS"
                with m.Elif((common.type == TlpType.CONFIG_0) & (config.function == 0)):
                    with m.If(self.function_reset):
                        m.d.sync += status.eq(CompletionStatus.REQUEST_RETRY)
                        m.next = "COMPLETE"
                    with m.Elif(writing & common.poisoned):
                        m.d.comb += self.poisoned.eq(1)
                        m.d.sync += status.eq(CompletionStatus.UNSUPPORTED_REQUEST)
                        m.next = "COMPLETE"
                    with m.Else():
                        with m.If(writing):
                            m.d.sync += self.completer_id.eq(Cat(Const(0, 3), config.device, config.bus))
                        m.next = "CONFIG"
                with m.Else():
                    m.d.comb += self.unsupported.eq(1)
                    m.d.sync += status.eq(CompletionStatus.UNSUPPORTED_REQUEST)
                    m.next = "COMPLETE"

            with m.State("CONFIG"):
                m.d.comb += self.config.request.valid.eq(1)
                with m.If(self.config.request.ready):
                    m.next = "CONFIG WAIT"

            with m.State("CONFIG WAIT"):
                m.d.comb += buffer.dword.payload.eq(self.config.response.payload)
                with m.If(self.config.response.valid):
                    with m.If(writing):
                        m.next = "SETTLE"
                    with m.Else():
                        m.d.comb += buffer.dword.valid.eq(1)
                        m.d.sync += chunk.eq(1)
                        m.next = "COMPLETE"

            with m.State("SETTLE"):
                with m.If(self.settled):
                    m.next = "COMPLETE"

            with m.State("ACCESS"):
                m.d.comb += self.bus.request.valid.eq(1)
                with m.If(self.bus.request.ready):
                    with m.If(writing):
                        m.next = "COMPLETE"
                    with m.Else():
                        m.next = "ACCESS WAIT"

            with m.State("ACCESS WAIT"):
                m.d.comb += buffer.dword.payload.eq(self.bus.response.payload)
                with m.If(self.bus.response.valid):
                    m.d.comb += buffer.dword.valid.eq(1)
                    m.d.sync += [
                        chunk.eq(chunk + 1),
                        remaining.eq(remaining - 1),
                        fresh.eq(0),
                        offset.eq(offset + 4),
                    ]
                    with m.If((remaining == 1) | offset[2:7].all()):
                        m.next = "COMPLETE"
                    with m.Else():
                        m.next = "ACCESS"

            with m.State("COMPLETE"):
                m.d.comb += buffer.header.valid.eq(1)
                with m.If(buffer.header.ready):
                    # Only the first completion of a read starts inside a dword.
                    m.d.sync += [
                        bytes_left.eq(bytes_left - (chunk << 2) + lower_address[:2]),
                        lower_address.eq(0),
                        chunk.eq(0),
                    ]
                    with m.If(reading & (remaining != 0)):
                        m.next = "ACCESS"
                    with m.Else():
                        m.next = "IDLE"
        return m

    def _completion(
        self, view: Any, header: Any, status: Any, locked: Any, length: Any, count: Any, lower: Any
    ) -> list[Any]:
        """Header of a completion with ``length`` dwords, 0 for none, to the request ``header``."""
        completion = TlpHeader(view).completion
        common = header.common
        return [
            completion.common.length.eq(length),
            # Attr[2] stays 0, whatever the request's: IDO Completion Enable is hardwired to 0.
            completion.common.attr.eq(common.attr),
            completion.common.traffic_class.eq(common.traffic_class),
            completion.common.tag_8.eq(common.tag_8),
            completion.common.tag_9.eq(common.tag_9),
            completion.common.type.eq(Mux(locked, TlpType.COMPLETION_LOCKED, TlpType.COMPLETION)),
            completion.common.fmt.eq(Mux(length == 0, Fmt.HEADER_3DW, Fmt.DATA_3DW)),
            completion.byte_count.eq(count),
            completion.status.eq(status),
            completion.completer_id.eq(self.completer_id),
            completion.lower_address.eq(lower),
            completion.tag.eq(header.memory32.tag),
            completion.requester_id.eq(header.memory32.requester_id),
        ]

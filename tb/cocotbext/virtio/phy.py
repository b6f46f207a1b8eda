"""Joins a device under test that speaks raw TLPs to the link model of a root complex.

A packet is a list of dwords here: the header's as integers whose bits 31:24 are byte 0 of the
standard's figures, then the payload's with the first byte in bits 7:0. The gateware's raw streams
carry the same dwords, contiguous from lane 0 of each beat.
"""

import logging
import struct
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import cocotb
from cocotb.queue import Queue
from cocotbext.pcie.core.port import SimPort
from cocotbext.pcie.core.tlp import Tlp
from virtio_spec.tlp import Fmt, TlpType

from .streams import Sink, Source, Stream

__all__ = ["MESSAGE_ADDRESS", "Deframer", "Observer", "RawTlpPort", "frame", "tlp_to_dwords"]

#: Header credits for non-posted requests: how many the endpoint's own FIFO holds.
NON_POSTED_CREDITS = 32
#: Generation of the link; its width follows from the design's, so that neither holds up the other.
LINK_SPEED = 3
#: Bits that a lane of it brings in a cycle of 4 ns.
LANE_BITS = 32
#: Packets of the device that the port holds for the link.
LINK_BUFFER = 4
#: Where a message of the device goes as a write of its code, since the link model knows no messages: so
#: it keeps its place behind the writes before it.
MESSAGE_ADDRESS = 0xFED0_0000
#: Requester id of injected packets; the root complex has 00:00.0. Answers to it are taken aside.
INJECTOR_ID = 0x00FF


class Observer(Protocol):
    """Sees every packet on the raw streams."""

    def from_host(self, dwords: Sequence[int]) -> None:
        """The device took the last beat of this packet."""

    def from_device(self, dwords: Sequence[int]) -> None:
        """The last beat of this packet was taken from the device."""

    def broken_framing(self, what: str) -> None:
        """The device broke a rule of the stream itself."""


def tlp_to_dwords(tlp: Any) -> list[int]:
    """Dwords of a packet of the link model."""
    header = bytes(tlp.pack_header())
    payload = bytes(tlp.get_data()) if tlp.has_data() else b""
    return [
        *struct.unpack(f">{len(header) // 4}L", header),
        *struct.unpack(f"<{len(payload) // 4}L", payload),
    ]


def dwords_to_tlp(dwords: Sequence[int]) -> Any:
    """Packet of the link model; it raises for types that it does not know."""
    count = 4 if dwords[0] >> 29 & 1 else 3
    header = struct.pack(f">{count}L", *dwords[:count])
    return Tlp.unpack(bytearray(header + struct.pack(f"<{len(dwords) - count}L", *dwords[count:])))


def message_to_tlp(dwords: Sequence[int]) -> Any:
    """The write that stands for a message of the device on the link model; see :data:`MESSAGE_ADDRESS`."""
    code = dwords[1] & 0xFF
    return dwords_to_tlp([Fmt.DATA_3DW << 29 | 1, dwords[1] & ~0xFFFF | 0xF, MESSAGE_ADDRESS, code])


def frame(dwords: Sequence[int], width: int) -> list[int]:
    """Packed payloads of the raw stream's beats for one packet."""
    lanes = width // 32
    beats = []
    for start in range(0, len(dwords), lanes):
        part = dwords[start : start + lanes]
        beat = int.from_bytes(struct.pack(f"<{len(part)}L", *part), "little")
        beat |= ((1 << len(part)) - 1) << width
        beat |= (start == 0) << (width + lanes)
        beat |= (start + lanes >= len(dwords)) << (width + lanes + 1)
        beats.append(beat)
    return beats


class Deframer:
    """Beats of a raw stream become packets; a beat that breaks the framing is reported.

    Parameters
    ----------
    width
        Of the data, in bits.
    on_error
        Called with a sentence.
    """

    def __init__(self, width: int, on_error: Callable[[str], None]):
        self.width = width
        self._lanes = width // 32
        self._on_error = on_error
        self._dwords: list[int] | None = None

    def clear(self) -> None:
        """Forget what came of a packet."""
        self._dwords = None

    def beat(self, payload: int) -> list[int] | None:
        """Take one beat; the packet, if this was its last."""
        data = payload & (1 << self.width) - 1
        enable = payload >> self.width & (1 << self._lanes) - 1
        first = payload >> (self.width + self._lanes) & 1
        last = payload >> (self.width + self._lanes + 1) & 1
        count = enable.bit_count()
        if enable != (1 << count) - 1 or not enable:
            self._on_error(f"dword enables {enable:#b} are not contiguous from lane 0")
        elif not last and count != self._lanes:
            self._on_error(f"a beat with {count} of {self._lanes} dwords that is not the last")
        if bool(first) != (self._dwords is None):
            self._on_error("a packet starts inside another" if first else "a packet without a first beat")
        if first or self._dwords is None:
            self._dwords = []
        self._dwords += struct.unpack(f"<{self._lanes}L", data.to_bytes(self.width // 8, "little"))[:count]
        if not last:
            return None
        packet, self._dwords = self._dwords, None
        if len(packet) < (4 if packet and packet[0] >> 29 & 1 else 3):
            self._on_error(f"a packet of {len(packet)} dwords, shorter than its header")
            return None
        return packet


def _nothing() -> None:
    pass


class RawTlpPort:
    """The device's end of the link: connect a port of the root complex to it.

    Flow control. Posted credits are given back when the device has taken the packet; completion
    credits are infinite, as for every endpoint. A non-posted credit is given back with the first
    answer to the request, when its place in the device's FIFO has certainly become free: the FIFO
    has as many places as credits are advertised, so that the device can always take posted requests
    and completions. A request without an answer keeps its credit until its tag is used again.

    Bandwidth. The link is Gen3 with a lane per 32 bits of data: about what the streams carry at 250 MHz.

    ``on_completion`` is asked what the device gets in place of each completion of the host, for tests
    that tamper with them.

    The link model knows neither messages nor answers to injected requests: a message goes up as a write
    to :data:`MESSAGE_ADDRESS`, an answer goes to ``answers``. Up to :data:`LINK_BUFFER` packets wait for
    the link (for credits, for bandwidth); with more, the device sees ``ready`` low.

    Parameters
    ----------
    dut
        Has the streams ``rx`` (towards the device) and ``tx``.
    clk
        Clock.
    width
        Of the streams' data, in bits.
    stall
        Probability of a pause on both streams, in each cycle.
    seed
        For the pauses.
    """

    def __init__(self, dut: Any, *, clk: Any, width: int, stall: float = 0.0, seed: int = 0):
        self.width = width
        self.observers: list[Observer] = []
        self.answers: Queue[list[int]] = Queue()
        self.on_completion: Callable[[list[int]], Sequence[list[int]]] = lambda packet: [packet]
        self.upstream_port: Any = SimPort(
            fc_init=[[64, 1024, NON_POSTED_CREDITS, NON_POSTED_CREDITS, 0, 0]] * 8
        )
        self.upstream_port.max_link_speed = LINK_SPEED
        self.upstream_port.max_link_width = width // LANE_BITS
        self.upstream_port.log = logging.getLogger("cocotb.virtio.phy")
        self.upstream_port.parent = self
        self.upstream_port.rx_handler = self._from_link
        self._non_posted: dict[tuple[int, int], Any] = {}
        self._deframer = Deframer(width, self._broken)
        self._to_link: Queue[Any] = Queue()
        self._rx = Source(clk=clk, stream=Stream(dut, "rx"), stall=stall, seed=seed)
        self._tx = Sink(
            clk=clk,
            stream=Stream(dut, "tx"),
            on_beat=self._beat,
            stall=stall,
            seed=seed,
            on_error=self._broken,
        )
        cocotb.start_soon(self._send())

    def connect(self, port: Any) -> None:
        """Called by the root complex's port."""
        self.upstream_port.connect(port)

    @property
    def stall(self) -> float:
        """Probability of a pause on both streams, in each cycle."""
        return self._rx.stall

    @stall.setter
    def stall(self, probability: float) -> None:
        self._rx.stall = self._tx.stall = probability

    def reset(self, held: bool) -> None:
        """The device is in reset, or not any more; the packet that it was sending does not go on."""
        self._tx.in_reset = held
        self._deframer.clear()

    def inject(self, dwords: Sequence[int], taken: Callable[[], None] = _nothing) -> None:
        """Send a packet past the link model, malformed or not; ``taken`` is called when the device has it.

        Whatever the device answers to requester id :data:`INJECTOR_ID` goes to ``answers``.
        """
        self._into_device(list(dwords), taken)

    def inject_cut(self, dwords: Sequence[int], taken: Callable[[], None] = _nothing) -> None:
        """Send a packet but for its last beat; ``taken`` is called when the device has the one before."""
        *beats, last, _ = frame(dwords, self.width)
        for beat in beats:
            self._rx.put(beat)
        self._rx.put(last, taken)

    def _into_device(self, dwords: list[int], taken: Callable[[], None]) -> None:
        def accepted() -> None:
            for observer in self.observers:
                observer.from_host(dwords)
            taken()

        *beats, last = frame(dwords, self.width)
        for beat in beats:
            self._rx.put(beat)
        self._rx.put(last, accepted)

    async def _from_link(self, tlp: Any) -> None:
        taken = tlp.release_fc
        if tlp.is_nonposted():
            key = int(tlp.requester_id), tlp.tag
            if unanswered := self._non_posted.pop(key, None):
                unanswered.release_fc()
            self._non_posted[key] = tlp
            taken = _nothing
        packets = [tlp_to_dwords(tlp)]
        if tlp.is_completion():
            packets = list(self.on_completion(packets[0]))
            if not packets:
                taken()
                return
        for packet in packets[:-1]:
            self._into_device(packet, _nothing)
        self._into_device(packets[-1], taken)

    def _beat(self, payload: int) -> bool:
        packet = self._deframer.beat(payload)
        if packet is None:
            return True
        for observer in self.observers:
            observer.from_device(packet)
        kind, header = packet[0] >> 24 & 0x1F, 4 if packet[0] >> 29 & 1 else 3
        if kind >> 3 == TlpType.MESSAGE >> 3 and header == 4:
            return self._up(message_to_tlp(packet))
        if kind in (TlpType.COMPLETION, TlpType.COMPLETION_LOCKED):
            key = packet[2] >> 16, packet[2] >> 8 & 0xFF
            if key[0] == INJECTOR_ID:
                self.answers.put_nowait(packet)
                return True
            if request := self._non_posted.pop(key, None):
                request.release_fc()
        try:
            if len(packet) - header != ((packet[0] & 0x3FF) or 1024) * (packet[0] >> 30 & 1):
                raise ValueError("length and payload differ")
            tlp = dwords_to_tlp(packet)
        except Exception as error:  # the link model raises bare Exceptions for what it does not know
            self._broken(f"a packet that no root complex takes ({error}): {packet[0]:08x} {packet[1]:08x}")
            return True
        return self._up(tlp)

    def _up(self, tlp: Any) -> bool:
        """Queue a packet for the link; whether there is room for another."""
        self._to_link.put_nowait(tlp)
        return self._to_link.qsize() < LINK_BUFFER

    async def _send(self) -> None:
        while True:
            await self.upstream_port.send(await self._to_link.get())
            self._tx.resume()

    def _broken(self, what: str) -> None:
        for observer in self.observers:
            observer.broken_framing(what)

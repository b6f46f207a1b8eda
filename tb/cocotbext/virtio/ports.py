"""What is behind the devices, at their ports: a disk, a cable, noise, time, and the host of a vmmci.

The packed payloads follow the port descriptions of the gateware, least significant bits first.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cocotb
from cocotb.queue import Queue
from cocotb.triggers import ClockCycles, Event, RisingEdge
from virtio_models.clock import Clock
from virtio_models.disk import Disk, DiskError
from virtio_models.entropy import EntropySource
from virtio_models.network import Network
from virtio_spec.blk import SECTOR_BYTES
from virtio_spec.vmmci import VmmciAnswer, VmmciCommand, VmmciEvent

from .streams import Sink, Source, Stream

__all__ = ["ClockPort", "EntropyPort", "MacPort", "StoragePort", "VmmciPort"]

_READ, _WRITE, _FLUSH, _DISCARD, _WRITE_ZEROES = range(5)
#: Cycles that a storage thinks about a request, at most.
MOST_PAUSE = 40
#: Octets of a cable's time that a frame takes beside its own, and a cable's Mbit/s that are 1 bit per cycle.
BETWEEN_FRAMES, MBIT_PER_CYCLE = 24, 250


class EntropyPort:
    """Offers bytes of ``entropy`` on the stream ``entropy``, each as soon as the last is taken.

    Parameters
    ----------
    dut
        Has the stream, 8 bits wide.
    clk
        Clock.
    entropy
        Where the bytes come from.
    stall, seed
        Pauses, as for :class:`~.streams.Source`.
    """

    def __init__(self, dut: Any, *, clk: Any, entropy: EntropySource, stall: float = 0.0, seed: int = 0):
        self._entropy = entropy
        self._source = Source(clk=clk, stream=Stream(dut, "entropy"), stall=stall, seed=seed)
        self._next()

    def _next(self) -> None:
        self._source.put(self._entropy.next_byte(), self._next)


@dataclass
class _Request:
    operation: int
    unmap: int
    durable: int
    count: int
    sector: int
    tag: int
    content: bytes | None = b""  # of a write; ``None`` if it was aborted


class StoragePort:
    """Serves the streams of ``storage`` from ``disk``: what is there together, in any order.

    An operation that fails on the disk ends in an error; a read is then an error in every beat. A
    write that the device aborts stores nothing and ends in an error.

    Parameters
    ----------
    dut
        Has the streams ``request``, ``write_data``, ``read_data``, ``response`` and the capacity.
    clk
        Clock.
    width
        Of the data streams, in bits.
    disk
        The content.
    stall, seed
        Pauses, as for :class:`~.streams.Source`; ``seed`` is that of the order, too.

    Attributes
    ----------
    findings
        Broken handshakes and impossible requests of the device.
    """

    def __init__(self, dut: Any, *, clk: Any, width: int, disk: Disk, stall: float = 0.0, seed: int = 0):
        self.findings: list[str] = []
        self._disk, self._width = disk, width
        self._rng = random.Random(f"order {seed}")
        self._waiting: list[_Request] = []
        self._writes: deque[_Request] = deque()  # whose data has not come
        self._data: deque[bytes | None] = deque()
        self._tags: set[int] = set()
        self._there = Event()
        self._taken = bytearray()
        pauses: dict[str, Any] = {"clk": clk, "stall": stall, "seed": seed}
        checks: dict[str, Any] = {"on_error": self.findings.append}
        self._sinks = (
            Sink(stream=Stream(dut, "storage__request"), on_beat=self._request, **pauses, **checks),
            Sink(stream=Stream(dut, "storage__write_data"), on_beat=self._write_beat, **pauses, **checks),
        )
        self._read_data = Source(stream=Stream(dut, "storage__read_data"), **pauses)
        self._response = Source(stream=Stream(dut, "storage__response"), **pauses)
        self._edge = RisingEdge(clk)
        self._capacity = dut.storage__capacity
        self._resized(disk.capacity)
        disk.listeners.append(self._resized)
        cocotb.start_soon(self._serve())

    def _resized(self, sectors: int) -> None:
        self._capacity.value = sectors

    def _request(self, payload: int) -> bool:
        fields = []
        for bits in (3, 1, 1, 24, 48):
            fields.append(payload & (1 << bits) - 1)
            payload >>= bits
        request = _Request(*fields, tag=payload)
        if request.tag in self._tags:
            self.findings.append(f"storage tag {request.tag} is in use already")
        self._tags.add(request.tag)
        if request.operation == _WRITE:
            self._writes.append(request)
            self._match()
        else:
            self._ready(request)
        return True

    def _write_beat(self, payload: int) -> bool:
        abort, last = payload >> self._width & 1, payload >> (self._width + 1) & 1
        if not abort:
            data = payload & (1 << self._width) - 1
            self._taken += data.to_bytes(self._width // 8, "little")
        if last:
            self._data.append(None if abort else bytes(self._taken))
            self._taken.clear()
            self._match()
        return True

    def _match(self) -> None:
        if not (self._writes and self._data):  # the pauses of the two streams let either come first
            return
        request = self._writes.popleft()
        request.content = self._data.popleft()
        if request.content is not None and len(request.content) != request.count * SECTOR_BYTES:
            self.findings.append(f"a write of {request.count} sectors came with {len(request.content)} bytes")
            request.content = None
        self._ready(request)

    def _ready(self, request: _Request) -> None:
        self._waiting.append(request)
        self._there.set()

    async def _serve(self) -> None:
        while True:
            await self._there.wait()
            for _ in range(self._rng.randrange(MOST_PAUSE)):  # in which others may come
                await self._edge
            request = self._waiting.pop(self._rng.randrange(len(self._waiting)))
            if not self._waiting:
                self._there.clear()
            if request.operation == _READ:
                self._read(request)
            else:
                error = int(request.content is None or not self._done(request))
                self._response.put(error | request.tag << 1, lambda tag=request.tag: self._tags.discard(tag))

    def _read(self, request: _Request) -> None:
        try:
            content, error = self._disk.read(request.sector, request.count), 0
        except DiskError:
            content, error = bytes(request.count * SECTOR_BYTES), 1
        size = self._width // 8
        starts = range(0, len(content), size)
        for start in starts:
            last = start == starts[-1]
            beat = int.from_bytes(content[start : start + size], "little")
            flags = error | last << 1 | request.tag << 2
            self._read_data.put(
                beat | flags << self._width, (lambda: self._tags.discard(request.tag)) if last else None
            )

    def _done(self, request: _Request) -> bool:
        disk, place = self._disk, (request.sector, request.count)
        try:
            if request.operation == _WRITE:
                disk.write(request.sector, request.content or b"")
            elif request.operation == _FLUSH:
                disk.flush()
            elif request.operation == _DISCARD:
                disk.discard(*place)
            elif request.operation == _WRITE_ZEROES:
                disk.write_zeroes(*place, unmap=bool(request.unmap))
            else:
                self.findings.append(f"storage operation {request.operation}")
                return False
            if request.durable and request.operation in (_WRITE, _WRITE_ZEROES):
                disk.flush()
        except DiskError:
            return False
        return True


class MacPort:
    """A MAC between the streams of ``mac_port`` and ``network``, whose frames come as fast as its cable is.

    Parameters
    ----------
    dut
        Has the streams ``transmit`` and ``receive``, ``link_up`` and ``speed``.
    clk
        Clock, of 4 ns.
    width
        Of the streams' data, in bits.
    network
        The cable.
    stall, seed
        Pauses, as for :class:`~.streams.Source`.

    Attributes
    ----------
    findings
        Broken handshakes and frames of the device.
    """

    def __init__(
        self, dut: Any, *, clk: Any, width: int, network: Network, stall: float = 0.0, seed: int = 0
    ):
        self.findings: list[str] = []
        self._network, self._lanes = network, width // 8
        self._taken: bytearray | None = None  # of the frame that is being sent
        self._there = Event()
        pauses: dict[str, Any] = {"clk": clk, "stall": stall, "seed": seed}
        Sink(
            stream=Stream(dut, "mac_port__transmit"),
            on_beat=self._beat,
            on_error=self.findings.append,
            **pauses,
        )
        self._source = Source(stream=Stream(dut, "mac_port__receive"), **pauses)
        self._link_up, self._speed = dut.mac_port__link_up, dut.mac_port__speed
        self._clk = clk
        self._changed()
        network.listeners.append(self._changed)
        cocotb.start_soon(self._arrive())

    def _changed(self) -> None:
        self._link_up.value, self._speed.value = int(self._network.link_up), self._network.speed
        self._there.set()

    async def _arrive(self) -> None:
        while True:
            frame = self._network.take()
            if frame is None:
                self._there.clear()
                await self._there.wait()
                continue
            starts = range(0, len(frame.data), self._lanes)
            for start in starts:
                part = frame.data[start : start + self._lanes]
                last = start == starts[-1]
                flags = (not start) | last << 1 | (last and frame.error) << 2 | (last and frame.checked) << 3
                beat = (1 << len(part)) - 1 | flags << self._lanes
                self._source.put(int.from_bytes(part, "little") | beat << 8 * self._lanes)
            cycles = (len(frame.data) + BETWEEN_FRAMES) * 8 * MBIT_PER_CYCLE // max(self._network.speed, 1)
            await ClockCycles(self._clk, max(cycles, len(starts)))

    def _beat(self, payload: int) -> bool:
        """A beat of the device; keeps to the same rules as ``mac.h``."""
        lanes = self._lanes
        part = (payload & (1 << 8 * lanes) - 1).to_bytes(lanes, "little")
        keep, flags = payload >> 8 * lanes & (1 << lanes) - 1, payload >> 9 * lanes
        first, last, error, checked = (bool(flags >> bit & 1) for bit in range(4))
        if not keep or keep & (keep + 1):
            self.findings.append(f"lanes {keep:#x} of a frame are not contiguous from lane 0")
        elif not last and keep.bit_length() != lanes:
            self.findings.append("a beat of a frame is not full and not the last")
        if first == (self._taken is not None):
            self.findings.append("a frame starts inside another" if first else "a frame has no first beat")
        if (error and not last) or checked:
            self.findings.append("a flag of a frame does not belong on its beat")
        if first or self._taken is None:
            self._taken = bytearray()
        self._taken += part[: keep.bit_length()]
        if last:
            frame, self._taken = bytes(self._taken), None
            if not error:
                self._network.put(frame)
        return True


class ClockPort:
    """Shows ``clock`` at the ports ``clock``; both of its numbers change together.

    Parameters
    ----------
    dut
        Has the ports ``seconds``, 64 bits, and ``microseconds``, 20 bits.
    clock
        The time; add it to :attr:`.Host.clocks` to let it run.
    """

    def __init__(self, dut: Any, *, clock: Clock):
        self._seconds, self._microseconds = dut.clock__seconds, dut.clock__microseconds
        self._clock = clock
        self._changed()
        clock.listeners.append(self._changed)

    def _changed(self) -> None:
        seconds, microseconds = self._clock.now()
        self._seconds.value = seconds & (1 << 64) - 1
        self._microseconds.value = microseconds


class VmmciPort:
    """The host's side of a vmmci.

    Parameters
    ----------
    dut
        Has the stream ``request``, 2 bits wide, and the strobes ``answer`` and ``notice``.
    clk
        Clock.

    Attributes
    ----------
    events
        What the guest made of it, in order: the event, and the command that it is about.
    """

    def __init__(self, dut: Any, *, clk: Any):
        self.events: list[tuple[VmmciEvent, VmmciCommand]] = []
        self._answers: Queue[VmmciAnswer] = Queue()
        self._request = Source(clk=clk, stream=Stream(dut, "request"))
        self._edge = RisingEdge(clk)
        cocotb.start_soon(self._watch(dut.answer, self._answered))
        cocotb.start_soon(self._watch(dut.notice, self._happened))

    async def request(self, command: int) -> VmmciAnswer:
        """Ask for a command, of two bits; what the device says to that."""
        self._request.put(command)
        return await self._answers.get()

    async def _watch(self, strobe: Any, take: Callable[[int], None]) -> None:
        """``take`` the rest of a packed value in each cycle in which its lowest bit is set."""
        while True:
            await strobe.value_change
            await self._edge
            while (value := int(strobe.value)) & 1:
                take(value >> 1)
                await self._edge

    def _answered(self, value: int) -> None:
        self._answers.put_nowait(VmmciAnswer(value))

    def _happened(self, value: int) -> None:
        self.events.append((VmmciEvent(value & 3), VmmciCommand(value >> 2)))

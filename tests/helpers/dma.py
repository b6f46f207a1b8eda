"""Host memory on the other side of the DMA engines, in plain Python: it checks every TLP that it gets."""

import random
from collections import deque
from collections.abc import Callable, Container, Iterable
from types import SimpleNamespace
from typing import Any

from helpers.simulation import receive, send
from helpers.tlp import completion, from_tlp_beats, parse, tlp_beats

__all__ = ["REQUESTER", "ReadHost", "WriteHost", "check_request", "memory_byte", "memory_bytes"]

REQUESTER = 0x1A5C


def memory_byte(address: int) -> int:
    """Content of host memory that nobody wrote."""
    return (address * 0x9E3779B1 >> 11 ^ address >> 32) & 0xFF


def memory_bytes(address: int, length: int) -> bytes:
    """Content of a run of host memory."""
    return bytes(memory_byte(address + offset) for offset in range(length))


def check_request(tlp: SimpleNamespace, limit: int) -> list[int]:
    """Addresses of the enabled bytes of a memory request; any breach of the standard is an assertion.

    [PCIe base 5.0 §2.2.5, §2.2.7]
    """
    length = tlp.length or 1024
    assert tlp.type == 0
    assert (tlp.tc, tlp.attr, tlp.th, tlp.td, tlp.ep, tlp.at) == (0, 0, 0, 0, 0, 0)
    assert (tlp.fmt & 1) == (tlp.address >= 1 << 32), "4-dword header above 4 GiB and only there"
    assert tlp.requester == REQUESTER
    assert 4 * length <= limit, "Max_Payload_Size or Max_Read_Request_Size"
    assert tlp.address // 4096 == (tlp.address + 4 * length - 1) // 4096, "4 KiB boundary"
    assert tlp.first_be, "no request of ours is without bytes"
    if length == 1:
        assert tlp.last_be == 0
        enables = [tlp.first_be]
    else:
        assert tlp.first_be in (0xF, 0xE, 0xC, 0x8) and tlp.last_be in (0xF, 0x7, 0x3, 0x1), "contiguous"
        enables = [tlp.first_be, *[0xF] * (length - 2), tlp.last_be]
    addresses = [
        tlp.address + 4 * dword + lane
        for dword, enable in enumerate(enables)
        for lane in range(4)
        if enable >> lane & 1
    ]
    assert addresses == list(range(addresses[0], addresses[0] + len(addresses))), "contiguous bytes"
    return addresses


class ReadHost:
    """Answers memory reads on ``o`` through ``completion``, in any order and in pieces.

    Parameters
    ----------
    width, limit
        Of the streams; most bytes of one read.
    tags
        Tags that may be used.
    wait_for
        Number of reads to collect, if they come soon, before all of them are answered.
    boundary
        Completions end at multiples of 64 or 128; 0 for any dword.
    shuffle
        Answer in any order.
    stall
        Probability that an end of a stream holds back.
    fault
        Called with each read; names what goes wrong with it, or ``None``: ``"ur"``, ``"ca"``,
        ``"retry"``, ``"poison"``, ``"count"``, ``"lower"``, ``"long"``, ``"no data"``, ``"lost"``.
    """

    def __init__(
        self,
        width: int,
        *,
        limit: int,
        tags: Container[int],
        seed: int = 0,
        stall: float = 0.0,
        wait_for: int = 1,
        boundary: int = 64,
        shuffle: bool = True,
        fault: Callable[[SimpleNamespace], str | None] = lambda tlp: None,
    ):
        self.width, self.limit, self.tags = width, limit, tags
        self.stall, self.wait_for, self.boundary, self.shuffle, self.fault = (
            stall,
            wait_for,
            boundary,
            shuffle,
            fault,
        )
        self.rng = random.Random(seed)
        self.reads: list[SimpleNamespace] = []
        self.outstanding: dict[int, SimpleNamespace] = {}
        self.lost: list[SimpleNamespace] = []
        self.most = 0
        self.packets: deque[list[int]] = deque()

    async def take_reads(self, ctx: Any, o: Any) -> None:
        """Background bench: take what is read and check it."""
        while True:
            beat = await receive(ctx, o, stall=self.stall, rng=self.rng)
            (packet,) = from_tlp_beats([beat], self.width)
            tlp = parse(packet)
            addresses = check_request(tlp, self.limit)
            assert tlp.fmt in (0, 1)
            assert tlp.tag in self.tags
            assert tlp.tag not in self.outstanding, "a tag is used again while it is outstanding"
            tlp.position, tlp.end = addresses[0], addresses[-1] + 1
            tlp.fault = self.fault(tlp)
            self.reads.append(tlp)
            if tlp.fault == "lost":
                self.lost.append(tlp)
                continue
            self.outstanding[tlp.tag] = tlp
            self.most = max(self.most, len(self.outstanding))

    def next_piece(self, tlp: SimpleNamespace) -> list[int]:
        """The next completion of a read; the last one ends it."""
        position, end = tlp.position, tlp.end
        stop = end
        if self.boundary:
            cuts = range((position // self.boundary + 1) * self.boundary, end, self.boundary)
        else:
            cuts = range((position // 4 + 1) * 4, end, 4)
        if cuts:
            stop = self.rng.choice([*cuts, end])
        first, last = position // 4 * 4, -(-stop // 4) * 4
        raw = memory_bytes(first, last - first)
        payload = [int.from_bytes(raw[at : at + 4], "little") for at in range(0, len(raw), 4)]
        fields = {
            "byte_count": end - position,
            "lower_address": position & 0x7F,
            "requester": REQUESTER,
            "tag": tlp.tag,
            "completer": 0x0100,
        }
        early = tlp.fault != "long" and self.rng.random() < 0.3
        fault = tlp.fault if stop == end or early else None
        tlp.position = stop
        if stop == end:
            self.outstanding.pop(tlp.tag, None)
        if fault is None:
            return completion(payload, **fields)
        self.outstanding.pop(tlp.tag, None)
        match fault:
            case "poison":
                if stop != end:
                    self.outstanding[tlp.tag] = tlp  # the rest still comes
                return completion(payload, ep=True, **fields)
            case "count":
                return completion(payload, **(fields | {"byte_count": end - position + 4}))
            case "lower":
                return completion(payload, **(fields | {"lower_address": (position & 0x7F) ^ 4}))
            case "long":
                return completion([*payload, 0], **fields)
            case "no data":
                return completion(**fields)
        status = {"ur": 1, "retry": 2, "ca": 4}[fault]
        return completion(status=status, **fields)

    async def complete(self, ctx: Any, sink: Any) -> None:
        """Background bench: answer."""
        patience = 2 * self.wait_for + 50
        while True:
            while not self.packets and (
                not self.outstanding or (patience and len(self.outstanding) < self.wait_for)
            ):
                patience = patience - 1 if self.outstanding else 2 * self.wait_for + 50
                await ctx.tick()
            if len(self.outstanding) >= self.wait_for:
                patience = 0  # until all are answered
            if self.packets:
                packet = self.packets.popleft()
            else:
                waiting = list(self.outstanding.values())
                packet = self.next_piece(self.rng.choice(waiting) if self.shuffle else waiting[0])
            await send(ctx, sink, tlp_beats(packet, self.width), stall=self.stall, rng=self.rng)


class WriteHost:
    """Takes memory writes on ``o`` into ``memory``, a byte per address; no byte is written twice.

    Between the beats of a packet, ``valid`` may not go low: a packet is complete when it starts.
    """

    def __init__(self, width: int, *, limit: int, seed: int = 0, stall: float = 0.0):
        self.width, self.limit, self.stall = width, limit, stall
        self.rng = random.Random(seed)
        self.memory: dict[int, int] = {}
        self.writes: list[SimpleNamespace] = []
        self.log: list[int] = []  # addresses in the order of writing

    async def take_writes(self, ctx: Any, o: Any) -> None:
        """Background bench."""
        beats: list[Any] = []
        while True:
            while self.rng.random() < self.stall:
                await ctx.tick()
            ctx.set(o.ready, 1)
            if beats:
                _, _, valid, beat = await ctx.tick().sample(o.valid, o.payload)
                assert valid, "a packet pauses"
            else:
                (beat,) = await ctx.tick().sample(o.payload).until(o.valid)
            ctx.set(o.ready, 0)
            beats.append(beat)
            if beat.last:
                self.store(beats)
                beats = []

    def store(self, beats: Iterable[Any]) -> None:
        """One write."""
        (packet,) = from_tlp_beats(beats, self.width)
        tlp = parse(packet)
        assert tlp.fmt in (2, 3)
        addresses = check_request(tlp, self.limit)
        raw = b"".join(dword.to_bytes(4, "little") for dword in tlp.payload)
        for address in addresses:
            assert address not in self.memory, f"{address:#x} is written twice"
            self.memory[address] = raw[address - tlp.address]
            self.log.append(address)
        tlp.bytes = addresses
        self.writes.append(tlp)

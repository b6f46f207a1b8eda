"""From chains to storage operations and back."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..chain import ChainSignature
from .blk_answer import BlkAnswer, Place
from .blk_clear import ClearTracker
from .blk_intake import BlkIntake
from .blk_tags import TagPool
from .storage import SECTOR, StorageSignature

__all__ = ["BlkRequests"]


class BlkRequests(wiring.Component):
    """Carry out block requests, several at a time.  [virtio 1.4 §5.2.6]

    The rules are those of :class:`BlkDevice`. :class:`BlkIntake` checks a request, gives it a tag, and notes
    in a memory where its answer goes. What is for the storage goes there, the rest to :class:`BlkAnswer`
    at once, which gets the storage's answers as well, in any order; those to DISCARD and WRITE_ZEROES, which
    are several operations, by way of a :class:`ClearTracker`.

    Parameters
    ----------
    width : :class:`int`
        Of chain streams and storage in bits.
    requests : :class:`int`
        That can be under way, a power of two from 2 to 64.
    read_only : :class:`bool`
        Refuse writes, and do not know DISCARD and WRITE_ZEROES.
    serial : :class:`bytes`
        Answer to GET_ID, up to 20 bytes.
    max_clear_sectors, max_clear_seg : :class:`int`
        Greatest number of sectors in a segment of DISCARD and WRITE_ZEROES, and of segments.

    Members
    -------
    chains : :py:`In(ChainSignature(width))`
        Requests.
    storage : :py:`Out(StorageSignature(width, requests))`
        What is behind the device; its ``capacity`` is not looked at.
    capacity : :py:`In(48)`
        Sectors, as the driver is told.
    write_back : :py:`In(1)`
        The driver flushes where it wants its writes to be durable; otherwise each write is durable when it
        completes.
    legacy : :py:`In(1)`
        FLUSH_OUT is the same as FLUSH.
    """

    chains: Any
    storage: Any
    capacity: Any
    write_back: Any
    legacy: Any

    def __init__(
        self,
        *,
        width: int,
        requests: int,
        read_only: bool,
        serial: bytes,
        max_clear_sectors: int,
        max_clear_seg: int,
    ):
        self.width = width
        self.requests = requests
        self.read_only = read_only
        self.serial = serial
        self.max_clear_sectors = max_clear_sectors
        self.max_clear_seg = max_clear_seg
        super().__init__(
            {
                "chains": In(ChainSignature(width)),
                "storage": Out(StorageSignature(width, requests)),
                "capacity": In(SECTOR),
                "write_back": In(1),
                "legacy": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        chains, storage = wiring.flipped(self.chains), wiring.flipped(self.storage)
        m.submodules.intake = intake = BlkIntake(
            width=self.width,
            requests=self.requests,
            read_only=self.read_only,
            max_clear_sectors=self.max_clear_sectors,
            max_clear_seg=self.max_clear_seg,
        )
        m.submodules.answer = answer = BlkAnswer(width=self.width, requests=self.requests, serial=self.serial)
        m.submodules.tags = tags = TagPool(requests=self.requests)
        m.submodules.places = places = Memory(shape=Place, depth=self.requests, init=[])
        written, read = places.write_port(), places.read_port(domain="comb")

        wiring.connect(m, chains.chain, intake.chain)
        wiring.connect(m, chains.readable, intake.readable)
        wiring.connect(m, answer.writable, chains.writable)
        wiring.connect(m, intake.request, storage.request)
        wiring.connect(m, intake.write_data, storage.write_data)
        wiring.connect(m, storage.read_data, answer.read_data)
        m.d.comb += [tags.free.eq(answer.free), tags.freed.eq(answer.freed)]
        if self.read_only:
            wiring.connect(m, storage.response, answer.response)
            wiring.connect(m, intake.ending, answer.ending)
        else:
            self._clear(m, intake, answer, tags)

        m.d.comb += [
            intake.reset.eq(self.chains.reset),
            intake.capacity.eq(self.capacity),
            intake.write_back.eq(self.write_back),
            intake.legacy.eq(self.legacy),
            intake.tag.eq(tags.tag),
            intake.tag_available.eq(tags.available),
            tags.take.eq(intake.tag_taken),
            written.addr.eq(tags.tag),
            written.data.eq(intake.place),
            written.en.eq(intake.placed),
            read.addr.eq(answer.tag),
            answer.place.eq(read.data),
            answer.reset.eq(self.chains.reset),
            self.chains.idle.eq(intake.idle & tags.idle),
        ]
        return m

    def _clear(self, m: Module, intake: Any, answer: Any, tags: Any) -> None:
        m.submodules.tracker = tracker = ClearTracker(requests=self.requests, segments=self.max_clear_seg)
        wiring.connect(m, wiring.flipped(self.storage.response), tracker.i)
        wiring.connect(m, tracker.o, answer.response)
        m.d.comb += [
            tracker.begin.eq(intake.clear_begin),
            tracker.tag.eq(intake.tag),
            tracker.issue.eq(intake.clear_issue),
            tracker.busy.eq(answer.free),
            tracker.seal.eq(intake.clear_seal),
            tracker.status.eq(intake.clear_status),
            intake.clear_active.eq(tracker.active),
            answer.ending.valid.eq(tracker.done.valid | intake.ending.valid),
            answer.ending.p.eq(intake.ending.p),
            tracker.done.ready.eq(answer.ending.ready),
            intake.ending.ready.eq(answer.ending.ready & ~tracker.done.valid),
        ]
        with m.If(tracker.free):
            m.d.comb += [tags.free.eq(1), tags.freed.eq(tracker.freed)]
        with m.If(tracker.done.valid):
            m.d.comb += answer.ending.p.eq(tracker.done.p)

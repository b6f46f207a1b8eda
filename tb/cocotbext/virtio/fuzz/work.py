"""Valid requests, and whether the answers are right: the disk, and the noise source, are the witnesses."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from virtio_spec import wire
from virtio_spec.blk import ID_BYTES, SECTOR_BYTES, BlkReqHeader, BlkReqType, BlkStatus

from ..devices.blk import BlkRequest, VirtioBlk
from ..driver import Request, VirtioDevice
from ..suite.helpers import in_order, same
from ..suite.registry import Bench
from .oddity import nothing

__all__ = ["BlkLoad", "Load", "RngLoad", "Shape", "Work", "load_of"]

#: A type of request that no device knows.
UNKNOWN_TYPE = 0x7A


@dataclass
class Work:
    """A valid request.

    Attributes
    ----------
    what
        For people.
    check
        ``AssertionError`` unless the answer is right; the argument is whether the host may have refused one
        of the device's reads for it, so that an error is right, too.
    may_store
        To be called if what the request says was changed while the device had it.
    """

    what: str
    request: Request
    check: Callable[[bool], None]
    may_store: Callable[[], None] = nothing


@dataclass
class Shape:
    """What a request consists of, for one that is written in an odd way.

    Attributes
    ----------
    readable, writable
        Content, and lengths.
    expected
        What the device would write if it served the request as it is; ``None`` if nobody knows.
    may_store
        To be called if the device may take the request, or part of it, for what it looks like.
    """

    readable: list[bytes]
    writable: list[int]
    expected: bytes | None
    may_store: Callable[[], None] = nothing


class Load(ABC):
    """Requests for one type of device."""

    @abstractmethod
    def request(self, queue: int, rng: random.Random) -> Work:
        """Make a valid request available, without a kick; :class:`~..function.DriverError` without room."""

    @abstractmethod
    def shape(self, rng: random.Random) -> Shape:
        """Some valid request."""

    @abstractmethod
    def finish(self) -> None:
        """With the device at rest: ``AssertionError`` if it did anything behind our back."""


def load_of(bench: Bench, device: VirtioDevice, rng: random.Random) -> Load:
    """For this bench's device."""
    return BlkLoad(bench, device, rng) if bench.device == "blk" else RngLoad(bench, device)


class RngLoad(Load):
    """For an entropy device: whatever it gives must have come from the source."""

    def __init__(self, bench: Bench, device: VirtioDevice):
        self._bench, self._device = bench, device

    def request(self, queue: int, rng: random.Random) -> Work:
        """See :class:`Load`."""
        lengths = self.shape(rng).writable
        request = self._device.prepare(queue, [], lengths)

        def check(_: bool) -> None:
            same(bool(request.used), True, "whether there is any entropy")
            in_order(self._bench, request.written, 0)

        return Work(f"{sum(lengths)} bytes of entropy", request, check)

    def shape(self, rng: random.Random) -> Shape:
        """See :class:`Load`."""
        # At least 8 bytes, which are in one place of the source's history only.
        return Shape([], [8, *(rng.randrange(1, 24) for _ in range(rng.randrange(3)))], None)

    def finish(self) -> None:
        """See :class:`Load`. There is nothing to be looked at."""


class BlkLoad(Load):
    """For a block device. No two requests under way concern the same sector.

    The disk gets random content. Each sector has a set of allowed contents, ``None`` for any.
    """

    def __init__(self, bench: Bench, device: VirtioDevice, rng: random.Random):
        self._bench, self._device, self._blk = bench, device, VirtioBlk(device)
        count = bench.disk.capacity
        bench.disk.data[:] = rng.randbytes(count * SECTOR_BYTES)
        self._allowed: list[set[bytes] | None] = [{self._sector(n)} for n in range(count)]
        self._busy: set[int] = set()

    def _sector(self, number: int) -> bytes:
        return bytes(self._bench.disk.data[number * SECTOR_BYTES : (number + 1) * SECTOR_BYTES])

    def _claim(self, rng: random.Random, count: int) -> range:
        """Sectors that no request under way concerns; fewer, or none, if there are no so many."""
        free = [n for n in range(self._bench.disk.capacity) if n not in self._busy]
        first = rng.choice(free) if free else 0
        end = first
        while end in free and end < first + count:
            end += 1
        self._busy.update(range(first, end))
        return range(first, end)

    def request(self, queue: int, rng: random.Random) -> Work:
        """See :class:`Load`."""
        make = rng.choice((self._read, self._read, self._write, self._write, self._other))
        return make(queue, rng)

    def _prepared(
        self, queue: int, rng: random.Random, type: int, sector: int, data: bytes = b"", room: int = 0
    ) -> BlkRequest:
        cuts = [
            [rng.randrange(1, total) for _ in range(rng.randrange(3))] if total > 1 else []
            for total in (wire.size(BlkReqHeader) + len(data), room + 1)
        ]
        return self._blk.prepare(type, sector, data, room, framing=(cuts[0], cuts[1]), queue=queue)

    def _read(self, queue: int, rng: random.Random) -> Work:
        sectors = self._claim(rng, rng.randrange(1, 5))
        expected = b"".join(self._sector(n) for n in sectors)
        known = None not in (self._allowed[n] for n in sectors)
        made = self._prepared(queue, rng, BlkReqType.IN, sectors.start, room=len(expected))

        def check(refused: bool) -> None:
            self._busy.difference_update(sectors)
            if not (refused and _failed(made, BlkStatus.IOERR)) and known:
                same(made.request.content.hex(), expected.hex() + "00", f"what was read of {sectors}")
                same(made.request.used, len(expected) + 1, "used length of a read")

        return Work(f"read of {sectors} in queue {queue}", made.request, check)

    def _write(self, queue: int, rng: random.Random) -> Work:
        sectors = self._claim(rng, rng.randrange(1, 5))
        data = rng.randbytes(len(sectors) * SECTOR_BYTES)
        made = self._prepared(queue, rng, BlkReqType.OUT, sectors.start, data)
        pieces = [data[n * SECTOR_BYTES : (n + 1) * SECTOR_BYTES] for n in range(len(sectors))]
        for number, piece in zip(sectors, pieces, strict=True):
            allowed = self._allowed[number]
            self._allowed[number] = None if allowed is None else {*allowed, piece}

        def check(refused: bool) -> None:
            self._busy.difference_update(sectors)
            if not (refused and _failed(made, BlkStatus.IOERR)):
                same(made.request.content, b"\0", f"status of the write of {sectors}")
                for number, piece in zip(sectors, pieces, strict=True):
                    if self._allowed[number] is not None:
                        self._allowed[number] = {piece}

        return Work(f"write of {sectors} in queue {queue}", made.request, check, self._anything(sectors))

    def _other(self, queue: int, rng: random.Random) -> Work:
        """Requests that concern no sector."""
        beyond = self._bench.disk.capacity + rng.randrange(9)
        choices = {
            "flush": (BlkReqType.FLUSH, 0, 0, BlkStatus.OK),
            "serial number": (BlkReqType.GET_ID, 0, ID_BYTES, BlkStatus.OK),
            "unknown request": (UNKNOWN_TYPE, 0, 9, BlkStatus.UNSUPP),
            "read beyond the end": (BlkReqType.IN, beyond, SECTOR_BYTES, BlkStatus.IOERR),
        }
        what = rng.choice(list(choices))
        type, sector, room, status = choices[what]
        made = self._prepared(queue, rng, type, sector, room=room)

        def check(refused: bool) -> None:
            if not (refused and _failed(made, BlkStatus.IOERR)):
                same(made.status, status, f"status of a {what}")

        return Work(f"{what} in queue {queue}", made.request, check)

    def shape(self, rng: random.Random) -> Shape:
        """See :class:`Load`. What it may store, it may store anywhere in its sectors."""
        sectors = self._claim(rng, rng.randrange(1, 3))
        type = rng.choice((BlkReqType.IN, BlkReqType.OUT)) if sectors else BlkReqType.FLUSH
        header = wire.pack(BlkReqHeader, type=type, sector=sectors.start)
        size = len(sectors) * SECTOR_BYTES
        if type != BlkReqType.OUT:
            expected = b"".join(self._sector(n) for n in sectors) + b"\0"
            known = None not in (self._allowed[n] for n in sectors)
            return Shape([header], [*([size] if size else []), 1], expected if known else None)
        return Shape([header, rng.randbytes(size)], [1], b"\0", self._anything(sectors))

    def _anything(self, sectors: range) -> Callable[[], None]:
        """From when it is called on, anything may be stored there."""

        def allow() -> None:
            for number in sectors:
                self._allowed[number] = None

        return allow

    def finish(self) -> None:
        """See :class:`Load`."""
        for number, allowed in enumerate(self._allowed):
            if allowed is not None and self._sector(number) not in allowed:
                raise AssertionError(f"sector {number} has changed, although no request says so")


def _failed(made: BlkRequest, status: BlkStatus) -> bool:
    return made.request.content[-1:] == bytes([status])

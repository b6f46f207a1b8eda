"""What split and packed virtqueues have in common on the device's side.  [virtio 1.4 §2.6]"""

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from virtio_spec import wire
from virtio_spec.layout import Cause
from virtio_spec.split import Descriptor
from virtio_spec.virtio import Feature

from .dma import Dma, DmaError

__all__ = ["Chain", "Ring", "RingError", "Segment"]

MAX_TOTAL = 2**32 - 1
DESCRIPTOR_BYTES = wire.size(Descriptor)


class RingError(Exception):
    """The ring is broken."""

    def __init__(self, cause: Cause, head: int = 0, descriptor: int = 0):
        self.cause, self.head, self.descriptor = cause, head, descriptor
        super().__init__(f"{cause.name}, head {head}, descriptor {descriptor}")


@dataclass(frozen=True)
class Segment:
    """One descriptor's buffer."""

    address: int
    length: int


@dataclass
class Chain:
    """A chain that passed every check.

    Attributes
    ----------
    head
        Where it starts: a descriptor of the table, or a place in the ring.
    id
        What the driver knows it by: the head, or a packed ring's buffer id.
    readable, writable
        Its buffers, in order.
    descriptors
        How many of the queue's descriptors it takes; those of an indirect table are not among them.
    """

    head: int
    readable: list[Segment] = field(default_factory=list)
    writable: list[Segment] = field(default_factory=list)
    id: int = 0
    descriptors: int = 0

    @property
    def room(self) -> int:
        """Bytes the device may write."""
        return sum(segment.length for segment in self.writable)

    def add(self, address: int, length: int, *, write: bool, number: int) -> None:
        """Append the buffer of descriptor ``number``; :class:`RingError`."""
        if not length:
            raise RingError(Cause.ZERO_LENGTH, self.head, number)
        if self.writable and not write:
            raise RingError(Cause.READABLE_AFTER_WRITABLE, self.head, number)
        part = self.writable if write else self.readable
        part.append(Segment(address, length))
        if sum(segment.length for segment in part) > MAX_TOTAL:
            raise RingError(Cause.TOTAL_LENGTH, self.head, number)


@dataclass
class Ring(ABC):
    """One queue: its registers, and where the device is in the ring.

    Attributes
    ----------
    size
        Descriptors; the driver may lower it.
    desc, driver, device
        Addresses of the three parts.
    enabled
        Whether the driver has put it into use.
    features
        What was negotiated.
    limit
        Most descriptors that the device takes in an indirect table: the size before the driver lowered it.
    held
        Descriptors that the device has not given back.
    """

    size: int
    desc: int = 0
    driver: int = 0
    device: int = 0
    enabled: bool = False
    features: int = 0
    limit: int = field(init=False)
    held: int = field(init=False, default=0)

    def __post_init__(self):
        self.limit = self.size

    def has(self, feature: Feature) -> bool:
        """Whether ``feature`` was negotiated."""
        return bool(self.features >> feature & 1)

    # -- what is available -------------------------------------------------------------------------

    @abstractmethod
    def fetch(self, dma: Dma) -> Chain | None:
        """The next available chain, ``None`` if there is none; :class:`RingError`."""

    @abstractmethod
    def arm(self, dma: Dma) -> bool:
        """Ask to be notified of the next chain, before the device sleeps.

        False if nothing had to be written for that. True: one write is under way, and a chain that was
        made available before it has arrived may not be notified, so the device has to look again.
        """

    def _take(self, chain: Chain) -> Chain:
        """The device has one chain more."""
        if self.held + chain.descriptors > self.size:
            raise RingError(Cause.DESCRIPTOR_REUSE, chain.head, chain.head)
        self.held += chain.descriptors
        return chain

    def _entries(self, chain: Chain, number: int, length: int, *, alone: bool) -> int:
        """Descriptors in the indirect table that descriptor ``number`` points at; :class:`RingError`."""
        if not self.has(Feature.INDIRECT_DESC):
            raise RingError(Cause.INDIRECT, chain.head, number)
        if not alone:
            raise RingError(Cause.INDIRECT_NESTED, chain.head, number)
        entries, rest = divmod(length, DESCRIPTOR_BYTES)
        if rest or not 0 < entries <= self.limit:
            raise RingError(Cause.INDIRECT_TABLE, chain.head, number)
        return entries

    # -- data --------------------------------------------------------------------------------------

    def gather(self, dma: Dma, chain: Chain) -> bytes:
        """The chain's readable bytes; :class:`RingError`."""
        try:
            return b"".join(dma.read(segment.address, segment.length) for segment in chain.readable)
        except DmaError as error:
            raise RingError(Cause.DMA_ERROR, chain.head) from error

    def scatter(self, dma: Dma, chain: Chain, data: bytes) -> Generator[None, None, None]:
        """Write ``data`` from the start of the chain's writable bytes; yields after each write."""
        position = 0
        for segment in chain.writable:
            part = data[position : position + segment.length]
            position += segment.length
            if part:
                dma.write(segment.address, part)
                yield

    # -- what is used ------------------------------------------------------------------------------

    @abstractmethod
    def push(
        self, dma: Dma, done: Sequence[tuple[Chain, int]], *, merged: bool = False
    ) -> Generator[None, None, None]:
        """Return chains, each with the number of bytes written, to the driver; yields after each write.

        The driver sees all of them at once. ``merged``: the last one's entry stands for all, which the
        driver knows from IN_ORDER; those before it have been written completely.
        """

    @abstractmethod
    def wants_interrupt(self, dma: Dma) -> bool:
        """Whether the driver wants to hear of what was used since the last time it was asked, as of now."""

    def _give_back(self, done: Sequence[tuple[Chain, int]]) -> None:
        """The device has these chains no more."""
        self.held -= sum(chain.descriptors for chain, _ in done)

"""Device side of a split virtqueue, with every check on what the driver wrote.  [virtio 1.4 §2.7]"""

from collections.abc import Generator
from dataclasses import dataclass, field

from virtio_spec import split, wire
from virtio_spec.layout import Cause
from virtio_spec.split import AvailFlags, Descriptor, DescriptorFlag, UsedElem

from .dma import Dma

__all__ = ["Chain", "RingError", "Segment", "SplitQueue"]

MAX_TOTAL = 2**32 - 1


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
    """A chain that passed every check."""

    head: int
    readable: list[Segment] = field(default_factory=list)
    writable: list[Segment] = field(default_factory=list)

    @property
    def room(self) -> int:
        """Bytes the device may write."""
        return sum(segment.length for segment in self.writable)


@dataclass
class SplitQueue:
    """One queue: its registers, and where the device is in the rings."""

    size: int
    desc: int = 0
    driver: int = 0
    device: int = 0
    enabled: bool = False
    next_avail: int = 0
    used_index: int = 0

    def fetch(self, dma: Dma) -> Chain | None:
        """The next available chain, ``None`` if there is none; :class:`RingError`."""
        index = int.from_bytes(dma.read(self.driver + 2, 2), "little")
        ahead = (index - self.next_avail) % 2**16
        if ahead > self.size:
            raise RingError(Cause.AVAIL_INDEX)
        if not ahead:
            return None
        slot = self.driver + split.avail_ring_offset(self.next_avail % self.size)
        head = int.from_bytes(dma.read(slot, 2), "little")
        self.next_avail = (self.next_avail + 1) % 2**16
        if head >= self.size:
            raise RingError(Cause.HEAD_INDEX, head)
        return self._walk(dma, head)

    def _walk(self, dma: Dma, head: int) -> Chain:
        chain, number = Chain(head), head
        for _ in range(self.size):
            raw = dma.read(self.desc + wire.size(Descriptor) * number, wire.size(Descriptor))
            descriptor = wire.unpack(Descriptor, raw)
            flags = DescriptorFlag(descriptor.flags & 7)
            if DescriptorFlag.INDIRECT in flags:
                raise RingError(Cause.INDIRECT, head, number)
            if not descriptor.len:
                raise RingError(Cause.ZERO_LENGTH, head, number)
            if DescriptorFlag.WRITE in flags:
                chain.writable.append(Segment(descriptor.addr, descriptor.len))
            elif chain.writable:
                raise RingError(Cause.READABLE_AFTER_WRITABLE, head, number)
            else:
                chain.readable.append(Segment(descriptor.addr, descriptor.len))
            if max(sum(s.length for s in part) for part in (chain.readable, chain.writable)) > MAX_TOTAL:
                raise RingError(Cause.TOTAL_LENGTH, head, number)
            if DescriptorFlag.NEXT not in flags:
                return chain
            if descriptor.next >= self.size:
                raise RingError(Cause.NEXT_INDEX, head, number)
            number = descriptor.next
        raise RingError(Cause.CHAIN_LOOP, head, number)

    def gather(self, dma: Dma, chain: Chain) -> bytes:
        """The chain's readable bytes."""
        return b"".join(dma.read(segment.address, segment.length) for segment in chain.readable)

    def scatter(self, dma: Dma, chain: Chain, data: bytes) -> Generator[None, None, None]:
        """Write ``data`` from the start of the chain's writable bytes; yields after each write."""
        position = 0
        for segment in chain.writable:
            part = data[position : position + segment.length]
            position += segment.length
            if part:
                dma.write(segment.address, part)
                yield

    def push(self, dma: Dma, chain: Chain, written: int) -> Generator[None, None, None]:
        """Return a chain to the driver: the element first, then the index; yields after each write."""
        element = wire.pack(UsedElem, id=chain.head, len=written)
        dma.write(self.device + split.used_ring_offset(self.used_index % self.size), element)
        yield
        self.used_index = (self.used_index + 1) % 2**16
        dma.write(self.device + 2, self.used_index.to_bytes(2, "little"))
        yield

    def wants_interrupt(self, dma: Dma) -> bool:
        """Whether the driver wants to hear of used buffers, as of now."""
        flags = int.from_bytes(dma.read(self.driver, 2), "little")
        return not flags & AvailFlags.NO_INTERRUPT

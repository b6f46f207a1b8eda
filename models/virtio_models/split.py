"""Device side of a split virtqueue, with every check on what the driver wrote.  [virtio 1.4 §2.7]"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

from virtio_spec import split, wire
from virtio_spec.layout import Cause
from virtio_spec.split import AvailFlags, Descriptor, DescriptorFlag, UsedElem
from virtio_spec.virtio import Feature

from .dma import Dma
from .ring import Chain, Ring, RingError

__all__ = ["SplitQueue"]

WORD = 2**16  # indices count modulo this


@dataclass
class SplitQueue(Ring):
    """One queue: its registers, and where the device is in the rings.

    Attributes
    ----------
    next_avail, used_index
        Indices of the next entry to be read of the available ring, and to be written of the used ring.
    """

    next_avail: int = 0
    used_index: int = 0
    _told: int = field(init=False, default=0)  # used_index when the driver was last asked
    _armed: int | None = field(init=False, default=None)

    # -- what is available -------------------------------------------------------------------------

    def fetch(self, dma: Dma) -> Chain | None:
        """The next available chain, ``None`` if there is none; :class:`RingError`."""
        index = int.from_bytes(dma.read(self.driver + 2, 2), "little")
        ahead = (index - self.next_avail) % WORD
        if ahead > self.size:
            raise RingError(Cause.AVAIL_INDEX)
        if not ahead:
            return None
        slot = self.driver + split.avail_ring_offset(self.next_avail % self.size)
        head = int.from_bytes(dma.read(slot, 2), "little")
        self.next_avail = (self.next_avail + 1) % WORD
        if head >= self.size:
            raise RingError(Cause.HEAD_INDEX, head)
        return self._take(self._walk(dma, head))

    def _walk(self, dma: Dma, head: int) -> Chain:
        chain, number = Chain(head, id=head), head
        for _ in range(self.size):
            descriptor = self._descriptor(dma, self.desc, number)
            chain.descriptors += 1
            last = not descriptor.flags & DescriptorFlag.NEXT
            if descriptor.flags & DescriptorFlag.INDIRECT:
                entries = self._entries(chain, number, descriptor.len, alone=last)
                return self._walk_table(dma, chain, descriptor.addr, entries)
            write = bool(descriptor.flags & DescriptorFlag.WRITE)
            chain.add(descriptor.addr, descriptor.len, write=write, number=number)
            if last:
                return chain
            if descriptor.next >= self.size:
                raise RingError(Cause.NEXT_INDEX, head, number)
            number = descriptor.next
        raise RingError(Cause.CHAIN_LOOP, head, number)

    def _walk_table(self, dma: Dma, chain: Chain, table: int, entries: int) -> Chain:
        """The rest of a chain stands in an indirect table, linked as in the descriptor table.  [§2.7.5.3]"""
        number = 0
        for _ in range(entries):
            descriptor = self._descriptor(dma, table, number)
            if descriptor.flags & DescriptorFlag.INDIRECT:
                raise RingError(Cause.INDIRECT_NESTED, chain.head, number)
            write = bool(descriptor.flags & DescriptorFlag.WRITE)
            chain.add(descriptor.addr, descriptor.len, write=write, number=number)
            if not descriptor.flags & DescriptorFlag.NEXT:
                return chain
            if descriptor.next >= entries:
                raise RingError(Cause.NEXT_INDEX, chain.head, number)
            number = descriptor.next
        raise RingError(Cause.CHAIN_LOOP, chain.head, number)

    @staticmethod
    def _descriptor(dma: Dma, table: int, number: int) -> SimpleNamespace:
        size = wire.size(Descriptor)
        return wire.unpack(Descriptor, dma.read(table + size * number, size))

    def arm(self, dma: Dma) -> bool:
        """Write ``avail_event``, with EVENT_IDX and if it does not stand there already.  [§2.7.10]"""
        if not self.has(Feature.EVENT_IDX) or self._armed == self.next_avail:
            return False
        self._armed = self.next_avail
        dma.write(self.device + split.used_ring_offset(self.size), self._armed.to_bytes(2, "little"))
        return True

    # -- what is used ------------------------------------------------------------------------------

    def push(
        self, dma: Dma, done: Sequence[tuple[Chain, int]], *, merged: bool = False
    ) -> Generator[None, None, None]:
        """Elements first, then the index; a single element stands where that of the first chain would."""
        for position, (chain, written) in enumerate(done[-1:] if merged else done):
            slot = (self.used_index + position) % self.size
            element = wire.pack(UsedElem, id=chain.id, len=written)
            dma.write(self.device + split.used_ring_offset(slot), element)
            yield
        self._give_back(done)
        self.used_index = (self.used_index + len(done)) % WORD
        dma.write(self.device + 2, self.used_index.to_bytes(2, "little"))
        yield

    def wants_interrupt(self, dma: Dma) -> bool:
        """With EVENT_IDX whether the element of index ``used_event`` was written; without, by the flags."""
        if not self.has(Feature.EVENT_IDX):
            flags = int.from_bytes(dma.read(self.driver, 2), "little")
            return not flags & AvailFlags.NO_INTERRUPT
        event = int.from_bytes(dma.read(self.driver + split.avail_ring_offset(self.size), 2), "little")
        told, self._told = self._told, self.used_index
        return (event - told) % WORD < (self.used_index - told) % WORD

"""Device side of a packed virtqueue, with every check on what the driver wrote.  [virtio 1.4 §2.8]"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

from virtio_spec import wire
from virtio_spec.layout import Cause
from virtio_spec.packed import EventFlags, EventSuppression, PackedDescriptor, PackedFlag
from virtio_spec.virtio import Feature

from .dma import Dma
from .ring import Chain, Ring, RingError

__all__ = ["PackedQueue"]

DESCRIPTOR_BYTES = wire.size(PackedDescriptor)
LENGTH_OFFSET = wire.field_offset(PackedDescriptor, "len")
FLAGS_OFFSET = wire.field_offset(PackedDescriptor, "flags")


@dataclass
class PackedQueue(Ring):
    """One queue: its registers, and where the device is in the ring.

    Places are counted over two rounds, modulo twice the size: in the first the wrap counter is 1, in the
    second it is 0.

    Attributes
    ----------
    next_avail, next_used
        Places of the next descriptor to become available, and of the next to be written as used.
    """

    next_avail: int = 0
    next_used: int = 0
    _told: int = field(init=False, default=0)  # next_used when the driver was last asked
    _armed: int | None = field(init=False, default=None)

    def _wrap(self, place: int) -> bool:
        """The wrap counter at a place."""
        return place % (2 * self.size) < self.size

    def _address(self, place: int) -> int:
        return self.desc + DESCRIPTOR_BYTES * (place % self.size)

    # -- what is available -------------------------------------------------------------------------

    def fetch(self, dma: Dma) -> Chain | None:
        """The next available chain, ``None`` if there is none; :class:`RingError`.

        The driver makes its first descriptor available last, so the others must be already.
        """
        chain = Chain(self.next_avail % self.size)
        for place in range(self.next_avail, self.next_avail + self.size):
            number = place % self.size
            descriptor = self._descriptor(dma, self._address(place))
            if not self._is_available(descriptor, place):
                if not chain.descriptors:
                    return None
                raise RingError(Cause.CHAIN_INCOMPLETE, chain.head, number)
            alone = not chain.descriptors and not descriptor.flags & PackedFlag.NEXT
            chain.descriptors += 1
            if descriptor.flags & PackedFlag.INDIRECT:
                entries = self._entries(chain, number, descriptor.len, alone=alone)
                self._walk_table(dma, chain, descriptor.addr, entries)
            else:
                write = bool(descriptor.flags & PackedFlag.WRITE)
                chain.add(descriptor.addr, descriptor.len, write=write, number=number)
            if not descriptor.flags & PackedFlag.NEXT:
                chain.id = descriptor.id
                self.next_avail = (place + 1) % (2 * self.size)
                return self._take(chain)
        raise RingError(Cause.CHAIN_LOOP, chain.head, (chain.head - 1) % self.size)

    def _is_available(self, descriptor: SimpleNamespace, place: int) -> bool:
        available, used = descriptor.flags & PackedFlag.AVAIL, descriptor.flags & PackedFlag.USED
        return bool(available) == self._wrap(place) != bool(used)

    def _walk_table(self, dma: Dma, chain: Chain, table: int, entries: int) -> None:
        """An indirect table: all entries in sequence; of their flags, only WRITE is looked at.  [§2.8.7]"""
        for number in range(entries):
            descriptor = self._descriptor(dma, table + DESCRIPTOR_BYTES * number)
            write = bool(descriptor.flags & PackedFlag.WRITE)
            chain.add(descriptor.addr, descriptor.len, write=write, number=number)

    @staticmethod
    def _descriptor(dma: Dma, address: int) -> SimpleNamespace:
        return wire.unpack(PackedDescriptor, dma.read(address, DESCRIPTOR_BYTES))

    def arm(self, dma: Dma) -> bool:
        """With EVENT_IDX, ask for the next place, if not done already.  [§2.8.14]"""
        if not self.has(Feature.EVENT_IDX) or self._armed == self.next_avail:
            return False
        self._armed = self.next_avail
        event = wire.pack(
            EventSuppression,
            off=self._armed % self.size,
            wrap=self._wrap(self._armed),
            flags=EventFlags.DESC,
        )
        dma.write(self.device, event)
        return True

    # -- what is used ------------------------------------------------------------------------------

    def push(
        self, dma: Dma, done: Sequence[tuple[Chain, int]], *, merged: bool = False
    ) -> Generator[None, None, None]:
        """Ids and lengths, then the flags, and those of the first descriptor last.  [§2.8.6]"""
        used: list[tuple[int, int]] = []  # places and flags
        place = self.next_used
        for chain, written in done[-1:] if merged else done:
            marks = PackedFlag.AVAIL | PackedFlag.USED if self._wrap(place) else 0
            used.append((place, marks | (PackedFlag.WRITE if written else 0)))
            raw = wire.pack(PackedDescriptor, len=written, id=chain.id)
            dma.write(self._address(place) + LENGTH_OFFSET, raw[LENGTH_OFFSET:FLAGS_OFFSET])
            yield
            place += chain.descriptors
        self._give_back(done)
        total = sum(chain.descriptors for chain, _ in done)
        self.next_used = (self.next_used + total) % (2 * self.size)
        for place, flags in reversed(used):
            dma.write(self._address(place) + FLAGS_OFFSET, flags.to_bytes(2, "little"))
            yield

    def wants_interrupt(self, dma: Dma) -> bool:
        """By the driver's event suppression: with DESC, whether its place is among those used.

        Places that were skipped count as used. Flags that mean nothing silence nothing.
        """
        raw = dma.read(self.driver, wire.size(EventSuppression))
        event = wire.unpack(EventSuppression, raw)
        told, self._told = self._told, self.next_used
        if event.flags != EventFlags.DESC or not self.has(Feature.EVENT_IDX):
            return event.flags != EventFlags.DISABLE
        round_trip = 2 * self.size
        place = event.off + (0 if event.wrap else self.size)
        return (place - told) % round_trip < (self.next_used - told) % round_trip

"""Driver side of a split virtqueue.  [virtio 1.4 §2.7]

Every step is also available alone (:meth:`SplitQueue.write_descriptor`, :meth:`~SplitQueue.put_available`,
:meth:`~SplitQueue.publish`), so that a test can do it wrong on purpose.
"""

import random
from collections.abc import Sequence

from virtio_spec import split, wire
from virtio_spec.split import AvailFlags, Descriptor, DescriptorFlag, UsedElem, UsedFlags

from .function import DriverError
from .memory import Buffer, HostMemory
from .ring import Entry, Ring, Used
from .variant import PLAIN, RingVariant

__all__ = ["SplitQueue", "Used"]

#: End of the memory that 32 bits of page number reach.
LEGACY_LIMIT = split.LEGACY_ALIGN << 32


class SplitQueue(Ring):
    """The three areas of one queue in host memory, and what the device has of it.

    Descriptor table and available ring are exposed readable, the used ring writable.

    Parameters
    ----------
    memory, index, rng, variant
        See :class:`~.ring.Ring`.
    size
        Entries, a power of two.
    legacy
        Whether the areas are in one piece, in the layout and the place of the legacy interface.  [§2.7.2]
    """

    def __init__(
        self,
        memory: HostMemory,
        index: int,
        size: int,
        *,
        rng: random.Random,
        variant: RingVariant = PLAIN,
        legacy: bool = False,
    ):
        if size < 1 or size > split.MAX_QUEUE_SIZE or size & size - 1:
            raise ValueError(f"size is a power of two up to {split.MAX_QUEUE_SIZE}, not {size}")
        super().__init__(memory, index, size, rng=rng, variant=variant)
        self.desc, self.avail, self.used = self._legacy_areas() if legacy else self._areas()
        self._expose(self.desc, "descriptors", readable=True)
        self._expose(self.avail, "available ring", readable=True)
        self._expose(self.used, "used ring", writable=True)
        self.unused = list(range(size))
        self.next_avail = 0  # index of the next entry of the available ring to fill
        self.next_used = 0  # index of the next entry of the used ring to look at
        self._published = 0  # avail.idx
        self._considered = 0  # avail.idx when it was last asked whether the device wants a kick

    def _areas(self) -> tuple[Buffer, Buffer, Buffer]:
        """Each somewhere by itself."""
        return (
            self._alloc(split.descriptor_table_size(self.size), 16),
            self._alloc(split.avail_size(self.size), 2),
            self._alloc(split.used_size(self.size), 4),
        )

    def _legacy_areas(self) -> tuple[Buffer, Buffer, Buffer]:
        """Parts of one allocation, on pages that have 32-bit numbers."""
        parts, align = split.legacy_layout(self.size), split.LEGACY_ALIGN
        whole = self._alloc(parts.total, align, below=LEGACY_LIMIT, spread=align)
        return (
            Buffer(self.memory, whole.address, split.descriptor_table_size(self.size)),
            Buffer(self.memory, whole.address + parts.avail, split.avail_size(self.size)),
            Buffer(self.memory, whole.address + parts.used, split.used_size(self.size)),
        )

    @property
    def areas(self) -> tuple[Buffer, Buffer, Buffer]:
        """Descriptor table, available ring, used ring."""
        return self.desc, self.avail, self.used

    def _reads(self) -> dict[str, tuple[int, int]]:
        return {
            "available index": (self.avail.address + 2, 2),
            "available ring": (self.avail.address + 4, 2 * self.size),
            "descriptors": (self.desc.address, self.desc.size),
        }

    @property
    def place(self) -> tuple[int, int]:
        """``avail.idx``, its lower 15 bits and the highest one."""
        return self._published & 0x7FFF, self._published >> 15

    # -- supplying buffers, §2.7.13 ------------------------------------------------------------------

    @property
    def free(self) -> int:
        """Unused descriptors."""
        return len(self.unused)

    def take_descriptors(self, count: int) -> list[int]:
        """Numbers of ``count`` unused descriptors; :class:`DriverError` if there are fewer.

        In random order, or with IN_ORDER one after the other as they are in the table.  [§2.7.5.2]
        """
        if count > len(self.unused):
            raise DriverError(f"{count} descriptors wanted, {len(self.unused)} left")
        taken = self.unused[:count] if self.variant.in_order else self._rng.sample(self.unused, count)
        self.unused = [number for number in self.unused if number not in taken]
        return taken

    def write_descriptor(self, number: int, address: int, length: int, flags: int = 0, next: int = 0) -> None:
        """Write one entry of the descriptor table."""
        raw = wire.pack(Descriptor, addr=address, len=length, flags=flags, next=next)
        self.desc.write(raw, len(raw) * number)

    def _write_chain(self, entries: Sequence[Entry]) -> tuple[int, list[int]]:
        numbers = self.take_descriptors(len(entries))
        for position, (number, entry) in enumerate(zip(numbers, entries, strict=True)):
            last = position == len(entries) - 1
            flags = entry.flags | (0 if last else DescriptorFlag.NEXT)
            following = 0 if last else numbers[position + 1]
            self.write_descriptor(number, entry.address, entry.length, flags, following)
        return numbers[0], numbers

    def _write_table(self, table: Buffer, entries: Sequence[Entry]) -> None:
        """The first entry is the first in the table; the others follow it there or, at times, anywhere."""
        places = list(range(1, len(entries)))
        if not self.variant.in_order and self._rng.random() < 0.3:  # §2.7.5.3.1
            self._rng.shuffle(places)
        places.insert(0, 0)
        for position, (number, entry) in enumerate(zip(places, entries, strict=True)):
            last = position == len(entries) - 1
            flags = entry.flags | (0 if last else DescriptorFlag.NEXT)
            following = 0 if last else places[position + 1]
            raw = wire.pack(Descriptor, addr=entry.address, len=entry.length, flags=flags, next=following)
            table.write(raw, len(raw) * number)

    def put_available(self, head: int) -> None:
        """Put a chain into the next entry of the available ring, without publishing it."""
        offset = split.avail_ring_offset(self.next_avail % self.size)
        self.avail.write(head.to_bytes(2, "little"), offset)
        self.next_avail = (self.next_avail + 1) % 2**16
        if head in self._outstanding:  # which is in this order
            self._outstanding[head] = self._outstanding.pop(head)

    def publish(self, index: int | None = None) -> None:
        """Store ``avail.idx``: all entries put so far, or what a test wants."""
        self._published = self.next_avail if index is None else index % 2**16
        self.avail.write(self._published.to_bytes(2, "little"), 2)

    @property
    def avail_event(self) -> int:
        """Index of the available entry of which the device wants to hear, with EVENT_IDX.  [§2.7.10]"""
        return int.from_bytes(self.used.read(split.used_ring_offset(self.size), 2), "little")

    def needs_kick(self) -> bool:
        """By ``avail_event``, or by ``used.flags``.  [§2.7.10, §2.7.13.4]"""
        new, old = self._published, self._considered
        self._considered = new
        if self.variant.event_idx:
            return (new - self.avail_event - 1) % 2**16 < (new - old) % 2**16
        return not int.from_bytes(self.used.read(0, 2), "little") & UsedFlags.NO_NOTIFY

    # -- taking used buffers, §2.7.14 ----------------------------------------------------------------

    def set_used_event(self, index: int) -> None:
        """Store ``used_event``: the index of the used entry that is to be told of.  [§2.7.7]"""
        offset = split.avail_ring_offset(self.size)
        self.avail.write((index % 2**16).to_bytes(2, "little"), offset)

    def set_flags(self, flags: int) -> None:
        """Store ``avail.flags``."""
        self.avail.write(flags.to_bytes(2, "little"))

    def arm(self, after: int = 0) -> bool:
        """With EVENT_IDX by ``used_event``; without, ``after`` does not count."""
        self.set_used_event(self.next_used + after) if self.variant.event_idx else self.set_flags(0)
        return self.has_used

    def _suppress(self) -> None:
        """With EVENT_IDX ``used_event`` is as far away as can be, and the flags remain 0.  [§2.7.7.1]"""
        if self.variant.event_idx:
            self.set_used_event(self.next_used - 1)
        else:
            self.set_flags(AvailFlags.NO_INTERRUPT)

    @property
    def used_index(self) -> int:
        """``used.idx`` as the device left it."""
        return int.from_bytes(self.used.read(2, 2), "little")

    @property
    def _pending(self) -> bool:
        return self.used_index != self.next_used

    def _peek(self) -> int:
        return (self.used_index - self.next_used) % 2**16

    def _take(self) -> list[Used]:
        ahead = self._peek()
        if ahead > self.in_flight:
            raise DriverError(f"used.idx is {ahead} ahead, with {self.in_flight} chains outstanding")
        flags = int.from_bytes(self.used.read(0, 2), "little")
        if flags & ~(0 if self.variant.event_idx else 1):  # §2.7.10.1
            raise DriverError(f"used.flags has unknown bits {flags:#x}")
        if not self.variant.event_idx and self.avail_event:
            raise DriverError(f"avail_event is {self.avail_event}, without EVENT_IDX")
        offset = split.used_ring_offset(self.next_used % self.size)
        element = wire.unpack(UsedElem, self.used.read(offset, wire.size(UsedElem)))
        batch = self._batch(element.id)
        if len(batch) > ahead:
            raise DriverError(f"used.idx is {ahead} ahead, with a batch of {len(batch)} chains")
        found, chains = self._release(batch, element.len)
        self.next_used = (self.next_used + len(batch)) % 2**16
        for chain in chains:
            self.unused += chain.descriptors
        return found

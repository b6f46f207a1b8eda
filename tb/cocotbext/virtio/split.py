"""Driver side of a split virtqueue.  [virtio 1.4 §2.7]

Every step is also available alone (:meth:`SplitQueue.write_descriptor`, :meth:`~SplitQueue.put_available`,
:meth:`~SplitQueue.publish`), so that a test can do it wrong on purpose.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from virtio_spec import split, wire
from virtio_spec.split import AvailFlags, Descriptor, DescriptorFlag, UsedElem

from .function import DriverError
from .memory import Buffer, Grant, HostMemory

__all__ = ["SplitQueue", "Used"]

#: End of the memory that 32 bits of page number reach.
LEGACY_LIMIT = split.LEGACY_ALIGN << 32


@dataclass(frozen=True)
class Used:
    """A chain that the device returned."""

    head: int
    length: int


@dataclass
class _Outstanding:
    """A chain that the device has."""

    descriptors: list[int]
    grants: list[Grant]
    room: int


class SplitQueue:
    """The three areas of one queue in host memory, and what the device has of it.

    Descriptor table and available ring are exposed readable, the used ring writable; a buffer is
    exposed only while its chain is with the device.

    Parameters
    ----------
    memory
        Where the areas are allocated.
    index
        Queue number.
    size
        Entries, a power of two.
    rng
        Picks descriptor ids and the areas' alignment.
    legacy
        Whether the areas are in one piece, in the layout and the place of the legacy interface.  [§2.7.2]
    """

    def __init__(
        self, memory: HostMemory, index: int, size: int, *, rng: random.Random, legacy: bool = False
    ):
        if size < 1 or size > split.MAX_QUEUE_SIZE or size & size - 1:
            raise ValueError(f"size is a power of two up to {split.MAX_QUEUE_SIZE}, not {size}")
        self.memory, self.index, self.size = memory, index, size
        self._rng = rng
        self.desc, self.avail, self.used = self._legacy_areas() if legacy else self._areas()
        memory.grant(self.desc.address, self.desc.size, label="descriptors", readable=True)
        memory.grant(self.avail.address, self.avail.size, label="available ring", readable=True)
        memory.grant(self.used.address, self.used.size, label="used ring", writable=True)
        self.unused = list(range(size))
        self.next_avail = 0  # index of the next entry of the available ring to fill
        self.next_used = 0  # index of the next entry of the used ring to look at
        self._outstanding: dict[int, _Outstanding] = {}

    def _areas(self) -> tuple[Buffer, Buffer, Buffer]:
        """Each somewhere by itself, aligned as it has to be."""

        def somewhere(size: int, align: int) -> Buffer:
            return self.memory.alloc(size, align=64, offset=align * self._rng.randrange(64 // align))

        return (
            somewhere(split.descriptor_table_size(self.size), 16),
            somewhere(split.avail_size(self.size), 2),
            somewhere(split.used_size(self.size), 4),
        )

    def _legacy_areas(self) -> tuple[Buffer, Buffer, Buffer]:
        """Parts of one allocation, on pages that have 32-bit numbers."""
        parts = split.legacy_layout(self.size)
        whole = self.memory.alloc(parts.total, align=split.LEGACY_ALIGN, below=LEGACY_LIMIT)
        return (
            Buffer(self.memory, whole.address, split.descriptor_table_size(self.size)),
            Buffer(self.memory, whole.address + parts.avail, split.avail_size(self.size)),
            Buffer(self.memory, whole.address + parts.used, split.used_size(self.size)),
        )

    # -- supplying buffers, §2.7.13 ------------------------------------------------------------------

    def take_descriptors(self, count: int) -> list[int]:
        """Ids of ``count`` unused descriptors, in random order; :class:`DriverError` if there are fewer."""
        if count > len(self.unused):
            raise DriverError(f"{count} descriptors wanted, {len(self.unused)} left")
        taken = self._rng.sample(self.unused, count)
        self.unused = [number for number in self.unused if number not in taken]
        return taken

    def write_descriptor(self, number: int, address: int, length: int, flags: int = 0, next: int = 0) -> None:
        """Write one entry of the descriptor table."""
        raw = wire.pack(Descriptor, addr=address, len=length, flags=flags, next=next)
        self.desc.write(raw, len(raw) * number)

    def link(
        self, readable: Sequence[tuple[int, int]], writable: Sequence[tuple[int, int]], *, expose: bool = True
    ) -> int:
        """Write a chain of ``(address, length)`` buffers and expose them; returns its head."""
        buffers = [(at, size, False) for at, size in readable] + [(at, size, True) for at, size in writable]
        numbers = self.take_descriptors(len(buffers))
        for position, (number, (address, length, write)) in enumerate(zip(numbers, buffers, strict=True)):
            last = position == len(buffers) - 1
            flags = (DescriptorFlag.WRITE if write else 0) | (0 if last else DescriptorFlag.NEXT)
            self.write_descriptor(number, address, length, flags, 0 if last else numbers[position + 1])
        grants = [
            self.memory.grant(address, length, readable=not write, writable=write, label="buffer")
            for address, length, write in buffers
            if expose
        ]
        room = sum(length for _, length, write in buffers if write)
        self._outstanding[numbers[0]] = _Outstanding(numbers, grants, room)
        return numbers[0]

    def put_available(self, head: int) -> None:
        """Put a chain into the next entry of the available ring, without publishing it."""
        offset = split.avail_ring_offset(self.next_avail % self.size)
        self.avail.write(head.to_bytes(2, "little"), offset)
        self.next_avail = (self.next_avail + 1) % 2**16

    def publish(self, index: int | None = None) -> None:
        """Store ``avail.idx``: all entries put so far, or what a test wants."""
        index = self.next_avail if index is None else index % 2**16
        self.avail.write(index.to_bytes(2, "little"), 2)

    def add_chain(
        self, readable: Sequence[tuple[int, int]] = (), writable: Sequence[tuple[int, int]] = ()
    ) -> int:
        """Link a chain and make it available; returns its head. The kick is the caller's."""
        head = self.link(readable, writable)
        self.put_available(head)
        self.publish()
        return head

    def want_interrupts(self, wanted: bool) -> None:
        """Store ``avail.flags``."""
        self.avail.write((0 if wanted else AvailFlags.NO_INTERRUPT).to_bytes(2, "little"))

    # -- taking used buffers, §2.7.14 ----------------------------------------------------------------

    @property
    def used_index(self) -> int:
        """``used.idx`` as the device left it."""
        return int.from_bytes(self.used.read(2, 2), "little")

    @property
    def has_used(self) -> bool:
        """Whether there is something for :meth:`get_used`."""
        return self.used_index != self.next_used

    @property
    def in_flight(self) -> int:
        """Chains that the device has."""
        return len(self._outstanding)

    def get_used(self) -> Used | None:
        """Take the next used chain back; :class:`DriverError` if the device got anything wrong."""
        ahead = (self.used_index - self.next_used) % 2**16
        if not ahead:
            return None
        if ahead > self.in_flight:
            raise DriverError(f"used.idx is {ahead} ahead, with {self.in_flight} chains outstanding")
        if flags := int.from_bytes(self.used.read(0, 2), "little") & ~1:
            raise DriverError(f"used.flags has unknown bits {flags:#x}")
        offset = split.used_ring_offset(self.next_used % self.size)
        element = wire.unpack(UsedElem, self.used.read(offset, wire.size(UsedElem)))
        if element.id not in self._outstanding:
            raise DriverError(f"used id {element.id} was not outstanding")
        chain = self._outstanding[element.id]
        if element.len > chain.room:
            raise DriverError(f"used length {element.len} with {chain.room} writable bytes")
        self.next_used = (self.next_used + 1) % 2**16
        del self._outstanding[element.id]
        for grant in chain.grants:
            self.memory.revoke(grant)
        self.unused += chain.descriptors
        return Used(element.id, element.len)

"""Driver side of a packed virtqueue.  [virtio 1.4 §2.8]

Every step is also available alone (:meth:`PackedQueue.write_descriptor`, :meth:`~PackedQueue.set_event`), so
that a test can do it wrong on purpose.
"""

import random
from collections.abc import Sequence

from virtio_spec import wire
from virtio_spec.packed import (
    EventFlags,
    EventSuppression,
    PackedDescriptor,
    PackedFlag,
    descriptor_ring_size,
)
from virtio_spec.split import MAX_QUEUE_SIZE, DescriptorFlag

from .function import DriverError
from .memory import Buffer, HostMemory
from .ring import DESCRIPTOR_BYTES, Entry, Ring, Used
from .variant import RingVariant

__all__ = ["PackedQueue"]

PACKED = RingVariant(packed=True)
AVAILABLE_OR_USED = PackedFlag.AVAIL | PackedFlag.USED
USED_FLAGS = AVAILABLE_OR_USED | PackedFlag.WRITE  # those of a used descriptor that are not reserved
FLAGS_OFFSET = wire.field_offset(PackedDescriptor, "flags")


class PackedQueue(Ring):
    """The descriptor ring and the two event suppression areas, and what the device has of them.

    The descriptor ring is exposed readable and writable, the driver's event suppression readable, the
    device's writable. The driver remembers what it wrote into the ring: a chain that comes back must have
    left every descriptor alone but the one that became a used descriptor.

    Parameters
    ----------
    memory, index, rng, variant
        See :class:`~.ring.Ring`.
    size
        Entries.
    """

    def __init__(
        self,
        memory: HostMemory,
        index: int,
        size: int,
        *,
        rng: random.Random,
        variant: RingVariant = PACKED,
    ):
        if not 1 <= size <= MAX_QUEUE_SIZE:
            raise ValueError(f"size is 1 to {MAX_QUEUE_SIZE}, not {size}")
        super().__init__(memory, index, size, rng=rng, variant=variant)
        self.desc = self._alloc(descriptor_ring_size(size), 16)
        self.driver_event = self._alloc(wire.size(EventSuppression), 4)
        self.device_event = self._alloc(wire.size(EventSuppression), 4)
        self._expose(self.desc, "descriptor ring", readable=True, writable=True)
        self._expose(self.driver_event, "driver event suppression", readable=True)
        self._expose(self.device_event, "device event suppression", writable=True)
        #: Buffer ids mean nothing to the device, so they are any numbers.  [§2.8.5]
        self.unused_ids = rng.sample(range(2**16), size)
        self.next_avail, self.avail_wrap = 0, True  # where the next chain goes
        self.next_used, self.used_wrap = 0, True  # where the next used descriptor comes
        self._free = size
        self._known = [self.desc.read(DESCRIPTOR_BYTES * n, DESCRIPTOR_BYTES) for n in range(size)]
        self.unpublished: list[tuple[int, int]] = []  # linked heads, and flags that make them available
        self._since = 0  # entries made available since it was last asked whether the device wants a kick

    @property
    def areas(self) -> tuple[Buffer, Buffer, Buffer]:
        """Descriptor ring, driver's and device's event suppression."""
        return self.desc, self.driver_event, self.device_event

    def _reads(self) -> dict[str, tuple[int, int]]:
        return {"descriptors": (self.desc.address, self.desc.size)}

    @property
    def place(self) -> tuple[int, int]:
        """Where the next chain goes, and the driver's wrap counter there."""
        return self.next_avail, int(self.avail_wrap)

    def _forward(self, position: int, wrap: bool, count: int) -> tuple[int, bool]:
        """``count`` places further in the ring, at most once around."""
        position += count
        return (position - self.size, not wrap) if position >= self.size else (position, wrap)

    # -- supplying buffers, §2.8.21 ------------------------------------------------------------------

    @property
    def free(self) -> int:
        """Descriptors that are not with the device."""
        return self._free

    def take_descriptors(self, count: int) -> list[int]:
        """The next ``count`` places of the ring; :class:`DriverError` if there are fewer."""
        if count > self._free:
            raise DriverError(f"{count} descriptors wanted, {self._free} left")
        taken = [(self.next_avail + n) % self.size for n in range(count)]
        self.next_avail, self.avail_wrap = self._forward(self.next_avail, self.avail_wrap, count)
        self._free -= count
        self._since += count
        return taken

    def wrap_flags(self, number: int) -> PackedFlag:
        """AVAIL and USED of a descriptor that is available in this round, of one not yet taken.  [§2.8.1]"""
        wrap = self.avail_wrap if number >= self.next_avail else not self.avail_wrap
        return PackedFlag.AVAIL if wrap else PackedFlag.USED

    def write_descriptor(
        self, number: int, address: int, length: int, identity: int = 0, flags: int = 0
    ) -> None:
        """Write one entry of the descriptor ring, all of it."""
        raw = wire.pack(PackedDescriptor, addr=address, len=length, id=identity, flags=flags)
        self.desc.write(raw, DESCRIPTOR_BYTES * number)
        self._known[number] = raw

    def set_descriptor_flags(self, number: int, flags: int) -> None:
        """Store the flags of an entry alone: what makes it available if it is the head."""
        raw = self.desc.read(DESCRIPTOR_BYTES * number, FLAGS_OFFSET) + flags.to_bytes(2, "little")
        self.desc.write(raw[FLAGS_OFFSET:], DESCRIPTOR_BYTES * number + FLAGS_OFFSET)
        self._known[number] = raw

    def _write_chain(self, entries: Sequence[Entry]) -> tuple[int, list[int]]:
        """All but the head's flags, which make the chain available.  [§2.8.21.1]"""
        if len(entries) > 1 and any(entry.flags & DescriptorFlag.INDIRECT for entry in entries):
            raise ValueError("a packed chain is either direct or one table")
        if len(entries) > self._free:
            raise DriverError(f"{len(entries)} descriptors wanted, {self._free} left")
        identity = self.unused_ids.pop(self._rng.randrange(len(self.unused_ids)))
        wraps = [self.wrap_flags((self.next_avail + n) % self.size) for n in range(len(entries))]
        numbers = self.take_descriptors(len(entries))
        for position, (number, entry, wrap) in enumerate(zip(numbers, entries, wraps, strict=True)):
            last = position == len(entries) - 1
            flags = entry.flags | wrap | (0 if last else PackedFlag.NEXT)
            # Only the last one's id counts.  [§2.8.6]
            shown = identity if last else self._rng.randrange(2**16)
            if not position:
                self.unpublished.append((number, flags))
                flags = int.from_bytes(self._known[number][FLAGS_OFFSET:], "little")
            self.write_descriptor(number, entry.address, entry.length, shown, flags)
        return identity, numbers

    def _write_table(self, table: Buffer, entries: Sequence[Entry]) -> None:
        for position, entry in enumerate(entries):
            raw = wire.pack(PackedDescriptor, addr=entry.address, len=entry.length, flags=entry.flags)
            table.write(raw, len(raw) * position)

    def publish(self) -> None:
        """Make all linked chains available, the first one last, so that they become visible as one."""
        for number, flags in reversed(self.unpublished):
            self.set_descriptor_flags(number, flags)
        self.unpublished.clear()

    def put_available(self, head: int) -> None:
        """Nothing: the ring has its chains in the order in which they were linked."""

    def device_suppression(self) -> tuple[EventFlags, int, int]:
        """The device's event suppression: flags, offset and wrap; :class:`DriverError`."""
        found = wire.unpack(EventSuppression, self.device_event.read())
        flags = EventFlags(found.flags)
        if flags == EventFlags.RESERVED or flags == EventFlags.DESC and not self.variant.event_idx:
            raise DriverError(f"the device's event suppression has flags {flags.name}")
        if found.reserved:
            raise DriverError(f"the device's event suppression has unknown bits {found.reserved:#x}")
        if flags == EventFlags.DESC and found.off >= self.size:
            raise DriverError(f"the device wants to hear of descriptor {found.off} of {self.size}")
        return flags, found.off, found.wrap

    def needs_kick(self) -> bool:
        """By the device's event suppression.  [§2.8.10, §2.8.21.3.1]"""
        flags, offset, wrap = self.device_suppression()
        since, self._since = self._since, 0
        if flags != EventFlags.DESC:
            return flags == EventFlags.ENABLE
        rounds = 2 * self.size
        event = offset + self.size * (1 - wrap)
        now = self.next_avail + self.size * (not self.avail_wrap)
        return since >= rounds or 0 < (now - event) % rounds <= since

    # -- taking used buffers, §2.8.22 ----------------------------------------------------------------

    def set_event(self, flags: int, offset: int = 0, wrap: int = 0) -> None:
        """Store the driver's event suppression.  [§2.8.10]"""
        self.driver_event.write(wire.pack(EventSuppression, off=offset, wrap=wrap, flags=flags))

    def arm(self, after: int = 0) -> bool:
        """With EVENT_IDX by the place of the next used descriptor; without, ``after`` does not count."""
        if self.variant.event_idx:
            offset, wrap = self._forward(self.next_used, self.used_wrap, after)
            self.set_event(EventFlags.DESC, offset, int(wrap))
        else:
            self.set_event(EventFlags.ENABLE)
        return self.has_used

    def _suppress(self) -> None:
        self.set_event(EventFlags.DISABLE)

    def _flags(self, number: int) -> int:
        at = DESCRIPTOR_BYTES * number + FLAGS_OFFSET
        return int.from_bytes(self.desc.read(at, 2), "little")

    @property
    def _pending(self) -> bool:
        """Whether the flags at the next used place are not those that the driver wrote."""
        known = int.from_bytes(self._known[self.next_used][FLAGS_OFFSET:], "little")
        return self._flags(self.next_used) != known

    def _is_used(self, number: int, wrap: bool) -> bool:
        return self._flags(number) & AVAILABLE_OR_USED == (AVAILABLE_OR_USED if wrap else 0)

    def _peek(self) -> int:
        position, wrap, left, count = self.next_used, self.used_wrap, dict(self._outstanding), 0
        while left and self._is_used(position, wrap):
            raw = self.desc.read(DESCRIPTOR_BYTES * position, DESCRIPTOR_BYTES)
            identity = wire.unpack(PackedDescriptor, raw).id
            order = list(left)
            if identity not in left:
                return count + 1
            start = 0 if self.variant.in_order else order.index(identity)
            for found in order[start : order.index(identity) + 1]:
                position, wrap = self._forward(position, wrap, len(left.pop(found).descriptors))
                count += 1
        return count

    def _take(self) -> list[Used]:
        self.device_suppression()  # which the device must not have spoilt either
        at, wrap = self.next_used, self.used_wrap
        raw = self.desc.read(DESCRIPTOR_BYTES * at, DESCRIPTOR_BYTES)
        found = wire.unpack(PackedDescriptor, raw)
        if not self._is_used(at, wrap):
            raise DriverError(f"descriptor {at} has flags {found.flags:#x}: neither its own nor used")
        if found.flags & ~USED_FLAGS.value:
            raise DriverError(f"used descriptor {at} has unknown flags {found.flags:#x}")
        batch = self._batch(found.id)
        wrote = bool(found.flags & PackedFlag.WRITE)
        if not self.write_flag:
            wrote = bool(found.len)
        elif wrote and not found.len:
            raise DriverError(f"used descriptor {at} says that something was written, and then 0 bytes")
        used, chains = self._release(batch, found.len if wrote else 0)
        count = sum(len(chain.descriptors) for chain in chains)
        self._known[at] = raw
        for number in ((at + n) % self.size for n in range(1, count)):
            if self.desc.read(DESCRIPTOR_BYTES * number, DESCRIPTOR_BYTES) != self._known[number]:
                raise DriverError(f"the device has changed descriptor {number}, which is not the used one")
        self.next_used, self.used_wrap = self._forward(at, wrap, count)
        self._free += count
        self.unused_ids += batch
        return used

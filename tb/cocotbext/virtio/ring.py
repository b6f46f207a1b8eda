"""What a driver does with a ring, whichever format it has.  [virtio 1.4 §2.6]

:class:`~.split.SplitQueue` and :class:`~.packed.PackedQueue` are the formats. Every step is also available
alone, so that a test can do it wrong on purpose.
"""

import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from virtio_spec.split import DescriptorFlag

from .function import DriverError
from .memory import Area, Buffer, Grant, HostMemory
from .variant import RingVariant

__all__ = ["Entry", "Ring", "Used"]

#: Bytes of a descriptor, in rings and tables of both formats.
DESCRIPTOR_BYTES = 16


@dataclass(frozen=True)
class Used:
    """A chain that the device returned.

    ``length`` is what the device says it has written; for a chain in a batch of which only the last has a
    used element, all that it could write. [§2.7.9, §2.8.11]
    """

    head: int
    length: int


@dataclass(frozen=True)
class Entry:
    """A buffer, or an indirect table, for one descriptor; ``flags`` are WRITE and INDIRECT."""

    address: int
    length: int
    flags: DescriptorFlag


@dataclass
class _Outstanding:
    """A chain that the device has."""

    descriptors: list[int]
    grants: list[Grant]
    room: int
    table: Buffer | None


class Ring(ABC):
    """A queue in host memory, and what the device has of it.

    What only the driver writes is exposed readable, what only the device writes writable; a buffer, or an
    indirect table, is exposed only while its chain is with the device.

    Parameters
    ----------
    memory
        Where the areas are allocated.
    index
        Queue number.
    size
        Entries.
    rng
        Picks ids, places, and which chains are indirect.
    variant
        What was negotiated.

    Attributes
    ----------
    mixed
        Whether by chance a chain begins in the ring and ends in a table, on a split ring.
    write_flag
        Whether a used descriptor without WRITE says that nothing was written, on a packed ring; otherwise
        its length alone says it.
    """

    def __init__(
        self, memory: HostMemory, index: int, size: int, *, rng: random.Random, variant: RingVariant
    ):
        self.memory, self.index, self.size, self.variant = memory, index, size, variant
        self.mixed = self.write_flag = True
        self._rng = rng
        self._allocated: list[Buffer] = []
        self._grants: list[Grant] = []
        self._outstanding: dict[int, _Outstanding] = {}  # in the order in which they were made available
        self._back: deque[Used] = deque()  # taken from the ring, but not by the caller
        self._taken = 0  # chains taken back, modulo 2**16
        self._wanted = True  # interrupts

    def _alloc(self, size: int, align: int, *, below: int = 1 << 64, spread: int = 64) -> Buffer:
        """Memory for an area, aligned as it has to be and not more, with ``spread`` being a multiple."""
        offset = align * self._rng.randrange(spread // align)
        buffer = self.memory.alloc(size, align=spread, offset=offset, below=below)
        self._allocated.append(buffer)
        return buffer

    def _expose(self, buffer: Buffer, label: str, *, readable: bool = False, writable: bool = False) -> None:
        self._grants.append(
            self.memory.grant(buffer.address, buffer.size, label=label, readable=readable, writable=writable)
        )
        self.memory.areas += (Area(self.index, label, buffer.address, buffer.size),)

    # -- where it is ---------------------------------------------------------------------------------

    @property
    @abstractmethod
    def areas(self) -> tuple[Buffer, Buffer, Buffer]:
        """Descriptor area, driver area, device area."""

    def reads(self) -> dict[str, tuple[int, int]]:
        """What the device reads to find chains: address and length, by name; of tables the oldest."""
        found = self._reads()
        for chain in self._outstanding.values():
            if chain.table is not None:
                found.setdefault("indirect tables", (chain.table.address, chain.table.size))
        return found

    @abstractmethod
    def _reads(self) -> dict[str, tuple[int, int]]: ...

    @property
    @abstractmethod
    def place(self) -> tuple[int, int]:
        """Offset and wrap of the next entry to be made available, as NOTIFICATION_DATA has them.  [§2.9]"""

    def close(self) -> None:
        """Take everything back from the device, which has been reset or has had the queue reset."""
        for grant in self._grants:
            self.memory.revoke(grant)
        for chain in self._outstanding.values():
            self._withdraw(chain)
        for buffer in self._allocated:
            buffer.free()
        ends = {grant.address for grant in self._grants}
        self.memory.areas = tuple(area for area in self.memory.areas if area.address not in ends)
        self._grants.clear()
        self._outstanding.clear()
        self._allocated.clear()

    def _withdraw(self, chain: _Outstanding) -> None:
        for grant in chain.grants:
            self.memory.revoke(grant)
        if chain.table is not None:
            chain.table.free()

    # -- supplying buffers ---------------------------------------------------------------------------

    @property
    @abstractmethod
    def free(self) -> int:
        """Descriptors that are not with the device."""

    def link(
        self,
        readable: Sequence[tuple[int, int]],
        writable: Sequence[tuple[int, int]],
        *,
        expose: bool = True,
        direct: int | None = None,
    ) -> int:
        """Write a chain of ``(address, length)`` buffers and expose them; returns its id.

        The id is the head's number on a split ring and the buffer id on a packed one. ``direct`` is how
        many of the buffers have descriptors in the ring, with all others in an indirect table: by default
        all, or what comes by chance with indirect descriptors. :class:`DriverError` if there is no room.
        """
        writes = DescriptorFlag.WRITE
        entries = [Entry(at, size, DescriptorFlag(0)) for at, size in readable]
        entries += [Entry(at, size, writes) for at, size in writable]
        if direct is None:
            direct = self._how_many_direct(len(entries))
        ring, tabled = entries[:direct], entries[direct:]
        if len(entries) > self.size or len(ring) + bool(tabled) > self.free:
            wanted = len(entries) if len(entries) > self.size else len(ring) + bool(tabled)
            raise DriverError(f"{wanted} descriptors wanted, {self.free} left")
        grants, table = [], None
        if tabled:
            table = self.table(tabled)
            grants.append(self.memory.grant(table.address, table.size, readable=True, label="table"))
            # The device has to ignore WRITE there.  [§2.7.5.3.2, §2.8.8]
            flags = DescriptorFlag.INDIRECT | (writes if self._rng.random() < 0.25 else 0)
            ring.append(Entry(table.address, table.size, flags))
        for entry in entries if expose else ():
            write = bool(entry.flags & writes)
            grants.append(
                self.memory.grant(
                    entry.address, entry.length, readable=not write, writable=write, label="buffer"
                )
            )
        identity, descriptors = self._write_chain(ring)
        room = sum(size for _, size in writable)
        self._outstanding[identity] = _Outstanding(descriptors, grants, room, table)
        return identity

    def _how_many_direct(self, count: int) -> int:
        if not self.variant.indirect or not count:
            return count
        dice = self._rng.random()
        if dice < 0.15 and count <= self.free:
            return count
        if dice < 0.5 and count > 1 and not self.variant.packed:
            direct = min(self._rng.randrange(1, count), max(self.free - 1, 0))
            return direct if self.mixed else 0
        return 0

    def table(self, entries: Sequence[Entry]) -> Buffer:
        """An indirect table of ``entries``, aligned to 16 bytes; it is not exposed.  [§2.7.5.3, §2.8.8]"""
        size, offset = DESCRIPTOR_BYTES * len(entries), DESCRIPTOR_BYTES * self._rng.randrange(4)
        table = self.memory.alloc(size, align=64, offset=offset)
        self._write_table(table, entries)
        return table

    @abstractmethod
    def _write_table(self, table: Buffer, entries: Sequence[Entry]) -> None: ...

    @abstractmethod
    def _write_chain(self, entries: Sequence[Entry]) -> tuple[int, list[int]]:
        """Write one descriptor for each entry, but make none available: id, and what it takes up."""

    @abstractmethod
    def put_available(self, head: int) -> None:
        """Put a linked chain, by its id, where the device will find it, but do not publish it yet."""

    @abstractmethod
    def publish(self) -> None:
        """Let the device see all chains that were put there."""

    def add_chain(
        self,
        readable: Sequence[tuple[int, int]] = (),
        writable: Sequence[tuple[int, int]] = (),
        *,
        direct: int | None = None,
        publish: bool = True,
    ) -> int:
        """Link a chain and make it available; returns its id. The kick is the caller's.

        If interrupts are wanted and depend on a place in the ring, it is the next chain to come back.
        """
        identity = self.link(readable, writable, direct=direct)
        if self._wanted:
            self.arm()
        self.put_available(identity)
        if publish:
            self.publish()
        return identity

    def hold(
        self, identity: int, descriptors: Sequence[int], *, grants: Sequence[Grant] = (), room: int = 0
    ) -> None:
        """Count a chain that a test has written by itself among those that the device has.

        ``grants`` are taken back with it, ``room`` is how much the device may write.
        """
        self._outstanding[identity] = _Outstanding(list(descriptors), list(grants), room, None)

    def held(self, identity: int) -> tuple[list[int], Buffer | None]:
        """The descriptors of a chain that the device has, and its indirect table."""
        chain = self._outstanding[identity]
        return chain.descriptors, chain.table

    @abstractmethod
    def needs_kick(self) -> bool:
        """Whether the device wants to hear of what has been made available since this was asked last."""

    # -- taking used buffers -------------------------------------------------------------------------

    def want_interrupts(self, wanted: bool) -> None:
        """Let the device interrupt when chains come back, or not."""
        self._wanted = wanted
        self._suppress() if not wanted else self.arm()

    @abstractmethod
    def arm(self, after: int = 0) -> bool:
        """Ask for an interrupt with the next chain, or ``after`` more places of the ring.

        Returns whether something has come back already, of which the device need not tell any more.
        """

    @abstractmethod
    def _suppress(self) -> None:
        """Ask for no interrupts."""

    @property
    @abstractmethod
    def _pending(self) -> bool:
        """Whether the device has written what :meth:`_take` looks at."""

    @abstractmethod
    def _peek(self) -> int:
        """Chains that have come back, but have not been taken from the ring."""

    @abstractmethod
    def _take(self) -> Iterable[Used]:
        """Take a chain, or a batch of them, from the ring; :class:`DriverError`."""

    @property
    def has_used(self) -> bool:
        """Whether there is something for :meth:`get_used`, be it an error."""
        return bool(self._back) or self._pending

    @property
    def returned(self) -> int:
        """Chains that have come back since the ring was set up, taken or not, modulo 2**16."""
        return (self._taken + self._peek()) % 2**16

    @property
    def in_flight(self) -> int:
        """Chains that the device has."""
        return len(self._outstanding)

    def get_used(self) -> Used | None:
        """Take the next used chain back; :class:`DriverError` if the device got anything wrong."""
        if not self._back and self._pending:
            self._back.extend(self._take())
        used = self._back.popleft() if self._back else None
        if used and self.memory.observer is not None:
            self.memory.observer.took(self.index, used.head, used.length)
        return used

    def _batch(self, identity: int) -> list[int]:
        """Ids of the chains that a used element for this one gives back; :class:`DriverError`."""
        if identity not in self._outstanding:
            raise DriverError(f"used id {identity} was not outstanding")
        if not self.variant.in_order:
            return [identity]
        order = list(self._outstanding)
        return order[: order.index(identity) + 1]

    def _release(self, batch: Sequence[int], written: int) -> tuple[list[Used], list[_Outstanding]]:
        """The chains of a batch are the driver's again, ``written`` being the last one's length."""
        room = self._outstanding[batch[-1]].room
        if written > room:
            raise DriverError(f"used length {written} with {room} writable bytes")
        chains = [self._outstanding.pop(identity) for identity in batch]
        for chain in chains:
            self._withdraw(chain)
        self._taken = (self._taken + len(batch)) % 2**16
        lengths = [*(chain.room for chain in chains[:-1]), written]
        return [Used(*pair) for pair in zip(batch, lengths, strict=True)], chains

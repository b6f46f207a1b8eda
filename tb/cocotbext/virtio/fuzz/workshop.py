"""Chains written as they are said to be, right or wrong; what they name is exposed to the device."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from virtio_spec import wire
from virtio_spec.packed import PackedDescriptor
from virtio_spec.split import Descriptor, DescriptorFlag

from ..driver import Request, VirtioDevice
from ..memory import Grant
from ..packed import PackedQueue
from ..ring import DESCRIPTOR_BYTES, Ring
from ..split import SplitQueue
from .oddity import nothing
from .work import Load, Work

__all__ = ["FAR_AWAY", "TOP", "Part", "Workshop", "lay_traps"]

NEXT, WRITE, INDIRECT = DescriptorFlag.NEXT, DescriptorFlag.WRITE, DescriptorFlag.INDIRECT
FAR_AWAY = 0x7F00_0000_0000_0000  # no memory there on any backend
TOP = 1 << 64
TRAP_BYTES = 64


@dataclass
class Part:
    """A descriptor. ``next`` is the next one's number, or in packed rings the buffer id."""

    address: int
    length: int
    flags: int = 0
    next: int = 0


#: Changes the descriptors of a table, or of a chain in the ring, when they are complete but not written.
Spoil = Callable[[list[Part]], object]


def _as_they_are(parts: list[Part]) -> None:
    """Nothing is spoilt."""


def lay_traps(ring: Ring) -> None:
    """Fill all descriptors, of which none is in use: who takes one accesses memory that is not exposed."""
    trap = ring.memory.alloc(TRAP_BYTES).address
    for number in range(ring.size):
        if isinstance(ring, PackedQueue):
            ring.write_descriptor(number, trap, TRAP_BYTES, 0, WRITE)
        elif isinstance(ring, SplitQueue):
            ring.write_descriptor(number, trap, TRAP_BYTES, WRITE)


class Workshop:
    """For one chain.

    Parameters
    ----------
    device
        At DRIVER_OK.
    queue
        Where the chain goes.
    load
        Knows requests.
    rng
        For everything random.
    limit
        Most descriptors that the device may have to expect in a table.
    under_way
        Valid requests of the queue that are not known to have come back.

    Attributes
    ----------
    ring, variant
        Of the queue.
    numbers
        Of the descriptors that are being spoilt.
    may_store, check
        Those of the request.
    """

    def __init__(
        self,
        device: VirtioDevice,
        queue: int,
        *,
        load: Load,
        rng: random.Random,
        limit: int,
        under_way: Sequence[Work],
    ):
        self.ring, self.variant, self.rng, self.limit = device.queues[queue], device.variant, rng, limit
        self.under_way = under_way
        self.numbers: Sequence[int] = ()
        self.check: Callable[[], None] = nothing
        self.may_store: Callable[[], None] = nothing
        self._device, self._queue, self._load = device, queue, load
        self._grants: list[Grant] = []
        self._room = 0

    # -- what a chain consists of --------------------------------------------------------------------

    def buffer(self, length: int = 8, *, content: bytes | None = None, writable: bool = False) -> Part:
        """Somewhere in memory; it is not exposed yet."""
        length = length if content is None else len(content)
        made = self.ring.memory.alloc(length, align=64, offset=self.rng.randrange(64))
        made.write(bytes(length) if content is None else content)
        return Part(made.address, length, WRITE if writable else 0)

    def request(self) -> list[Part]:
        """The buffers of a valid request; :attr:`check` holds if it is served as if nothing was wrong."""
        shape = self._load.shape(self.rng)
        self.may_store = shape.may_store
        parts = [self.buffer(content=content) for content in shape.readable]
        parts += [self.buffer(length, writable=True) for length in shape.writable]
        sinks = [part for part in parts if part.flags & WRITE]

        def check() -> None:
            found = b"".join(self.ring.memory.read(part.address, part.length) for part in sinks)
            if shape.expected is not None and found != shape.expected:
                raise AssertionError(f"the answer is {found.hex()}, not {shape.expected.hex()}")

        self.check = check
        return parts

    def expose(self, address: int, length: int, *, write: bool) -> None:
        """Let the device access it, modulo 2**64, as the chain says that it may."""
        grant = partial(self.ring.memory.grant, readable=not write, writable=write)
        self._grants.append(grant(address, length))
        if address + length > TOP:
            self._grants.append(grant(0, address + length - TOP))

    def _expose(self, parts: Sequence[Part], *, indirect: bool) -> None:
        for part in parts:
            table = indirect and bool(part.flags & INDIRECT)
            write = bool(part.flags & WRITE) and not table
            self._room += part.length if write else 0
            self.expose(part.address, part.length, write=write)

    def table(self, parts: Sequence[Part], *, spoil: Spoil = _as_they_are, offset: int = 0) -> Part:
        """The descriptor of a table of ``parts``, which is not itself exposed.

        It lies ``offset`` bytes behind a multiple of 16.
        """
        parts = list(parts)
        if not self.variant.packed:
            _link(parts, range(len(parts)))
        self.numbers = range(len(parts))
        spoil(parts)
        self._expose(parts, indirect=not self.variant.packed)
        size = DESCRIPTOR_BYTES * len(parts)
        made = self.ring.memory.alloc(max(size, 1), align=64, offset=16 * self.rng.randrange(4) + offset)
        made.write(b"".join(self._packed(part) for part in parts))
        return Part(made.address, size, INDIRECT)

    def _packed(self, part: Part) -> bytes:
        if self.variant.packed:
            return wire.pack(
                PackedDescriptor, addr=part.address, len=part.length, id=part.next, flags=part.flags
            )
        return wire.pack(Descriptor, addr=part.address, len=part.length, flags=part.flags, next=part.next)

    # -- into the ring -------------------------------------------------------------------------------

    def offer(self, parts: Sequence[Part], *, spoil: Spoil = _as_they_are) -> Request:
        """Make a chain available; :class:`~..function.DriverError` if there is no room for it."""
        parts, ring = list(parts), self.ring
        if isinstance(ring, SplitQueue):
            numbers = ring.take_descriptors(len(parts))
            _link(parts, numbers)
            self.numbers = numbers
            spoil(parts)
            for number, part in zip(numbers, parts, strict=True):
                ring.write_descriptor(number, part.address, part.length, part.flags, part.next)
            identity = numbers[0]
        else:
            assert isinstance(ring, PackedQueue)
            places = [(ring.next_avail + n) % ring.size for n in range(len(parts))]
            wraps = [ring.wrap_flags(place) for place in places]
            numbers = ring.take_descriptors(len(parts))
            identity = ring.unused_ids.pop()
            for part, wrap in zip(parts, wraps, strict=True):
                part.flags |= NEXT | wrap
                part.next = self.rng.randrange(2**16)
            parts[-1].flags &= ~NEXT.value
            parts[-1].next = identity
            self.numbers = numbers
            spoil(parts)
        self._expose(parts, indirect=True)
        ring.hold(identity, numbers, grants=self._grants, room=self._room)
        if isinstance(ring, SplitQueue):
            ring.put_available(identity)
            ring.publish()
        else:
            for number, part in [*zip(numbers, parts, strict=True)][::-1]:
                ring.write_descriptor(number, part.address, part.length, part.next, part.flags)
        return self._device.adopt(self._queue, identity)

    def place(self, parts: Sequence[Part], *, spoil: Spoil = _as_they_are) -> Request:
        """The same, but perhaps in an indirect table: ``spoil`` gets what is there."""
        if self.variant.indirect and self.rng.random() < 0.6:
            return self.offer([self.table(parts, spoil=spoil)])
        return self.offer(parts, spoil=spoil)


def _link(parts: Sequence[Part], numbers: Sequence[int]) -> None:
    """As a split ring has them."""
    for part, number in zip(parts, numbers[1:], strict=False):
        part.flags |= NEXT
        part.next = number

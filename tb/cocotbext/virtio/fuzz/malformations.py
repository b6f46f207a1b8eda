"""The catalogue of malformed rings: what is done, for which rings, and what may become of it.

Each entry says in its docstring what the standard has about it, by the ids of the requirements list.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps

from virtio_spec import wire
from virtio_spec.packed import EventFlags, PackedDescriptor, PackedFlag
from virtio_spec.split import Descriptor, DescriptorFlag

from ..driver import Request
from ..function import DriverError
from ..packed import PackedQueue
from ..ring import DESCRIPTOR_BYTES
from ..split import SplitQueue
from ..suite.registry import EVERY, INDIRECT, PACKED, SPLIT
from ..variant import RingVariant, Variants
from .oddity import Verdict, nothing
from .workshop import FAR_AWAY, TOP, Part, Workshop

__all__ = ["CATALOGUE", "Malformation", "Made"]

SERVED, EITHER, BROKEN, OPEN, UNSEEN = Verdict
F = DescriptorFlag
AVAILABLE = PackedFlag.AVAIL | PackedFlag.USED


@dataclass
class Made:
    """A chain, if there is one, and how to make it right afterwards, if there is a way."""

    request: Request | None = None
    repair: Callable[[], None] | None = None


Make = Callable[[Workshop], Made]
#: The same as an entry is written, which need not have anything to say.
Written = Callable[[Workshop], Request | Made | None]


@dataclass(frozen=True)
class Malformation:
    """An entry of the catalogue.

    Attributes
    ----------
    make
        Does it.
    verdict
        What may become of it.
    variants
        Whether there is such a thing in a variant of rings.
    closes
        Nothing that is right may follow in the same queue.
    confuses
        Neither can the driver know any more what comes back in it.
    """

    name: str
    make: Make
    verdict: Verdict
    variants: Variants
    closes: bool
    confuses: bool


#: By name.
CATALOGUE: dict[str, Malformation] = {}


def malformation(
    verdict: Verdict, *variants: Variants, closes: bool = False, confuses: bool = False
) -> Callable[[Written], Written]:
    """Put a function into the catalogue; all of ``variants`` have to hold."""

    def holds(variant: RingVariant) -> bool:
        return all(each(variant) for each in variants or (EVERY,))

    def register(make: Written) -> Written:
        @wraps(make)
        def made(shop: Workshop) -> Made:
            found = make(shop)
            return found if isinstance(found, Made) else Made(found)

        name = getattr(make, "__name__", "malformation")
        shut = closes or confuses or verdict in (BROKEN, OPEN, UNSEEN)
        CATALOGUE[name] = Malformation(name, made, verdict, holds, shut, confuses)
        return make

    return register


# -- any chain ---------------------------------------------------------------------------------------


@malformation(EITHER)
def descriptor_of_length_zero(shop: Workshop) -> Request:
    """No word about it in the standard."""

    def spoil(parts: list[Part]) -> None:
        shop.rng.choice(parts).length = 0

    return shop.place(shop.request(), spoil=spoil)


@malformation(EITHER)
def readable_after_writable(shop: Workshop) -> Request:
    """SPLIT-DRV-02, PACKED-DRV-08."""
    parts = shop.request()
    writable = [n for n, part in enumerate(parts) if part.flags & F.WRITE]
    parts.insert(shop.rng.choice(writable) + 1, shop.buffer(shop.rng.randrange(1, 40)))
    return shop.place(parts)


@malformation(EITHER)
def more_than_4_gib(shop: Workshop) -> Request:
    """SPLIT-DRV-04. There is no memory, so that nothing else is exposed with it."""
    far = [Part(FAR_AWAY + (n << 32), 0xFFFF_FFFF, F.WRITE) for n in range(2)]
    return shop.place([*shop.request(), *far])


@malformation(EITHER)
def reserved_flags(shop: Workshop) -> Request:
    """The standard does not say what becomes of them."""
    free = [*range(3, 7), *range(8, 15)] if shop.variant.packed else [*range(3, 16)]

    def spoil(parts: list[Part]) -> None:
        shop.rng.choice(parts).flags |= 1 << shop.rng.choice(free)

    return shop.place(shop.request(), spoil=spoil)


@malformation(EITHER)
def readable_buffer_without_memory(shop: Workshop) -> Request:
    """The host refuses to give its content."""
    parts = shop.request()
    readable = [part for part in parts if not part.flags & F.WRITE]
    if readable:
        shop.rng.choice(readable).address = FAR_AWAY + shop.rng.randrange(4096)
    else:
        parts.insert(0, Part(FAR_AWAY, 16))
    return shop.place(parts)


@malformation(SERVED)
def writable_buffer_without_memory(shop: Workshop) -> Request:
    """Nobody hears of it: memory writes are posted."""
    parts = shop.request()
    writable = [part for part in parts if part.flags & F.WRITE]
    shop.rng.choice(writable).address = FAR_AWAY + shop.rng.randrange(4096)
    shop.check = nothing  # as nobody can look at the answer
    return shop.place(parts)


@malformation(SERVED)
def buffer_that_ends_where_memory_ends(shop: Workshop) -> Request:
    """At the highest address of 64 bits."""
    parts = shop.request()
    longest = max(parts, key=lambda part: part.length)
    content = shop.ring.memory.read(longest.address, longest.length)
    longest.address = TOP - longest.length
    shop.ring.memory.write(longest.address, content)
    return shop.place(parts)


@malformation(EITHER)
def buffer_beyond_the_end_of_memory(shop: Workshop) -> Request:
    """Its last bytes have no address of 64 bits."""
    parts = shop.request()
    longest = max(parts, key=lambda part: part.length)
    longest.address = TOP - shop.rng.randrange(1, longest.length)
    return shop.place(parts)


# -- tables ------------------------------------------------------------------------------------------


@malformation(EITHER, lambda variant: not variant.indirect)
def table_not_negotiated(shop: Workshop) -> Request:
    """SPLIT-DRV-06, PACKED-DRV-12."""
    return shop.offer([shop.table(shop.request())])


@malformation(EITHER, INDIRECT)
def table_length_not_a_multiple_of_16(shop: Workshop) -> Request:
    """Descriptors have 16 bytes."""
    table = shop.table(shop.request())
    table.length += shop.rng.randrange(1, 16) - (16 if shop.rng.random() < 0.5 else 0)
    return shop.offer([table])


@malformation(EITHER, INDIRECT)
def table_of_nothing(shop: Workshop) -> Request:
    """Without a descriptor there is no chain."""
    table = shop.table(shop.request())
    table.length = 0
    return shop.offer([table])


@malformation(EITHER, INDIRECT)
def table_not_aligned(shop: Workshop) -> Request:
    """The standard does not say how tables are aligned."""
    return shop.offer([shop.table(shop.request(), offset=shop.rng.randrange(1, 16))])


@malformation(EITHER, INDIRECT)
def table_longer_than_the_queue(shop: Workshop) -> Request:
    """SPLIT-DRV-08, PACKED-DRV-14: but a device may take more."""
    parts = shop.request()
    parts += [shop.buffer(4, writable=True) for _ in range(shop.ring.size + shop.rng.randrange(1, 4))]
    return shop.offer([shop.table(parts)])


@malformation(EITHER, INDIRECT)
def table_longer_than_any_queue(shop: Workshop) -> Request:
    """SPLIT-DRV-08, PACKED-DRV-14."""
    parts, sink = shop.request(), shop.buffer(4, writable=True)
    more = shop.limit + shop.rng.randrange(1, 9) - len(parts)
    return shop.offer([shop.table([*parts, *(Part(sink.address, 4, F.WRITE) for _ in range(more))])])


@malformation(BROKEN, INDIRECT)
def table_without_memory(shop: Workshop) -> Request:
    """The host refuses to give its content."""
    count = shop.rng.randrange(1, 9)
    return shop.offer([Part(FAR_AWAY + 16 * shop.rng.randrange(64), 16 * count, F.INDIRECT)])


@malformation(EITHER, INDIRECT, SPLIT)
def table_in_a_table(shop: Workshop) -> Request:
    """SPLIT-DRV-07. What is in there would be a valid rest."""
    parts = shop.request()
    at = shop.rng.randrange(len(parts))
    return shop.offer([shop.table([*parts[:at], shop.table(parts[at:])])])


@malformation(SERVED, INDIRECT, PACKED)
def flags_and_ids_in_a_table(shop: Workshop) -> Request:
    """PACKED-DEV-P06: the device must not look at them."""

    def spoil(parts: list[Part]) -> None:
        for part in parts:
            part.flags |= shop.rng.getrandbits(16) & ~F.WRITE.value
            part.next = shop.rng.getrandbits(16)

    return shop.offer([shop.table(shop.request(), spoil=spoil)])


@malformation(SERVED, INDIRECT)
def table_that_is_said_to_be_writable(shop: Workshop) -> Request:
    """SPLIT-DEV-07, PACKED-DEV-P07: the device must not look at it."""

    def spoil(parts: list[Part]) -> None:
        parts[-1].flags |= F.WRITE

    return shop.offer([shop.table(shop.request())], spoil=spoil)


@malformation(EITHER, INDIRECT)
def table_with_a_next(shop: Workshop) -> Request:
    """SPLIT-DRV-09, PACKED-DRV-15: a rest of the chain behind a table."""
    parts = shop.request()
    at = shop.rng.randrange(1, len(parts)) if len(parts) > 1 else 1
    behind = parts[at:] or [shop.buffer(4, writable=True)]
    return shop.offer([shop.table(parts[:at]), *behind])


@malformation(EITHER, INDIRECT, PACKED)
def table_behind_direct_descriptors(shop: Workshop) -> Request:
    """PACKED-DRV-15."""
    parts = shop.request()
    at = shop.rng.randrange(1, len(parts)) if len(parts) > 1 else 1
    behind = parts[at:] or [shop.buffer(4, writable=True)]
    return shop.offer([*parts[:at], shop.table(behind)])


@malformation(BROKEN, INDIRECT, SPLIT)
def next_outside_of_the_table(shop: Workshop) -> Request:
    """There is no such descriptor; what stands there is not exposed."""
    parts = shop.request()

    def spoil(table: list[Part]) -> None:
        part = shop.rng.choice(table)
        part.flags |= F.NEXT
        part.next = shop.rng.choice((len(table), shop.rng.randrange(len(table), 2**16)))

    return shop.offer([shop.table(parts, spoil=spoil)])


@malformation(BROKEN, INDIRECT, SPLIT)
def loop_in_a_table(shop: Workshop) -> Request:
    """SPLIT-DRV-04: no loops. It never ends."""
    return shop.offer([shop.table(shop.request(), spoil=partial(_loop, shop))])


def _loop(shop: Workshop, parts: list[Part]) -> None:
    at = shop.rng.randrange(len(parts))
    parts[at].flags |= F.NEXT
    parts[at].next = shop.numbers[shop.rng.randrange(at + 1)]


# -- split rings -------------------------------------------------------------------------------------


def split(shop: Workshop) -> SplitQueue:
    """The ring."""
    assert isinstance(shop.ring, SplitQueue)
    return shop.ring


@malformation(BROKEN, SPLIT)
def head_outside_of_the_table(shop: Workshop) -> None:
    """There is no such descriptor."""
    ring = split(shop)
    ring.put_available(shop.rng.choice((ring.size, 2**16 - 1, shop.rng.randrange(ring.size, 2**16))))
    ring.publish()


@malformation(BROKEN, SPLIT)
def next_outside_of_the_descriptor_table(shop: Workshop) -> Request:
    """There is no such descriptor; what stands there is not exposed."""
    size = shop.ring.size

    def spoil(parts: list[Part]) -> None:
        part = shop.rng.choice(parts)
        part.flags |= F.NEXT
        part.next = shop.rng.choice((size, shop.rng.randrange(size, 2**16)))

    return shop.offer(shop.request(), spoil=spoil)


@malformation(BROKEN, SPLIT)
def loop_of_descriptors(shop: Workshop) -> Request:
    """SPLIT-DRV-04: no loops. It never ends."""
    return shop.offer(shop.request(), spoil=partial(_loop, shop))


@malformation(BROKEN, SPLIT)
def index_far_ahead(shop: Workshop) -> None:
    """SPLIT-DRV-11: further than the ring is long, or backwards if the device has seen all."""
    ring = split(shop)
    ahead = shop.rng.choice((ring.size + 1, 2**15, 2**16 - 1 - ring.size))
    if not ring.in_flight and shop.rng.random() < 0.5:
        ahead = 2**16 - shop.rng.randrange(1, ring.size + 1)
    ring.publish(ring.next_avail + ahead)


@malformation(EITHER, SPLIT, confuses=True)
def chain_that_is_available_twice(shop: Workshop) -> None:
    """The second time, the device has it already, or the driver has not looked whether it came back."""
    ring = split(shop)
    request = shop.place(shop.request())
    ring.put_available(request.head)
    ring.publish()


@malformation(EITHER, SPLIT, closes=True)
def flags_of_the_available_ring(shop: Workshop) -> None:
    """SPLIT-DRV-12, SPLIT-DRV-14."""
    split(shop).set_flags(shop.rng.randrange(2, 2**16))


# -- packed rings ------------------------------------------------------------------------------------


def packed(shop: Workshop) -> PackedQueue:
    """The ring."""
    assert isinstance(shop.ring, PackedQueue)
    return shop.ring


@malformation(UNSEEN, PACKED)
def wrong_wrap(shop: Workshop) -> Made:
    """PACKED-DEV-06: by its flags it is used, or was available in the round before; later they are right."""
    ring = packed(shop)
    at, parts, right = ring.next_avail, shop.request(), []

    def spoil(found: list[Part]) -> None:
        right.append(found[0].flags)
        found[0].flags ^= shop.rng.choice((AVAILABLE, PackedFlag.AVAIL, PackedFlag.USED))

    if shop.variant.indirect and shop.rng.random() < 0.6:
        parts = [shop.table(parts)]
    request = shop.offer(parts, spoil=spoil)
    return Made(request, lambda: ring.set_descriptor_flags(at, right[0]))


@malformation(OPEN, PACKED)
def rest_of_a_chain_not_available(shop: Workshop) -> Request:
    """PACKED-DRV-11: its head becomes available last."""
    parts = shop.request()
    parts += [] if len(parts) > 1 else [shop.buffer(4, writable=True)]

    def spoil(found: list[Part]) -> None:
        shop.rng.choice(found[1:]).flags ^= AVAILABLE

    return shop.offer(parts, spoil=spoil)


@malformation(OPEN, PACKED)
def chain_without_an_end(shop: Workshop) -> Request:
    """PACKED-DRV-10: it goes on with a descriptor that the driver has not filled in."""

    def spoil(found: list[Part]) -> None:
        found[-1].flags |= F.NEXT

    return shop.offer(shop.request(), spoil=spoil)


@malformation(EITHER, PACKED, closes=True)
def event_suppression_that_means_nothing(shop: Workshop) -> None:
    """PACKED-DRV-P04, and a value of the flags that is reserved."""
    ring = packed(shop)
    flags = shop.rng.choice((EventFlags.RESERVED, EventFlags.DESC))
    ring.set_event(flags, shop.rng.randrange(ring.size, 2**15), shop.rng.randrange(2))


# -- both --------------------------------------------------------------------------------------------


@malformation(EITHER, confuses=True)
def descriptor_changed_while_in_use(shop: Workshop) -> None:
    """PACKED-DRV-02, PACKED-DRV-03: the device sees the old one, the new one, or something of both."""
    if not shop.under_way:
        raise DriverError("there is nothing in use")
    work = shop.rng.choice(shop.under_way)
    work.may_store()
    numbers, table = shop.ring.held(work.request.head)
    area, count = shop.ring.areas[0], 0
    if table is None:
        at = DESCRIPTOR_BYTES * shop.rng.choice(numbers)
    else:
        area, count = table, table.size // DESCRIPTOR_BYTES
        at = DESCRIPTOR_BYTES * shop.rng.randrange(count)
    address, length, flags, next = _fields(shop.variant, area.read(at, DESCRIPTOR_BYTES))
    size = count or shop.ring.size
    change = shop.rng.randrange(6)
    if change == 0:
        length = 0
    elif change == 1:
        length = shop.rng.randrange(1, length + 1) if length else 0
    elif change == 2:
        flags ^= F.WRITE
        for write in (False, True):
            shop.expose(address, length, write=write)
    elif change == 3:
        flags &= ~F.NEXT.value
    elif shop.variant.packed:
        flags ^= AVAILABLE
    else:
        flags |= F.NEXT
        next = at // DESCRIPTOR_BYTES if change == 4 else shop.rng.randrange(size, 2**16)
    area.write(_raw(shop.variant, address, length, flags, next), at)


def _fields(variant: RingVariant, raw: bytes) -> tuple[int, int, int, int]:
    """Address, length, flags, and the next one's number or a packed ring's buffer id."""
    if variant.packed:
        found = wire.unpack(PackedDescriptor, raw)
        return found.addr, found.len, found.flags, found.id
    found = wire.unpack(Descriptor, raw)
    return found.addr, found.len, found.flags, found.next


def _raw(variant: RingVariant, address: int, length: int, flags: int, next: int) -> bytes:
    if variant.packed:
        return wire.pack(PackedDescriptor, addr=address, len=length, flags=flags, id=next)
    return wire.pack(Descriptor, addr=address, len=length, flags=flags, next=next)

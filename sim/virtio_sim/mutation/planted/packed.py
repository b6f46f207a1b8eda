"""Bugs of packed rings."""

from virtio_models.packed import PackedQueue
from virtio_models.ring import RingError
from virtio_spec.layout import Cause
from virtio_spec.packed import EventFlags, EventSuppression, PackedFlag
from virtio_spec.wire import unpack

from .bug import bug, seen


@bug(seen("rng", "chains.the_ring_goes_round", variant="packed"), traps=(28,))
class UsedInTheFirstRound(PackedQueue):
    """Used descriptors are always marked as in the first round."""

    def push(self, dma, done, *, merged=False):
        kept, self.next_used = self.next_used, self.next_used % self.size
        yield from super().push(dma, done, merged=merged)
        self.next_used = (self.next_used + kept - kept % self.size) % (2 * self.size)


@bug(seen("blk", "chains.what_is_used_is_complete", variant="packed"), traps=(28,))
class FlagsBeforeTheRest(PackedQueue):
    """The flags of a used descriptor are written before its id and its length."""

    def push(self, dma, done, *, merged=False):
        marks = PackedFlag.AVAIL | PackedFlag.USED if self._wrap(self.next_used) else 0
        wrote = PackedFlag.WRITE if done[0][1] else 0
        dma.write(self._address(self.next_used) + 14, (marks | wrote).to_bytes(2, "little"))
        yield
        yield from super().push(dma, done, merged=merged)


@bug(seen("rng", "packed.chains_of_any_length_go_round_in_rings_of_any_size", variant="packed"))
class SkipsOneDescriptor(PackedQueue):
    """Each chain takes one place of the ring, however long it is."""

    def push(self, dma, done, *, merged=False):
        for chain, _ in done:
            chain.descriptors = 1
        yield from super().push(dma, done, merged=merged)


@bug(seen("rng", "packed.chains_of_different_lengths_come_back_in_any_order", variant="packed"))
class UsesTheChainsOwnPlace(PackedQueue):
    """A used descriptor is written where its chain was, not at the next place."""

    def push(self, dma, done, *, merged=False):
        for chain, written in done:
            ahead = (chain.head - self.next_used) % self.size
            kept, self.next_used = self.next_used, (self.next_used + ahead) % (2 * self.size)
            yield from super().push(dma, [(chain, written)])
            self.next_used = (kept + chain.descriptors) % (2 * self.size)


@bug(
    seen("rng", "packed.a_descriptor_of_another_round_is_not_available", variant="packed"),
    traps=(28,),
    oddity="wrong_wrap",
)
class LooksAtAvailOnly(PackedQueue):
    """AVAIL alone decides whether a descriptor is available."""

    def _is_available(self, descriptor, place):
        return bool(descriptor.flags & PackedFlag.AVAIL) == self._wrap(place)


@bug(seen("rng", "packed.chains_of_any_length_go_round_in_rings_of_any_size", variant="packed"))
class TakesTheFirstId(PackedQueue):
    """The id is that of a chain's first descriptor, not of its last."""

    def fetch(self, dma):
        place = self.next_avail
        chain = super().fetch(dma)
        if chain is not None:
            chain.id = self._descriptor(dma, self._address(place)).id
        return chain


@bug(seen("rng", "chains.nothing_is_written_into_a_readable_chain", variant="packed"))
class AlwaysSaysWritten(PackedQueue):
    """Used descriptors always have WRITE set."""

    def push(self, dma, done, *, merged=False):
        class Marking:
            read = staticmethod(dma.read)

            @staticmethod
            def write(address, data):
                flags = int.from_bytes(data, "little") | PackedFlag.WRITE
                dma.write(address, flags.to_bytes(2, "little") if len(data) == 2 else data)

        yield from super().push(Marking, done, merged=merged)


@bug(seen("rng", "packed.chains_of_any_length_go_round_in_rings_of_any_size", variant="packed"), traps=(28,))
class WrapsAtAPowerOfTwo(PackedQueue):
    """The ring wraps at a power of two, not at its size."""

    def _address(self, place):
        return self.desc + 16 * (place % self.size & ~(1 << self.size.bit_length()))

    def _wrap(self, place):
        return not place & (1 << (self.size - 1).bit_length())


@bug(seen("rng", "chains.no_interrupt_is_honoured_and_can_be_taken_back", variant="packed"))
class IgnoresTheDriversFlags(PackedQueue):
    """Interrupts come although the driver's event suppression says no."""

    def wants_interrupt(self, dma):
        super().wants_interrupt(dma)
        return True


@bug(
    seen(
        "rng", "events.an_interrupt_comes_when_its_place_is_used_and_not_again", variant="packed-event-order"
    ),
    traps=(11,),
)
class ComparesThePlace(PackedQueue):
    """An event inside a batch is missed: only its last place is compared."""

    def wants_interrupt(self, dma):
        event = unpack(EventSuppression, dma.read(self.driver, 4))
        told, self._told = self._told, self.next_used
        if event.flags != EventFlags.DESC:
            return event.flags != EventFlags.DISABLE
        return (event.off + (0 if event.wrap else self.size) + 1) % (2 * self.size) == self._told != told


@bug(seen("rng", "events.every_place_of_the_ring_can_be_waited_for", variant="packed-event"), traps=(11,))
class ForgetsTheWrapOfEvents(PackedQueue):
    """The wrap counter of an event's place is not looked at."""

    def wants_interrupt(self, dma):
        event = unpack(EventSuppression, dma.read(self.driver, 4))
        told, self._told = self._told, self.next_used
        if event.flags != EventFlags.DESC:
            return event.flags != EventFlags.DISABLE
        return event.off - told < self.next_used - told


@bug(
    seen("rng", "indirect.only_write_counts_in_a_packed_table", variant="packed-indirect"),
    oddity="flags_and_ids_in_a_table",
)
class LooksAtFlagsInTables(PackedQueue):
    """INDIRECT in a packed indirect table is an error, not ignored."""

    def _walk_table(self, dma, chain, table, entries):
        for number in range(entries):
            descriptor = self._descriptor(dma, table + 16 * number)
            if descriptor.flags & PackedFlag.INDIRECT:
                raise RingError(Cause.INDIRECT_NESTED, chain.head, number)
        super()._walk_table(dma, chain, table, entries)


@bug(
    seen(
        "rng",
        "indirect.a_table_of_a_length_that_is_no_multiple_of_16_breaks_the_ring",
        variant="packed-indirect",
    ),
    oddity="table_length_not_a_multiple_of_16",
)
class RoundsTablesUp(PackedQueue):
    """The length of a packed table is rounded up to a multiple of 16."""

    def _entries(self, chain, number, length, *, alone):
        return super()._entries(chain, number, -(-length // 16) * 16, alone=alone)

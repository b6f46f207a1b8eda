"""The test list finds devices with one mistake each: rings of all variants, kicks, queue resets."""

import pytest
from cocotbext.virtio.variant import variants
from helpers.mutants import is_found
from virtio_models.device import ReferenceDevice, _Held
from virtio_models.kind import Waiting
from virtio_models.packed import PackedQueue
from virtio_models.ring import RingError
from virtio_models.split import SplitQueue
from virtio_spec.layout import Cause
from virtio_spec.packed import EventFlags, EventSuppression, PackedFlag
from virtio_spec.split import DescriptorFlag
from virtio_spec.virtio import Feature
from virtio_spec.wire import unpack

BY_NAME = {variant.name: variant for variant in variants()}


def with_rings(split: type[SplitQueue] = SplitQueue, packed: type[PackedQueue] = PackedQueue):
    class Broken(ReferenceDevice):
        split_ring, packed_ring = split, packed

    return Broken


class UsedInTheFirstRound(PackedQueue):
    def push(self, dma, done, *, merged=False):
        kept, self.next_used = self.next_used, self.next_used % self.size
        yield from super().push(dma, done, merged=merged)
        self.next_used = (self.next_used + kept - kept % self.size) % (2 * self.size)


class FlagsBeforeTheRest(PackedQueue):
    def push(self, dma, done, *, merged=False):
        marks = PackedFlag.AVAIL | PackedFlag.USED if self._wrap(self.next_used) else 0
        wrote = PackedFlag.WRITE if done[0][1] else 0
        dma.write(self._address(self.next_used) + 14, (marks | wrote).to_bytes(2, "little"))
        yield
        yield from super().push(dma, done, merged=merged)


class SkipsOneDescriptor(PackedQueue):
    def push(self, dma, done, *, merged=False):
        for chain, _ in done:
            chain.descriptors = 1
        yield from super().push(dma, done, merged=merged)


class UsesTheChainsOwnPlace(PackedQueue):
    def push(self, dma, done, *, merged=False):
        for chain, written in done:
            ahead = (chain.head - self.next_used) % self.size
            kept, self.next_used = self.next_used, (self.next_used + ahead) % (2 * self.size)
            yield from super().push(dma, [(chain, written)])
            self.next_used = (kept + chain.descriptors) % (2 * self.size)


class LooksAtAvailOnly(PackedQueue):
    def _is_available(self, descriptor, place):
        return bool(descriptor.flags & PackedFlag.AVAIL) == self._wrap(place)


class TakesTheFirstId(PackedQueue):
    def fetch(self, dma):
        place = self.next_avail
        chain = super().fetch(dma)
        if chain is not None:
            chain.id = self._descriptor(dma, self._address(place)).id
        return chain


class AlwaysSaysWritten(PackedQueue):
    def push(self, dma, done, *, merged=False):
        class Marking:
            read = staticmethod(dma.read)

            @staticmethod
            def write(address, data):
                flags = int.from_bytes(data, "little") | PackedFlag.WRITE
                dma.write(address, flags.to_bytes(2, "little") if len(data) == 2 else data)

        yield from super().push(Marking, done, merged=merged)


class WrapsAtAPowerOfTwo(PackedQueue):
    def _address(self, place):
        return self.desc + 16 * (place % self.size & ~(1 << self.size.bit_length()))

    def _wrap(self, place):
        return not place & (1 << (self.size - 1).bit_length())


class IgnoresTheDriversFlags(PackedQueue):
    def wants_interrupt(self, dma):
        super().wants_interrupt(dma)
        return True


class ComparesThePlace(PackedQueue):
    """Only whether the last descriptor is the one: a place inside a batch is missed."""

    def wants_interrupt(self, dma):
        event = unpack(EventSuppression, dma.read(self.driver, 4))
        told, self._told = self._told, self.next_used
        if event.flags != EventFlags.DESC:
            return event.flags != EventFlags.DISABLE
        return (event.off + (0 if event.wrap else self.size) + 1) % (2 * self.size) == self._told != told


class ForgetsTheWrapOfEvents(PackedQueue):
    def wants_interrupt(self, dma):
        event = unpack(EventSuppression, dma.read(self.driver, 4))
        told, self._told = self._told, self.next_used
        if event.flags != EventFlags.DESC:
            return event.flags != EventFlags.DISABLE
        return event.off - told < self.next_used - told


class LooksAtFlagsInTables(PackedQueue):
    def _walk_table(self, dma, chain, table, entries):
        for number in range(entries):
            descriptor = self._descriptor(dma, table + 16 * number)
            if descriptor.flags & PackedFlag.INDIRECT:
                raise RingError(Cause.INDIRECT_NESTED, chain.head, number)
        super()._walk_table(dma, chain, table, entries)


class WritableTable(SplitQueue):
    def _entries(self, chain, number, length, *, alone):
        self.seen = number
        return super()._entries(chain, number, length, alone=alone)

    def _walk_table(self, dma, chain, table, entries):
        flags = self._descriptor(dma, self.desc, self.seen).flags
        if flags & DescriptorFlag.WRITE:
            chain.writable.append(chain.writable[0] if chain.writable else None)
            chain.writable.pop()
            raise RingError(Cause.READABLE_AFTER_WRITABLE, chain.head, self.seen)
        return super()._walk_table(dma, chain, table, entries)


class TablesStandAlone(SplitQueue):
    def _entries(self, chain, number, length, *, alone):
        if chain.descriptors > 1:
            raise RingError(Cause.INDIRECT_NESTED, chain.head, number)
        return super()._entries(chain, number, length, alone=alone)


class TablesAreInSequence(SplitQueue):
    def _walk_table(self, dma, chain, table, entries):
        for number in range(entries):
            descriptor = self._descriptor(dma, table, number)
            write = bool(descriptor.flags & DescriptorFlag.WRITE)
            chain.add(descriptor.addr, descriptor.len, write=write, number=number)
        return chain


class AnyTableLength(SplitQueue):
    def _entries(self, chain, number, length, *, alone):
        return super()._entries(chain, number, max(16, length & ~15), alone=alone)


class TablesAsLongAsMemory(SplitQueue):
    def _entries(self, chain, number, length, *, alone):
        self.limit = 1 << 32
        return super()._entries(chain, number, length, alone=alone)


class NestsTables(SplitQueue):
    def _walk_table(self, dma, chain, table, entries):
        first = self._descriptor(dma, table, 0)
        if first.flags & DescriptorFlag.INDIRECT:
            return super()._walk_table(dma, chain, first.addr, first.len // 16)
        return super()._walk_table(dma, chain, table, entries)


class ComparesTheIndex(SplitQueue):
    """Trap 11: whether it is the last element's, and not whether it is among those that were written."""

    def wants_interrupt(self, dma):
        if not self.has(Feature.EVENT_IDX):
            return super().wants_interrupt(dma)
        event = int.from_bytes(dma.read(self.driver + 4 + 2 * self.size, 2), "little")
        return event == (self.used_index - 1) % 2**16


class LooksAtFlagsToo(SplitQueue):
    def wants_interrupt(self, dma):
        flags = int.from_bytes(dma.read(self.driver, 2), "little")
        return super().wants_interrupt(dma) and not flags & 1


class LooksAtUsedEventAlways(SplitQueue):
    def wants_interrupt(self, dma):
        event = int.from_bytes(dma.read(self.driver + 4 + 2 * self.size, 2), "little")
        told, self._told = self._told, self.used_index
        return super().wants_interrupt(dma) and (event - told) % 2**16 < (self.used_index - told) % 2**16


class SetsAvailEventAlways(SplitQueue):
    def arm(self, dma):
        dma.write(self.device + 4 + 8 * self.size, self.next_avail.to_bytes(2, "little"))
        return False


class ArmsTooLate(ReferenceDevice):
    """It looks, finds nothing, asks for a kick, and does not look again."""

    def _fetch(self, number):
        queue = self.queues[number]
        chain = queue.fetch(self.dma)
        if chain is None:
            yield
            queue.arm(self.dma)
            self._kicked.discard(number)
            return
        yield
        self._held.setdefault(number, []).append(
            _Held(chain, Waiting(queue.gather(self.dma, chain), chain.room))
        )
        self._nothing_yet.discard(number)


class NeverArms(SplitQueue):
    def arm(self, dma):
        return False


class HasNoOrder(ReferenceDevice):
    def _serve(self, number):
        queue = self.queues[number]
        real, queue.features = queue.features, queue.features & ~(1 << Feature.IN_ORDER)
        try:
            yield from super()._serve(number)
        finally:
            queue.features = real


class BatchesStandAtTheEnd(SplitQueue):
    """The element of a batch in the place of its last chain, not of its first."""

    def push(self, dma, done, *, merged=False):
        if not merged:
            yield from super().push(dma, done)
            return
        skipped = len(done) - 1
        self.used_index = (self.used_index + skipped) % 2**16
        yield from super().push(dma, done[-1:])
        self._give_back(done[:-1])


class ForgetsTheKicksUpperHalf(ReferenceDevice):
    def _notified(self, queue, enable, value):
        super()._notified(queue, enable & 0b0011, value)


class TakesOnlyTheNumber(ReferenceDevice):
    def _notified(self, queue, enable, value):
        if value & 0xFFFF == queue:
            self._kicked.add(queue)


class KeepsItsPlace(ReferenceDevice):
    """Trap 27: the positions of a queue outlive its reset."""

    def _retired(self, number):
        super()._retired(number)
        self.kept = getattr(self, "kept", {}) | {number: self.queues[number].next_avail}

    def queue_in_use(self, number):
        if number in getattr(self, "kept", {}):
            self.queues[number].next_avail = self.kept.pop(number)
        return super().queue_in_use(number)


class ServesAfterTheReset(ReferenceDevice):
    """Trap 27: what was fetched before the reset of a queue is still served."""

    def _retired(self, number):
        held, work = self._held.get(number, []), self._work
        super()._retired(number)
        self._held[number], self._work = held, work


class ResetsAllQueues(ReferenceDevice):
    def _retired(self, number):
        for other in range(len(self.queues)):
            super()._retired(other)


class ResetsAtOnceWithoutAnEnd(ReferenceDevice):
    def _read_queue_reset(self, number, by_driver):
        enabled = self.queues[number].enabled
        value = super()._read_queue_reset(number, by_driver)
        self.queues[number].enabled = enabled
        return value


RESET_WORK = "queue_reset.a_queue_is_reset_while_it_works_and_set_up_with_another_size"
ROUND = "packed.chains_of_any_length_go_round_in_rings_of_any_size"
PLACE = "events.an_interrupt_comes_when_its_place_is_used_and_not_again"

MUTANTS = [
    ("rng", "packed", with_rings(packed=UsedInTheFirstRound), "chains.the_ring_goes_round"),
    ("blk", "packed", with_rings(packed=FlagsBeforeTheRest), "chains.what_is_used_is_complete"),
    ("rng", "packed", with_rings(packed=SkipsOneDescriptor), ROUND),
    (
        "rng",
        "packed",
        with_rings(packed=UsesTheChainsOwnPlace),
        "packed.chains_of_different_lengths_come_back_in_any_order",
    ),
    (
        "rng",
        "packed",
        with_rings(packed=LooksAtAvailOnly),
        "packed.a_descriptor_of_another_round_is_not_available",
    ),
    ("rng", "packed", with_rings(packed=TakesTheFirstId), ROUND),
    (
        "rng",
        "packed",
        with_rings(packed=AlwaysSaysWritten),
        "chains.nothing_is_written_into_a_readable_chain",
    ),
    ("rng", "packed", with_rings(packed=WrapsAtAPowerOfTwo), ROUND),
    (
        "rng",
        "packed",
        with_rings(packed=IgnoresTheDriversFlags),
        "chains.no_interrupt_is_honoured_and_can_be_taken_back",
    ),
    ("rng", "packed-event-order", with_rings(packed=ComparesThePlace), PLACE),
    (
        "rng",
        "packed-event",
        with_rings(packed=ForgetsTheWrapOfEvents),
        "events.every_place_of_the_ring_can_be_waited_for",
    ),
    (
        "rng",
        "packed-indirect",
        with_rings(packed=LooksAtFlagsInTables),
        "indirect.only_write_counts_in_a_packed_table",
    ),
    (
        "blk",
        "split-indirect",
        with_rings(WritableTable),
        "indirect.write_is_ignored_where_a_descriptor_points_at_a_table",
    ),
    ("rng", "split-indirect", with_rings(TablesStandAlone), "indirect.a_chain_may_end_in_a_table"),
    ("rng", "split-indirect", with_rings(TablesAreInSequence), "indirect.a_table_is_followed_by_its_links"),
    (
        "rng",
        "split-indirect",
        with_rings(AnyTableLength),
        "indirect.a_table_of_a_length_that_is_no_multiple_of_16_breaks_the_ring",
    ),
    (
        "rng",
        "split-indirect",
        with_rings(AnyTableLength),
        "indirect.a_table_of_length_zero_breaks_the_ring",
    ),
    (
        "rng",
        "split-indirect",
        with_rings(TablesAsLongAsMemory),
        "indirect.a_table_longer_than_any_queue_breaks_the_ring",
    ),
    ("rng", "split-indirect", with_rings(NestsTables), "indirect.a_table_in_a_table_breaks_the_ring"),
    ("rng", "split-event-order", with_rings(ComparesTheIndex), PLACE),
    (
        "rng",
        "split-event",
        with_rings(LooksAtFlagsToo),
        "events.the_flag_for_no_interrupts_means_nothing_with_an_event_index",
    ),
    (
        "rng",
        "split",
        with_rings(LooksAtUsedEventAlways),
        "events.a_used_event_means_nothing_without_an_event_index",
    ),
    ("rng", "split", with_rings(SetsAvailEventAlways), "chains.the_ring_goes_round"),
    (
        "rng",
        "split-event",
        ArmsTooLate,
        "events.what_comes_while_the_device_falls_asleep_is_found",
    ),
    (
        "rng",
        "packed-event",
        ArmsTooLate,
        "events.what_comes_while_the_device_falls_asleep_is_found",
    ),
    (
        "rng",
        "split-event",
        with_rings(NeverArms),
        "events.a_device_that_does_not_want_kicks_finds_what_comes",
    ),
    ("rng", "split-order", HasNoOrder, "in_order.the_order_lasts_round_after_round"),
    ("blk", "packed-order", HasNoOrder, "in_order.requests_of_all_kinds_come_back_in_order"),
    ("rng", "split-order", with_rings(BatchesStandAtTheEnd), "in_order.buffers_come_back_in_order"),
    ("rng", "split", ForgetsTheKicksUpperHalf, "notifications.a_kick_of_four_bytes_is_heard"),
    (
        "rng",
        "packed",
        TakesOnlyTheNumber,
        "notifications.a_kick_with_what_the_device_gave_for_it_is_heard",
    ),
    ("rng", "split", KeepsItsPlace, RESET_WORK),
    ("rng", "packed", KeepsItsPlace, RESET_WORK),
    ("rng", "split", ServesAfterTheReset, RESET_WORK),
    ("blk", "packed", ResetsAtOnceWithoutAnEnd, "queue_reset.a_queue_that_was_reset_is_as_after_a_reset"),
]


def names(value: object) -> str:
    return value if isinstance(value, str) else getattr(value, "__name__", "")


@pytest.mark.parametrize(("device", "variant", "broken", "name"), MUTANTS, ids=names)
def test_a_broken_device_is_found(device, variant, broken, name):
    options = {"device": broken, "variant": BY_NAME[variant]}
    assert is_found(device, name, options), f"{name} passes"


def test_a_device_that_resets_all_queues_at_once_is_found():
    options = {"device": ResetsAllQueues, "variant": BY_NAME["split"], "queues": 3}
    assert is_found("blk", "queue_reset.the_reset_of_a_queue_leaves_the_others_alone", options)

"""Bugs of split rings."""

from virtio_models.ring import Chain, RingError, Segment
from virtio_models.split import SplitQueue
from virtio_spec import split
from virtio_spec.layout import Cause
from virtio_spec.split import DescriptorFlag
from virtio_spec.virtio import Feature

from .bug import bug, seen


@bug(seen("rng", "chains.one_kick_announces_many"), traps=(1,))
class IndexBeforeElement(SplitQueue):
    """The used index moves before the used element is in memory."""

    def push(self, dma, done, *, merged=False):
        steps = super().push(dma, done, merged=merged)
        index = (self.used_index + len(done)) % 2**16
        dma.write(self.device + 2, index.to_bytes(2, "little"))
        yield
        yield from steps


@bug(seen("rng", "chains.no_interrupt_is_honoured_and_can_be_taken_back"), traps=(12,))
class AlwaysInterrupts(SplitQueue):
    """An interrupt comes although the driver wants none."""

    def wants_interrupt(self, dma):
        return True


@bug(seen("rng", "chains.no_interrupt_is_honoured_and_can_be_taken_back"), traps=(12,))
class RemembersTheFlags(SplitQueue):
    """What the driver wants of interrupts is read once and never again."""

    remembered = None

    def wants_interrupt(self, dma):
        if self.remembered is None:
            self.remembered = super().wants_interrupt(dma)
        return self.remembered


@bug(seen("rng", "split.a_head_outside_the_table_breaks_the_ring"), oddity="head_outside_of_the_table")
class WrapsTheHead(SplitQueue):
    """A head outside of the descriptor table is taken modulo its size."""

    def fetch(self, dma):
        slot = self.driver + split.avail_ring_offset(self.next_avail % self.size)
        head = int.from_bytes(dma.read(slot, 2), "little")
        dma.memory.write(slot, (head % self.size).to_bytes(2, "little"))
        return super().fetch(dma)


@bug(seen("blk", "chains.one_kick_announces_many"))
class ReadsAheadOfTheTable(SplitQueue):
    """A burst of descriptors is read beyond the end of the table."""

    def fetch(self, dma):
        dma.read(self.desc, 16 * self.size + 16)
        return super().fetch(dma)


@bug(seen("rng", "chains.kicks_without_a_reason_are_harmless"), traps=(16,))
class ReadsAheadOfTheIndex(SplitQueue):
    """An entry of the available ring is taken before the index says that it is there."""

    def fetch(self, dma):
        slot = self.driver + split.avail_ring_offset(self.next_avail % self.size)
        head = int.from_bytes(dma.read(slot, 2), "little")
        self.next_avail = (self.next_avail + 1) % 2**16
        return self._walk(dma, head)


@bug(
    seen("rng", "descriptors.a_readable_descriptor_after_a_writable_one_breaks_the_ring"),
    seen("rng", "split.a_loop_of_several_descriptors_breaks_the_ring"),
    seen("rng", "descriptors.a_descriptor_of_length_zero_breaks_the_ring"),
)
class TakesAnyOrder(SplitQueue):
    """Readable behind writable, loops and lengths of 0 are taken as they come."""

    def _walk(self, dma, head):
        chain, number = Chain(head), head
        for _ in range(self.size):
            raw = dma.read(self.desc + 16 * number, 16)
            segment = Segment(int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:12], "little"))
            (chain.writable if raw[12] & 2 else chain.readable).append(segment)
            if not raw[12] & 1:
                break
            number = int.from_bytes(raw[14:16], "little") % self.size
        return chain


@bug(seen("blk", "blk.requests_are_cut_anywhere"), traps=(13,))
class HeaderIsADescriptor(SplitQueue):
    """The first descriptor is taken for the header of a request, however long it is."""

    def gather(self, dma, chain):
        pieces = [dma.read(segment.address, segment.length) for segment in chain.readable]
        return b"".join(piece.ljust(16, b"\0") if n == 0 else piece for n, piece in enumerate(pieces))


@bug(seen("rng", "chains.the_ring_goes_round"))
class SlotIsNotWrapped(SplitQueue):
    """The used ring does not go round."""

    def push(self, dma, done, *, merged=False):
        ((chain, written),) = done
        self.used_index, kept = min(self.used_index, self.size - 1), self.used_index
        element = chain.head.to_bytes(4, "little") + written.to_bytes(4, "little")
        dma.write(self.device + split.used_ring_offset(self.used_index), element)
        yield
        self.used_index = (kept + 1) % 2**16
        dma.write(self.device + 2, self.used_index.to_bytes(2, "little"))


@bug(
    seen("blk", "indirect.write_is_ignored_where_a_descriptor_points_at_a_table", variant="split-indirect"),
    traps=(15,),
)
class WritableTable(SplitQueue):
    """WRITE where a descriptor points at a table is refused, not ignored."""

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


@bug(seen("rng", "indirect.a_chain_may_end_in_a_table", variant="split-indirect"), traps=(14,))
class TablesStandAlone(SplitQueue):
    """A chain must not have a table behind other descriptors."""

    def _entries(self, chain, number, length, *, alone):
        if chain.descriptors > 1:
            raise RingError(Cause.INDIRECT_NESTED, chain.head, number)
        return super()._entries(chain, number, length, alone=alone)


@bug(seen("rng", "indirect.a_table_is_followed_by_its_links", variant="split-indirect"))
class TablesAreInSequence(SplitQueue):
    """Entries of a table are taken one after the other, not by their links."""

    def _walk_table(self, dma, chain, table, entries):
        for number in range(entries):
            descriptor = self._descriptor(dma, table, number)
            write = bool(descriptor.flags & DescriptorFlag.WRITE)
            chain.add(descriptor.addr, descriptor.len, write=write, number=number)
        return chain


@bug(
    seen(
        "rng",
        "indirect.a_table_of_a_length_that_is_no_multiple_of_16_breaks_the_ring",
        variant="split-indirect",
    ),
    seen("rng", "indirect.a_table_of_length_zero_breaks_the_ring", variant="split-indirect"),
)
class AnyTableLength(SplitQueue):
    """A table of 0 bytes, or of no multiple of 16, is rounded to one."""

    def _entries(self, chain, number, length, *, alone):
        return super()._entries(chain, number, max(16, length & ~15), alone=alone)


@bug(seen("rng", "indirect.a_table_longer_than_any_queue_breaks_the_ring", variant="split-indirect"))
class TablesAsLongAsMemory(SplitQueue):
    """A table may be longer than any queue."""

    def _entries(self, chain, number, length, *, alone):
        self.limit = 1 << 32
        return super()._entries(chain, number, length, alone=alone)


@bug(seen("rng", "indirect.a_table_in_a_table_breaks_the_ring", variant="split-indirect"))
class NestsTables(SplitQueue):
    """A table in a table is followed."""

    def _walk_table(self, dma, chain, table, entries):
        first = self._descriptor(dma, table, 0)
        if first.flags & DescriptorFlag.INDIRECT:
            return super()._walk_table(dma, chain, first.addr, first.len // 16)
        return super()._walk_table(dma, chain, table, entries)


@bug(
    seen(
        "rng", "events.an_interrupt_comes_when_its_place_is_used_and_not_again", variant="split-event-order"
    ),
    traps=(11,),
)
class ComparesTheIndex(SplitQueue):
    """An interrupt comes if the used index equals the event, not if it went past it."""

    def wants_interrupt(self, dma):
        if not self.has(Feature.EVENT_IDX):
            return super().wants_interrupt(dma)
        event = int.from_bytes(dma.read(self.driver + 4 + 2 * self.size, 2), "little")
        return event == (self.used_index - 1) % 2**16


@bug(
    seen("rng", "events.the_flag_for_no_interrupts_means_nothing_with_an_event_index", variant="split-event")
)
class LooksAtFlagsToo(SplitQueue):
    """With an event index the flag for no interrupts still counts."""

    def wants_interrupt(self, dma):
        flags = int.from_bytes(dma.read(self.driver, 2), "little")
        return super().wants_interrupt(dma) and not flags & 1


@bug(seen("rng", "events.a_used_event_means_nothing_without_an_event_index"))
class LooksAtUsedEventAlways(SplitQueue):
    """Without an event index used_event still counts."""

    def wants_interrupt(self, dma):
        event = int.from_bytes(dma.read(self.driver + 4 + 2 * self.size, 2), "little")
        told, self._told = self._told, self.used_index
        return super().wants_interrupt(dma) and (event - told) % 2**16 < (self.used_index - told) % 2**16


@bug(seen("rng", "chains.the_ring_goes_round"))
class SetsAvailEventAlways(SplitQueue):
    """Without an event index avail_event is still written."""

    def arm(self, dma):
        dma.write(self.device + 4 + 8 * self.size, self.next_avail.to_bytes(2, "little"))
        return False


@bug(seen("rng", "events.a_device_that_does_not_want_kicks_finds_what_comes", variant="split-event"))
class NeverArms(SplitQueue):
    """avail_event is never written."""

    def arm(self, dma):
        return False


@bug(seen("rng", "in_order.buffers_come_back_in_order", variant="split-order"))
class BatchesStandAtTheEnd(SplitQueue):
    """The element of a batch stands in the place of its last chain, not of its first."""

    def push(self, dma, done, *, merged=False):
        if not merged:
            yield from super().push(dma, done)
            return
        skipped = len(done) - 1
        self.used_index = (self.used_index + skipped) % 2**16
        yield from super().push(dma, done[-1:])
        self._give_back(done[:-1])


@bug(
    seen("rng", "split.a_next_outside_the_table_breaks_the_ring"),
    oddity="next_outside_of_the_descriptor_table",
)
class TakesAnyNext(SplitQueue):
    """A next field outside of the table is taken modulo its size."""

    # Needs the size, and so is no static method as the one that it stands for.
    def _descriptor(self, dma, table, number):  # pyright: ignore[reportIncompatibleMethodOverride]
        descriptor = SplitQueue._descriptor(dma, table, number)
        descriptor.next %= self.size
        return descriptor


@bug(seen("rng", "split.an_available_index_too_far_ahead_breaks_the_ring"), oddity="index_far_ahead")
class BelievesTheIndex(SplitQueue):
    """An available index further ahead than the queue is long is waited with."""

    def fetch(self, dma):
        try:
            return super().fetch(dma)
        except RingError as error:
            if error.cause == Cause.AVAIL_INDEX:
                return None
            raise


@bug(seen("rng", "split.a_loop_of_several_descriptors_breaks_the_ring"), oddity="loop_of_descriptors")
class DropsLoops(SplitQueue):
    """A chain that is a loop is dropped in silence."""

    def _walk(self, dma, head):
        try:
            return super()._walk(dma, head)
        except RingError as error:
            if error.cause == Cause.CHAIN_LOOP:
                return None
            raise

    def _take(self, chain):
        return None if chain is None else super()._take(chain)

"""Bugs of kicks, of several queues, of order, and of the reset of a queue."""

from virtio_models.device import ReferenceDevice, _Held
from virtio_models.kind import Waiting
from virtio_models.split import SplitQueue
from virtio_spec import layout
from virtio_spec.virtio import Feature

from .bug import bug, seen


@bug(seen("rng", "chains.one_kick_announces_many"), traps=(16,))
class TakesOneChainPerKick(ReferenceDevice):
    """A kick is for one chain, however many are available."""

    def _fetch(self, number):
        yield from super()._fetch(number)
        self._kicked.discard(number)


@bug(seen("blk", "queues.the_address_says_which_queue_is_kicked", queues=3))
class KicksByData(ReferenceDevice):
    """What is written says which queue is kicked, not where."""

    def write(self, offset, enable, value):
        kicked = layout.NOTIFY_OFFSET + 4 * (value & 0xFF)
        super().write(kicked if offset >= layout.NOTIFY_OFFSET else offset, enable, value)


@bug(seen("blk", "queues.kicks_of_all_queues_in_one_go_are_all_heard", queues=3))
class RemembersOneKick(ReferenceDevice):
    """A kick makes it forget those of other queues."""

    def write(self, offset, enable, value):
        if offset >= layout.NOTIFY_OFFSET:
            self._kicked.clear()
        super().write(offset, enable, value)


@bug(seen("blk", "queues.a_broken_ring_is_named_and_harms_no_other_queue", queues=3))
class BlamesTheFirstQueue(ReferenceDevice):
    """An error is always the first queue's."""

    def _needs_reset(self, queue, error):
        super()._needs_reset(0, error)


@bug(seen("blk", "queues.no_interrupt_concerns_one_queue", queues=3))
class FirstQueueDecidesOnInterrupts(ReferenceDevice):
    """Whether an interrupt is wanted is read in the first queue's ring."""

    def _serve(self, number):
        queue = self.queues[number]
        queue.wants_interrupt = lambda dma: SplitQueue.wants_interrupt(self.queues[0], dma)
        yield from super()._serve(number)


@bug(seen("blk", "queues.a_queue_left_disabled_among_others_is_left_alone", queues=3))
class WorksOnDisabledQueues(ReferenceDevice):
    """A queue that was kicked works although it is not enabled."""

    def _next_work(self):
        number = min(self._kicked, default=None)
        return super()._next_work() if number is None else self._guarded(number, self._fetch(number))


@bug(seen("blk", "queues.queues_have_sizes_of_their_own", queues=3))
class OneSizeForAllQueues(ReferenceDevice):
    """All queues have the size that was written last."""

    def _set_queue(self, name, value):
        super()._set_queue(name, value)
        for queue in self.queues:
            queue.size = self.queues[self.queue_select].size


@bug(seen("blk", "queues.registers_belong_to_the_selected_queue", queues=3))
class OneSetOfRegisters(ReferenceDevice):
    """queue_select does nothing."""

    queue_select = property(lambda self: 0, lambda self, value: None)


@bug(seen("blk", "queues.all_queues_work_at_once", queues=3))
class MixesUpTheQueues(ReferenceDevice):
    """A chain comes back on another queue."""

    def complete(self, queue, done):
        enabled = [other for other in self.queues if other.enabled]
        yield from super().complete(self._rng.choice(enabled), done)


@bug(seen("blk", "queues.registers_belong_to_the_selected_queue", queues=3))
class ResetsTheFirstQueueOnly(ReferenceDevice):
    """A reset leaves all queues but the first as they were."""

    def _reset(self):
        others = getattr(self, "queues", [])[1:]
        super()._reset()
        self.queues[1 : 1 + len(others)] = others


@bug(
    seen("rng", "events.what_comes_while_the_device_falls_asleep_is_found", variant="split-event"),
    seen("rng", "events.what_comes_while_the_device_falls_asleep_is_found", variant="packed-event"),
)
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


@bug(
    seen("rng", "in_order.the_order_lasts_round_after_round", variant="split-order"),
    seen("blk", "in_order.requests_of_all_kinds_come_back_in_order", variant="packed-order"),
)
class HasNoOrder(ReferenceDevice):
    """IN_ORDER is accepted, and chains come back in any order."""

    def _serve(self, number):
        queue = self.queues[number]
        real, queue.features = queue.features, queue.features & ~(1 << Feature.IN_ORDER)
        try:
            yield from super()._serve(number)
        finally:
            queue.features = real


@bug(seen("rng", "notifications.a_kick_of_four_bytes_is_heard"))
class ForgetsTheKicksUpperHalf(ReferenceDevice):
    """A kick of four bytes is taken for one of two."""

    def _notified(self, queue, enable, value):
        super()._notified(queue, enable & 0b0011, value)


@bug(seen("rng", "notifications.a_kick_with_what_the_device_gave_for_it_is_heard", variant="packed"))
class TakesOnlyTheNumber(ReferenceDevice):
    """A kick counts only if it says its queue's number."""

    def _notified(self, queue, enable, value):
        if value & 0xFFFF == queue:
            self._kicked.add(queue)


@bug(
    seen("rng", "queue_reset.a_queue_is_reset_while_it_works_and_set_up_with_another_size"),
    seen("rng", "queue_reset.a_queue_is_reset_while_it_works_and_set_up_with_another_size", variant="packed"),
    traps=(27,),
)
class KeepsItsPlace(ReferenceDevice):
    """The positions of a queue outlive its reset."""

    def _retired(self, number):
        super()._retired(number)
        self.kept = getattr(self, "kept", {}) | {number: self.queues[number].next_avail}

    def queue_in_use(self, number):
        if number in getattr(self, "kept", {}):
            self.queues[number].next_avail = self.kept.pop(number)
        return super().queue_in_use(number)


@bug(seen("rng", "queue_reset.a_queue_is_reset_while_it_works_and_set_up_with_another_size"), traps=(27,))
class ServesAfterTheReset(ReferenceDevice):
    """What was fetched before the reset of a queue is still served."""

    def _retired(self, number):
        held, work = self._held.get(number, []), self._work
        super()._retired(number)
        self._held[number], self._work = held, work


@bug(seen("blk", "queue_reset.the_reset_of_a_queue_leaves_the_others_alone", queues=3), traps=(27,))
class ResetsAllQueues(ReferenceDevice):
    """The reset of one queue resets all."""

    def _retired(self, number):
        for other in range(len(self.queues)):
            super()._retired(other)


@bug(seen("blk", "queue_reset.a_queue_that_was_reset_is_as_after_a_reset", variant="packed"), traps=(27,))
class ResetsAtOnceWithoutAnEnd(ReferenceDevice):
    """A queue that was reset still reads as enabled."""

    def _read_queue_reset(self, number, by_driver):
        enabled = self.queues[number].enabled
        value = super()._read_queue_reset(number, by_driver)
        self.queues[number].enabled = enabled
        return value

"""The test list finds broken devices: each one here has one well-known mistake, and a case that sees it."""

import pytest
from helpers.mutants import is_found, with_function
from virtio_models.blk import Blk
from virtio_models.device import ReferenceDevice
from virtio_models.disk import Disk
from virtio_models.pci import PciFunction
from virtio_models.ring import Chain, Segment
from virtio_models.rng import Rng
from virtio_models.split import SplitQueue
from virtio_spec import layout, split
from virtio_spec.virtio import DeviceStatus, Feature


def with_queue(queue: type[SplitQueue]) -> type[ReferenceDevice]:
    class Broken(ReferenceDevice):
        split_ring = queue

    return Broken


class IndexBeforeData(ReferenceDevice):
    def complete(self, queue, done):
        yield from queue.push(self.dma, [(chain, len(data)) for chain, data in done])
        for chain, data in done:
            yield from queue.scatter(self.dma, chain, data)


class CountsTheWholeChain(ReferenceDevice):
    def complete(self, queue, done):
        for chain, data in done:
            yield from queue.scatter(self.dma, chain, data)
        whole = [(chain, sum(part.length for part in chain.readable + chain.writable)) for chain, _ in done]
        yield from queue.push(self.dma, whole)


class IndexBeforeElement(SplitQueue):
    def push(self, dma, done, *, merged=False):
        steps = super().push(dma, done, merged=merged)
        index = (self.used_index + len(done)) % 2**16
        dma.write(self.device + 2, index.to_bytes(2, "little"))
        yield
        yield from steps


class AlwaysInterrupts(SplitQueue):
    def wants_interrupt(self, dma):
        return True


class RemembersTheFlags(SplitQueue):
    remembered = None

    def wants_interrupt(self, dma):
        if self.remembered is None:
            self.remembered = super().wants_interrupt(dma)
        return self.remembered


class WrapsTheHead(SplitQueue):
    def fetch(self, dma):
        slot = self.driver + split.avail_ring_offset(self.next_avail % self.size)
        head = int.from_bytes(dma.read(slot, 2), "little")
        dma.memory.write(slot, (head % self.size).to_bytes(2, "little"))
        return super().fetch(dma)


class ReadsAheadOfTheTable(SplitQueue):
    def fetch(self, dma):
        dma.read(self.desc, 16 * self.size + 16)
        return super().fetch(dma)


class ReadsAheadOfTheIndex(SplitQueue):
    def fetch(self, dma):
        slot = self.driver + split.avail_ring_offset(self.next_avail % self.size)
        head = int.from_bytes(dma.read(slot, 2), "little")
        self.next_avail = (self.next_avail + 1) % 2**16
        return self._walk(dma, head)


class TakesAnyOrder(SplitQueue):
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


class HeaderIsADescriptor(SplitQueue):
    def gather(self, dma, chain):
        pieces = [dma.read(segment.address, segment.length) for segment in chain.readable]
        return b"".join(piece.ljust(16, b"\0") if n == 0 else piece for n, piece in enumerate(pieces))


class SlotIsNotWrapped(SplitQueue):
    def push(self, dma, done, *, merged=False):
        ((chain, written),) = done
        self.used_index, kept = min(self.used_index, self.size - 1), self.used_index
        element = chain.head.to_bytes(4, "little") + written.to_bytes(4, "little")
        dma.write(self.device + split.used_ring_offset(self.used_index), element)
        yield
        self.used_index = (kept + 1) % 2**16
        dma.write(self.device + 2, self.used_index.to_bytes(2, "little"))


class AcceptsAnyFeatures(ReferenceDevice):
    def features_acceptable(self):
        return True


class ForgetsHighFeatureWords(ReferenceDevice):
    def features_acceptable(self):
        self.accepts_unknown = False
        return super().features_acceptable()


class OffersMore(ReferenceDevice):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.offered |= 1 << 44


class DoesNotOfferVersion1(ReferenceDevice):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.offered &= ~(1 << Feature.VERSION_1)


class EchoesVectors(ReferenceDevice):
    def _valid_vector(self, value):
        return value


class VectorsStartAtZero(ReferenceDevice):
    def _reset(self):
        super()._reset()
        self.config_vector, self.queue_vectors = 0, [0]


class WorksBeforeDriverOk(ReferenceDevice):
    @property
    def running(self):
        return any(queue.enabled for queue in self.queues) and self.pci.bus_master


class GoesOnAfterReset(ReferenceDevice):
    _leftover = None

    def _set_status(self, value):
        if not value:
            self._leftover = self._work
        super()._set_status(value)

    @property
    def running(self):
        return self._leftover is not None or super().running

    def step(self):
        if self._leftover is not None and next(self._leftover, self) is self:
            self._leftover = None
        return super().step() or self._leftover is not None


class ForgetsOtherHalves(ReferenceDevice):
    def _set_queue(self, name, value):
        if name.endswith("_low"):
            super()._set_queue(name.replace("_low", "_high"), 0)
        super()._set_queue(name, value)


class GenerationStands(ReferenceDevice):
    def config_changed(self):
        self._notify_config()


class MessageBeforeIsr(ReferenceDevice):
    def _notify_config(self):
        self.pci.raise_vector(self.config_vector)


class IsrStays(ReferenceDevice):
    def read(self, offset, enable):
        isr = self.isr
        value = super().read(offset, enable)
        self.isr = isr
        return value


class SaysNothingOfABrokenRing(ReferenceDevice):
    def _needs_reset(self, queue, error):
        self.status |= DeviceStatus.DEVICE_NEEDS_RESET


class ConfigurationNeedsFeaturesOk(ReferenceDevice):
    def read(self, offset, enable):
        hidden = offset >= layout.DEVICE_OFFSET and DeviceStatus.FEATURES_OK not in self.status
        return 0 if hidden else super().read(offset, enable)


class AnySize(ReferenceDevice):
    def _set_queue(self, name, value):
        if name == "queue_size":
            self.queues[self.queue_select].size = value
        else:
            super()._set_queue(name, value)


class MaskedIsLost(PciFunction):
    def raise_vector(self, vector):
        super().raise_vector(vector)
        self._pending.clear()


class MasksAreIgnored(PciFunction):
    def _send_pending(self):
        for entry in range(12, len(self._table), 16):
            self._table[entry] = 0
        super()._send_pending()


class WindowIsStorage(PciFunction):
    def _in_window(self, offset):
        return False


class WindowReadsWithoutEffect(PciFunction):
    def _window_read(self, offset, size):
        isr = self.registers.isr
        value = super()._window_read(offset, size)
        self.registers.isr = isr
        return value


class AnswersWhileDisabled(PciFunction):
    def _decode(self, bar, offset, size):
        pass


class FlrKeepsTheFunction(PciFunction):
    def _function_level_reset(self):
        self.registers.function_reset()


class UsesOneVectorForAllQueues(PciFunction):
    def raise_vector(self, vector):
        super().raise_vector(min(vector, 1))


class UnmasksTogether(PciFunction):
    def bar_write(self, bar, offset, size, value):
        super().bar_write(bar, offset, size, value)
        if bar == layout.MSIX_BAR and offset % 16 == 12:
            for entry in range(12, len(self._table), 16):
                self._table[entry] = value & 1


class KicksByData(ReferenceDevice):
    def write(self, offset, enable, value):
        kicked = layout.NOTIFY_OFFSET + 4 * (value & 0xFF)
        super().write(kicked if offset >= layout.NOTIFY_OFFSET else offset, enable, value)


class RemembersOneKick(ReferenceDevice):
    def write(self, offset, enable, value):
        if offset >= layout.NOTIFY_OFFSET:
            self._kicked.clear()
        super().write(offset, enable, value)


class BlamesTheFirstQueue(ReferenceDevice):
    def _needs_reset(self, queue, error):
        super()._needs_reset(0, error)


class FirstQueueDecidesOnInterrupts(ReferenceDevice):
    def _serve(self, number):
        queue = self.queues[number]
        queue.wants_interrupt = lambda dma: SplitQueue.wants_interrupt(self.queues[0], dma)
        yield from super()._serve(number)


class WorksOnDisabledQueues(ReferenceDevice):
    def _next_work(self):
        number = min(self._kicked, default=None)
        return super()._next_work() if number is None else self._guarded(number, self._fetch(number))


class OneSizeForAllQueues(ReferenceDevice):
    def _set_queue(self, name, value):
        super()._set_queue(name, value)
        for queue in self.queues:
            queue.size = self.queues[self.queue_select].size


class OneSetOfRegisters(ReferenceDevice):
    queue_select = property(lambda self: 0, lambda self, value: None)


class MixesUpTheQueues(ReferenceDevice):
    def complete(self, queue, done):
        enabled = [other for other in self.queues if other.enabled]
        yield from super().complete(self._rng.choice(enabled), done)


class ResetsTheFirstQueueOnly(ReferenceDevice):
    def _reset(self):
        others = getattr(self, "queues", [])[1:]
        super()._reset()
        self.queues[1 : 1 + len(others)] = others


class CountsNoQueues(Blk):
    def config(self):
        content = super().config()
        return content[:34] + bytes(2) + content[36:]


class IgnoresReadOnly(Blk):
    def write(self, sector, payload):
        self.read_only = False
        super().write(sector, payload)


class AnswersInADifferentLength(Blk):
    def handle(self, readable, room):
        answer = super().handle(readable, room)
        return answer if answer[-1:] == b"\0" else answer[-1:]


class WrapsAround(Blk):
    def read(self, sector, length):
        return super().read(sector % self.disk.capacity, length)


class EverythingSucceeds(Blk):
    def _execute(self, readable, room):
        _, data = super()._execute(readable, room)
        return 0, data


class NeverFlushes(Disk):
    def flush(self):
        self.counts["flush"] += 1


class NeedsNoTests(Rng):
    def handle(self, readable, room):
        return bytes(self.source.next_byte() for _ in range(room))


class RepeatsItself(Rng):
    def handle(self, readable, room):
        return (super().handle(readable, 32) or b"")[:4] * (room // 4 + 1) if room else b""


class GivesNothing(Rng):
    def handle(self, readable, room):
        return b""


MUTANTS = [
    ("rng", {"device": IndexBeforeData}, "chains.what_is_used_is_complete"),
    ("blk", {"device": IndexBeforeData}, "blk.a_read_returns_what_is_on_the_disk"),
    ("blk", {"device": CountsTheWholeChain}, "chains.what_is_used_is_complete"),
    ("rng", {"device": CountsTheWholeChain}, "chains.nothing_is_written_into_a_readable_chain"),
    ("rng", {"device": with_queue(IndexBeforeElement)}, "chains.one_kick_announces_many"),
    (
        "rng",
        {"device": with_queue(AlwaysInterrupts)},
        "chains.no_interrupt_is_honoured_and_can_be_taken_back",
    ),
    (
        "rng",
        {"device": with_queue(RemembersTheFlags)},
        "chains.no_interrupt_is_honoured_and_can_be_taken_back",
    ),
    ("rng", {"device": with_queue(WrapsTheHead)}, "split.a_head_outside_the_table_breaks_the_ring"),
    ("blk", {"device": with_queue(ReadsAheadOfTheTable)}, "chains.one_kick_announces_many"),
    ("rng", {"device": with_queue(ReadsAheadOfTheIndex)}, "chains.kicks_without_a_reason_are_harmless"),
    (
        "rng",
        {"device": with_queue(TakesAnyOrder)},
        "descriptors.a_readable_descriptor_after_a_writable_one_breaks_the_ring",
    ),
    ("rng", {"device": with_queue(TakesAnyOrder)}, "split.a_loop_of_several_descriptors_breaks_the_ring"),
    ("rng", {"device": with_queue(TakesAnyOrder)}, "descriptors.a_descriptor_of_length_zero_breaks_the_ring"),
    ("blk", {"device": with_queue(HeaderIsADescriptor)}, "blk.requests_are_cut_anywhere"),
    ("rng", {"device": with_queue(SlotIsNotWrapped)}, "chains.the_ring_goes_round"),
    ("rng", {"device": AcceptsAnyFeatures}, "common.without_version_1_features_ok_is_refused"),
    ("rng", {"device": AcceptsAnyFeatures}, "common.a_feature_not_offered_is_refused"),
    ("rng", {"device": ForgetsHighFeatureWords}, "common.a_feature_beyond_all_words_is_refused"),
    ("rng", {"device": OffersMore}, "common.the_offer_is_version_1_and_nothing_unknown"),
    ("rng", {"device": DoesNotOfferVersion1}, "common.the_offer_is_version_1_and_nothing_unknown"),
    ("rng", {"device": EchoesVectors}, "msix.vectors_read_back_and_those_that_do_not_exist_as_none"),
    ("rng", {"device": VectorsStartAtZero}, "msix.a_reset_takes_all_vectors_away"),
    ("rng", {"device": WorksBeforeDriverOk}, "common.no_buffer_is_used_before_driver_ok"),
    ("rng", {"device": GoesOnAfterReset}, "common.nothing_follows_once_a_reset_has_ended"),
    ("rng", {"device": ForgetsOtherHalves}, "common.halves_of_64_bits_are_independent"),
    ("blk", {"device": GenerationStands}, "blk.what_was_read_before_a_change_has_another_generation"),
    ("blk", {"device": MessageBeforeIsr}, "blk.a_change_of_the_capacity_is_told"),
    ("rng", {"device": IsrStays}, "pci.without_msix_the_isr_tells_of_used_buffers"),
    ("rng", {"device": SaysNothingOfABrokenRing}, "split.a_head_outside_the_table_breaks_the_ring"),
    (
        "blk",
        {"device": ConfigurationNeedsFeaturesOk},
        "common.the_configuration_is_readable_before_any_negotiation",
    ),
    ("rng", {"device": AnySize}, "common.only_sizes_that_work_are_taken"),
    ("rng", {"device": with_function(MaskedIsLost)}, "msix.a_masked_vector_is_pending_until_it_is_unmasked"),
    ("rng", {"device": with_function(MasksAreIgnored)}, "msix.what_comes_while_masked_is_one_message"),
    ("rng", {"device": with_function(WindowIsStorage)}, "pci.the_window_reads_and_writes_the_bar"),
    ("rng", {"device": with_function(WindowIsStorage)}, "pci.a_kick_through_the_window_is_a_kick"),
    (
        "rng",
        {"device": with_function(WindowReadsWithoutEffect)},
        "pci.reading_the_isr_through_the_window_clears_it",
    ),
    ("rng", {"device": with_function(AnswersWhileDisabled)}, "pci.a_disabled_bar_is_unsupported"),
    (
        "rng",
        {"device": with_function(AnswersWhileDisabled)},
        "pci.asleep_it_answers_configuration_only_and_keeps_its_state",
    ),
    (
        "rng",
        {"device": with_function(FlrKeepsTheFunction)},
        "pci.a_function_level_reset_disables_the_function",
    ),
    ("blk", {"blk": IgnoresReadOnly, "read_only": True}, "blk.a_read_only_disk_refuses_writes"),
    ("blk", {"blk": AnswersInADifferentLength}, "blk.beyond_the_end_is_an_error"),
    ("blk", {"blk": WrapsAround}, "blk.beyond_the_end_is_an_error"),
    ("blk", {"blk": EverythingSucceeds}, "blk.other_requests_are_unsupported"),
    ("blk", {"blk": EverythingSucceeds}, "blk.a_fault_of_the_disk_is_an_error"),
    ("blk", {"disk": NeverFlushes}, "blk.a_flush_makes_writes_durable"),
    ("blk", {"disk": NeverFlushes}, "blk.without_flush_every_write_is_durable"),
    *(
        ("blk", {"queues": 3} | broken, f"queues.{name}")
        for broken, name in (
            ({"blk": CountsNoQueues}, "the_number_of_queues_is_told"),
            ({"device": with_function(UsesOneVectorForAllQueues)}, "each_queue_works_alone"),
            ({"device": with_function(UsesOneVectorForAllQueues)}, "all_queues_work_at_once"),
            ({"device": with_function(UsesOneVectorForAllQueues)}, "any_queue_can_use_any_vector_or_none"),
            ({"device": with_function(UnmasksTogether)}, "a_mask_concerns_one_queue"),
            ({"device": MixesUpTheQueues}, "all_queues_work_at_once"),
            ({"device": RemembersOneKick}, "kicks_of_all_queues_in_one_go_are_all_heard"),
            ({"device": KicksByData}, "the_address_says_which_queue_is_kicked"),
            ({"device": WorksOnDisabledQueues}, "a_queue_left_disabled_among_others_is_left_alone"),
            ({"device": OneSizeForAllQueues}, "queues_have_sizes_of_their_own"),
            ({"device": BlamesTheFirstQueue}, "a_broken_ring_is_named_and_harms_no_other_queue"),
            ({"device": FirstQueueDecidesOnInterrupts}, "no_interrupt_concerns_one_queue"),
            ({"device": IsrStays}, "without_msix_the_isr_tells_of_every_queue"),
            ({"device": OneSetOfRegisters}, "registers_belong_to_the_selected_queue"),
            ({"device": ResetsTheFirstQueueOnly}, "registers_belong_to_the_selected_queue"),
            ({"device": GoesOnAfterReset}, "a_reset_ends_the_work_of_all_queues"),
        )
    ),
    ("rng", {"rng": NeedsNoTests}, "rng.a_stuck_source_gives_nothing"),
    ("rng", {"rng": NeedsNoTests}, "rng.a_biased_source_gives_nothing"),
    ("rng", {"rng": RepeatsItself}, "rng.bytes_are_those_of_the_noise_source"),
    ("rng", {"rng": GivesNothing}, "rng.a_buffer_of_any_length_gets_bytes"),
]


def names(value: object) -> str:
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize(("device", "broken", "name"), MUTANTS, ids=names)
def test_a_broken_device_is_found(device, broken, name):
    assert is_found(device, name, broken), f"{name} passes"

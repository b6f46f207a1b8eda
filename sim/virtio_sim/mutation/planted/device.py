"""Bugs of the device core: status, features, configuration, reset, interrupts, errors."""

from virtio_models.device import ReferenceDevice
from virtio_models.ring import RingError
from virtio_spec import layout
from virtio_spec.layout import Cause
from virtio_spec.virtio import DeviceStatus, Feature

from .bug import bug, seen


@bug(
    seen("rng", "chains.what_is_used_is_complete"),
    seen("blk", "blk.a_read_returns_what_is_on_the_disk"),
    traps=(1,),
)
class IndexBeforeData(ReferenceDevice):
    """The used ring tells of chains before their data is in memory."""

    def complete(self, queue, done):
        yield from queue.push(self.dma, [(chain, len(data)) for chain, data in done])
        for chain, data in done:
            yield from queue.scatter(self.dma, chain, data)


@bug(
    seen("blk", "chains.what_is_used_is_complete"),
    seen("rng", "chains.nothing_is_written_into_a_readable_chain"),
    traps=(17,),
)
class CountsTheWholeChain(ReferenceDevice):
    """The length of a used element is that of the chain, not what was written."""

    def complete(self, queue, done):
        for chain, data in done:
            yield from queue.scatter(self.dma, chain, data)
        whole = [(chain, sum(part.length for part in chain.readable + chain.writable)) for chain, _ in done]
        yield from queue.push(self.dma, whole)


@bug(
    seen("rng", "common.without_version_1_features_ok_is_refused"),
    seen("rng", "common.a_feature_not_offered_is_refused"),
    traps=(10,),
)
class AcceptsAnyFeatures(ReferenceDevice):
    """FEATURES_OK stays set whatever the driver chose."""

    def features_acceptable(self):
        return True


@bug(seen("rng", "common.a_feature_beyond_all_words_is_refused"), traps=(10,))
class ForgetsHighFeatureWords(ReferenceDevice):
    """Features beyond those that it knows are forgotten, not refused."""

    def features_acceptable(self):
        self.accepts_unknown = False
        return super().features_acceptable()


@bug(seen("rng", "common.the_offer_is_version_1_and_nothing_unknown"))
class OffersMore(ReferenceDevice):
    """A feature without a meaning is offered."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.offered |= 1 << 44


@bug(seen("rng", "common.the_offer_is_version_1_and_nothing_unknown"))
class DoesNotOfferVersion1(ReferenceDevice):
    """VIRTIO_F_VERSION_1 is not offered."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.offered &= ~(1 << Feature.VERSION_1)


@bug(seen("rng", "msix.vectors_read_back_and_those_that_do_not_exist_as_none"), traps=(18,))
class EchoesVectors(ReferenceDevice):
    """A vector that does not exist reads back as it was written."""

    def _valid_vector(self, value):
        return value


@bug(seen("rng", "msix.a_reset_takes_all_vectors_away"), traps=(19,))
class VectorsStartAtZero(ReferenceDevice):
    """After a reset vectors are 0, not NO_VECTOR."""

    def _reset(self):
        super()._reset()
        self.config_vector, self.queue_vectors = 0, [0]


@bug(seen("rng", "common.no_buffer_is_used_before_driver_ok"), traps=(8,))
class WorksBeforeDriverOk(ReferenceDevice):
    """Buffers are used as soon as a queue is enabled."""

    @property
    def running(self):
        return any(queue.enabled for queue in self.queues) and self.pci.bus_master


@bug(
    seen("rng", "common.nothing_follows_once_a_reset_has_ended"),
    seen("blk", "queues.a_reset_ends_the_work_of_all_queues", queues=3),
    traps=(6,),
)
class GoesOnAfterReset(ReferenceDevice):
    """Work that was under way goes on when status reads 0."""

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


@bug(seen("rng", "common.a_reset_clears_the_registers"), traps=(7,))
class ResetShowsTooEarly(ReferenceDevice):
    """Status reads 0 before the reset is finished, and what is written until then is lost."""

    def _read_status(self, by_driver):
        unfinished = self._resetting
        status = super()._read_status(by_driver)
        return DeviceStatus(0) if unfinished else status


@bug(seen("rng", "common.halves_of_64_bits_are_independent"), traps=(22,))
class ForgetsOtherHalves(ReferenceDevice):
    """Writing the lower half of an address clears the upper one."""

    def _set_queue(self, name, value):
        if name.endswith("_low"):
            super()._set_queue(name.replace("_low", "_high"), 0)
        super()._set_queue(name, value)


@bug(seen("blk", "blk.what_was_read_before_a_change_has_another_generation"), traps=(5,))
class GenerationStands(ReferenceDevice):
    """The configuration changes, its generation does not."""

    def config_changed(self):
        self._notify_config()


@bug(seen("blk", "blk.a_change_of_the_capacity_is_told"), traps=(2,))
class MessageBeforeIsr(ReferenceDevice):
    """The message of a configuration change comes, and the ISR does not say why."""

    def _notify_config(self):
        self.pci.raise_vector(self.config_vector)


@bug(
    seen("rng", "pci.without_msix_the_isr_tells_of_used_buffers"),
    seen("blk", "queues.without_msix_the_isr_tells_of_every_queue", queues=3),
    traps=(3,),
)
class IsrStays(ReferenceDevice):
    """Reading the ISR does not clear it."""

    def read(self, offset, enable):
        isr = self.isr
        value = super().read(offset, enable)
        self.isr = isr
        return value


@bug(seen("rng", "split.a_head_outside_the_table_breaks_the_ring"), oddity="descriptor_of_length_zero")
class SaysNothingOfABrokenRing(ReferenceDevice):
    """DEVICE_NEEDS_RESET is set without an interrupt or a cause."""

    def _needs_reset(self, queue, error):
        self.status |= DeviceStatus.DEVICE_NEEDS_RESET


@bug(seen("blk", "common.the_configuration_is_readable_before_any_negotiation"), traps=(26,))
class ConfigurationNeedsFeaturesOk(ReferenceDevice):
    """The device configuration reads 0 before FEATURES_OK."""

    def read(self, offset, enable):
        hidden = offset >= layout.DEVICE_OFFSET and DeviceStatus.FEATURES_OK not in self.status
        return 0 if hidden else super().read(offset, enable)


@bug(seen("rng", "common.only_sizes_that_work_are_taken"))
class AnySize(ReferenceDevice):
    """Any size of a queue is taken."""

    def _set_queue(self, name, value):
        if name == "queue_size":
            self.queues[self.queue_select].size = value
        else:
            super()._set_queue(name, value)


@bug(seen("rng", "suspend.a_device_that_is_not_initialised_is_not_suspended"))
class SuspendsAtOnce(ReferenceDevice):
    """SUSPEND is set in a device that is not initialised."""

    def _set_status(self, value):
        super()._set_status(value)
        if value and DeviceStatus.SUSPEND in DeviceStatus(value):
            self.status |= DeviceStatus.SUSPEND


@bug(seen("rng", "suspend.a_device_that_is_not_initialised_is_not_suspended"))
class SuspendEndsTheInitialisation(ReferenceDevice):
    """SUSPEND in a device that is not initialised resets it."""

    def _set_status(self, value):
        super()._set_status(0 if DeviceStatus.SUSPEND in DeviceStatus(value) else value)


@bug(seen("rng", "pci.virtual_functions_are_offered_only_where_they_can_be"))
class OffersVirtualFunctions(ReferenceDevice):
    """VIRTIO_F_SR_IOV is offered by a function that has no such capability."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.offered |= 1 << Feature.SR_IOV


@bug(
    seen("rng", "descriptors.a_readable_descriptor_after_a_writable_one_breaks_the_ring"),
    oddity="readable_after_writable",
)
class StopsTheQueueOnly(ReferenceDevice):
    """An error stops its queue, and the device does not say that it needs a reset."""

    def _needs_reset(self, queue, error):
        self._kicked.discard(queue)


@bug(seen("rng", "stopped.a_chain_in_flight_does_not_come_back_from_a_broken_ring"), oddity="more_than_4_gib")
class GivesEverythingBack(ReferenceDevice):
    """After an error chains in flight come back with what is in their buffers."""

    def _guarded(self, number, work):
        try:
            yield from work
        except RingError as error:
            for other, held in self._held.items():
                done, held[:] = [(entry.chain, entry.chain.room) for entry in held], []
                yield from self.queues[other].push(self.dma, done)
            self._needs_reset(number, error)


@bug(seen("rng", "descriptors.a_descriptor_of_length_zero_breaks_the_ring"), oddity="table_without_memory")
class RemembersOverAReset(ReferenceDevice):
    """After an error a device does not work any more, reset or not."""

    def _reset(self):
        cause = getattr(self, "cause", Cause.NONE)
        super()._reset()
        self.cause = cause

    @property
    def running(self):
        return super().running and self.cause == Cause.NONE

"""Bugs of the legacy interface's rules, and of transitional devices."""

from virtio_models.blk import Blk
from virtio_models.device import ReferenceDevice
from virtio_spec import layout
from virtio_spec.blk import BlkFeature, BlkReqType
from virtio_spec.pci import ConfigOffset
from virtio_spec.virtio import DeviceStatus, Feature
from virtio_spec.virtio_pci import Interface, IsrStatus

from .bug import bug, seen


@bug(seen("rng", "legacy.the_ids_are_those_of_a_transitional_device", interface=Interface.LEGACY))
class HasRevision1(ReferenceDevice):
    """The revision is not 0."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.pci.config.put(ConfigOffset.REVISION_ID, 1, 1)


@bug(
    seen(
        "rng",
        "legacy.any_layout_is_offered_and_what_belongs_to_no_legacy_device_is_not",
        interface=Interface.LEGACY,
    )
)
class OffersNoAnyLayout(ReferenceDevice):
    """VIRTIO_F_ANY_LAYOUT is not offered on the legacy interface."""

    @property
    def legacy_offered(self):
        return super().legacy_offered & ~(1 << Feature.ANY_LAYOUT)


@bug(
    seen(
        "blk",
        "legacy.any_layout_is_offered_and_what_belongs_to_no_legacy_device_is_not",
        interface=Interface.LEGACY,
    )
)
class OffersAllThatTheListNames(ReferenceDevice):
    """A reserved bit is offered on the legacy interface."""

    @property
    def legacy_offered(self):
        return super().legacy_offered | 1 << 30


@bug(seen("blk", "legacy.what_is_not_offered_does_not_count", interface=Interface.LEGACY))
class AcceptsWhatItDoesNotOffer(ReferenceDevice):
    """On the legacy interface features count although they were not offered."""

    def _legacy_set(self, name, value):
        super()._legacy_set(name, value)
        if name == "driver_features":
            self.accepted = value


@bug(seen("rng", "legacy.there_is_no_features_ok", interface=Interface.LEGACY))
class HasFeaturesOk(ReferenceDevice):
    """FEATURES_OK can be read on the legacy interface."""

    def _set_status(self, value):
        super()._set_status(value)
        self.kept = value & DeviceStatus.FEATURES_OK

    def _legacy_get(self, name):
        kept = getattr(self, "kept", 0) if name == "device_status" else 0
        return super()._legacy_get(name) | kept


@bug(seen("rng", "legacy.there_is_no_features_ok", interface=Interface.LEGACY), traps=(9,))
class DriverOkNeedsFeaturesOk(ReferenceDevice):
    """On the legacy interface DRIVER_OK is not taken."""

    def _set_status(self, value):
        super()._set_status(value & ~DeviceStatus.DRIVER_OK if self.legacy else value)


@bug(
    seen("blk", "legacy.buffers_are_used_before_driver_ok", interface=Interface.LEGACY),
    seen(
        "rng", "legacy.buffers_are_used_although_the_driver_says_nothing_at_all", interface=Interface.LEGACY
    ),
    seen(
        "rng",
        "transitional.the_interface_in_use_decides_when_buffers_are_used",
        interface=Interface.TRANSITIONAL,
        transport="legacy",
    ),
    traps=(9,),
)
class WaitsForDriverOk(ReferenceDevice):
    """On the legacy interface buffers wait for DRIVER_OK."""

    @property
    def running(self):
        return super().running and DeviceStatus.DRIVER_OK in self.status


@bug(
    seen(
        "rng",
        "transitional.the_interface_in_use_decides_when_buffers_are_used",
        interface=Interface.TRANSITIONAL,
        transport="legacy",
    ),
    traps=(8,),
)
class NeverWaits(ReferenceDevice):
    """On the modern interface buffers are used before DRIVER_OK, as on the legacy one."""

    @property
    def running(self):
        return super().running or (not self._resetting and bool(self._kicked) and self.queues[0].enabled)


@bug(seen("rng", "legacy.a_device_that_was_given_up_uses_no_buffers", interface=Interface.LEGACY))
class ServesWhoGaveUp(ReferenceDevice):
    """On the legacy interface buffers are used after FAILED."""

    @property
    def running(self):
        return super().running or (self.legacy and DeviceStatus.FAILED in self.status)


@bug(seen("blk", "legacy.changes_are_told_only_from_driver_ok_on", interface=Interface.LEGACY))
class TellsOfChangesAtAnyTime(ReferenceDevice):
    """Configuration changes interrupt before DRIVER_OK."""

    def _notify_config(self):
        self.isr |= IsrStatus.CONFIG
        self.pci.raise_vector(self.config_vector)


@bug(seen("blk", "legacy.flush_out_is_a_flush", interface=Interface.LEGACY))
class KnowsNoFlushOut(Blk):
    """The legacy flush request is unsupported."""

    def _execute(self, readable, room):
        if readable[:4] == BlkReqType.FLUSH_OUT.to_bytes(4, "little"):
            return 2, b""
        return super()._execute(readable, room)


@bug(
    seen("blk", "legacy.writes_are_durable_until_driver_ok_whatever_was_written", interface=Interface.LEGACY)
)
class CachesByFeature(Blk):
    """Writes are durable only without VIRTIO_BLK_F_FLUSH."""

    def write(self, sector, payload):
        self.disk.write(sector, payload)
        if not self.accepted >> BlkFeature.FLUSH & 1:
            self.disk.flush()


@bug(
    seen(
        "rng",
        "transitional.what_the_other_interface_writes_is_ignored_while_the_legacy_one_is_in_use",
        interface=Interface.TRANSITIONAL,
        transport="legacy",
    ),
    seen(
        "blk",
        "transitional.what_the_other_interface_writes_is_ignored_while_the_modern_one_is_in_use",
        interface=Interface.TRANSITIONAL,
        transport="legacy",
    ),
)
class BothInterfacesWrite(ReferenceDevice):
    """Both interfaces of a transitional device work at once."""

    def _choose(self, side):
        super()._choose(side)
        return not self._resetting


@bug(
    seen(
        "rng",
        "transitional.high_features_are_void_after_a_change_of_mind",
        interface=Interface.TRANSITIONAL,
        transport="legacy",
    ),
    traps=(25,),
)
class TheChoiceStands(ReferenceDevice):
    """The choice of an interface outlives a reset."""

    def _reset(self):
        chosen = getattr(self, "in_use", None)
        super()._reset()
        self.in_use = chosen or self.in_use


@bug(
    seen(
        "rng",
        "transitional.both_interfaces_can_reset_the_device_and_see_its_state",
        interface=Interface.TRANSITIONAL,
        transport="legacy",
    )
)
class OnlyTheUserCanReset(ReferenceDevice):
    """Only the interface in use can reset the device."""

    side = None

    def legacy_write(self, offset, enable, value):
        if offset != 16 or self.in_use is not Interface.MODERN:
            super().legacy_write(offset, enable, value)


@bug(
    seen(
        "rng",
        "transitional.the_first_write_after_a_reset_chooses_the_interface",
        interface=Interface.TRANSITIONAL,
        transport="legacy",
    )
)
class AKickChoosesNothing(ReferenceDevice):
    """A kick does not choose the interface."""

    def write(self, offset, enable, value):
        before = self.in_use
        super().write(offset, enable, value)
        if offset >= layout.NOTIFY_OFFSET:
            self.in_use = before


@bug(
    seen(
        "rng",
        "transitional.high_features_are_void_after_a_change_of_mind",
        interface=Interface.TRANSITIONAL,
        transport="legacy",
    ),
    traps=(25,),
)
class KeepsHighFeatures(ReferenceDevice):
    """Features of the modern interface are in force on the legacy one."""

    kept = 0

    def _reset(self):
        self.kept |= getattr(self, "accepted", 0) >> 32 << 32
        super()._reset()
        self.accepted = self.kept

"""The test list finds broken devices: the legacy interface, INTx, reads in pieces, and vmmci."""

import pytest
from helpers.mutants import is_found, with_function
from virtio_models.blk import Blk
from virtio_models.device import ReferenceDevice
from virtio_models.legacy import HEADER, VECTORS
from virtio_models.pci import PciFunction
from virtio_models.snapshots import Snapshots, _Group
from virtio_models.vmd import Vmd
from virtio_models.vmmci import Vmmci
from virtio_spec import layout, split
from virtio_spec.blk import BlkFeature, BlkReqType
from virtio_spec.pci import Command, ConfigOffset
from virtio_spec.virtio import DeviceStatus, Feature
from virtio_spec.virtio_pci import Interface, IsrStatus
from virtio_spec.vmmci import VmmciAnswer, VmmciCommand, VmmciEvent

TRANSITIONAL = {"interface": Interface.TRANSITIONAL, "transport": "legacy"}
LEGACY = {"interface": Interface.LEGACY}
HALF_WAY = "config_reads.a_read_that_stops_half_way_spoils_none_after_it"
WHOLE = "config_reads.a_field_is_whole_in_every_width_and_order"
MOVES = "legacy_header.msix_moves_the_configuration_at_once"
INTX = {"interface": Interface.MODERN}


# -- the rules of the legacy interface -----------------------------------------------------------------


class HasRevision1(ReferenceDevice):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.pci.config.put(ConfigOffset.REVISION_ID, 1, 1)


class OffersNoAnyLayout(ReferenceDevice):
    @property
    def legacy_offered(self):
        return super().legacy_offered & ~(1 << Feature.ANY_LAYOUT)


class OffersAllThatTheListNames(ReferenceDevice):
    @property
    def legacy_offered(self):
        return super().legacy_offered | 1 << 30


class AcceptsWhatItDoesNotOffer(ReferenceDevice):
    def _legacy_set(self, name, value):
        super()._legacy_set(name, value)
        if name == "driver_features":
            self.accepted = value


class HasFeaturesOk(ReferenceDevice):
    def _set_status(self, value):
        super()._set_status(value)
        self.kept = value & DeviceStatus.FEATURES_OK

    def _legacy_get(self, name):
        kept = getattr(self, "kept", 0) if name == "device_status" else 0
        return super()._legacy_get(name) | kept


class DriverOkNeedsFeaturesOk(ReferenceDevice):
    def _set_status(self, value):
        super()._set_status(value & ~DeviceStatus.DRIVER_OK if self.legacy else value)


class WaitsForDriverOk(ReferenceDevice):
    @property
    def running(self):
        return super().running and DeviceStatus.DRIVER_OK in self.status


class NeverWaits(ReferenceDevice):
    @property
    def running(self):
        return super().running or (not self._resetting and bool(self._kicked) and self.queues[0].enabled)


class ServesWhoGaveUp(ReferenceDevice):
    @property
    def running(self):
        return super().running or (self.legacy and DeviceStatus.FAILED in self.status)


class TellsOfChangesAtAnyTime(ReferenceDevice):
    def _notify_config(self):
        self.isr |= IsrStatus.CONFIG
        self.pci.raise_vector(self.config_vector)


class KnowsNoFlushOut(Blk):
    def _execute(self, readable, room):
        if readable[:4] == BlkReqType.FLUSH_OUT.to_bytes(4, "little"):
            return 2, b""
        return super()._execute(readable, room)


class CachesByFeature(Blk):
    def write(self, sector, payload):
        self.disk.write(sector, payload)
        if not self.accepted >> BlkFeature.FLUSH & 1:
            self.disk.flush()


# -- registers -----------------------------------------------------------------------------------------


class ConfigurationStandsStill(ReferenceDevice):
    def _legacy_layout(self):
        return HEADER, 20


class VectorsAreAlwaysThere(ReferenceDevice):
    def _legacy_layout(self):
        return HEADER + VECTORS, 24


class ConfigurationMovesAtTheReset(ReferenceDevice):
    moved = False

    def _reset(self):
        super()._reset()
        self.moved = self.pci.msix_enabled

    def _legacy_layout(self):
        return (HEADER + VECTORS, 24) if self.moved else (HEADER, 20)


class TakesPartsOfRegisters(ReferenceDevice):
    def legacy_write(self, offset, enable, value):
        if offset < 18 and enable:
            old = sum(
                self._legacy_get(name) << 8 * (start - offset)
                for name, start, _ in HEADER
                if offset <= start < offset + 4 and name != "device_status"
            )
            mask = sum(0xFF << 8 * lane for lane in range(4) if enable >> lane & 1)
            whole = 0xF if enable & 0b1100 and offset != 16 else enable | 0b11
            super().legacy_write(offset, whole if offset in (12, 16) else 0xF, old & ~mask | value & mask)
        else:
            super().legacy_write(offset, enable, value)


class AnyReadOfTheDwordClearsTheIsr(ReferenceDevice):
    def legacy_read(self, offset, enable):
        return super().legacy_read(offset, 0xF if offset == 16 else enable)


class ShowsTheLastNotification(ReferenceDevice):
    last = 0

    def _legacy_get(self, name):
        return self.last if name == "queue_notify" else super()._legacy_get(name)

    def _legacy_set(self, name, value):
        self.last = value if name == "queue_notify" else self.last
        super()._legacy_set(name, value)


class HasMemoryBehindTheStructures(ReferenceDevice):
    def legacy_read(self, offset, enable):
        kept = self.__dict__.setdefault("memory", {})
        return kept.get(offset) or super().legacy_read(offset, enable)

    def legacy_write(self, offset, enable, value):
        super().legacy_write(offset, enable, value)
        if 0x60 <= offset < layout.LEGACY_DIAGNOSTICS_OFFSET:
            self.__dict__.setdefault("memory", {})[offset] = value


class SizesCanBeWritten(ReferenceDevice):
    size = None

    def legacy_write(self, offset, enable, value):
        super().legacy_write(offset, enable, value)
        if offset == 12 and enable & 0b11:
            self.size = value & 0xFFFF

    def _legacy_get(self, name):
        return self.size if name == "queue_size" and self.size else super()._legacy_get(name)


class QueuesCanBeMoved(ReferenceDevice):
    def _set_queue_address(self, number, page):
        if page:
            self.queues[number].enabled = False
        super()._set_queue_address(number, page)


class QueuesCannotBeTakenBack(ReferenceDevice):
    def _set_queue_address(self, number, page):
        if page:
            super()._set_queue_address(number, page)


class UsedRingFollowsAtOnce(ReferenceDevice):
    def _set_queue_address(self, number, page):
        super()._set_queue_address(number, page)
        queue = self.queues[number]
        if queue.enabled:
            queue.device = (queue.driver + split.avail_size(queue.size) + 3) & ~3


class PagesOf1KiB(ReferenceDevice):
    def _set_queue_address(self, number, page):
        super()._set_queue_address(number, page)
        queue = self.queues[number]
        queue.desc, queue.driver, queue.device = queue.desc // 4, queue.driver // 4, queue.device // 4

    def _legacy_get(self, name):
        value = super()._legacy_get(name)
        return value * 4 if name == "queue_address" else value


class QueueNumbersHave15Bits(ReferenceDevice):
    def _legacy_get(self, name):
        beyond = name == "queue_size" and self.legacy_queue_select >= 0x8000
        return self.queue_size if beyond else super()._legacy_get(name)


class ResetsTakeTheirTime(ReferenceDevice):
    def _wait(self):
        if self._resetting:
            self._resetting -= 1
            if not self._resetting:
                self._finish_reset()


# -- a transitional device -----------------------------------------------------------------------------


class BothInterfacesWrite(ReferenceDevice):
    def _choose(self, side):
        super()._choose(side)
        return not self._resetting


class TheChoiceStands(ReferenceDevice):
    def _reset(self):
        chosen = getattr(self, "in_use", None)
        super()._reset()
        self.in_use = chosen or self.in_use


class OnlyTheUserCanReset(ReferenceDevice):
    side = None

    def legacy_write(self, offset, enable, value):
        if offset != 16 or self.in_use is not Interface.MODERN:
            super().legacy_write(offset, enable, value)


class AKickChoosesNothing(ReferenceDevice):
    def write(self, offset, enable, value):
        before = self.in_use
        super().write(offset, enable, value)
        if offset >= layout.NOTIFY_OFFSET:
            self.in_use = before


class KeepsHighFeatures(ReferenceDevice):
    kept = 0

    def _reset(self):
        self.kept |= getattr(self, "accepted", 0) >> 32 << 32
        super()._reset()
        self.accepted = self.kept


# -- INTx ----------------------------------------------------------------------------------------------


class NeverDeasserts(PciFunction):
    def update_intx(self):
        if not self._intx:
            super().update_intx()


class IgnoresInterruptDisable(PciFunction):
    def update_intx(self):
        if self.intx_wanted() != self._intx:
            self._intx = not self._intx
            self.dma.intx(self._intx)


class DisableHidesTheStatus(PciFunction):
    def config_read(self, offset, size):
        value = super().config_read(offset, size)
        disabled = self.config.get(ConfigOffset.COMMAND, 2) & Command.INTERRUPT_DISABLE
        return value & ~(1 << 3) if offset == ConfigOffset.STATUS and disabled else value


class IntxBesideMsix(ReferenceDevice):
    def interrupt_status(self):
        return bool(self.isr) and not self._resetting


class MsixKeepsTheLevel(PciFunction):
    def update_intx(self):
        if not self.msix_enabled:
            super().update_intx()


class IntxBeforeData(ReferenceDevice):
    def complete(self, queue, done):
        self.isr |= 0 if self.pci.msix_enabled else IsrStatus.QUEUE
        yield
        yield
        yield from super().complete(queue, done)


class IgnoresNoInterrupt(ReferenceDevice):
    def complete(self, queue, done):
        yield from super().complete(queue, done)
        self.isr |= 0 if self.pci.msix_enabled else IsrStatus.QUEUE


class ReadClearsForAWhile(ReferenceDevice):
    """What comes soon after a read of the ISR is lost."""

    clears = 0

    def step(self):
        worked = super().step()
        if self.clears:
            self.isr, self.clears = 0, self.clears - 1
        return worked

    def legacy_read(self, offset, enable):
        self.clears = 8 if offset == 16 and enable & 8 else self.clears
        return super().legacy_read(offset, enable)


class ResetLeavesIntx(PciFunction):
    def update_intx(self):
        if not self._intx or (self.registers.status and not self.registers._resetting):
            super().update_intx()


class InterruptsAsleep(PciFunction):
    def intx_wanted(self):
        return self.registers.interrupt_status()


class IntxNeedsABusMaster(PciFunction):
    def intx_wanted(self):
        return super().intx_wanted() and self.bus_master


class ChangesDoNotReachTheIsr(ReferenceDevice):
    def _notify_config(self):
        self.pci.raise_vector(self.config_vector)


# -- reads in pieces -----------------------------------------------------------------------------------


def with_snapshots(snapshots):
    class Broken(ReferenceDevice):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self._snapshots.__class__ = snapshots

    return Broken


class ReadsAreFresh(Snapshots):
    def read(self, offset, enable):
        self.forget()
        return super().read(offset, enable)


class TheLowestByteSamples(Snapshots):
    def read(self, offset, enable):
        for group in self._groups:
            if enable << offset >> group.bytes.start & 1 and len(group.bytes) > 1:
                group.seen = set()
            else:
                group.held = group.held or bytes(len(group.bytes))
                group.seen = {-1}
        return super().read(offset, enable)


class HoldsForEver(Snapshots):
    def elapse(self, ns):
        pass


class HoldsOverResets(ReferenceDevice):
    def _reset(self):
        kept, self._snapshots = self._snapshots, None
        super()._reset()
        self._snapshots = kept


class HalvesAreNotReadAgain(Snapshots):
    def read(self, offset, enable):
        for group in self._groups:
            group.__class__ = Stale
        return super().read(offset, enable)


class Stale(_Group):
    def read(self, touched, content):
        kept = self.held if self.seen and self.seen & touched else None
        value = super().read(touched, content)
        self.held = kept or self.held
        return kept or value


class GenerationHoldsOn(ReferenceDevice):
    def _read_generation(self, by_driver):
        return self.generation


class SamplesFields(Vmmci):
    together = ()


# -- vmmci ---------------------------------------------------------------------------------------------


class HighWordsAreZero(Vmmci):
    def config(self):
        raw = bytearray(super().config())
        raw[8:12] = raw[16:20] = bytes(4)
        return bytes(raw)


class AsksAnybody(Vmmci):
    def request(self, command):
        return super().request(command) if self.driver_ok else VmmciAnswer.RAISED


class TakesAnyCommand(Vmmci):
    def request(self, command):
        return VmmciAnswer.RAISED if command == VmmciCommand.NONE else super().request(command)


class AsksAgain(Vmmci):
    def request(self, command):
        answer = super().request(command)
        if answer is VmmciAnswer.PENDING:
            self.changed()
        return answer


class NeedsNoFeature(Vmmci):
    def request(self, command):
        self.accepted |= self.features if self.driver_ok else 0
        return super().request(command)


class KeepsTheFirstCommand(Vmmci):
    def request(self, command):
        kept = self.pending
        answer = super().request(command)
        self.pending = kept or self.pending
        return answer


class EveryByteAcknowledges(Vmmci):
    def config_written(self, offset, data):
        held = bytearray(self.pending.to_bytes(4, "little"))
        held[offset : offset + len(data)] = data
        self._acknowledged = False
        super().config_written(0, bytes(held))


class AcknowledgesForEver(Vmmci):
    def _acknowledge(self):
        self._acknowledged = False
        super()._acknowledge()


class LooksAtTheFirstByte(Vmmci):
    def config_written(self, offset, data):
        super().config_written(offset, data[:1] + bytes(len(data) - 1))


class AcknowledgesWithItsFeature(Vmmci):
    def config_written(self, offset, data):
        if self.accepted & 2:
            super().config_written(offset, data)


class HearsNoShutdown(Vmmci):
    def config_written(self, offset, data):
        if self.pending:
            super().config_written(offset, data)


class WaitsForEver(Vmmci):
    def elapse(self, ns):
        pass


class GivesNoMoreTime(Vmmci):
    def _acknowledge(self):
        kept = self._left_ns
        super()._acknowledge()
        self._left_ns = kept


class TimesSyncrtc(Vmmci):
    def request(self, command):
        answer = super().request(command)
        if command == VmmciCommand.SYNCRTC and answer is VmmciAnswer.RAISED:
            self._start_timer(self.pending, self.ack_timeout_ns)
        return answer


class SyncrtcStands(Vmmci):
    def _acknowledge(self):
        super()._acknowledge()
        if self.events[-1] == (VmmciEvent.ACKNOWLEDGED, VmmciCommand.SYNCRTC):
            self.pending, self._acknowledged = VmmciCommand.SYNCRTC, True


class TimerOutlivesAReset(Vmmci):
    def reset(self):
        kept = getattr(self, "_timed", VmmciCommand.NONE), getattr(self, "_left_ns", 0)
        super().reset()
        self._timed, self._left_ns = kept


class CommandOutlivesAReset(Vmmci):
    def reset(self):
        kept = getattr(self, "pending", VmmciCommand.NONE)
        super().reset()
        self.pending = kept


class OnlyTheIsrDeasserts(Vmmci):
    acknowledge = None


class AnyReadDeasserts(ReferenceDevice):
    def _acknowledged(self, offset, enable):
        self.isr &= ~IsrStatus.CONFIG


class ReadsDoNotDeassert(ReferenceDevice):
    def config_read(self, offset, enable):
        isr = self.isr
        value = super().config_read(offset, enable)
        self.isr = isr
        return value


class WritesDoNotDeassert(ReferenceDevice):
    def config_write(self, offset, enable, value):
        isr = self.isr
        super().config_write(offset, enable, value)
        self.isr = isr


def on(options, *mutants):
    """Each with the device type that it is a mistake of."""
    return [(device, options | broken, name) for device, broken, name in mutants]


MUTANTS = [
    *on(
        LEGACY,
        ("rng", {"device": HasRevision1}, "legacy.the_ids_are_those_of_a_transitional_device"),
        (
            "rng",
            {"device": OffersNoAnyLayout},
            "legacy.any_layout_is_offered_and_what_belongs_to_no_legacy_device_is_not",
        ),
        (
            "blk",
            {"device": OffersAllThatTheListNames},
            "legacy.any_layout_is_offered_and_what_belongs_to_no_legacy_device_is_not",
        ),
        ("blk", {"device": AcceptsWhatItDoesNotOffer}, "legacy.what_is_not_offered_does_not_count"),
        ("rng", {"device": HasFeaturesOk}, "legacy.there_is_no_features_ok"),
        ("rng", {"device": DriverOkNeedsFeaturesOk}, "legacy.there_is_no_features_ok"),
        ("blk", {"device": WaitsForDriverOk}, "legacy.buffers_are_used_before_driver_ok"),
        (
            "rng",
            {"device": WaitsForDriverOk},
            "legacy.buffers_are_used_although_the_driver_says_nothing_at_all",
        ),
        ("rng", {"device": ServesWhoGaveUp}, "legacy.a_device_that_was_given_up_uses_no_buffers"),
        ("blk", {"device": TellsOfChangesAtAnyTime}, "legacy.changes_are_told_only_from_driver_ok_on"),
        ("blk", {"blk": KnowsNoFlushOut}, "legacy.flush_out_is_a_flush"),
        ("blk", {"blk": CachesByFeature}, "legacy.writes_are_durable_until_driver_ok_whatever_was_written"),
        ("blk", {"device": ConfigurationStandsStill}, MOVES),
        ("blk", {"device": VectorsAreAlwaysThere}, MOVES),
        (
            "blk",
            {"device": ConfigurationMovesAtTheReset},
            MOVES,
        ),
        ("rng", {"device": VectorsAreAlwaysThere}, "legacy_header.vectors_are_there_only_with_msix"),
        (
            "blk",
            {"device": with_snapshots(ReadsAreFresh)},
            "legacy_header.msix_enabled_in_the_middle_of_a_read_does_not_tear_it",
        ),
        ("rng", {"device": TakesPartsOfRegisters}, "legacy_header.a_part_of_a_register_is_not_written"),
        (
            "rng",
            {"device": AnyReadOfTheDwordClearsTheIsr},
            "legacy_header.only_a_read_of_its_byte_clears_the_isr",
        ),
        ("rng", {"device": ShowsTheLastNotification}, "legacy_header.one_write_can_cover_several_registers"),
        (
            "rng",
            {"device": HasMemoryBehindTheStructures},
            "legacy_header.behind_the_structures_there_is_nothing",
        ),
        ("rng", {"device": SizesCanBeWritten}, "legacy_header.the_size_of_a_queue_is_fixed"),
        ("rng", {"device": QueuesCanBeMoved}, "legacy_header.a_queue_in_use_stays_where_it_is"),
        ("rng", {"device": QueuesCannotBeTakenBack}, "legacy_header.taking_a_queue_back_resets_the_device"),
        (
            "rng",
            {"device": UsedRingFollowsAtOnce},
            "legacy_header.the_page_number_says_where_the_whole_queue_is",
        ),
        ("blk", {"device": PagesOf1KiB}, "legacy_header.the_page_number_says_where_the_whole_queue_is"),
        ("rng", {"device": QueueNumbersHave15Bits}, "legacy_header.a_queue_that_is_not_there_has_size_zero"),
        (
            "rng",
            {"device": ResetsTakeTheirTime},
            "legacy_header.a_reset_is_over_when_the_status_is_read_once",
        ),
        ("rng", {"device": ReadClearsForAWhile}, "intx.no_event_is_lost_between_two_reads_of_the_isr"),
    ),
    *on(
        TRANSITIONAL,
        ("rng", {"device": NeverWaits}, "transitional.the_interface_in_use_decides_when_buffers_are_used"),
        (
            "rng",
            {"device": WaitsForDriverOk},
            "transitional.the_interface_in_use_decides_when_buffers_are_used",
        ),
        (
            "rng",
            {"device": BothInterfacesWrite},
            "transitional.what_the_other_interface_writes_is_ignored_while_the_legacy_one_is_in_use",
        ),
        (
            "blk",
            {"device": BothInterfacesWrite},
            "transitional.what_the_other_interface_writes_is_ignored_while_the_modern_one_is_in_use",
        ),
        ("rng", {"device": TheChoiceStands}, "transitional.high_features_are_void_after_a_change_of_mind"),
        ("rng", {"device": KeepsHighFeatures}, "transitional.high_features_are_void_after_a_change_of_mind"),
        (
            "rng",
            {"device": OnlyTheUserCanReset},
            "transitional.both_interfaces_can_reset_the_device_and_see_its_state",
        ),
        (
            "rng",
            {"device": AKickChoosesNothing},
            "transitional.the_first_write_after_a_reset_chooses_the_interface",
        ),
    ),
    *on(
        INTX,
        ("rng", {"device": with_function(NeverDeasserts)}, "intx.reading_the_isr_deasserts_it"),
        ("rng", {"device": with_function(NeverDeasserts)}, "intx.several_events_are_one_level"),
        (
            "rng",
            {"device": with_function(IgnoresInterruptDisable)},
            "intx.interrupt_disable_silences_it_but_not_the_status_bit",
        ),
        (
            "rng",
            {"device": with_function(DisableHidesTheStatus)},
            "intx.interrupt_disable_silences_it_but_not_the_status_bit",
        ),
        ("rng", {"device": IntxBesideMsix}, "intx.msix_takes_its_place"),
        ("rng", {"device": with_function(MsixKeepsTheLevel)}, "intx.msix_takes_its_place"),
        ("rng", {"device": IntxBeforeData}, "intx.data_and_isr_are_there_when_it_arrives"),
        ("blk", {"device": IgnoresNoInterrupt}, "intx.a_driver_that_wants_no_interrupt_gets_no_intx"),
        ("rng", {"device": with_function(ResetLeavesIntx)}, "intx.a_reset_deasserts_it"),
        ("rng", {"device": with_function(ResetLeavesIntx)}, "intx.a_function_level_reset_deasserts_it"),
        ("rng", {"device": with_function(InterruptsAsleep)}, "intx.asleep_it_is_not_asserted"),
        ("blk", {"device": with_function(IntxNeedsABusMaster)}, "intx.it_does_not_need_a_bus_master"),
        ("blk", {"device": ChangesDoNotReachTheIsr}, "intx.a_configuration_change_asserts_it"),
        ("blk", {"device": ChangesDoNotReachTheIsr}, "intx.both_reasons_show_in_one_read"),
        (
            "blk",
            {"device": with_snapshots(ReadsAreFresh)},
            WHOLE,
        ),
        ("blk", {"device": GenerationHoldsOn}, "config_reads.reading_the_generation_starts_anew"),
    ),
    *on(
        LEGACY,
        (
            "vmmci",
            {"device": with_snapshots(ReadsAreFresh)},
            WHOLE,
        ),
        (
            "blk",
            {"device": with_snapshots(TheLowestByteSamples)},
            WHOLE,
        ),
        (
            "vmmci",
            {"device": with_snapshots(ReadsAreFresh)},
            "config_reads.a_field_is_whole_in_random_pieces",
        ),
        (
            "blk",
            {"device": with_snapshots(HalvesAreNotReadAgain)},
            "config_reads.who_reads_only_a_half_gets_the_value_of_now",
        ),
        (
            "blk",
            {"device": with_snapshots(HoldsForEver)},
            HALF_WAY,
        ),
        (
            "vmmci",
            {"device": HoldsOverResets},
            HALF_WAY,
        ),
        ("vmmci", {"vmmci": SamplesFields}, "config_reads.seconds_and_microseconds_are_one_instant"),
        (
            "vmmci",
            {"device": with_snapshots(ReadsAreFresh)},
            "config_reads.a_running_clock_reads_the_same_in_both_habits",
        ),
        ("vmmci", {"device": Vmd}, "vmmci.both_habits_read_the_same_time"),
        ("vmmci", {"device": Vmd}, "legacy_header.the_configuration_is_the_same_in_every_width"),
        ("vmmci", {"vmmci": HighWordsAreZero}, "vmmci.both_habits_read_the_same_time"),
        ("vmmci", {"vmmci": AsksAnybody}, "vmmci.commands_before_driver_ok_are_refused"),
        ("vmmci", {"vmmci": TakesAnyCommand}, "vmmci.no_command_is_an_unknown_one"),
        ("vmmci", {"vmmci": AsksAgain}, "vmmci.the_pending_command_again_is_nothing_new"),
        ("vmmci", {"vmmci": NeedsNoFeature}, "vmmci.syncrtc_needs_its_feature"),
        ("vmmci", {"vmmci": KeepsTheFirstCommand}, "vmmci.another_command_replaces_the_pending_one"),
        ("vmmci", {"vmmci": EveryByteAcknowledges}, "vmmci.an_acknowledgement_counts_once_in_either_habit"),
        ("vmmci", {"vmmci": EveryByteAcknowledges}, "vmmci.the_last_three_bytes_alone_say_nothing"),
        ("vmmci", {"vmmci": AcknowledgesForEver}, "vmmci.an_acknowledgement_counts_once_in_either_habit"),
        ("vmmci", {"vmmci": LooksAtTheFirstByte}, "vmmci.other_acknowledgements_are_ignored"),
        (
            "vmmci",
            {"vmmci": AcknowledgesWithItsFeature},
            "vmmci.an_acknowledgement_counts_without_its_feature",
        ),
        ("vmmci", {"vmmci": HearsNoShutdown}, "vmmci.a_guest_can_shut_down_on_its_own"),
        ("vmmci", {"vmmci": WaitsForEver}, "vmmci.a_command_that_is_not_acknowledged_times_out"),
        ("vmmci", {"vmmci": WaitsForEver}, "vmmci.a_guest_can_shut_down_on_its_own"),
        ("vmmci", {"vmmci": GivesNoMoreTime}, "vmmci.an_acknowledgement_gives_the_guest_more_time"),
        ("vmmci", {"vmmci": TimesSyncrtc}, "vmmci.a_syncrtc_may_take_as_long_as_it_likes"),
        ("vmmci", {"vmmci": SyncrtcStands}, "vmmci.a_command_is_told_by_a_configuration_change"),
        ("vmmci", {"vmmci": TimerOutlivesAReset}, "vmmci.a_reset_forgets_the_command_and_its_time"),
        ("vmmci", {"vmmci": CommandOutlivesAReset}, "vmmci.a_reset_forgets_the_command_and_its_time"),
        ("vmmci", {"vmmci": OnlyTheIsrDeasserts}, "vmmci.each_command_asserts_it_again"),
        ("vmmci", {"device": AnyReadDeasserts}, "vmmci.reading_the_command_takes_the_interrupt_back"),
        ("vmmci", {"device": ReadsDoNotDeassert}, "vmmci.reading_the_command_takes_the_interrupt_back"),
        ("vmmci", {"device": WritesDoNotDeassert}, "vmmci.acknowledging_takes_the_interrupt_back"),
        (
            "vmmci",
            {"device": with_function(NeverDeasserts)},
            "vmmci.reading_the_isr_takes_the_interrupt_back",
        ),
    ),
]


def names(value: object) -> str:
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize(("device", "broken", "name"), MUTANTS, ids=names)
def test_a_broken_device_is_found(device, broken, name):
    assert is_found(device, name, broken), f"{name} passes"

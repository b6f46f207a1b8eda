"""Bugs of vmmci."""

from virtio_models.device import ReferenceDevice
from virtio_models.vmd import Vmd
from virtio_models.vmmci import Vmmci
from virtio_spec.virtio_pci import Interface, IsrStatus
from virtio_spec.vmmci import VmmciAnswer, VmmciCommand, VmmciEvent

from .bug import bug, seen


@bug(seen("vmmci", "vmmci.both_habits_read_the_same_time", interface=Interface.LEGACY), traps=(24,))
class HighWordsAreZero(Vmmci):
    """The upper halves of the time read 0."""

    def config(self):
        raw = bytearray(super().config())
        raw[8:12] = raw[16:20] = bytes(4)
        return bytes(raw)


@bug(seen("vmmci", "vmmci.commands_before_driver_ok_are_refused", interface=Interface.LEGACY))
class AsksAnybody(Vmmci):
    """A command before DRIVER_OK is called raised."""

    def request(self, command):
        return super().request(command) if self.driver_ok else VmmciAnswer.RAISED


@bug(seen("vmmci", "vmmci.no_command_is_an_unknown_one", interface=Interface.LEGACY))
class TakesAnyCommand(Vmmci):
    """No command is taken for a command."""

    def request(self, command):
        return VmmciAnswer.RAISED if command == VmmciCommand.NONE else super().request(command)


@bug(seen("vmmci", "vmmci.the_pending_command_again_is_nothing_new", interface=Interface.LEGACY))
class AsksAgain(Vmmci):
    """A command that is pending is told again."""

    def request(self, command):
        answer = super().request(command)
        if answer is VmmciAnswer.PENDING:
            self.changed()
        return answer


@bug(seen("vmmci", "vmmci.syncrtc_needs_its_feature", interface=Interface.LEGACY))
class NeedsNoFeature(Vmmci):
    """SYNCRTC is raised without its feature."""

    def request(self, command):
        self.accepted |= self.features if self.driver_ok else 0
        return super().request(command)


@bug(seen("vmmci", "vmmci.another_command_replaces_the_pending_one", interface=Interface.LEGACY))
class KeepsTheFirstCommand(Vmmci):
    """A second command does not replace the first."""

    def request(self, command):
        kept = self.pending
        answer = super().request(command)
        self.pending = kept or self.pending
        return answer


@bug(
    seen("vmmci", "vmmci.an_acknowledgement_counts_once_in_either_habit", interface=Interface.LEGACY),
    seen("vmmci", "vmmci.the_last_three_bytes_alone_say_nothing", interface=Interface.LEGACY),
)
class EveryByteAcknowledges(Vmmci):
    """Each byte of an acknowledgement counts as one."""

    def config_written(self, offset, data):
        held = bytearray(self.pending.to_bytes(4, "little"))
        held[offset : offset + len(data)] = data
        self._acknowledged = False
        super().config_written(0, bytes(held))


@bug(seen("vmmci", "vmmci.an_acknowledgement_counts_once_in_either_habit", interface=Interface.LEGACY))
class AcknowledgesForEver(Vmmci):
    """An acknowledgement counts again and again."""

    def _acknowledge(self):
        self._acknowledged = False
        super()._acknowledge()


@bug(seen("vmmci", "vmmci.other_acknowledgements_are_ignored", interface=Interface.LEGACY))
class LooksAtTheFirstByte(Vmmci):
    """The upper bytes of an acknowledgement are not looked at."""

    def config_written(self, offset, data):
        super().config_written(offset, data[:1] + bytes(len(data) - 1))


@bug(seen("vmmci", "vmmci.an_acknowledgement_counts_without_its_feature", interface=Interface.LEGACY))
class AcknowledgesWithItsFeature(Vmmci):
    """Acknowledgements need a feature."""

    def config_written(self, offset, data):
        if self.accepted & 2:
            super().config_written(offset, data)


@bug(seen("vmmci", "vmmci.a_guest_can_shut_down_on_its_own", interface=Interface.LEGACY))
class HearsNoShutdown(Vmmci):
    """A guest that shuts down on its own is not heard."""

    def config_written(self, offset, data):
        if self.pending:
            super().config_written(offset, data)


@bug(
    seen("vmmci", "vmmci.a_command_that_is_not_acknowledged_times_out", interface=Interface.LEGACY),
    seen("vmmci", "vmmci.a_guest_can_shut_down_on_its_own", interface=Interface.LEGACY),
)
class WaitsForEver(Vmmci):
    """An acknowledgement is waited for without an end."""

    def elapse(self, ns):
        pass


@bug(seen("vmmci", "vmmci.an_acknowledgement_gives_the_guest_more_time", interface=Interface.LEGACY))
class GivesNoMoreTime(Vmmci):
    """An acknowledgement does not start the time for the shutdown."""

    def _acknowledge(self):
        kept = self._left_ns
        super()._acknowledge()
        self._left_ns = kept


@bug(seen("vmmci", "vmmci.a_syncrtc_may_take_as_long_as_it_likes", interface=Interface.LEGACY))
class TimesSyncrtc(Vmmci):
    """SYNCRTC has a time-out."""

    def request(self, command):
        answer = super().request(command)
        if command == VmmciCommand.SYNCRTC and answer is VmmciAnswer.RAISED:
            self._start_timer(self.pending, self.ack_timeout_ns)
        return answer


@bug(seen("vmmci", "vmmci.a_command_is_told_by_a_configuration_change", interface=Interface.LEGACY))
class SyncrtcStands(Vmmci):
    """SYNCRTC stays pending when it was acknowledged."""

    def _acknowledge(self):
        super()._acknowledge()
        if self.events[-1] == (VmmciEvent.ACKNOWLEDGED, VmmciCommand.SYNCRTC):
            self.pending, self._acknowledged = VmmciCommand.SYNCRTC, True


@bug(seen("vmmci", "vmmci.a_reset_forgets_the_command_and_its_time", interface=Interface.LEGACY))
class TimerOutlivesAReset(Vmmci):
    """The time-out of a command outlives a reset."""

    def reset(self):
        kept = getattr(self, "_timed", VmmciCommand.NONE), getattr(self, "_left_ns", 0)
        super().reset()
        self._timed, self._left_ns = kept


@bug(seen("vmmci", "vmmci.a_reset_forgets_the_command_and_its_time", interface=Interface.LEGACY))
class CommandOutlivesAReset(Vmmci):
    """A command outlives a reset."""

    def reset(self):
        kept = getattr(self, "pending", VmmciCommand.NONE)
        super().reset()
        self.pending = kept


@bug(seen("vmmci", "vmmci.each_command_asserts_it_again", interface=Interface.LEGACY))
class OnlyTheIsrDeasserts(Vmmci):
    """Reading the command does not take INTA back."""

    acknowledge = None


@bug(seen("vmmci", "vmmci.reading_the_command_takes_the_interrupt_back", interface=Interface.LEGACY))
class AnyReadDeasserts(ReferenceDevice):
    """Any read of the configuration takes INTA back."""

    def _acknowledged(self, offset, enable):
        self.isr &= ~IsrStatus.CONFIG


@bug(seen("vmmci", "vmmci.reading_the_command_takes_the_interrupt_back", interface=Interface.LEGACY))
class ReadsDoNotDeassert(ReferenceDevice):
    """No read of the configuration takes INTA back."""

    def config_read(self, offset, enable):
        isr = self.isr
        value = super().config_read(offset, enable)
        self.isr = isr
        return value


@bug(seen("vmmci", "vmmci.acknowledging_takes_the_interrupt_back", interface=Interface.LEGACY))
class WritesDoNotDeassert(ReferenceDevice):
    """An acknowledgement does not take INTA back."""

    def config_write(self, offset, enable, value):
        isr = self.isr
        super().config_write(offset, enable, value)
        self.isr = isr


bug(
    seen("vmmci", "vmmci.both_habits_read_the_same_time", interface=Interface.LEGACY),
    seen("vmmci", "legacy_header.the_configuration_is_the_same_in_every_width", interface=Interface.LEGACY),
    traps=(24,),
)(Vmd)

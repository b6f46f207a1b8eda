"""Bugs of values that are read in pieces."""

from virtio_models.device import ReferenceDevice
from virtio_models.snapshots import Snapshots, _Group
from virtio_models.vmmci import Vmmci
from virtio_spec.virtio_pci import Interface

from .bug import bug, seen


class Stale(_Group):
    """A group of which a half that was read is not read anew."""

    def read(self, touched, content):
        kept = self.held if self.seen and self.seen & touched else None
        value = super().read(touched, content)
        self.held = kept or self.held
        return kept or value


@bug(
    seen(
        "blk",
        "legacy_header.msix_enabled_in_the_middle_of_a_read_does_not_tear_it",
        interface=Interface.LEGACY,
    ),
    seen("blk", "config_reads.a_field_is_whole_in_every_width_and_order", interface=Interface.MODERN),
    seen("vmmci", "config_reads.a_field_is_whole_in_every_width_and_order", interface=Interface.LEGACY),
    seen("vmmci", "config_reads.a_field_is_whole_in_random_pieces", interface=Interface.LEGACY),
    seen("vmmci", "config_reads.a_running_clock_reads_the_same_in_both_habits", interface=Interface.LEGACY),
    traps=(24,),
)
class ReadsAreFresh(Snapshots):
    """Each piece of a field is of another instant."""

    def read(self, offset, enable):
        self.forget()
        return super().read(offset, enable)


@bug(
    seen("blk", "config_reads.a_field_is_whole_in_every_width_and_order", interface=Interface.LEGACY),
    traps=(24,),
)
class TheLowestByteSamples(Snapshots):
    """A field is held from a read of its lowest byte only."""

    def read(self, offset, enable):
        for group in self._groups:
            if enable << offset >> group.bytes.start & 1 and len(group.bytes) > 1:
                group.seen = set()
            else:
                group.held = group.held or bytes(len(group.bytes))
                group.seen = {-1}
        return super().read(offset, enable)


@bug(seen("blk", "config_reads.a_read_that_stops_half_way_spoils_none_after_it", interface=Interface.LEGACY))
class HoldsForEver(Snapshots):
    """A field read in part is held for ever."""

    def elapse(self, ns):
        pass


@bug(
    seen("vmmci", "config_reads.a_read_that_stops_half_way_spoils_none_after_it", interface=Interface.LEGACY)
)
class HoldsOverResets(ReferenceDevice):
    """A field read in part is held over a reset."""

    def _reset(self):
        kept, self._snapshots = self._snapshots, None
        super()._reset()
        self._snapshots = kept


@bug(seen("blk", "config_reads.who_reads_only_a_half_gets_the_value_of_now", interface=Interface.LEGACY))
class HalvesAreNotReadAgain(Snapshots):
    """A half that is read again is still the old one."""

    def read(self, offset, enable):
        for group in self._groups:
            group.__class__ = Stale
        return super().read(offset, enable)


@bug(seen("blk", "config_reads.reading_the_generation_starts_anew", interface=Interface.MODERN), traps=(5,))
class GenerationHoldsOn(ReferenceDevice):
    """Reading the generation does not let go of what was read in part."""

    def _read_generation(self, by_driver):
        return self.generation


@bug(
    seen("vmmci", "config_reads.seconds_and_microseconds_are_one_instant", interface=Interface.LEGACY),
    traps=(24,),
)
class SamplesFields(Vmmci):
    """Seconds and microseconds are of different instants."""

    together = ()

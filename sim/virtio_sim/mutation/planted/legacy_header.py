"""Bugs of the legacy interface's registers."""

from virtio_models.device import ReferenceDevice
from virtio_models.legacy import HEADER, VECTORS
from virtio_spec import layout, split
from virtio_spec.virtio_pci import Interface

from .bug import bug, seen


@bug(
    seen("blk", "legacy_header.msix_moves_the_configuration_at_once", interface=Interface.LEGACY), traps=(23,)
)
class ConfigurationStandsStill(ReferenceDevice):
    """The legacy configuration stays at 20 with MSI-X."""

    def _legacy_layout(self):
        return HEADER, 20


@bug(
    seen("blk", "legacy_header.msix_moves_the_configuration_at_once", interface=Interface.LEGACY),
    seen("rng", "legacy_header.vectors_are_there_only_with_msix", interface=Interface.LEGACY),
    traps=(23,),
)
class VectorsAreAlwaysThere(ReferenceDevice):
    """The legacy configuration is at 24 without MSI-X."""

    def _legacy_layout(self):
        return HEADER + VECTORS, 24


@bug(
    seen("blk", "legacy_header.msix_moves_the_configuration_at_once", interface=Interface.LEGACY), traps=(23,)
)
class ConfigurationMovesAtTheReset(ReferenceDevice):
    """The legacy configuration moves only at a reset after MSI-X was enabled."""

    moved = False

    def _reset(self):
        super()._reset()
        self.moved = self.pci.msix_enabled

    def _legacy_layout(self):
        return (HEADER + VECTORS, 24) if self.moved else (HEADER, 20)


@bug(seen("rng", "legacy_header.a_part_of_a_register_is_not_written", interface=Interface.LEGACY))
class TakesPartsOfRegisters(ReferenceDevice):
    """A write of a part of a legacy register changes that part."""

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


@bug(seen("rng", "legacy_header.only_a_read_of_its_byte_clears_the_isr", interface=Interface.LEGACY))
class AnyReadOfTheDwordClearsTheIsr(ReferenceDevice):
    """A read of any byte in the ISR's dword clears it."""

    def legacy_read(self, offset, enable):
        return super().legacy_read(offset, 0xF if offset == 16 else enable)


@bug(seen("rng", "legacy_header.one_write_can_cover_several_registers", interface=Interface.LEGACY))
class ShowsTheLastNotification(ReferenceDevice):
    """queue_notify reads back what was written."""

    last = 0

    def _legacy_get(self, name):
        return self.last if name == "queue_notify" else super()._legacy_get(name)

    def _legacy_set(self, name, value):
        self.last = value if name == "queue_notify" else self.last
        super()._legacy_set(name, value)


@bug(seen("rng", "legacy_header.behind_the_structures_there_is_nothing", interface=Interface.LEGACY))
class HasMemoryBehindTheStructures(ReferenceDevice):
    """Behind the legacy structures there is memory."""

    def legacy_read(self, offset, enable):
        kept = self.__dict__.setdefault("memory", {})
        return kept.get(offset) or super().legacy_read(offset, enable)

    def legacy_write(self, offset, enable, value):
        super().legacy_write(offset, enable, value)
        if 0x60 <= offset < layout.LEGACY_DIAGNOSTICS_OFFSET:
            self.__dict__.setdefault("memory", {})[offset] = value


@bug(seen("rng", "legacy_header.the_size_of_a_queue_is_fixed", interface=Interface.LEGACY))
class SizesCanBeWritten(ReferenceDevice):
    """The size of a legacy queue can be written."""

    size = None

    def legacy_write(self, offset, enable, value):
        super().legacy_write(offset, enable, value)
        if offset == 12 and enable & 0b11:
            self.size = value & 0xFFFF

    def _legacy_get(self, name):
        return self.size if name == "queue_size" and self.size else super()._legacy_get(name)


@bug(seen("rng", "legacy_header.a_queue_in_use_stays_where_it_is", interface=Interface.LEGACY))
class QueuesCanBeMoved(ReferenceDevice):
    """A legacy queue in use can be moved."""

    def _set_queue_address(self, number, page):
        if page:
            self.queues[number].enabled = False
        super()._set_queue_address(number, page)


@bug(seen("rng", "legacy_header.taking_a_queue_back_resets_the_device", interface=Interface.LEGACY))
class QueuesCannotBeTakenBack(ReferenceDevice):
    """Writing page 0 does not take a legacy queue back."""

    def _set_queue_address(self, number, page):
        if page:
            super()._set_queue_address(number, page)


@bug(seen("rng", "legacy_header.the_page_number_says_where_the_whole_queue_is", interface=Interface.LEGACY))
class UsedRingFollowsAtOnce(ReferenceDevice):
    """The used ring of a legacy queue is not aligned to a page."""

    def _set_queue_address(self, number, page):
        super()._set_queue_address(number, page)
        queue = self.queues[number]
        if queue.enabled:
            queue.device = (queue.driver + split.avail_size(queue.size) + 3) & ~3


@bug(seen("blk", "legacy_header.the_page_number_says_where_the_whole_queue_is", interface=Interface.LEGACY))
class PagesOf1KiB(ReferenceDevice):
    """The page number of a legacy queue counts pages of 1 KiB."""

    def _set_queue_address(self, number, page):
        super()._set_queue_address(number, page)
        queue = self.queues[number]
        queue.desc, queue.driver, queue.device = queue.desc // 4, queue.driver // 4, queue.device // 4

    def _legacy_get(self, name):
        value = super()._legacy_get(name)
        return value * 4 if name == "queue_address" else value


@bug(seen("rng", "legacy_header.a_queue_that_is_not_there_has_size_zero", interface=Interface.LEGACY))
class QueueNumbersHave15Bits(ReferenceDevice):
    """Queues from 0x8000 on seem to exist."""

    def _legacy_get(self, name):
        beyond = name == "queue_size" and self.legacy_queue_select >= 0x8000
        return self.queue_size if beyond else super()._legacy_get(name)


@bug(seen("rng", "legacy_header.a_reset_is_over_when_the_status_is_read_once", interface=Interface.LEGACY))
class ResetsTakeTheirTime(ReferenceDevice):
    """On the legacy interface a reset is not over when status is read once."""

    def _wait(self):
        if self._resetting:
            self._resetting -= 1
            if not self._resetting:
                self._finish_reset()

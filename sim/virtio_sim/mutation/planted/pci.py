"""Bugs of the PCI function: MSI-X, the PCI_CFG window, resets, decoding."""

from virtio_models.pci import PciFunction
from virtio_spec import layout
from virtio_spec.virtio import NO_VECTOR

from .bug import bug, seen


@bug(
    seen("rng", "msix.a_queue_without_a_vector_is_silent"),
    seen("blk", "msix.a_configuration_change_without_a_vector_is_silent"),
    traps=(20,),
)
class NoVectorIsTheFirst(PciFunction):
    """NO_VECTOR sends the message of vector 0."""

    def raise_vector(self, vector):
        super().raise_vector(0 if vector == NO_VECTOR else vector)


@bug(seen("rng", "msix.a_masked_vector_is_pending_until_it_is_unmasked"))
class MaskedIsLost(PciFunction):
    """An interrupt is lost while its vector is masked."""

    def raise_vector(self, vector):
        super().raise_vector(vector)
        self._pending.clear()


@bug(seen("rng", "msix.what_comes_while_masked_is_one_message"))
class MasksAreIgnored(PciFunction):
    """Messages are sent although their vector is masked."""

    def _send_pending(self):
        for entry in range(12, len(self._table), 16):
            self._table[entry] = 0
        super()._send_pending()


@bug(
    seen("rng", "pci.the_window_reads_and_writes_the_bar"),
    seen("rng", "pci.a_kick_through_the_window_is_a_kick"),
    traps=(21,),
)
class WindowIsStorage(PciFunction):
    """The PCI_CFG window is plain storage."""

    def _in_window(self, offset):
        return False


@bug(seen("rng", "pci.reading_the_isr_through_the_window_clears_it"), traps=(21,))
class WindowReadsWithoutEffect(PciFunction):
    """A read through the PCI_CFG window has none of its side effects."""

    def _window_read(self, offset, size):
        isr = self.registers.isr
        value = super()._window_read(offset, size)
        self.registers.isr = isr
        return value


@bug(
    seen("rng", "pci.a_disabled_bar_is_unsupported"),
    seen("rng", "pci.asleep_it_answers_configuration_only_and_keeps_its_state"),
)
class AnswersWhileDisabled(PciFunction):
    """BARs answer while memory space is disabled, or asleep."""

    def _decode(self, bar, offset, size):
        pass


@bug(seen("rng", "pci.a_function_level_reset_disables_the_function"))
class FlrKeepsTheFunction(PciFunction):
    """A function level reset leaves the configuration space as it was."""

    def _function_level_reset(self):
        self.registers.function_reset()


@bug(
    seen("blk", "queues.each_queue_works_alone", queues=3),
    seen("blk", "queues.all_queues_work_at_once", queues=3),
    seen("blk", "queues.any_queue_can_use_any_vector_or_none", queues=3),
)
class UsesOneVectorForAllQueues(PciFunction):
    """All queues interrupt with the vector of the first one."""

    def raise_vector(self, vector):
        super().raise_vector(min(vector, 1))


@bug(seen("blk", "queues.a_mask_concerns_one_queue", queues=3))
class UnmasksTogether(PciFunction):
    """A mask is one for the whole table."""

    def bar_write(self, bar, offset, size, value):
        super().bar_write(bar, offset, size, value)
        if bar == layout.MSIX_BAR and offset % 16 == 12:
            for entry in range(12, len(self._table), 16):
                self._table[entry] = value & 1

"""Bugs of INTx."""

from virtio_models.device import ReferenceDevice
from virtio_models.pci import PciFunction
from virtio_spec.pci import Command, ConfigOffset
from virtio_spec.virtio_pci import Interface, IsrStatus

from .bug import bug, seen


@bug(
    seen("rng", "intx.reading_the_isr_deasserts_it", interface=Interface.MODERN),
    seen("rng", "intx.several_events_are_one_level", interface=Interface.MODERN),
    seen("vmmci", "vmmci.reading_the_isr_takes_the_interrupt_back", interface=Interface.LEGACY),
    traps=(3,),
)
class NeverDeasserts(PciFunction):
    """INTA is never taken back."""

    def update_intx(self):
        if not self._intx:
            super().update_intx()


@bug(seen("rng", "intx.interrupt_disable_silences_it_but_not_the_status_bit", interface=Interface.MODERN))
class IgnoresInterruptDisable(PciFunction):
    """Interrupt Disable does not silence INTA."""

    def update_intx(self):
        if self.intx_wanted() != self._intx:
            self._intx = not self._intx
            self.dma.intx(self._intx)


@bug(
    seen("rng", "intx.interrupt_disable_silences_it_but_not_the_status_bit", interface=Interface.MODERN),
    traps=(4,),
)
class DisableHidesTheStatus(PciFunction):
    """Interrupt Status reads 0 while interrupts are disabled."""

    def config_read(self, offset, size):
        value = super().config_read(offset, size)
        disabled = self.config.get(ConfigOffset.COMMAND, 2) & Command.INTERRUPT_DISABLE
        return value & ~(1 << 3) if offset == ConfigOffset.STATUS and disabled else value


@bug(seen("rng", "intx.msix_takes_its_place", interface=Interface.MODERN))
class IntxBesideMsix(ReferenceDevice):
    """INTA is asserted although MSI-X is enabled."""

    def interrupt_status(self):
        return bool(self.isr) and not self._resetting


@bug(seen("rng", "intx.msix_takes_its_place", interface=Interface.MODERN))
class MsixKeepsTheLevel(PciFunction):
    """INTA stays asserted when MSI-X is enabled."""

    def update_intx(self):
        if not self.msix_enabled:
            super().update_intx()


@bug(seen("rng", "intx.data_and_isr_are_there_when_it_arrives", interface=Interface.MODERN), traps=(2,))
class IntxBeforeData(ReferenceDevice):
    """INTA is asserted before the data is in memory."""

    def complete(self, queue, done):
        self.isr |= 0 if self.pci.msix_enabled else IsrStatus.QUEUE
        yield
        yield
        yield from super().complete(queue, done)


@bug(seen("blk", "intx.a_driver_that_wants_no_interrupt_gets_no_intx", interface=Interface.MODERN))
class IgnoresNoInterrupt(ReferenceDevice):
    """INTA is asserted although the driver wants no interrupt."""

    def complete(self, queue, done):
        yield from super().complete(queue, done)
        self.isr |= 0 if self.pci.msix_enabled else IsrStatus.QUEUE


@bug(
    seen("rng", "intx.no_event_is_lost_between_two_reads_of_the_isr", interface=Interface.LEGACY), traps=(3,)
)
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


@bug(
    seen("rng", "intx.a_reset_deasserts_it", interface=Interface.MODERN),
    seen("rng", "intx.a_function_level_reset_deasserts_it", interface=Interface.MODERN),
)
class ResetLeavesIntx(PciFunction):
    """A reset leaves INTA asserted."""

    def update_intx(self):
        if not self._intx or (self.registers.status and not self.registers._resetting):
            super().update_intx()


@bug(seen("rng", "intx.asleep_it_is_not_asserted", interface=Interface.MODERN))
class InterruptsAsleep(PciFunction):
    """INTA is asserted in D3."""

    def intx_wanted(self):
        return self.registers.interrupt_status()


@bug(seen("blk", "intx.it_does_not_need_a_bus_master", interface=Interface.MODERN))
class IntxNeedsABusMaster(PciFunction):
    """INTA is not asserted without Bus Master Enable."""

    def intx_wanted(self):
        return super().intx_wanted() and self.bus_master


@bug(
    seen("blk", "intx.a_configuration_change_asserts_it", interface=Interface.MODERN),
    seen("blk", "intx.both_reasons_show_in_one_read", interface=Interface.MODERN),
    traps=(2,),
)
class ChangesDoNotReachTheIsr(ReferenceDevice):
    """A configuration change does not show in the ISR."""

    def _notify_config(self):
        self.pci.raise_vector(self.config_vector)

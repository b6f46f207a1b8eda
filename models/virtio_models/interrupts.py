"""Interrupts of a PCI function: the MSI-X table and its messages, and INTx.  [PCIe base 5.0 §6.1]"""

from abc import ABC, abstractmethod

from virtio_spec import pci, wire
from virtio_spec.pci import Command, ConfigOffset, MsixMessageControl
from virtio_spec.virtio import NO_VECTOR

from .config_space import ConfigSpace
from .dma import Dma

__all__ = ["Interrupts"]


class Interrupts(ABC):
    """MSI-X vectors and the level of INTA, of which only one is ever in use."""

    def __init__(self, config: ConfigSpace, dma: Dma, vectors: int):
        self.config, self.dma = config, dma
        self.vectors = vectors
        self._table = bytearray()
        self._pending: set[int] = set()
        self._intx = False
        self._reset_msix()

    @property
    @abstractmethod
    def bus_master(self) -> bool:
        """Whether the function may send memory writes."""

    @abstractmethod
    def intx_wanted(self) -> bool:
        """Whether there is something to interrupt for, and the function may."""

    # -- MSI-X -----------------------------------------------------------------------------------------

    def _reset_msix(self) -> None:
        self._table = bytearray(wire.pack(pci.MsixEntry, masked=1) * self.vectors)
        self._pending.clear()

    def forget_interrupts(self) -> None:
        """A virtio reset takes back messages that were not sent yet."""
        self._pending.clear()

    @property
    def msix_enabled(self) -> bool:
        """Whether MSI-X is in use instead of INTx."""
        return bool(self._message_control & MsixMessageControl.ENABLE)

    @property
    def _message_control(self) -> int:
        return self.config.get(self.config.msix + 2, 2) if self.vectors else 0

    def raise_vector(self, vector: int) -> None:
        """Send the message of ``vector``, or hold it as pending while it is masked."""
        if vector != NO_VECTOR and self.msix_enabled:
            self._pending.add(vector)
            self._send_pending()

    def _send_pending(self) -> None:
        masked = self._message_control & MsixMessageControl.FUNCTION_MASK
        if masked or not self.msix_enabled or not self.bus_master:
            return
        for vector in sorted(self._pending):
            entry = wire.unpack(pci.MsixEntry, self._table[16 * vector : 16 * vector + 16])
            if not entry.masked:
                self._pending.discard(vector)
                self.dma.interrupt(entry.address_high << 32 | entry.address_low, entry.data)

    # -- INTx ------------------------------------------------------------------------------------------

    def update_intx(self) -> None:
        """Something has changed that the level depends on: send a message if the level does, too."""
        disabled = self.config.get(ConfigOffset.COMMAND, 2) & Command.INTERRUPT_DISABLE
        level = self.intx_wanted() and not disabled
        if level != self._intx:
            self._intx = level
            self.dma.intx(level)

"""Interrupts of a card: the kernel has the MSI-X table, and counts what arrives in eventfds.

The table that the driver sees is therefore one of this process. Whether an entry is masked, and whether
MSI-X is enabled, is carried out in the device, by the kernel; where messages go, it decides alone.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from virtio_spec.pci import MsixMessageControl

from .vfio_abi import Interrupt

__all__ = ["ENTRY_BYTES", "Intx", "Signals", "VectorTable"]

ENTRY_BYTES = 16
ADDRESS, DATA, CONTROL = 0, 8, 12
#: Where the messages of the kit go, as far as the driver knows: what the kernel writes there is its own.
MESSAGE_ADDRESS = 0xFEE0_0000


class Signals(Protocol):
    """What is needed of a :class:`~.vfio_card.Card`."""

    def signal(self, index: Interrupt, files: Sequence[int], *, start: int = 0) -> None:
        """As there."""

    def silence(self, index: Interrupt) -> None:
        """As there."""

    def unmask(self, index: Interrupt) -> None:
        """As there."""


class VectorTable:
    """An MSI-X table of ``vectors`` entries, and the bits of Message Control.

    Parameters
    ----------
    heard
        Called with the vector of each message, or of several.
    """

    def __init__(self, card: Signals, vectors: int, heard: Callable[[int], None]):
        self._card, self._heard = card, heard
        self._files = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(vectors)]
        self._seen: Counter[int] = Counter()
        self._enabled = self._function_mask = False
        self._wanted: list[int] = []
        self.reset()

    def reset(self) -> None:
        """As it is after a reset of the function."""
        self._words = [{ADDRESS: 0, ADDRESS + 4: 0, DATA: 0, CONTROL: 1} for _ in self._files]
        self.control(0)

    def read(self, offset: int) -> int:
        """A dword of the table."""
        return self._words[offset // ENTRY_BYTES][offset % ENTRY_BYTES]

    def write(self, offset: int, value: int) -> None:
        """Write a dword of the table."""
        self._look()  # what came until now came by the entry as it was
        self._words[offset // ENTRY_BYTES][offset % ENTRY_BYTES] = value
        self._apply()

    @property
    def bits(self) -> MsixMessageControl:
        """Of Message Control: those that are set."""
        enabled = MsixMessageControl.ENABLE if self._enabled else MsixMessageControl(0)
        return enabled | (MsixMessageControl.FUNCTION_MASK if self._function_mask else 0)

    def control(self, bits: int) -> None:
        """Write Message Control."""
        enabled = bool(bits & MsixMessageControl.ENABLE)
        self._look()
        self._function_mask = bool(bits & MsixMessageControl.FUNCTION_MASK)
        if self._enabled and not enabled:
            self._card.silence(Interrupt.MSIX)
            self._look()
        turned_on, self._enabled = enabled and not self._enabled, enabled
        if turned_on:
            self._wanted = self._open()
            self._card.signal(Interrupt.MSIX, self._wanted)
        else:
            self._apply()

    def _open(self) -> list[int]:
        """The eventfd of each vector that is not masked."""
        return [
            -1 if self._function_mask or words[CONTROL] & 1 else file
            for file, words in zip(self._files, self._words, strict=True)
        ]

    def _apply(self) -> None:
        if not self._enabled:
            return
        wanted = self._open()
        for vector, (before, now) in enumerate(zip(self._wanted, wanted, strict=True)):
            if before != now:
                self._card.signal(Interrupt.MSIX, [now], start=vector)
        self._wanted = wanted

    def _look(self) -> None:
        for entry, file in enumerate(self._files):
            try:
                count = os.eventfd_read(file)
            except BlockingIOError:  # none since the last time
                continue
            vector = self._words[entry][DATA]
            self._seen[vector] += count
            self._heard(vector)

    def count(self, vector: int) -> int:
        """Messages so far whose data is that of ``vector``."""
        self._look()
        return self._seen[vector]

    @staticmethod
    def message(vector: int) -> tuple[int, int]:
        """Address and data that stand for ``vector``."""
        return MESSAGE_ADDRESS, vector

    def close(self) -> None:
        """Give the eventfds back."""
        for file in self._files:
            os.close(file)


class Intx:
    """The level of INTx, which is told by an edge: the kernel masks it then, until somebody has looked.

    Parameters
    ----------
    pending
        Whether the function's status says that it has a reason.
    """

    def __init__(self, card: Signals, pending: Callable[[], bool], heard: Callable[[bool], None]):
        self._card, self._pending, self._heard = card, pending, heard
        self._file = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._enabled = self._level = False
        self.assertions = 0

    def enable(self, enabled: bool) -> None:
        """Have it, or not: only one kind of interrupts is there at a time."""
        if enabled == self._enabled:
            return
        self._enabled = enabled
        if enabled:
            self._card.signal(Interrupt.INTX, [self._file])
        else:
            self._card.silence(Interrupt.INTX)
            self._fell()

    def level(self) -> bool:
        """Whether it is asserted."""
        try:
            os.eventfd_read(self._file)
        except BlockingIOError:
            pass
        else:
            if self._enabled and not self._level:
                self._level = True
                self.assertions += 1
                self._heard(True)
        if self._level and not self._pending():
            self._fell()
            self._card.unmask(Interrupt.INTX)
        return self._level

    def _fell(self) -> None:
        if self._level:
            self._level = False
            self._heard(False)

    def close(self) -> None:
        """Give the eventfd back."""
        os.close(self._file)

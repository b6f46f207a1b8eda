"""The reference device: virtio over PCI around a device kind.  [virtio 1.4 §2.7]

Work on the rings is done in :meth:`ReferenceDevice.step`, one access to host memory at a time and in a
seeded order between chains, so that a driver meets every state a device may be in.
"""

from collections.abc import Generator

from virtio_spec.layout import Cause
from virtio_spec.virtio import DeviceStatus
from virtio_spec.virtio_pci import IsrStatus

from .core import DeviceCore
from .dma import DmaError
from .split import Chain, RingError, SplitQueue

__all__ = ["ReferenceDevice"]


class ReferenceDevice(DeviceCore):
    """A virtio PCI function; for the parameters see :class:`~.core.DeviceCore`."""

    def _stop(self) -> None:
        self._fetched: list[tuple[int, Chain]] = []
        self._stuck: list[tuple[int, Chain]] = []
        self._work: Generator[None, None, None] | None = None

    @property
    def running(self) -> bool:
        """Whether the device may touch the rings; on the legacy interface before DRIVER_OK, too."""
        if self.legacy:
            ok = not self.status & (DeviceStatus.FAILED | DeviceStatus.DEVICE_NEEDS_RESET)
        else:
            ok = DeviceStatus.DRIVER_OK in self.status and DeviceStatus.DEVICE_NEEDS_RESET not in self.status
        return ok and not self._resetting and self.pci.bus_master

    def step(self) -> bool:
        """Do a little work: one access to host memory, about.  False if there is nothing to do."""
        if not self.running:
            return False
        if self._work is None:
            self._work = self._next_work()
            if self._work is None:
                return False
        if next(self._work, self) is self:
            self._work = None
        return True

    def _next_work(self) -> Generator[None, None, None] | None:
        kicked = sorted(q for q in self._kicked if self.queues[q].enabled)
        if self._fetched and (not kicked or self._rng.random() < 0.3):
            return self._guarded(*self._fetched.pop(self._rng.randrange(len(self._fetched))))
        if kicked:
            return self._guarded(self._rng.choice(kicked), None)
        self._fetched, self._stuck = self._stuck, []
        return None

    def _guarded(self, number: int, chain: Chain | None) -> Generator[None, None, None]:
        try:
            yield from self._fetch(number) if chain is None else self._serve(number, chain)
        except RingError as error:
            self._needs_reset(number, error)
        except DmaError:
            self._needs_reset(number, RingError(Cause.DMA_ERROR, chain.head if chain else 0))

    def _fetch(self, number: int) -> Generator[None, None, None]:
        chain = self.queues[number].fetch(self.dma)
        if chain is None:
            self._kicked.discard(number)  # at once: a kick from here on is another one
        yield
        if chain is not None:
            self._fetched.append((number, chain))

    def _serve(self, number: int, chain: Chain) -> Generator[None, None, None]:
        queue = self.queues[number]
        data = self.kind.handle(queue.gather(self.dma, chain), chain.room)
        yield
        if data is None:
            self._stuck.append((number, chain))
            return
        yield from self.complete(queue, chain, data)
        if queue.wants_interrupt(self.dma):
            self.isr |= 0 if self.pci.msix_enabled else IsrStatus.QUEUE
            self.pci.raise_vector(self.queue_vectors[number])

    def complete(self, queue: SplitQueue, chain: Chain, data: bytes) -> Generator[None, None, None]:
        """Data, used element, used index, in this order."""
        yield from queue.scatter(self.dma, chain, data)
        yield from queue.push(self.dma, chain, len(data))

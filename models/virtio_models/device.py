"""The reference device: virtio over PCI around a device kind.  [virtio 1.4 §2.6]

Work on the rings is done in :meth:`ReferenceDevice.step`, one access to host memory at a time and in a
seeded order between chains, so that a driver meets every state a device may be in.
"""

from collections.abc import Generator
from dataclasses import dataclass
from itertools import takewhile

from virtio_spec.layout import Cause
from virtio_spec.virtio import DeviceStatus, Feature
from virtio_spec.virtio_pci import IsrStatus

from .core import DeviceCore
from .dma import DmaError
from .kind import Waiting
from .ring import Chain, Ring, RingError

__all__ = ["ReferenceDevice"]


@dataclass(eq=False)
class _Held:
    """A chain that the driver has not got back; ``data`` is what goes into it once that is known."""

    chain: Chain
    waiting: Waiting
    data: bytes | None = None


class ReferenceDevice(DeviceCore):
    """A virtio PCI function; for the parameters see :class:`~.core.DeviceCore`."""

    def _stop(self) -> None:
        self._held: dict[int, list[_Held]] = {}  # of each queue, oldest first
        self._nothing_yet: set[int] = set()  # queues whose chains nothing can be done for
        self._work: Generator[None, None, None] | None = None
        self._works_on = 0

    def _retired(self, number: int) -> None:
        self._held.pop(number, None)
        if self._works_on == number:
            self._work = None

    def _poked(self) -> None:
        self._nothing_yet.clear()

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
        kicked = sorted(q for q in self._kicked if self.queue_in_use(q))
        ready = sorted(
            q
            for q, held in self._held.items()
            if self.queue_in_use(q)
            and q not in self._nothing_yet
            and any(entry.data is None for entry in held)
        )
        if ready and (not kicked or self._rng.random() < 0.3):
            number = self._rng.choice(ready)
            return self._guarded(number, self._serve(number))
        if kicked:
            number = self._rng.choice(kicked)
            return self._guarded(number, self._fetch(number))
        self._nothing_yet.clear()
        return None

    def _guarded(self, number: int, work: Generator[None, None, None]) -> Generator[None, None, None]:
        """Work on a queue; what is wrong with it breaks the device."""
        self._works_on = number
        try:
            yield from work
        except RingError as error:
            self._needs_reset(number, error)
        except DmaError:
            self._needs_reset(number, RingError(Cause.DMA_ERROR))

    def _fetch(self, number: int) -> Generator[None, None, None]:
        queue = self.queues[number]
        chain = queue.fetch(self.dma)
        if chain is None:
            if not queue.arm(self.dma):
                self._kicked.discard(number)  # at once: a kick from here on is another one
            return
        yield
        readable = queue.gather(self.dma, chain)
        self._held.setdefault(number, []).append(_Held(chain, Waiting(readable, chain.room)))
        self._nothing_yet.discard(number)

    def _serve(self, number: int) -> Generator[None, None, None]:
        queue, held = self.queues[number], self._held[number]
        waiting = [entry for entry in held if entry.data is None]
        results = self.kind.serve(number, [entry.waiting for entry in waiting], self._rng)
        if not results:
            self._nothing_yet.add(number)
        for position, data in results:
            waiting[position].data = data
        if queue.has(Feature.IN_ORDER):
            done = list(takewhile(lambda entry: entry.data is not None, held))
        else:
            done = [waiting[position] for position, _ in results]
        held[:] = [entry for entry in held if entry not in done]
        yield
        if not done:
            return
        yield from self.complete(queue, [(entry.chain, entry.data or b"") for entry in done])
        if queue.wants_interrupt(self.dma):
            self.isr |= 0 if self.pci.msix_enabled else IsrStatus.QUEUE
            self.pci.raise_vector(self.queue_vectors[number])

    def complete(self, queue: Ring, done: list[tuple[Chain, bytes]]) -> Generator[None, None, None]:
        """Data first; then the driver is told, of all chains at once."""
        for chain, data in done:
            yield from queue.scatter(self.dma, chain, data)
        whole = all(len(data) == chain.room for chain, data in done[:-1])
        merged = queue.has(Feature.IN_ORDER) and whole and self._rng.random() < 0.5
        yield from queue.push(self.dma, [(chain, len(data)) for chain, data in done], merged=merged)

"""State of a virtio device, and what its registers do to it, whichever interface they belong to.  [§2]"""

import random

from virtio_spec import layout, wire
from virtio_spec.layout import Cause, Diagnostics
from virtio_spec.split import MAX_QUEUE_SIZE
from virtio_spec.virtio import NO_VECTOR, DeviceStatus, Feature, feature_mask
from virtio_spec.virtio_pci import Interface, IsrStatus

from .kind import DeviceKind
from .options import RingOptions
from .packed import PackedQueue
from .pci import PciFunction
from .ring import Ring, RingError
from .snapshots import Snapshots, field_bytes
from .split import SplitQueue

__all__ = ["DeviceState"]

#: Status bits that a driver may set.
DRIVER_BITS = (
    DeviceStatus.ACKNOWLEDGE
    | DeviceStatus.DRIVER
    | DeviceStatus.DRIVER_OK
    | DeviceStatus.FEATURES_OK
    | DeviceStatus.FAILED
)
#: Features that exist on the legacy interface.
LEGACY_FEATURES = 0xFFFF_FFFF
#: Of a device that is a card and reaches memory by itself.  [§6.2]
CARD = feature_mask(Feature.ACCESS_PLATFORM, Feature.ORDER_PLATFORM)


class DeviceState:
    """Status machine, features, queues, configuration, ISR.

    Attributes
    ----------
    in_use
        The interface whose rules hold and whose writes count; ``None`` until a transitional device's
        driver has written something.
    split_ring, packed_ring
        What queues are made of.
    """

    split_ring: type[SplitQueue] = SplitQueue
    packed_ring: type[PackedQueue] = PackedQueue

    pci: PciFunction
    in_use: Interface | None

    def __init__(
        self,
        kind: DeviceKind,
        interface: Interface,
        *,
        queue_size: int,
        rings: RingOptions,
        seed: int,
        config_hold_ns: int,
    ):
        if queue_size < 1 or queue_size > MAX_QUEUE_SIZE or queue_size & queue_size - 1:
            raise ValueError(f"queue_size is a power of two up to {MAX_QUEUE_SIZE}, not {queue_size}")
        self.kind, self.interface, self.queue_size = kind, interface, queue_size
        self.offered = kind.features | (rings.features if kind.queues else 0)
        if interface.has_modern:
            self.offered |= 1 << Feature.VERSION_1 | (CARD if kind.queues else 0)
        else:
            self.offered &= LEGACY_FEATURES
        self._rng = random.Random(f"device {seed}")
        self.generation = 0
        self._config_was_read = False
        self._snapshots = None
        self._writable: set[int] = set()
        self._acknowledge: int | None = None
        if (config := kind.config_layout) is not None:
            self._snapshots = Snapshots(
                config, kind.together, lambda: kind.config() or b"", hold_ns=config_hold_ns
            )
            self._writable = {offset for name in kind.writable for offset in field_bytes(config, name)}
            if kind.acknowledge is not None:
                self._acknowledge = wire.field_offset(config, kind.acknowledge)
        kind.changed, kind.poke, kind.in_use = self.config_changed, self._poked, self.queue_in_use
        self._isr = 0
        self._resetting = 0
        self._reset()

    @property
    def legacy(self) -> bool:
        """Whether the rules of the legacy interface hold."""
        return self.in_use is Interface.LEGACY

    def elapse(self, ns: int) -> None:
        """Time passes."""
        if self._snapshots is not None:
            self._snapshots.elapse(ns)
        self.kind.elapse(ns)

    # -- reset -------------------------------------------------------------------------------------

    def _begin_reset(self) -> None:
        """Nothing happens any more from here on, but registers read as before until it is finished."""
        self._stop()
        self.kind.reset()
        self._resetting = 1 + self._rng.randrange(3)
        if not self.status:
            self._finish_reset()
        self.pci.update_intx()

    def _finish_reset(self) -> None:
        self._resetting = 0
        self._reset()

    def _reset(self) -> None:
        self.in_use = None if self.interface is Interface.TRANSITIONAL else self.interface
        self.kind.reset()
        self.kind.legacy = self.legacy
        self.status = DeviceStatus(0)
        self.accepted = 0
        self.accepts_unknown = False  # a feature bit above 63
        self.isr = 0
        self.cause = Cause.NONE
        self.diagnostics = wire.pack(Diagnostics, magic=layout.DIAGNOSTICS_MAGIC)
        self.queues: list[Ring] = [self.split_ring(self.queue_size) for _ in range(self.kind.queues)]
        self._retiring: dict[int, int] = {}  # queues being reset, and for how many more reads that lasts
        self.config_vector = NO_VECTOR
        self.queue_vectors = [NO_VECTOR] * self.kind.queues
        self.device_feature_select = self.driver_feature_select = self.queue_select = 0
        self.legacy_queue_select = 0
        self._kicked: set[int] = set()
        if self._snapshots is not None:
            self._snapshots.forget()
        self.pci.forget_interrupts()
        self._stop()

    def _stop(self) -> None:
        """Give up all work."""

    def _retired(self, number: int) -> None:
        """Give up the work of one queue."""

    def _poked(self) -> None:
        """Something has come that work had to wait for."""

    def function_reset(self) -> int:
        """Reset by the PCI function."""
        self._finish_reset()
        return self._rng.randrange(4)

    # -- queues ------------------------------------------------------------------------------------

    def queue_in_use(self, number: int) -> bool:
        """Whether a queue is enabled and not being reset."""
        return self.queues[number].enabled and number not in self._retiring

    def _reset_queue(self, number: int) -> None:
        """Start nothing more for a queue; what is under way goes on until the reset is finished.  [§2.6.1]"""
        self._retiring.setdefault(number, 1 + self._rng.randrange(3))
        self._kicked.discard(number)

    def _read_queue_reset(self, number: int, by_driver: bool) -> int:
        """The end of a queue's reset shows after a few reads here."""
        if number in self._retiring and by_driver:
            self._retiring[number] -= 1
            if not self._retiring[number]:
                del self._retiring[number]
                self._retired(number)
                self.queues[number] = type(self.queues[number])(self.queue_size, features=self.accepted)
                self.queue_vectors[number] = NO_VECTOR
        return int(number in self._retiring)

    # -- interrupts --------------------------------------------------------------------------------

    @property
    def isr(self) -> int:
        """ISR status; INTx follows it."""
        return self._isr

    @isr.setter
    def isr(self, value: int) -> None:
        self._isr = value
        self.pci.update_intx()

    def interrupt_status(self) -> bool:
        """PCI Interrupt Status: the ISR, while MSI-X is off and no reset under way.  [§4.1.4.5.1]"""
        return bool(self.isr) and not self.pci.msix_enabled and not self._resetting

    def config_changed(self) -> None:
        """The device configuration has changed: new generation, ISR, interrupt."""
        if self._config_was_read:
            self.generation = (self.generation + 1) % 256
            self._config_was_read = False
        self._notify_config()

    def _notify_config(self) -> None:
        """Tell of it, if there is a driver to listen."""
        if DeviceStatus.DRIVER_OK in self.status and not self._resetting:
            self.isr |= IsrStatus.CONFIG
            self.pci.raise_vector(self.config_vector)

    def _needs_reset(self, queue: int, error: RingError) -> None:
        self.cause = error.cause
        self.diagnostics = wire.pack(
            Diagnostics,
            magic=layout.DIAGNOSTICS_MAGIC,
            cause=error.cause,
            queue=queue,
            head=error.head,
            descriptor=error.descriptor,
        )
        self.status |= DeviceStatus.DEVICE_NEEDS_RESET
        self._notify_config()

    def _valid_vector(self, value: int) -> int:
        return value if value < self.pci.vectors else NO_VECTOR

    # -- which interface ---------------------------------------------------------------------------

    def _choose(self, side: Interface) -> bool:
        """Something is written through one ``side``: whether that counts."""
        if self._resetting:
            return False
        if self.in_use is None:
            self.in_use = side
            self.kind.legacy = self.legacy
        return self.in_use is side

    # -- status and features -----------------------------------------------------------------------

    def features_acceptable(self) -> bool:
        """Whether the driver's features are a subset that a modern device can work with."""
        accepted = self.accepted
        if self.accepts_unknown or accepted & ~self.offered or not accepted >> Feature.VERSION_1 & 1:
            return False
        return accepted == self._with_prerequisites(accepted)

    def _with_prerequisites(self, features: int) -> int:
        """``features`` without those that need others, which are not there."""
        while True:
            met = sum(1 << bit for bit in range(64) if features >> bit & 1 and self._met(bit, features))
            if met == features:
                return met
            features = met

    def _met(self, bit: int, features: int) -> bool:
        return all(features >> need & 1 for need in self.kind.requires.get(bit, ()))

    def _negotiated(self) -> None:
        """The accepted features are in force; with RING_PACKED the queues are other ones."""
        self.kind.accepted = self.accepted
        for number, queue in enumerate(self.queues):
            if self.accepted >> Feature.RING_PACKED & 1 and not isinstance(queue, PackedQueue):
                queue = self.packed_ring(self.queue_size, queue.desc, queue.driver, queue.device)
                queue.size = self.queues[number].size
                self.queues[number] = queue
            queue.features = self.accepted

    def _set_status(self, value: int) -> None:
        if not value:
            self._begin_reset()
            return
        bits = DeviceStatus(value) & DRIVER_BITS
        if self.legacy:
            self.status |= bits & ~DeviceStatus.FEATURES_OK
        else:
            if not self.features_acceptable():
                bits &= ~DeviceStatus.FEATURES_OK
            self.status |= bits & ~DeviceStatus.DRIVER_OK
            if DeviceStatus.FEATURES_OK in self.status:
                self._negotiated()
                self.status |= bits
        self.kind.driver_ok = DeviceStatus.DRIVER_OK in self.status

    # -- device configuration ----------------------------------------------------------------------

    def config_read(self, offset: int, enable: int) -> int:
        """A dword of the device configuration; what is not there reads 0."""
        if self._snapshots is None:
            return 0
        value = self._snapshots.read(offset, enable)
        self._config_was_read = self._config_was_read or bool(enable)
        self._acknowledged(offset, enable)
        return value

    def config_write(self, offset: int, enable: int, value: int) -> None:
        """Write bytes of a dword of the device configuration: those that can be written."""
        self._acknowledged(offset, enable)
        run = bytearray()
        for lane in range(5):
            if enable >> lane & 1 and offset + lane in self._writable:
                run.append(value >> 8 * lane & 0xFF)
            elif run:
                self.kind.config_written(offset + lane - len(run), bytes(run))
                run.clear()

    def _acknowledged(self, offset: int, enable: int) -> None:
        if self._acknowledge is not None and enable << offset >> self._acknowledge & 1:
            self.isr &= ~IsrStatus.CONFIG

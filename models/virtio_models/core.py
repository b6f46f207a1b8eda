"""State and registers of a virtio device.  [virtio 1.4 §2, §4.1]"""

import random

from virtio_spec import layout, wire
from virtio_spec.layout import Cause, Diagnostics
from virtio_spec.split import MAX_QUEUE_SIZE
from virtio_spec.virtio import NO_VECTOR, DeviceStatus, Feature
from virtio_spec.virtio_pci import CommonCfg, IsrStatus

from .config_space import modern_identity
from .dma import Dma
from .kind import DeviceKind
from .pci import MAX_VECTORS, PciFunction
from .split import RingError, SplitQueue

__all__ = ["DeviceCore"]

#: Status bits that a driver may set.
DRIVER_BITS = (
    DeviceStatus.ACKNOWLEDGE
    | DeviceStatus.DRIVER
    | DeviceStatus.DRIVER_OK
    | DeviceStatus.FEATURES_OK
    | DeviceStatus.FAILED
)

#: Registers of the common configuration as they are accessed: 64-bit ones as two halves.
_FIELDS: tuple[tuple[str, int, int], ...] = tuple(
    (name + suffix, wire.field_offset(CommonCfg, name) + shift, size)
    for name, size in [
        ("device_feature_select", 4),
        ("device_feature", 4),
        ("driver_feature_select", 4),
        ("driver_feature", 4),
        ("config_msix_vector", 2),
        ("num_queues", 2),
        ("device_status", 1),
        ("config_generation", 1),
        ("queue_select", 2),
        ("queue_size", 2),
        ("queue_msix_vector", 2),
        ("queue_enable", 2),
        ("queue_notify_off", 2),
        ("queue_desc", 8),
        ("queue_driver", 8),
        ("queue_device", 8),
    ]
    for suffix, shift, size in ([("_low", 0, 4), ("_high", 4, 4)] if size == 8 else [("", 0, size)])
)


class DeviceCore:
    """Status machine, features, queue registers, configuration, ISR: all of a device but its work.

    Parameters
    ----------
    kind
        The device type.
    dma
        The way to host memory.
    queue_size
        Largest size of every queue.
    vectors
        Number of MSI-X vectors; by default one per queue and one for configuration changes, as far as
        they fit the table.
    seed
        For the time that resets take.
    """

    def __init__(
        self, kind: DeviceKind, dma: Dma, *, queue_size: int = 64, vectors: int | None = None, seed: int = 0
    ):
        if queue_size < 1 or queue_size > MAX_QUEUE_SIZE or queue_size & queue_size - 1:
            raise ValueError(f"queue_size is a power of two up to {MAX_QUEUE_SIZE}, not {queue_size}")
        self.kind, self.dma, self.queue_size = kind, dma, queue_size
        self.offered = kind.features | 1 << Feature.VERSION_1
        self._rng = random.Random(f"device {seed}")
        vectors = min(kind.queues + 1, MAX_VECTORS) if vectors is None else vectors
        identity = modern_identity(kind.device_type, kind.class_code, vectors)
        self.pci = PciFunction(identity, self, dma, device_config=kind.config() is not None)
        self.generation = 0
        self._config_was_read = False
        kind.changed = self.config_changed
        self._resetting = 0
        self._reset()

    # -- state -------------------------------------------------------------------------------------

    def _reset(self) -> None:
        self.status = DeviceStatus(0)
        self.accepted = self.kind.accepted = 0
        self.accepts_unknown = False  # a feature bit above 63
        self.isr = 0
        self.cause = Cause.NONE
        self.diagnostics = wire.pack(Diagnostics, magic=layout.DIAGNOSTICS_MAGIC)
        self.queues = [SplitQueue(self.queue_size) for _ in range(self.kind.queues)]
        self.config_vector = NO_VECTOR
        self.queue_vectors = [NO_VECTOR] * self.kind.queues
        self.device_feature_select = self.driver_feature_select = self.queue_select = 0
        self._kicked: set[int] = set()
        self.pci.forget_interrupts()
        self._stop()

    def _stop(self) -> None:
        """Give up all work."""

    def function_reset(self) -> int:
        """Reset by the PCI function."""
        self._finish_reset()
        return self._rng.randrange(4)

    def interrupt_status(self) -> bool:
        """PCI Interrupt Status: the ISR, while MSI-X is off.  [§4.1.4.5.1]"""
        return bool(self.isr) and not self.pci.msix_enabled

    def features_acceptable(self) -> bool:
        """Whether the driver's features are a subset that the device can work with."""
        accepted = self.accepted
        if self.accepts_unknown or accepted & ~self.offered or not accepted >> Feature.VERSION_1 & 1:
            return False
        return all(
            accepted >> need & 1
            for bit, needs in self.kind.requires.items()
            if accepted >> bit & 1
            for need in needs
        )

    def config_changed(self) -> None:
        """The device configuration has changed: new generation, ISR, interrupt."""
        if self._config_was_read:
            self.generation = (self.generation + 1) % 256
            self._config_was_read = False
        self._notify_config()

    def _notify_config(self) -> None:
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

    # -- registers ---------------------------------------------------------------------------------

    def read(self, offset: int, enable: int) -> int:
        """One dword of the structures BAR."""
        if offset < layout.COMMON_OFFSET + wire.size(CommonCfg):
            return self._common_read(offset, enable)
        if layout.DIAGNOSTICS_OFFSET <= offset < layout.DIAGNOSTICS_OFFSET + wire.size(Diagnostics):
            return self._slice(self.diagnostics, offset - layout.DIAGNOSTICS_OFFSET)
        if offset == layout.ISR_OFFSET:
            value = self.isr
            if enable & 1:
                self.isr = 0
            return value
        if layout.DEVICE_OFFSET <= offset < layout.DEVICE_OFFSET + layout.DEVICE_LENGTH:
            self._config_was_read = self._config_was_read or bool(enable)
            return self._slice(self.kind.config() or b"", offset - layout.DEVICE_OFFSET)
        return 0

    def write(self, offset: int, enable: int, value: int) -> None:
        """One dword of the structures BAR."""
        if offset < layout.COMMON_OFFSET + wire.size(CommonCfg):
            self._common_write(offset, enable, value)
        elif layout.NOTIFY_OFFSET <= offset and enable:
            queue = (offset - layout.NOTIFY_OFFSET) // layout.NOTIFY_MULTIPLIER
            if queue < len(self.queues):
                self._kicked.add(queue)

    @staticmethod
    def _slice(raw: bytes, offset: int) -> int:
        return int.from_bytes(raw[offset : offset + 4], "little")

    def _common_read(self, offset: int, enable: int) -> int:
        result = 0
        for name, start, _ in _FIELDS:
            if offset <= start < offset + 4:
                result |= self._get(name, enable) << 8 * (start - offset)
        return result

    def _common_write(self, offset: int, enable: int, value: int) -> None:
        for name, start, size in _FIELDS:
            lanes = enable >> (start - offset) & (1 << size) - 1 if offset <= start < offset + 4 else 0
            if lanes and not self._resetting:
                new, old = value >> 8 * (start - offset), self._get(name, 0)
                bits = sum(0xFF << 8 * lane for lane in range(size) if lanes >> lane & 1)
                self._set(name, new & bits | old & ~bits & (1 << 8 * size) - 1)

    def _get(self, name: str, enable: int) -> int:
        exists = self.queue_select < len(self.queues)
        queue = self.queues[self.queue_select] if exists else SplitQueue(0)
        vector = self.queue_vectors[self.queue_select] if exists else NO_VECTOR
        field, _, half = name.rpartition("_")
        if half in ("low", "high"):
            address = {"queue_desc": queue.desc, "queue_driver": queue.driver, "queue_device": queue.device}
            return address[field] >> (32 if half == "high" else 0) & 0xFFFF_FFFF
        match name:
            case "device_feature_select":
                return self.device_feature_select
            case "device_feature":
                return self._window(self.offered, self.device_feature_select)
            case "driver_feature_select":
                return self.driver_feature_select
            case "driver_feature":
                return self._window(self.accepted, self.driver_feature_select)
            case "config_msix_vector":
                return self.config_vector
            case "num_queues":
                return len(self.queues)
            case "device_status":
                return self._read_status(bool(enable & 1))
            case "config_generation":
                return self.generation
            case "queue_select":
                return self.queue_select
            case "queue_size":
                return queue.size
            case "queue_msix_vector":
                return vector
            case "queue_enable":
                return int(queue.enabled)
            case _:  # queue_notify_off
                return self.queue_select if exists else 0

    @staticmethod
    def _window(features: int, select: int) -> int:
        return features >> 32 * select & 0xFFFF_FFFF if select < 2 else 0

    def _read_status(self, by_driver: bool) -> int:
        """A reset shows only when it is finished, which takes a few reads here."""
        if self._resetting and by_driver:
            self._resetting -= 1
            if not self._resetting:
                self._finish_reset()
        return self.status

    def _finish_reset(self) -> None:
        self._resetting = 0
        self._reset()

    def _set(self, name: str, value: int) -> None:
        match name:
            case "device_feature_select":
                self.device_feature_select = value
            case "driver_feature_select":
                self.driver_feature_select = value
            case "driver_feature":
                self._set_driver_feature(value)
            case "config_msix_vector":
                self.config_vector = self._valid_vector(value)
            case "device_status":
                self._set_status(value)
            case "queue_select":
                self.queue_select = value
            case _:
                if self.queue_select < len(self.queues):
                    self._set_queue(name, value)

    def _set_driver_feature(self, value: int) -> None:
        if DeviceStatus.FEATURES_OK in self.status:
            return
        if self.driver_feature_select > 1:
            self.accepts_unknown |= bool(value)
        else:
            shift = 32 * self.driver_feature_select
            self.accepted = self.accepted & ~(0xFFFF_FFFF << shift) | value << shift

    def _set_status(self, value: int) -> None:
        if not value:
            self._stop()
            self._resetting = 1 + self._rng.randrange(3)
            if not self.status:
                self._finish_reset()
            return
        bits = DeviceStatus(value) & DRIVER_BITS
        if not self.features_acceptable():
            bits &= ~DeviceStatus.FEATURES_OK
        self.status |= bits & ~DeviceStatus.DRIVER_OK
        if DeviceStatus.FEATURES_OK in self.status:
            self.kind.accepted = self.accepted
            self.status |= bits

    def _valid_vector(self, value: int) -> int:
        return value if value < self.pci.identity.vectors else NO_VECTOR

    def _set_queue(self, name: str, value: int) -> None:
        queue = self.queues[self.queue_select]
        if name == "queue_msix_vector":
            self.queue_vectors[self.queue_select] = self._valid_vector(value)
        elif queue.enabled:
            return
        elif name == "queue_size":
            if value and not value & value - 1 and value <= self.queue_size:
                queue.size = value
        elif name == "queue_enable":
            queue.enabled = value == 1 and DeviceStatus.FEATURES_OK in self.status
        else:
            field, _, half = name.rpartition("_")
            attribute = field.removeprefix("queue_")
            if attribute in ("desc", "driver", "device"):
                shift = 32 if half == "high" else 0
                kept = getattr(queue, attribute) & ~(0xFFFF_FFFF << shift)
                setattr(queue, attribute, kept | value << shift)

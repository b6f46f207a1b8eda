"""Registers of the modern interface: the structures in memory BAR 4.  [virtio 1.4 §4.1.4]"""

from virtio_spec import layout, wire
from virtio_spec.layout import Diagnostics
from virtio_spec.virtio import NO_VECTOR, DeviceStatus, Feature
from virtio_spec.virtio_pci import CommonCfg, Interface

from .packed import PackedQueue
from .state import DeviceState

__all__ = ["ModernRegisters"]

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
        ("queue_notif_config_data", 2),
        ("queue_reset", 2),
    ]
    for suffix, shift, size in ([("_low", 0, 4), ("_high", 4, 4)] if size == 8 else [("", 0, size)])
)

READ_ONLY = {"device_feature", "num_queues", "config_generation", "queue_notify_off"}
READ_ONLY |= {"queue_notif_config_data"}

#: What queue_notif_config_data differs in from the queue's number.
NOTIF_CONFIG_MARK = 0x5A00


class ModernRegisters(DeviceState):
    """Common configuration, notifications, ISR, device configuration and diagnostics."""

    def read(self, offset: int, enable: int) -> int:
        """One dword of the structures BAR."""
        if offset < layout.COMMON_OFFSET + wire.size(CommonCfg):
            return self._common_read(offset, enable)
        if layout.DIAGNOSTICS_OFFSET <= offset < layout.DIAGNOSTICS_OFFSET + wire.size(Diagnostics):
            start = offset - layout.DIAGNOSTICS_OFFSET
            return int.from_bytes(self.diagnostics[start : start + 4], "little")
        if offset == layout.ISR_OFFSET:
            value = self.isr
            if enable & 1:
                self.isr = 0
            return value
        if layout.DEVICE_OFFSET <= offset < layout.DEVICE_OFFSET + layout.DEVICE_LENGTH:
            return self.config_read(offset - layout.DEVICE_OFFSET, enable)
        return 0

    def write(self, offset: int, enable: int, value: int) -> None:
        """One dword of the structures BAR."""
        if offset < layout.COMMON_OFFSET + wire.size(CommonCfg):
            self._common_write(offset, enable, value)
        elif layout.DEVICE_OFFSET <= offset < layout.DEVICE_OFFSET + layout.DEVICE_LENGTH:
            if self._choose(Interface.MODERN):
                self.config_write(offset - layout.DEVICE_OFFSET, enable, value)
        elif layout.NOTIFY_OFFSET <= offset and enable:
            queue = (offset - layout.NOTIFY_OFFSET) // layout.NOTIFY_MULTIPLIER
            if self._choose(Interface.MODERN) and queue < len(self.queues):
                self._notified(queue, enable, value)

    def _notified(self, queue: int, enable: int, value: int) -> None:
        """A driver notifies of a queue: a whole one, and with the right number where that matters.

        Where the driver is in the ring, as NOTIFICATION_DATA says, is not needed here.
        """
        with_data, with_config = (
            self.accepted >> bit & 1 for bit in (Feature.NOTIFICATION_DATA, Feature.NOTIF_CONFIG_DATA)
        )
        needed = 0b1111 if with_data else 0b0011 if with_config else 0
        if enable & needed != needed or queue in self._retiring:
            return
        if not with_config or value & 0xFFFF == self._notif_config_data(queue):
            self._kicked.add(queue)

    def _notif_config_data(self, queue: int) -> int:
        return queue ^ NOTIF_CONFIG_MARK if self.accepted >> Feature.NOTIF_CONFIG_DATA & 1 else 0

    def _common_read(self, offset: int, enable: int) -> int:
        result = 0
        for name, start, _ in _FIELDS:
            if offset <= start < offset + 4:
                lane = start - offset
                result |= self._get(name, bool(enable >> lane & 1)) << 8 * lane
        return result

    def _common_write(self, offset: int, enable: int, value: int) -> None:
        for name, start, size in _FIELDS:
            lanes = enable >> (start - offset) & (1 << size) - 1 if offset <= start < offset + 4 else 0
            if not lanes or name in READ_ONLY or self._resetting:
                continue
            new, old = value >> 8 * (start - offset), self._get(name, False)
            bits = sum(0xFF << 8 * lane for lane in range(size) if lanes >> lane & 1)
            merged = new & bits | old & ~bits & (1 << 8 * size) - 1
            resets = name == "device_status" and not merged
            if resets or self._choose(Interface.MODERN):
                self._set(name, merged)

    def _get(self, name: str, by_driver: bool) -> int:
        exists = self.queue_select < len(self.queues)
        queue = self.queues[self.queue_select] if exists else self.split_ring(0)
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
                return self._read_status(by_driver)
            case "config_generation":
                return self._read_generation(by_driver)
            case "queue_select":
                return self.queue_select
            case "queue_size":
                return queue.size
            case "queue_msix_vector":
                return vector
            case "queue_enable":
                return int(queue.enabled)
            case "queue_notif_config_data":
                return self._notif_config_data(self.queue_select) if exists else 0
            case "queue_reset":
                return self._read_queue_reset(self.queue_select, by_driver)
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

    def _read_generation(self, by_driver: bool) -> int:
        """A driver that looks at the generation starts to read anew."""
        if by_driver and self._snapshots is not None:
            self._snapshots.forget()
        return self.generation

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

    def _set_queue(self, name: str, value: int) -> None:
        queue = self.queues[self.queue_select]
        if self.queue_select in self._retiring:
            return
        if name == "queue_msix_vector":
            self.queue_vectors[self.queue_select] = self._valid_vector(value)
        elif name == "queue_reset":
            if value == 1 and queue.has(Feature.RING_RESET):
                self._reset_queue(self.queue_select)
        elif queue.enabled:
            return
        elif name == "queue_size":
            any_size = isinstance(queue, PackedQueue)
            if 0 < value <= self.queue_size and (any_size or not value & value - 1):
                queue.size = value
        elif name == "queue_enable":
            queue.enabled = value == 1 and DeviceStatus.FEATURES_OK in self.status
        else:
            field, _, half = name.rpartition("_")
            attribute = field.removeprefix("queue_")
            shift = 32 if half == "high" else 0
            kept = getattr(queue, attribute) & ~(0xFFFF_FFFF << shift)
            setattr(queue, attribute, kept | value << shift)

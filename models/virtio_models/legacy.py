"""Registers of the legacy interface in I/O BAR 0.  [virtio 1.4 §4.1.4.10]

A legacy driver does not wait for the end of a reset: an I/O request waits for it instead.
"""

from typing import Any

from virtio_spec import layout, wire
from virtio_spec.split import LEGACY_ALIGN, legacy_layout
from virtio_spec.virtio import NO_VECTOR, DeviceStatus, Feature
from virtio_spec.virtio_pci import Interface, LegacyHeader, LegacyVectors

from .state import LEGACY_FEATURES, DeviceState

__all__ = ["LegacyRegisters"]

READ_ONLY = {"device_features", "queue_size", "isr_status"}


def _fields(structure: Any, base: int) -> list[tuple[str, int, int]]:
    return [
        (name, base + wire.field_offset(structure, name), wire.field_size(structure, name))
        for name, _ in structure.as_shape()
    ]


HEADER = _fields(LegacyHeader, 0)
VECTORS = _fields(LegacyVectors, wire.size(LegacyHeader))


class LegacyRegisters(DeviceState):
    """Header, vectors while MSI-X is enabled, device configuration, and diagnostics at the end."""

    def legacy_read(self, offset: int, enable: int) -> int:
        """One dword of the legacy BAR."""
        self._wait()
        if offset >= layout.LEGACY_DIAGNOSTICS_OFFSET:
            start = offset - layout.LEGACY_DIAGNOSTICS_OFFSET
            return int.from_bytes(self.diagnostics[start : start + 4], "little")
        fields, config = self._legacy_layout()
        if offset >= config:
            return self.config_read(offset - config, enable)
        result = 0
        for name, start, _ in fields:
            if offset <= start < offset + 4:
                result |= self._legacy_get(name) << 8 * (start - offset)
                if name == "isr_status" and enable >> (start - offset) & 1:
                    self.isr = 0
        return result

    def legacy_write(self, offset: int, enable: int, value: int) -> None:
        """One dword of the legacy BAR: of the header, only registers that are written whole."""
        self._wait()
        fields, config = self._legacy_layout()
        if config <= offset < layout.LEGACY_DIAGNOSTICS_OFFSET and self._choose(Interface.LEGACY):
            self.config_write(offset - config, enable, value)
        for name, start, size in fields:
            mask = (1 << size) - 1 << start - offset if offset <= start < offset + 4 else 0
            if not mask or enable & mask != mask or name in READ_ONLY:
                continue
            data = value >> 8 * (start - offset) & (1 << 8 * size) - 1
            resets = name == "device_status" and not data
            if resets or self._choose(Interface.LEGACY):
                self._legacy_set(name, data)

    def _wait(self) -> None:
        if self._resetting:
            self._finish_reset()

    def _legacy_layout(self) -> tuple[list[tuple[str, int, int]], int]:
        """Registers, and where the device configuration starts, as of now."""
        fields = HEADER + VECTORS if self.pci.msix_enabled else HEADER
        _, start, size = fields[-1]
        return fields, start + size

    @property
    def legacy_offered(self) -> int:
        """Features as the legacy interface offers them: high ones do not exist."""
        return self.offered & LEGACY_FEATURES | 1 << Feature.ANY_LAYOUT

    def _legacy_get(self, name: str) -> int:
        number = self.legacy_queue_select
        queue = self.queues[number] if number < len(self.queues) else None
        match name:
            case "device_features":
                return self.legacy_offered
            case "driver_features":
                return self.accepted & 0xFFFF_FFFF
            case "queue_address":
                return queue.desc // LEGACY_ALIGN & 0xFFFF_FFFF if queue is not None and queue.enabled else 0
            case "queue_size":
                return self.queue_size if queue is not None else 0
            case "queue_select":
                return number
            case "device_status":
                return self.status & ~DeviceStatus.FEATURES_OK
            case "isr_status":
                return self.isr
            case "config_msix_vector":
                return self.config_vector
            case "queue_msix_vector":
                return self.queue_vectors[number] if queue is not None else NO_VECTOR
            case _:  # queue_notify
                return 0

    def _legacy_set(self, name: str, value: int) -> None:
        number = self.legacy_queue_select
        match name:
            case "driver_features":
                if DeviceStatus.DRIVER_OK not in self.status:
                    self.accepted = self._with_prerequisites(value & self.legacy_offered)
                    self._negotiated()
            case "queue_address":
                if number < len(self.queues):
                    self._set_queue_address(number, value)
            case "queue_select":
                self.legacy_queue_select = value
            case "queue_notify":
                if value < len(self.queues):
                    self._kicked.add(value)
            case "device_status":
                self._set_status(value)
            case "config_msix_vector":
                self.config_vector = self._valid_vector(value)
            case _:  # queue_msix_vector
                if number < len(self.queues):
                    self.queue_vectors[number] = self._valid_vector(value)

    def _set_queue_address(self, number: int, page: int) -> None:
        """A page puts the queue into use; 0 takes it back, which only a reset can.  [§2.7.2]"""
        queue = self.queues[number]
        if queue.enabled and not page:
            self._begin_reset()
        elif not queue.enabled and page:
            offsets = legacy_layout(self.queue_size)
            queue.desc = page * LEGACY_ALIGN
            queue.driver, queue.device = queue.desc + offsets.avail, queue.desc + offsets.used
            queue.enabled = True

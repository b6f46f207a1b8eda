"""What a device type declares and does."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

from virtio_spec.virtio import DeviceType

__all__ = ["DeviceKind"]


class DeviceKind(ABC):
    """A device type: what it declares, and what it does with a chain."""

    device_type: ClassVar[DeviceType]
    class_code: ClassVar[int]
    features: int = 0
    requires: Mapping[int, tuple[int, ...]] = {}
    queues: int = 1
    accepted: int = 0  # features in force; 0 before FEATURES_OK
    changed: Callable[[], None] = staticmethod(lambda: None)  # call after ``config`` has changed

    def config(self) -> bytes | None:
        """Device configuration, ``None`` if there is none."""
        return None

    @abstractmethod
    def handle(self, readable: bytes, room: int) -> bytes | None:
        """Serve a chain: what goes into its writable bytes from the start, or ``None`` for "not yet"."""

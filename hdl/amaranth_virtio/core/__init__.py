"""The device core: what a virtio device does whatever the transport's register layout."""

from .device_core import DeviceCore
from .interface import CoreSignature, QueueRegisters

__all__ = ["CoreSignature", "DeviceCore", "QueueRegisters"]

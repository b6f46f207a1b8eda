"""What a device type declares, and what it is connected to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..chain import ChainSignature

__all__ = ["Device", "DeviceTable"]


@dataclass(frozen=True)
class DeviceTable:
    """A device type in one table.

    Parameters
    ----------
    device_type
        Virtio device ID, 1 to 63: a :class:`virtio_spec.virtio.DeviceType`, or a number of your own.
    class_code
        PCI class code, 24 bits.
    features
        Offered device-type feature bits as a word. Transport and ring features are not part of it:
        the endpoint adds what it supports.
    requires
        Prerequisites: feature bit number to the bit numbers that must be accepted with it.
    queues
        Number of virtqueues.
    config
        Layout of the device configuration, or ``None``.
    """

    device_type: int
    class_code: int
    features: int
    queues: int
    requires: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    config: Any = None


class Device(wiring.Component):
    """Base of all device types.

    Members
    -------
    chains : :py:`In(ChainSignature(width))`
        The virtqueues.
    features : :py:`In(64)`
        Accepted features; stable while FEATURES_OK is set, else 0.
    config : :py:`Out(table.config)`
        Device configuration, little-endian; present if the table names a layout.
    config_changed : :py:`Out(1)`
        High for one cycle, the first in which ``config`` has its new value; present with ``config``.

    Plus the members of ``backend``: the streams to what is behind the device, which become ports of
    the endpoint under their own names.
    """

    table: DeviceTable

    def __init__(self, *, table: DeviceTable, width: int, backend: Mapping[str, Any]):
        self.table = table
        self.width = width
        self.backend = dict(backend)
        members: dict[str, Any] = {
            "chains": In(ChainSignature(width)),
            "features": In(64),
            **self.backend,
        }
        if table.config is not None:
            members |= {"config": Out(table.config), "config_changed": Out(1)}
        super().__init__(members)

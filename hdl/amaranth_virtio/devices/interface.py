"""What a device type declares, and what it is connected to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.virtio_pci import Interface

from ..chain import ChainSignature
from ..pcie.config_header import Identity

__all__ = ["ConfigWrite", "Device", "DeviceTable"]


def ConfigWrite(config: Any) -> data.StructLayout:
    """A write of the driver to the device configuration of layout ``config``.

    ``enable``
        The bytes that are written in this cycle; only bytes of writable fields.
    ``data``
        Their values.
    """
    return data.StructLayout({"enable": Shape.cast(config).width // 8, "data": config})


@dataclass(frozen=True)
class DeviceTable:
    """A device type in one table.

    Parameters
    ----------
    device_type
        Virtio device ID, 1 to 63: a :class:`virtio_spec.virtio.DeviceType`, or a number of your own.
        Only types of :data:`virtio_spec.virtio_pci.TRANSITIONAL_DEVICE_IDS` can be transitional or legacy.
    class_code
        PCI class code, 24 bits.
    features
        Offered device-type feature bits as a word. Transport and ring features are not part of it:
        the endpoint adds what it supports.
    requires
        Prerequisites: feature bit number to the bit numbers that must be accepted with it.
    queues
        Number of virtqueues; may be 0.
    config
        Layout of the device configuration, or ``None``. Whole bytes, each field too.
    together
        Groups of names of neighbouring fields that are one value: what is read of them one after the
        other is of one instant. Each other field is a group of its own; see
        :class:`amaranth_virtio.core.config.DeviceConfig`.
    writable
        Names of the fields that the driver may write.
    acknowledge
        Name of a field whose first byte, read or written, takes back the configuration bit of the ISR
        status, and so INTx, for drivers that do not read the ISR; or ``None``.
    identity
        PCI ids of a device outside virtio's ranges; by default those that the device type has.
    interfaces
        Register interfaces that the device can have.
    msix
        Whether it has MSI-X beside INTx.
    reads
        Whether it wants what drivers write for it. If not, readable bytes are not read, and no beat of them
        comes.
    """

    device_type: int
    class_code: int
    features: int
    queues: int
    requires: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    config: Any = None
    together: tuple[tuple[str, ...], ...] = ()
    writable: tuple[str, ...] = ()
    acknowledge: str | None = None
    identity: Identity | None = None
    interfaces: tuple[Interface, ...] = tuple(Interface)
    msix: bool = True
    reads: bool = True


class Device(wiring.Component):
    """Base of all device types.

    Members
    -------
    chains : :py:`In(ChainSignature(width))`
        The virtqueues; absent if there are none.
    features : :py:`In(64)`
        Accepted features. 0 until FEATURES_OK and stable from then on; on the legacy interface, which
        has no such step, as the driver writes them, and stable from DRIVER_OK on.
    driver_ok : :py:`In(1)`
        Status DRIVER_OK is set; low during a reset.
    legacy : :py:`In(1)`
        The driver uses the legacy interface; changes only between a reset and the driver's first write.
    config : :py:`Out(table.config)`
        Device configuration, little-endian; present if the table names a layout.
    config_changed : :py:`Out(1)`
        High for one cycle, the first in which ``config`` has a new value that the driver is to be told
        of; present with ``config``. A clock, whose value is always new, does not tell.
    config_write : :py:`In(ConfigWrite(table.config))`
        What the driver writes to the configuration; present if the table names writable fields.

    Plus the members of ``backend``: the streams to what is behind the device, which become ports of
    the endpoint under their own names.
    """

    table: DeviceTable
    #: Chains of a queue that may be here at a time, if the device depends on how many they are.
    quota: int | None = None

    def __init__(self, *, table: DeviceTable, width: int, backend: Mapping[str, Any]):
        self.table = table
        self.width = width
        self.backend = dict(backend)
        members: dict[str, Any] = {
            "features": In(64),
            "driver_ok": In(1),
            "legacy": In(1),
            **self.backend,
        }
        if table.queues:
            members["chains"] = In(ChainSignature(width))
        if table.config is not None:
            members |= {"config": Out(table.config), "config_changed": Out(1)}
        if table.writable:
            members["config_write"] = In(ConfigWrite(table.config))
        super().__init__(members)

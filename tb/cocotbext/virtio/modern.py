"""Modern virtio over PCI, driver side.  [virtio 1.4 §4.1]

Everything is reached through capabilities, found by walking the list in configuration space. Each
step stands alone and does just what it says, so that a test can do it out of order.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from virtio_spec import wire
from virtio_spec.layout import DIAGNOSTICS_OFFSET, MODERN_BAR
from virtio_spec.pci import Capability
from virtio_spec.virtio_pci import CfgType, CommonCfg, VirtioPciCap, VirtioPciNotifyCap

from .function import POLL_NS, POLLS, DriverError, PciCapability, walk
from .host import Host
from .transport import Transport

__all__ = ["Modern", "VirtioCapability"]


@dataclass(frozen=True)
class VirtioCapability:
    """A virtio structure: where in configuration space it is described, and where it is."""

    kind: int
    position: int
    cap_len: int
    bar: int
    offset: int
    length: int


class Modern(Transport):
    """The modern interface of one function; make one with :meth:`find`.

    Attributes
    ----------
    capabilities
        The capability list in its order.
    structures
        The virtio capabilities in their order.
    """

    interface = "modern"
    diagnostics_at = (MODERN_BAR, DIAGNOSTICS_OFFSET)

    def __init__(
        self,
        host: Host,
        capabilities: list[PciCapability],
        structures: list[VirtioCapability],
        multiplier: int,
    ):
        super().__init__(host, capabilities)
        self.structures = structures
        self.notify_multiplier = multiplier
        self._notify_offsets: dict[int, int] = {}
        self._notify_ids: dict[int, int] = {}

    @classmethod
    async def find(cls, host: Host) -> "Modern":
        """Walk the capability list; :class:`DriverError` if a mandatory structure is missing."""
        capabilities, multiplier = await walk(host), 0
        structures = await _structures(host, capabilities)
        for found in structures:
            if found.kind == CfgType.NOTIFY and not multiplier:
                field = wire.field_offset(VirtioPciNotifyCap, "notify_off_multiplier")
                multiplier = await host.config_read(found.position + field, 4)
        transport = cls(host, capabilities, structures, multiplier)
        for kind in (CfgType.COMMON, CfgType.NOTIFY, CfgType.ISR):
            transport.structure(kind)
        host.trace.structures = structures
        return transport

    @staticmethod
    async def exists(host: Host) -> bool:
        """Whether a function has virtio capabilities."""
        return bool(await _structures(host, await walk(host)))

    def structure(self, kind: CfgType) -> VirtioCapability:
        """The first usable capability of a kind; :class:`DriverError`."""
        for found in self.structures:
            if found.kind == kind and found.bar <= 5:
                return found
        raise DriverError(f"there is no {kind.name} capability")

    # -- structures --------------------------------------------------------------------------------

    async def read(self, kind: CfgType, offset: int, size: int) -> int:
        """Read inside a structure."""
        where = self.structure(kind)
        return await self.host.bar_read(where.bar, where.offset + offset, size)

    async def write(self, kind: CfgType, offset: int, size: int, value: int) -> None:
        """Write inside a structure."""
        where = self.structure(kind)
        await self.host.bar_write(where.bar, where.offset + offset, size, value)

    async def common(self, field: str) -> int:
        """Read a field of the common configuration at its natural width, 64 bits as two halves."""
        return await self._field(CfgType.COMMON, CommonCfg, field)

    async def set_common(self, field: str, value: int) -> None:
        """Write a field of the common configuration at its natural width, 64 bits as two halves."""
        await self._set_field(CfgType.COMMON, CommonCfg, field, value)

    async def _field(self, kind: CfgType, layout: Any, field: str) -> int:
        offset, size = wire.field_offset(layout, field), wire.field_size(layout, field)
        step = _natural(size)
        parts = [await self.read(kind, offset + part, step) << 8 * part for part in range(0, size, step)]
        return sum(parts)

    async def _set_field(self, kind: CfgType, layout: Any, field: str, value: int) -> None:
        offset, size = wire.field_offset(layout, field), wire.field_size(layout, field)
        step = _natural(size)
        for part in range(0, size, step):
            await self.write(kind, offset + part, step, value >> 8 * part & (1 << 8 * step) - 1)

    # -- status and features -----------------------------------------------------------------------

    async def status(self) -> int:
        """Device status."""
        return await self.common("device_status")

    async def set_status(self, value: int) -> None:
        """Write the device status as it is given."""
        await self.set_common("device_status", value)

    async def reset_done(self) -> None:
        """Wait until the status reads 0; :class:`DriverError` if it never does."""
        for _ in range(POLLS):
            if not await self.status():
                return
            await self.host.sleep(POLL_NS)
        raise DriverError("the reset does not end")

    async def offered_features(self) -> int:
        """Feature bits 0 to 63 that the device offers."""
        features = 0
        for window in (0, 1):
            await self.set_common("device_feature_select", window)
            features |= await self.common("device_feature") << 32 * window
        return features

    async def accepted_features(self) -> int:
        """Feature bits 0 to 63 as the driver wrote them."""
        features = 0
        for window in (0, 1):
            await self.set_common("driver_feature_select", window)
            features |= await self.common("driver_feature") << 32 * window
        return features

    async def accept_features(self, features: int) -> None:
        """Write the driver's feature bits 0 to 63."""
        for window in (0, 1):
            await self.set_common("driver_feature_select", window)
            await self.set_common("driver_feature", features >> 32 * window & 0xFFFF_FFFF)

    # -- queues ------------------------------------------------------------------------------------

    async def num_queues(self) -> int:
        """How many queues there are."""
        return await self.common("num_queues")

    async def select(self, queue: int) -> None:
        """Select the queue that the queue fields are about."""
        await self.set_common("queue_select", queue)

    async def queue_size(self, queue: int) -> int:
        """Select a queue and read its size: after a reset, the largest it can have."""
        await self.select(queue)
        return await self.common("queue_size")

    async def set_up_queue(self, queue: int, size: int, desc: int, driver: int, device: int) -> None:
        """Give a queue its size and memory; it is not enabled yet."""
        await self.select(queue)
        await self.set_common("queue_size", size)
        await self.set_common("queue_desc", desc)
        await self.set_common("queue_driver", driver)
        await self.set_common("queue_device", device)
        self._notify_offsets[queue] = await self.common("queue_notify_off")

    async def enable_queue(self, queue: int) -> None:
        """Enable a queue."""
        await self.select(queue)
        await self.set_common("queue_enable", 1)

    async def reset_queue(self, queue: int) -> None:
        """Reset a queue and wait until that is over; :class:`DriverError` if it never is.  [§4.1.4.3.2]"""
        await self.select(queue)
        await self.set_common("queue_reset", 1)
        for _ in range(POLLS):
            if not await self.common("queue_reset"):
                return
            await self.host.sleep(POLL_NS)
        raise DriverError(f"the reset of queue {queue} does not end")

    async def notification_id(self, queue: int) -> int:
        """What stands for a queue in its notifications with NOTIF_CONFIG_DATA."""
        if queue not in self._notify_ids:
            await self.select(queue)
            self._notify_ids[queue] = await self.common("queue_notif_config_data")
        return self._notify_ids[queue]

    async def notify_offset(self, queue: int) -> int:
        """Where in its structure the notifications of a queue go."""
        if queue not in self._notify_offsets:
            await self.select(queue)
            self._notify_offsets[queue] = await self.common("queue_notify_off")
        return self._notify_offsets[queue] * self.notify_multiplier

    async def notify(self, queue: int, value: int | None = None, *, size: int = 2) -> None:
        """Kick: an available buffer notification of ``size`` bytes, by default the queue's number."""
        value = queue if value is None else value
        await self.write(CfgType.NOTIFY, await self.notify_offset(queue), size, value)

    # -- interrupts --------------------------------------------------------------------------------

    async def isr(self) -> int:
        """Read the ISR status, which clears it."""
        return await self.read(CfgType.ISR, 0, 1)

    async def config_vector(self) -> int:
        """Vector of configuration changes."""
        return await self.common("config_msix_vector")

    async def set_config_vector(self, vector: int) -> int:
        """Map configuration changes to a vector; returns what reads back."""
        await self.set_common("config_msix_vector", vector)
        return await self.config_vector()

    async def queue_vector(self, queue: int) -> int:
        """Select a queue and read its vector."""
        await self.select(queue)
        return await self.common("queue_msix_vector")

    async def set_queue_vector(self, queue: int, vector: int) -> int:
        """Select a queue and map it to a vector; returns what reads back."""
        await self.select(queue)
        await self.set_common("queue_msix_vector", vector)
        return await self.common("queue_msix_vector")

    # -- device configuration ------------------------------------------------------------------------

    async def config(self, layout: Any, *fields: str) -> SimpleNamespace:
        """Fields of the device configuration that belong together: read until no change came between."""
        for _ in range(POLLS):
            before = await self.common("config_generation")
            values = {field: await self._field(CfgType.DEVICE, layout, field) for field in fields}
            if await self.common("config_generation") == before:
                return SimpleNamespace(**values)
        raise DriverError("the configuration never stands still")

    async def set_config(self, layout: Any, field: str, value: int) -> None:
        """Write a field of the device configuration at its natural width, 64 bits as two halves."""
        await self._set_field(CfgType.DEVICE, layout, field, value)

    async def config_read(self, offset: int, size: int) -> int:
        """Read ``size`` bytes of the device configuration in one access."""
        return await self.read(CfgType.DEVICE, offset, size)

    async def config_write(self, offset: int, size: int, value: int) -> None:
        """Write ``size`` bytes of the device configuration in one access."""
        await self.write(CfgType.DEVICE, offset, size, value)

    # -- PCI_CFG window ----------------------------------------------------------------------------

    async def aim_window(self, bar: int, offset: int, length: int) -> int:
        """Point the PCI_CFG window somewhere; returns the position of its data field."""
        position = self.structure(CfgType.PCI).position
        await self.host.config_write(position + wire.field_offset(VirtioPciCap, "bar"), 1, bar)
        await self.host.config_write(position + wire.field_offset(VirtioPciCap, "offset"), 4, offset)
        await self.host.config_write(position + wire.field_offset(VirtioPciCap, "length"), 4, length)
        return position + wire.size(VirtioPciCap)

    async def window_read(self, bar: int, offset: int, length: int) -> int:
        """Read 1, 2 or 4 bytes of a BAR through configuration space."""
        return await self.host.config_read(await self.aim_window(bar, offset, length), length)

    async def window_write(self, bar: int, offset: int, length: int, value: int) -> None:
        """Write 1, 2 or 4 bytes of a BAR through configuration space."""
        await self.host.config_write(await self.aim_window(bar, offset, length), length, value)


def _natural(size: int) -> int:
    """Bytes of an access to a field: 64 bits are two halves, and six octets an array of bytes.  [§4.1.3.1]"""
    return {8: 4, 6: 1}.get(size, size)


async def _structures(host: Host, capabilities: list[PciCapability]) -> list[VirtioCapability]:
    """The virtio capabilities in their order."""
    structures = []
    for found in capabilities:
        if found.identity == Capability.VENDOR:
            words = [await host.config_read(found.position + 4 * n, 4) for n in range(4)]
            cap = wire.unpack(VirtioPciCap, b"".join(word.to_bytes(4, "little") for word in words))
            structures.append(
                VirtioCapability(cap.cfg_type, found.position, cap.cap_len, cap.bar, cap.offset, cap.length)
            )
    return structures

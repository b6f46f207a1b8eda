"""Legacy virtio over PCI, driver side: registers in I/O BAR 0.  [virtio 1.4 §4.1.4.10]"""

from types import SimpleNamespace
from typing import Any

from virtio_spec import split, wire
from virtio_spec.layout import LEGACY_BAR, LEGACY_DIAGNOSTICS_OFFSET
from virtio_spec.pci import Capability, MsixMessageControl
from virtio_spec.virtio_pci import LegacyHeader, LegacyVectors

from .function import DriverError, PciCapability, walk
from .host import Host
from .transport import Transport

__all__ = ["HABITS", "Legacy"]

#: How drivers access the device configuration: at a field's width, with 64 bits as two words, the low
#: one first (OpenBSD; virtio_pci_obsd on Linux), or byte by byte (Linux's own legacy driver).
HABITS = ("natural", "bytes")

HEADER_BYTES = wire.size(LegacyHeader)
VECTORS_BYTES = wire.size(LegacyVectors)
PAGE_BITS = 32  # of ``queue_address``
MOST_QUEUES = 1024  # where a driver stops counting


class Legacy(Transport):
    """The legacy interface of one function; make one with :meth:`find`.

    Parameters
    ----------
    host
        The function is below it.
    capabilities
        Its capability list, from :func:`~.function.walk`.
    habit
        One of :data:`HABITS`.
    """

    interface = "legacy"
    diagnostics_at = (LEGACY_BAR, LEGACY_DIAGNOSTICS_OFFSET)

    def __init__(self, host: Host, capabilities: list[PciCapability], *, habit: str = "natural"):
        if habit not in HABITS:
            raise ValueError(f"habit is one of {', '.join(HABITS)}, not {habit!r}")
        super().__init__(host, capabilities)
        self.habit = habit
        self._pages: dict[int, int] = {}

    @classmethod
    async def find(cls, host: Host, *, habit: str = "natural") -> "Legacy":
        """Read the capability list; legacy devices need not have one."""
        return cls(host, await walk(host), habit=habit)

    # -- header ------------------------------------------------------------------------------------

    async def read(self, offset: int, size: int) -> int:
        """Read 1, 2 or 4 bytes of the BAR, inside one dword."""
        return await self.host.bar_read(LEGACY_BAR, offset, size)

    async def write(self, offset: int, size: int, value: int) -> None:
        """Write 1, 2 or 4 bytes of the BAR, inside one dword."""
        await self.host.bar_write(LEGACY_BAR, offset, size, value)

    async def header(self, field: str) -> int:
        """Read a field of the legacy header at its width."""
        offset, size = wire.field_offset(LegacyHeader, field), wire.field_size(LegacyHeader, field)
        return await self.read(offset, size)

    async def set_header(self, field: str, value: int) -> None:
        """Write a field of the legacy header at its width."""
        offset, size = wire.field_offset(LegacyHeader, field), wire.field_size(LegacyHeader, field)
        await self.write(offset, size, value)

    async def msix_enabled(self) -> bool:
        """Whether MSI-X is on, which moves the device configuration to behind the vector registers."""
        if not self.has(Capability.MSIX):
            return False
        control = await self.host.config_read(self.capability(Capability.MSIX) + 2, 2)
        return bool(control & MsixMessageControl.ENABLE)

    # -- status and features -----------------------------------------------------------------------

    async def status(self) -> int:
        """Device status."""
        return await self.header("device_status")

    async def set_status(self, value: int) -> None:
        """Write the device status as it is given."""
        await self.set_header("device_status", value)

    async def reset_done(self) -> None:
        """Read the status once, as legacy drivers do, which by then has to be 0; :class:`DriverError`."""
        if status := await self.status():
            raise DriverError(f"the reset is not over when the status is read: {status:#x}")

    async def offered_features(self) -> int:
        """Feature bits 0 to 31 that the device offers."""
        return await self.header("device_features")

    async def accepted_features(self) -> int:
        """Feature bits 0 to 31 that read back as accepted."""
        return await self.header("driver_features")

    async def accept_features(self, features: int) -> None:
        """Write the driver's feature bits 0 to 31; there are no others."""
        await self.set_header("driver_features", features & 0xFFFF_FFFF)

    # -- queues ------------------------------------------------------------------------------------

    async def num_queues(self) -> int:
        """How many queues there are: those before the first one without a size; :class:`DriverError`."""
        for number in range(MOST_QUEUES):
            if not await self.queue_size(number):
                return number
        raise DriverError(f"there are more than {MOST_QUEUES - 1} queues, or none can be selected")

    async def select(self, queue: int) -> None:
        """Select the queue that the queue fields are about."""
        await self.set_header("queue_select", queue)

    async def queue_size(self, queue: int) -> int:
        """Select a queue and read its size, which is fixed; 0 if it does not exist."""
        await self.select(queue)
        return await self.header("queue_size")

    async def set_up_queue(self, queue: int, size: int, desc: int, driver: int, device: int) -> None:
        """Note where a queue is; ``ValueError`` for memory that the interface cannot express."""
        parts = split.legacy_layout(size)
        if desc % split.LEGACY_ALIGN or desc // split.LEGACY_ALIGN >> PAGE_BITS:
            raise ValueError(f"a legacy queue is on a page below 2**44, not at {desc:#x}")
        if (driver, device) != (desc + parts.avail, desc + parts.used):
            raise ValueError(f"the rings of a legacy queue of {size} follow its descriptors in one piece")
        self._pages[queue] = desc // split.LEGACY_ALIGN

    async def enable_queue(self, queue: int) -> None:
        """Write the page number of a queue, which enables it."""
        await self.select(queue)
        await self.set_header("queue_address", self._pages[queue])

    async def notify(self, queue: int, value: int | None = None, *, size: int = 2) -> None:
        """Kick: an available buffer notification, which here has 2 bytes that say which queue."""
        if size != 2 or value not in (None, queue):
            raise ValueError(f"a legacy notification is the queue's number, not {size} bytes {value}")
        await self.set_header("queue_notify", queue)

    # -- interrupts --------------------------------------------------------------------------------

    async def isr(self) -> int:
        """Read the ISR status, which clears it."""
        return await self.header("isr_status")

    async def _vector_at(self, field: str) -> int:
        if not await self.msix_enabled():
            raise DriverError("there are no vector registers while MSI-X is off")
        return HEADER_BYTES + wire.field_offset(LegacyVectors, field)

    async def config_vector(self) -> int:
        """Vector of configuration changes; :class:`DriverError` while MSI-X is off."""
        return await self.read(await self._vector_at("config_msix_vector"), 2)

    async def set_config_vector(self, vector: int) -> int:
        """Map configuration changes to a vector; returns what reads back."""
        offset = await self._vector_at("config_msix_vector")
        await self.write(offset, 2, vector)
        return await self.read(offset, 2)

    async def queue_vector(self, queue: int) -> int:
        """Select a queue and read its vector; :class:`DriverError` while MSI-X is off."""
        await self.select(queue)
        return await self.read(await self._vector_at("queue_msix_vector"), 2)

    async def set_queue_vector(self, queue: int, vector: int) -> int:
        """Select a queue and map it to a vector; returns what reads back."""
        await self.select(queue)
        offset = await self._vector_at("queue_msix_vector")
        await self.write(offset, 2, vector)
        return await self.read(offset, 2)

    # -- device configuration ------------------------------------------------------------------------

    async def config_offset(self) -> int:
        """Where in the BAR the device configuration starts, which MSI-X has a say in."""
        return HEADER_BYTES + (VECTORS_BYTES if await self.msix_enabled() else 0)

    def _pieces(self, layout: Any, field: str) -> list[tuple[int, int]]:
        """Offset and size of the accesses that make up one to a field, by habit."""
        offset, size = wire.field_offset(layout, field), wire.field_size(layout, field)
        step = 1 if self.habit == "bytes" else min(size, 4)
        return [(offset + part, step) for part in range(0, size, step)]

    async def config(self, layout: Any, *fields: str) -> SimpleNamespace:
        """Fields of the device configuration, each piece read once, in order.

        There is no generation here, and the drivers that are known do not read again: values that
        belong together are one value only if the device sees to it.
        """
        start, values = await self.config_offset(), {}
        for field in fields:
            pieces = self._pieces(layout, field)
            first = pieces[0][0]
            values[field] = sum(
                [await self.read(start + offset, size) << 8 * (offset - first) for offset, size in pieces]
            )
        return SimpleNamespace(**values)

    async def set_config(self, layout: Any, field: str, value: int) -> None:
        """Write a field of the device configuration, in pieces by habit."""
        start = await self.config_offset()
        pieces = self._pieces(layout, field)
        for offset, size in pieces:
            part = value >> 8 * (offset - pieces[0][0]) & (1 << 8 * size) - 1
            await self.write(start + offset, size, part)

    async def config_read(self, offset: int, size: int) -> int:
        """Read ``size`` bytes of the device configuration in one access."""
        return await self.read(await self.config_offset() + offset, size)

    async def config_write(self, offset: int, size: int, value: int) -> None:
        """Write ``size`` bytes of the device configuration in one access."""
        await self.write(await self.config_offset() + offset, size, value)

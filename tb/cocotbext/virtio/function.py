"""A PCI Express function, driver side: capability list, MSI-X, power states, function level reset."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from virtio_spec import wire
from virtio_spec.pci import Capability, Command, ConfigOffset, MsixEntry, MsixMessageControl, Status

from .host import BusError, Host

__all__ = ["FLR_NS", "POLLS", "POLL_NS", "DriverError", "Function", "PciCapability", "walk"]

PCIE_DEVICE_CONTROL = 8
INITIATE_FLR = 1 << 15
PM_CONTROL = 4
#: Polls of something that takes a device a moment, and the device's time between two of them.
POLLS, POLL_NS = 1000, 200
#: Time given to a function level reset; silicon is allowed 100 ms.  [PCIe base 5.0 §6.6.2]
FLR_NS = 5_000


class DriverError(Exception):
    """The device did something that a driver must not accept."""


@dataclass(frozen=True)
class PciCapability:
    """One entry of the capability list."""

    identity: int
    position: int


async def walk(host: Host) -> list[PciCapability]:
    """The capability list in its order, empty if there is none; :class:`DriverError` if it has no end."""
    found: list[PciCapability] = []
    if not await host.config_read(ConfigOffset.STATUS, 2) & Status.CAPABILITIES_LIST:
        return found
    position = await host.config_read(ConfigOffset.CAPABILITIES_POINTER, 1) & ~3
    while position:
        if any(known.position == position for known in found):
            raise DriverError(f"the capability list comes back to {position:#x}")
        head = await host.config_read(position, 2)
        found.append(PciCapability(head & 0xFF, position))
        position = head >> 8 & 0xFC
    return found


class Function:
    """What can be done to a function whatever it is for.

    Parameters
    ----------
    host
        The function is below it.
    capabilities
        Its capability list, from :func:`walk`.
    """

    def __init__(self, host: Host, capabilities: list[PciCapability]):
        self.host, self.capabilities = host, capabilities

    def has(self, identity: Capability) -> bool:
        """Whether there is a PCI capability with this id."""
        return any(found.identity == identity for found in self.capabilities)

    def capability(self, identity: Capability) -> int:
        """Position of the first PCI capability with this id; :class:`DriverError`."""
        for found in self.capabilities:
            if found.identity == identity:
                return found.position
        raise DriverError(f"there is no {identity.name} capability")

    # -- MSI-X -------------------------------------------------------------------------------------

    async def vectors(self) -> int:
        """Entries of the MSI-X table; 0 if there is none."""
        if not self.has(Capability.MSIX):
            return 0
        return (await self.host.config_read(self.capability(Capability.MSIX) + 2, 2) & 0x7FF) + 1

    async def msix_control(self, *, enable: bool, mask: bool = False) -> None:
        """Enable MSI-X, mask the whole function."""
        position = self.capability(Capability.MSIX) + 2
        control = await self.host.config_read(position, 2) & ~(
            MsixMessageControl.ENABLE | MsixMessageControl.FUNCTION_MASK
        )
        control |= (MsixMessageControl.ENABLE if enable else 0) | (
            MsixMessageControl.FUNCTION_MASK if mask else 0
        )
        await self.host.config_write(position, 2, control)

    async def _msix_structure(self, which: int) -> tuple[int, int]:
        pointer = await self.host.config_read(self.capability(Capability.MSIX) + which, 4)
        return pointer & 7, pointer & ~7

    async def program_vector(self, vector: int, *, masked: bool = False) -> None:
        """Write a table entry: the host's message for this vector."""
        bar, table = await self._msix_structure(4)
        address, message = self.host.msix_message(vector)
        raw = wire.pack(
            MsixEntry,
            address_low=address & 0xFFFF_FFFF,
            address_high=address >> 32,
            data=message,
            masked=int(masked),
        )
        for position in range(0, len(raw), 4):
            word = int.from_bytes(raw[position : position + 4], "little")
            await self.host.bar_write(bar, table + len(raw) * vector + position, 4, word)

    async def mask_vector(self, vector: int, masked: bool) -> None:
        """Mask or unmask one table entry."""
        bar, table = await self._msix_structure(4)
        offset = table + wire.size(MsixEntry) * vector + wire.size(MsixEntry) - 4
        await self.host.bar_write(bar, offset, 4, int(masked))

    async def pending(self, vector: int) -> bool:
        """The vector's bit in the pending bit array."""
        bar, array = await self._msix_structure(8)
        word = await self.host.bar_read(bar, array + vector // 32 * 4, 4)
        return bool(word >> vector % 32 & 1)

    # -- power and reset -----------------------------------------------------------------------------

    async def function_level_reset(self) -> None:
        """FLR, then configuration space as it was before."""
        async with self.restored():
            await self.initiate_flr()
            await self.flr_done()

    @asynccontextmanager
    async def restored(self) -> AsyncIterator[None]:
        """Around a reset: BARs, command and device control are afterwards what they were before."""
        control = self.capability(Capability.PCI_EXPRESS) + PCIE_DEVICE_CONTROL
        places = [(ConfigOffset.BAR0 + 4 * n, 4) for n in range(6)] + [
            (control, 2),
            (ConfigOffset.COMMAND, 2),
        ]
        saved = [(at, size, await self.host.config_read(at, size)) for at, size in places]
        yield
        for offset, size, value in saved:
            await self.host.config_write(offset, size, value)

    async def initiate_flr(self) -> None:
        """Write Initiate Function Level Reset."""
        position = self.capability(Capability.PCI_EXPRESS) + PCIE_DEVICE_CONTROL
        control = await self.host.config_read(position, 2)
        await self.host.config_write(position, 2, control | INITIATE_FLR)

    async def flr_done(self) -> None:
        """Wait as long as a reset may take, and then while the function still answers with RRS."""
        await self.host.sleep(FLR_NS)
        for _ in range(POLLS):
            try:
                await self.host.config_read(ConfigOffset.VENDOR_ID, 2)
                return
            except BusError as error:
                if error.status != "RRS":
                    raise
            await self.host.sleep(POLL_NS)
        raise DriverError("the function level reset does not end")

    async def set_power_state(self, state: int) -> None:
        """Go to D0 (0) or D3hot (3)."""
        position = self.capability(Capability.POWER_MANAGEMENT) + PM_CONTROL
        control = await self.host.config_read(position, 2) & ~3
        await self.host.config_write(position, 2, control | state)

    async def set_command(
        self, *, io: bool = True, memory: bool = True, bus_master: bool = True, intx: bool = True
    ) -> None:
        """Enable or disable I/O space, memory space, bus mastering and INTx."""
        command = await self.host.config_read(ConfigOffset.COMMAND, 2)
        command &= ~(Command.IO_SPACE | Command.MEMORY_SPACE | Command.BUS_MASTER | Command.INTERRUPT_DISABLE)
        command |= Command.IO_SPACE if io else 0
        command |= Command.MEMORY_SPACE if memory else 0
        command |= Command.BUS_MASTER if bus_master else 0
        command |= 0 if intx else Command.INTERRUPT_DISABLE
        await self.host.config_write(ConfigOffset.COMMAND, 2, command)

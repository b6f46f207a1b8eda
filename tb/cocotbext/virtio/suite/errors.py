"""The error bits of a function's Status and Device Status registers."""

from virtio_spec.pci import Capability, ConfigOffset, DeviceStatus, Status

from .helpers import same
from .registry import Bench

__all__ = ["ErrorBits"]

DEVICE_STATUS = 0x0A  # offset in the PCI Express capability
_DEVICE_STATUS_BITS = (
    DeviceStatus.CORRECTABLE_ERROR
    | DeviceStatus.NON_FATAL_ERROR
    | DeviceStatus.FATAL_ERROR
    | DeviceStatus.UNSUPPORTED_REQUEST
)
_STATUS_BITS = (
    Status.MASTER_DATA_PARITY_ERROR
    | Status.SIGNALED_TARGET_ABORT
    | Status.RECEIVED_TARGET_ABORT
    | Status.RECEIVED_MASTER_ABORT
    | Status.SIGNALED_SYSTEM_ERROR
    | Status.DETECTED_PARITY_ERROR
)
NO_STATUS = Status(0)


class ErrorBits:
    """Reads and clears the bits; make one with :meth:`clean`.  [PCIe base 5.0 §7.5.1.1.4, §7.5.3.5]"""

    def __init__(self, bench: Bench, position: int):
        self._host, self._position = bench.host, position

    @classmethod
    async def clean(cls, bench: Bench) -> "ErrorBits":
        """With all bits cleared."""
        transport = (await bench.probe()).transport
        bits = cls(bench, transport.capability(Capability.PCI_EXPRESS) + DEVICE_STATUS)
        await bits.clear()
        return bits

    async def read(self) -> tuple[DeviceStatus, Status]:
        """What is set."""
        device = await self._host.config_read(self._position, 2) & _DEVICE_STATUS_BITS
        status = await self._host.config_read(ConfigOffset.STATUS, 2) & _STATUS_BITS
        return DeviceStatus(device), Status(status)

    async def clear(self) -> None:
        """Write 1 to all bits; ``AssertionError`` if one stays."""
        await self._host.config_write(self._position, 2, _DEVICE_STATUS_BITS)
        await self._host.config_write(ConfigOffset.STATUS, 2, _STATUS_BITS)
        same(await self.read(), (0, 0), "the error bits, cleared")

    async def expect(self, device: DeviceStatus, what: str, *, status: Status = NO_STATUS) -> None:
        """``AssertionError`` unless exactly these are set; clears them, one register after the other."""
        same(await self.read(), (device, status), f"the error bits after {what}")
        # Writing 0, or 1 to another bit, clears nothing.
        await self._host.config_write(self._position, 2, _DEVICE_STATUS_BITS & ~device)
        same((await self.read())[0], device, f"the error bits after {what} and a write that clears others")
        await self.clear()

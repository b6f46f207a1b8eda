"""Front end of OpenBSD's virtual machine monitor control interface, vmmci(4)."""

from virtio_spec.vmmci import VmmciCommand, VmmciConfig

from ..driver import VirtioDevice

__all__ = ["VirtioVmmci"]


class VirtioVmmci:
    """What a guest does with a vmmci.

    Parameters
    ----------
    device
        The device.
    """

    def __init__(self, device: VirtioDevice):
        self.device = device

    async def time(self) -> tuple[int, int]:
        """The host's time as seconds, which may be before 1970, and microseconds."""
        found = await self.device.transport.config(VmmciConfig, "time_sec", "time_usec")
        return _signed(found.time_sec), _signed(found.time_usec)

    async def drift(self, guest_ns: int) -> int:
        """By how many nanoseconds the guest's clock, which says ``guest_ns`` since 1970, is fast."""
        seconds, microseconds = await self.time()
        return guest_ns - (seconds * 1_000_000 + microseconds) * 1_000

    async def command(self) -> int:
        """What the host wants, a :class:`~virtio_spec.vmmci.VmmciCommand`."""
        return (await self.device.transport.config(VmmciConfig, "command")).command

    async def acknowledge(self, command: int) -> None:
        """Tell the host that the guest does what it wants."""
        await self.device.transport.set_config(VmmciConfig, "command", command)

    async def request_shutdown(self) -> None:
        """Tell the host that the guest shuts down on its own."""
        await self.device.transport.set_config(VmmciConfig, "command", VmmciCommand.SHUTDOWN)


def _signed(value: int) -> int:
    return value - (value >> 63 << 64)

"""What a driver of a virtio PCI device needs of its registers, whichever interface they belong to."""

from abc import ABC, abstractmethod
from types import SimpleNamespace
from typing import Any, ClassVar

from virtio_spec.layout import Diagnostics
from virtio_spec.wire import size, unpack

from .function import Function

__all__ = ["Transport"]


class Transport(Function, ABC):
    """Registers of one virtio function, through one of its interfaces.

    Each step stands alone and does just what it says, so that a test can do it out of order. What
    exists on one interface only is a method of that class.

    Attributes
    ----------
    interface
        ``"modern"`` or ``"legacy"``.
    diagnostics_at
        BAR and offset of the diagnostics block, which only devices of this project have.
    """

    interface: ClassVar[str]
    diagnostics_at: ClassVar[tuple[int, int]]

    # -- status and features -----------------------------------------------------------------------

    @abstractmethod
    async def status(self) -> int:
        """Device status."""

    @abstractmethod
    async def set_status(self, value: int) -> None:
        """Write the device status as it is given."""

    @abstractmethod
    async def reset_done(self) -> None:
        """What the interface has a driver do until a reset is over; :class:`~.function.DriverError`."""

    @abstractmethod
    async def offered_features(self) -> int:
        """Feature bits that the device offers."""

    @abstractmethod
    async def accepted_features(self) -> int:
        """Feature bits that read back as accepted by the driver."""

    @abstractmethod
    async def accept_features(self, features: int) -> None:
        """Write the driver's feature bits, as many as the interface has."""

    async def add_status(self, bits: int) -> int:
        """Set status bits beside those that are set; returns what the device made of it."""
        await self.set_status(await self.status() | bits)
        return await self.status()

    async def reset(self) -> None:
        """Write 0 to the status and see the reset through; :class:`~.function.DriverError`."""
        await self.set_status(0)
        await self.reset_done()

    # -- queues ------------------------------------------------------------------------------------

    @abstractmethod
    async def num_queues(self) -> int:
        """How many queues there are."""

    @abstractmethod
    async def select(self, queue: int) -> None:
        """Select the queue that the queue fields are about."""

    @abstractmethod
    async def queue_size(self, queue: int) -> int:
        """Select a queue and read its size; 0 if it does not exist."""

    @abstractmethod
    async def set_up_queue(self, queue: int, size: int, desc: int, driver: int, device: int) -> None:
        """Give a queue its size and memory; it is not enabled yet."""

    @abstractmethod
    async def enable_queue(self, queue: int) -> None:
        """Enable a queue that has been set up."""

    @abstractmethod
    async def notify(self, queue: int, value: int | None = None, *, size: int = 2) -> None:
        """Kick: an available buffer notification of ``size`` bytes, by default the queue's number."""

    # -- interrupts --------------------------------------------------------------------------------

    @abstractmethod
    async def isr(self) -> int:
        """Read the ISR status, which clears it."""

    @abstractmethod
    async def config_vector(self) -> int:
        """Vector of configuration changes."""

    @abstractmethod
    async def set_config_vector(self, vector: int) -> int:
        """Map configuration changes to a vector; returns what reads back."""

    @abstractmethod
    async def queue_vector(self, queue: int) -> int:
        """Select a queue and read its vector."""

    @abstractmethod
    async def set_queue_vector(self, queue: int, vector: int) -> int:
        """Select a queue and map it to a vector; returns what reads back."""

    # -- device configuration ------------------------------------------------------------------------

    @abstractmethod
    async def config(self, layout: Any, *fields: str) -> SimpleNamespace:
        """Fields of the device configuration that belong together, read as the interface's drivers do."""

    @abstractmethod
    async def set_config(self, layout: Any, field: str, value: int) -> None:
        """Write a field of the device configuration as the interface's drivers do."""

    @abstractmethod
    async def config_read(self, offset: int, size: int) -> int:
        """Read ``size`` bytes of the device configuration in one access."""

    @abstractmethod
    async def config_write(self, offset: int, size: int, value: int) -> None:
        """Write ``size`` bytes of the device configuration in one access."""

    async def diagnostics(self) -> SimpleNamespace:
        """The diagnostics block, which only devices of this project have."""
        bar, start = self.diagnostics_at
        words = [
            await self.host.bar_read(bar, start + offset, 4) for offset in range(0, size(Diagnostics), 4)
        ]
        return unpack(Diagnostics, b"".join(word.to_bytes(4, "little") for word in words))

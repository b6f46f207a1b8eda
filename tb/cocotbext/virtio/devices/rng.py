"""Front end of an entropy device.  [virtio 1.4 §5.4]"""

from ..driver import Request, VirtioDevice
from ..function import DriverError

__all__ = ["VirtioRng"]


class VirtioRng:
    """Entropy from queue 0 of a device at DRIVER_OK.

    Parameters
    ----------
    device
        The device.
    """

    QUEUE = 0

    def __init__(self, device: VirtioDevice):
        self.device = device

    async def submit(self, *lengths: int) -> Request:
        """Offer a chain of writable buffers of these lengths, without waiting."""
        return await self.device.submit(self.QUEUE, writable=lengths)

    async def wait(self, *requests: Request, timeout_ns: int = 200_000) -> None:
        """Until these have come back; a buffer returned without a byte is a :class:`DriverError`."""
        await self.device.wait(*requests, timeout_ns=timeout_ns)
        if any(request.content and not request.used for request in requests):
            raise DriverError("the device returned a buffer without any entropy")

    async def read(self, count: int) -> bytes:
        """``count`` random bytes, asking again for what the device left out."""
        data = b""
        while len(data) < count:
            request = await self.submit(count - len(data))
            await self.wait(request)
            data += request.written
        return data

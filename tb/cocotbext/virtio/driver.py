"""A virtio device as its driver sees it: initialisation step by step, and requests on its queues.

[virtio 1.4 §3.1.1]
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

from virtio_spec.layout import DIAGNOSTICS_OFFSET, MODERN_BAR, Diagnostics
from virtio_spec.pci import ConfigOffset
from virtio_spec.virtio import NO_VECTOR, DeviceStatus, Feature
from virtio_spec.virtio_pci import MODERN_DEVICE_ID_BASE, VENDOR_ID
from virtio_spec.wire import size, unpack

from .function import DriverError
from .host import Host
from .memory import Buffer
from .split import SplitQueue
from .transport import Modern

__all__ = ["Request", "VirtioDevice", "probe"]

#: What writable buffers hold before the device has written them.
UNTOUCHED = 0xA5


@dataclass
class Request:
    """One chain of a driver: its buffers, and what became of it.

    Attributes
    ----------
    queue
        Number of the queue it is on.
    head
        Descriptor id of its first buffer.
    used
        Bytes the device says it has written, ``None`` while it has the chain.
    content
        All writable bytes as found when the chain came back.
    """

    queue: int
    head: int
    readable: list[Buffer]
    writable: list[Buffer]
    used: int | None = None
    content: bytes = b""

    @property
    def done(self) -> bool:
        """Whether the device has returned the chain."""
        return self.used is not None

    @property
    def written(self) -> bytes:
        """The bytes that the device says it has written."""
        return self.content[: self.used]


class VirtioDevice:
    """A modern device of any type; make one with :func:`probe`.

    Attributes
    ----------
    device_type
        Virtio device ID.
    accepted
        Features negotiated.
    queues
        Those set up, by number.
    """

    def __init__(self, host: Host, transport: Modern, device_type: int, *, rng: random.Random):
        self.host, self.transport, self.device_type = host, transport, device_type
        self.rng = rng
        self.accepted = 0
        self.queues: dict[int, SplitQueue] = {}
        self.config_vector = NO_VECTOR
        self.vector_of: dict[int, int] = {}
        self._requests: dict[tuple[int, int], Request] = {}

    # -- initialisation, §3.1.1 ----------------------------------------------------------------------

    async def start(
        self,
        *,
        features: int | None = None,
        queue_size: int | None = 16,
        queues: Mapping[int, int | None] | None = None,
        interrupts: bool = True,
    ) -> None:
        """All steps to DRIVER_OK.

        ``features`` is what the driver would like, by default everything offered. ``queue_size``
        limits the queues; ``None`` takes what the device offers. ``queues`` names those to set up, each
        with its own limit, in this order; by default it is all the device has. ``interrupts`` maps the
        configuration to vector 0 and queue n to vector n + 1, as far as there are vectors; without,
        MSI-X is off.
        """
        await self.reset()
        await self.acknowledge()
        await self.negotiate(features)
        await self.features_ok()
        if interrupts:
            await self.set_up_interrupts()
        else:
            await self.transport.msix_control(enable=False)
        if queues is None:
            queues = dict.fromkeys(range(await self.transport.common("num_queues")), queue_size)
        for number, limit in queues.items():
            await self.set_up_queue(number, limit, interrupts=interrupts)
        await self.driver_ok()

    async def reset(self) -> None:
        """Virtio reset; the device has nothing of the driver's any more."""
        await self.transport.reset()
        self._forget()

    async def function_level_reset(self) -> None:
        """FLR; configuration space is as before."""
        await self.transport.function_level_reset()
        self._forget()

    def _forget(self) -> None:
        self.accepted = 0
        self.queues.clear()
        self._requests.clear()
        self.config_vector = NO_VECTOR
        self.vector_of.clear()

    async def acknowledge(self) -> None:
        """Status ACKNOWLEDGE, then DRIVER."""
        await self.transport.add_status(DeviceStatus.ACKNOWLEDGE)
        await self.transport.add_status(DeviceStatus.DRIVER)

    async def negotiate(self, features: int | None = None) -> int:
        """Accept what is offered of ``features`` (of everything), VERSION_1 in any case."""
        offered = await self.transport.offered_features()
        self.accepted = offered if features is None else offered & (features | 1 << Feature.VERSION_1)
        await self.transport.accept_features(self.accepted)
        return self.accepted

    async def features_ok(self) -> None:
        """Status FEATURES_OK; :class:`DriverError` if the device refuses."""
        if not await self.transport.add_status(DeviceStatus.FEATURES_OK) & DeviceStatus.FEATURES_OK:
            raise DriverError(f"the device refuses features {self.accepted:#x}")

    async def set_up_interrupts(self) -> None:
        """Program all table entries that are used, enable MSI-X, map configuration changes to vector 0."""
        count = await self.transport.vectors()
        queues = await self.transport.common("num_queues")
        for vector in range(min(count, queues + 1)):
            await self.transport.program_vector(vector)
        await self.transport.msix_control(enable=True)
        self.config_vector = 0
        await self._map("config_msix_vector", 0)

    async def _map(self, field: str, vector: int) -> None:
        await self.transport.set_common(field, vector)
        if await self.transport.common(field) != vector:
            raise DriverError(f"the device does not take vector {vector} for {field}")

    async def set_up_queue(
        self, number: int, limit: int | None = None, *, interrupts: bool = True
    ) -> SplitQueue:
        """Allocate a queue of at most ``limit`` entries, hand it to the device and enable it."""
        await self.transport.select(number)
        most = await self.transport.common("queue_size")
        if not most:
            raise DriverError(f"there is no queue {number}")
        queue = SplitQueue(self.host.memory, number, min(most, limit or most), rng=self.rng)
        self.queues[number] = queue
        await self.transport.set_up_queue(
            number, queue.size, queue.desc.address, queue.avail.address, queue.used.address
        )
        if interrupts:
            self.vector_of[number] = min(number + 1, await self.transport.vectors() - 1)
            await self._map("queue_msix_vector", self.vector_of[number])
        await self.transport.enable_queue(number)
        return queue

    async def driver_ok(self) -> None:
        """Status DRIVER_OK: the device is live."""
        await self.transport.add_status(DeviceStatus.DRIVER_OK)

    async def diagnostics(self) -> SimpleNamespace:
        """The diagnostics block, which only devices of this project have."""
        words = [
            await self.host.bar_read(MODERN_BAR, DIAGNOSTICS_OFFSET + offset, 4)
            for offset in range(0, size(Diagnostics), 4)
        ]
        return unpack(Diagnostics, b"".join(word.to_bytes(4, "little") for word in words))

    # -- requests ----------------------------------------------------------------------------------

    def prepare(self, queue: int, readable: Sequence[bytes] = (), writable: Sequence[int] = ()) -> Request:
        """Link a chain and make it available, without a kick.

        Each element is a buffer of its own, at an arbitrary address: content for readable ones, length
        for writable ones.
        """
        memory, ring = self.host.memory, self.queues[queue]
        sources, sinks = [], []
        for content in readable:
            sources.append(memory.alloc(len(content), align=64, offset=self.rng.randrange(64)))
            sources[-1].write(content)
        for length in writable:
            sinks.append(memory.alloc(length, align=64, offset=self.rng.randrange(64)))
            sinks[-1].write(bytes([UNTOUCHED]) * length)
        head = ring.add_chain([(b.address, b.size) for b in sources], [(b.address, b.size) for b in sinks])
        request = Request(queue, head, sources, sinks)
        self._requests[queue, head] = request
        return request

    async def submit(
        self, queue: int, readable: Sequence[bytes] = (), writable: Sequence[int] = ()
    ) -> Request:
        """:meth:`prepare` and kick."""
        request = self.prepare(queue, readable, writable)
        await self.kick(queue)
        return request

    async def kick(self, queue: int = 0) -> None:
        """Tell the device that there is something in the available ring."""
        await self.transport.notify(queue)

    def collect(self, queue: int = 0) -> list[Request]:
        """Take back what the device has returned; :class:`DriverError` if it got anything wrong."""
        found = []
        while (used := self.queues[queue].get_used()) is not None:
            request = self._requests.pop((queue, used.head))
            request.content = b"".join(buffer.read() for buffer in request.writable)
            request.used = used.length
            for buffer in [*request.readable, *request.writable]:
                buffer.free()
            found.append(request)
        return found

    async def wait(self, *requests: Request, timeout_ns: int = 200_000) -> None:
        """Until the device has returned ``requests``; :class:`~.host.HostTimeout`."""
        concerned = {request.queue for request in requests}
        while True:
            for queue in concerned:
                self.collect(queue)
            if all(request.done for request in requests):
                return
            await self.host.until(
                lambda: any(self.queues[queue].has_used for queue in concerned), timeout_ns=timeout_ns
            )

    async def wait_interrupt(self, vector: int, beyond: int, *, timeout_ns: int = 50_000) -> None:
        """Until more than ``beyond`` messages of ``vector`` have arrived; :class:`~.host.HostTimeout`."""
        await self.host.until(lambda: self.host.interrupts(vector) > beyond, timeout_ns=timeout_ns)


async def probe(host: Host, *, rng: random.Random | None = None) -> VirtioDevice:
    """Find out what is below ``host``; :class:`DriverError` if it is no modern virtio device."""
    vendor = await host.config_read(ConfigOffset.VENDOR_ID, 2)
    device = await host.config_read(ConfigOffset.DEVICE_ID, 2)
    if vendor != VENDOR_ID or not MODERN_DEVICE_ID_BASE <= device < MODERN_DEVICE_ID_BASE + 0x40:
        raise DriverError(f"{vendor:04x}:{device:04x} is no modern virtio device")
    transport = await Modern.find(host)
    return VirtioDevice(host, transport, device - MODERN_DEVICE_ID_BASE, rng=rng or random.Random(0))

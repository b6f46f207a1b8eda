"""A virtio device as its driver sees it: initialisation step by step, and requests on its queues.

[virtio 1.4 §3.1.1]
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

from virtio_spec import vmmci, wire
from virtio_spec.pci import ConfigOffset
from virtio_spec.virtio import NO_VECTOR, DeviceStatus, Feature
from virtio_spec.virtio_pci import MODERN_DEVICE_ID_BASE, VENDOR_ID, NotificationData

from .function import DriverError
from .host import Host
from .legacy import Legacy
from .memory import Buffer
from .modern import Modern
from .packed import PackedQueue
from .ring import Ring
from .split import SplitQueue
from .transport import Transport
from .variant import PLAIN, RING_FEATURES, RingVariant

__all__ = ["Request", "VirtioDevice", "probe"]

#: What writable buffers hold before the device has written them.
UNTOUCHED = 0xA5
#: What a driver does not accept: interrupts that come of an empty ring although none are wanted, and a bit by
#: which a device finds out drivers that accept whatever there is.  [§6.3]
NEVER = 1 << Feature.NOTIFY_ON_EMPTY | 1 << 30
#: PCI device ids of transitional and legacy devices; their type is the subsystem id.
LEGACY_DEVICE_IDS = range(0x1000, 0x1040)


@dataclass
class Request:
    """One chain of a driver: its buffers, and what became of it.

    Attributes
    ----------
    queue
        Number of the queue it is on.
    head
        Id of the chain: the number of its head, or a packed ring's buffer id.
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
    """A device of any type, through either interface; make one with :func:`probe`.

    Attributes
    ----------
    device_type
        Virtio device ID.
    variant
        The ring features that it negotiates and uses.
    accepted
        Features negotiated.
    queues
        Those set up, by number.
    mixed, write_flag
        What its rings do; see :class:`~.ring.Ring`.
    config_vector, vector_of
        MSI-X vectors of configuration changes and of queues, as far as they are mapped.
    """

    def __init__(
        self,
        host: Host,
        transport: Transport,
        device_type: int,
        *,
        rng: random.Random,
        variant: RingVariant = PLAIN,
    ):
        self.host, self.transport, self.device_type = host, transport, device_type
        self.rng, self.variant = rng, variant
        self.mixed = self.write_flag = True
        self.accepted = 0
        self.queues: dict[int, Ring] = {}
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
        variant: RingVariant | None = None,
    ) -> None:
        """All steps to DRIVER_OK.

        ``features`` is what the driver would like, by default everything offered; of the rings' features
        it takes just those of ``variant``, which from now on is the device's. ``queue_size``
        limits the queues; ``None`` takes what the device offers, and so does a legacy driver, which
        has no choice. ``queues`` names those to set up, each with its own limit, in this order; by
        default it is all the device has. ``interrupts`` turns MSI-X on, where there is such a thing,
        and maps the configuration to vector 0 and queue n to vector n + 1, as far as there are
        vectors; without, or without MSI-X, what remains is INTx.
        """
        self.variant = variant or self.variant
        await self.reset()
        await self.acknowledge()
        await self.negotiate(features)
        if self.transport.interface == "modern":
            await self.features_ok()
        has_vectors = await self.transport.vectors() > 0
        if interrupts and has_vectors:
            await self.set_up_interrupts()
        elif has_vectors:
            await self.transport.msix_control(enable=False)
        if queues is None:
            queues = dict.fromkeys(range(await self.transport.num_queues()), queue_size)
        for number, limit in queues.items():
            await self.set_up_queue(number, limit, interrupts=interrupts and has_vectors)
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
        """Accept what is offered of ``features`` (of everything), VERSION_1 in any case where it is.

        Of the rings' features it is those of the variant; :class:`DriverError` if one is not offered.
        """
        offered = await self.transport.offered_features()
        if missing := self.variant.features & ~offered:
            raise DriverError(f"the device does not offer {missing:#x} of a {self.variant} ring")
        wanted = ~0 if features is None else features | 1 << Feature.VERSION_1
        wanted &= ~(RING_FEATURES | NEVER)
        self.accepted = offered & wanted | self.variant.features
        await self.transport.accept_features(self.accepted)
        return self.accepted

    async def features_ok(self) -> None:
        """Status FEATURES_OK; :class:`DriverError` if the device refuses."""
        if not await self.transport.add_status(DeviceStatus.FEATURES_OK) & DeviceStatus.FEATURES_OK:
            raise DriverError(f"the device refuses features {self.accepted:#x}")

    async def set_up_interrupts(self) -> None:
        """Program all table entries that are used, enable MSI-X, map configuration changes to vector 0."""
        count = await self.transport.vectors()
        queues = await self.transport.num_queues()
        for vector in range(min(count, queues + 1)):
            await self.transport.program_vector(vector)
        await self.transport.msix_control(enable=True)
        self.config_vector = 0
        if await self.transport.set_config_vector(0) != 0:
            raise DriverError("the device does not take vector 0 for configuration changes")

    async def set_up_queue(self, number: int, limit: int | None = None, *, interrupts: bool = True) -> Ring:
        """Allocate a queue of at most ``limit`` entries, hand it to the device and enable it.

        On the legacy interface it has as many entries as the device says.
        """
        most = await self.transport.queue_size(number)
        if not most:
            raise DriverError(f"there is no queue {number}")
        legacy = self.transport.interface == "legacy"
        queue = self.make_ring(number, most if legacy else min(most, limit or most))
        self.queues[number] = queue
        desc, driver, device = (area.address for area in queue.areas)
        await self.transport.set_up_queue(number, queue.size, desc, driver, device)
        if interrupts:
            vector = min(number + 1, await self.transport.vectors() - 1)
            self.vector_of[number] = vector
            if await self.transport.set_queue_vector(number, vector) != vector:
                raise DriverError(f"the device does not take vector {vector} for queue {number}")
        await self.transport.enable_queue(number)
        return queue

    def make_ring(self, number: int, size: int) -> Ring:
        """Allocate and expose a queue of the variant's format, without telling the device."""
        memory, options = self.host.memory, {"rng": self.rng, "variant": self.variant}
        legacy = self.transport.interface == "legacy"
        ring: Ring = (
            PackedQueue(memory, number, size, **options)
            if self.variant.packed
            else SplitQueue(memory, number, size, legacy=legacy, **options)
        )
        ring.mixed, ring.write_flag = self.mixed, self.write_flag
        return ring

    async def reset_queue(self, number: int) -> list[Request]:
        """Reset one queue and take back all that the device has of it; the requests that it had.

        With RING_RESET. Then :meth:`set_up_queue` sets it up anew, with another size if need be. [§2.6.1]
        """
        if not isinstance(self.transport, Modern) or not self.variant.ring_reset:
            raise ValueError("RING_RESET was not negotiated")
        await self.transport.reset_queue(number)
        self.queues.pop(number).close()
        self.vector_of.pop(number, None)
        lost = [request for (queue, _), request in self._requests.items() if queue == number]
        for request in lost:
            del self._requests[number, request.head]
            for buffer in [*request.readable, *request.writable]:
                buffer.free()
        return lost

    async def driver_ok(self) -> None:
        """Status DRIVER_OK: the device is live."""
        await self.transport.add_status(DeviceStatus.DRIVER_OK)

    async def diagnostics(self) -> SimpleNamespace:
        """The diagnostics block, which only devices of this project have."""
        return await self.transport.diagnostics()

    # -- requests ----------------------------------------------------------------------------------

    def prepare(
        self,
        queue: int,
        readable: Sequence[bytes] = (),
        writable: Sequence[int] = (),
        *,
        direct: int | None = None,
        publish: bool = True,
    ) -> Request:
        """Link a chain and make it available, without a kick.

        Each element is a buffer of its own, at an arbitrary address: content for readable ones, length
        for writable ones. ``direct`` and ``publish`` are as for
        :meth:`~.ring.Ring.add_chain`.
        """
        memory, ring = self.host.memory, self.queues[queue]
        sources, sinks = [], []
        for content in readable:
            sources.append(memory.alloc(len(content), align=64, offset=self.rng.randrange(64)))
            sources[-1].write(content)
        for length in writable:
            sinks.append(memory.alloc(length, align=64, offset=self.rng.randrange(64)))
            sinks[-1].write(bytes([UNTOUCHED]) * length)
        inputs, outputs = ([(b.address, b.size) for b in part] for part in (sources, sinks))
        head = ring.add_chain(inputs, outputs, direct=direct, publish=publish)
        request = Request(queue, head, sources, sinks)
        self._requests[queue, head] = request
        return request

    def adopt(self, queue: int, head: int) -> Request:
        """A request without buffers for a chain that a test has given to :meth:`~.ring.Ring.hold`."""
        request = self._requests[queue, head] = Request(queue, head, [], [])
        return request

    async def submit(
        self,
        queue: int,
        readable: Sequence[bytes] = (),
        writable: Sequence[int] = (),
        *,
        direct: int | None = None,
    ) -> Request:
        """:meth:`prepare` and kick."""
        request = self.prepare(queue, readable, writable, direct=direct)
        await self.kick(queue)
        return request

    async def kick(self, queue: int = 0, *, always: bool = False) -> bool:
        """Tell the device that there is something available, if it wants to hear of it, or ``always``.

        Returns whether it was told. [§2.7.13.4, §2.8.21.3, §4.1.5.2]
        """
        ring = self.queues.get(queue)
        if ring is not None and not ring.needs_kick() and not always:
            return False
        value = queue
        if self.variant.notif_config_data and isinstance(self.transport, Modern):
            value = await self.transport.notification_id(queue)
        if self.variant.notification_data and ring is not None:
            offset, wrap = ring.place
            raw = wire.pack(NotificationData, vq=value, next_off=offset, next_wrap=wrap)
            await self.transport.notify(queue, int.from_bytes(raw, "little"), size=4)
        else:
            await self.transport.notify(queue, value)
        return True

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

    async def wait_intx(self, asserted: bool = True, *, timeout_ns: int = 50_000) -> None:
        """Until INTx is, or is no longer, asserted; :class:`~.host.HostTimeout`."""
        await self.host.until(lambda: self.host.intx() == asserted, timeout_ns=timeout_ns)


async def probe(
    host: Host,
    *,
    transport: str | None = None,
    habit: str = "natural",
    rng: random.Random | None = None,
    variant: RingVariant = PLAIN,
) -> VirtioDevice:
    """Find out what is below ``host``; :class:`DriverError` if it is no device for this driver.

    Parameters
    ----------
    host
        The function is below it.
    transport
        ``"modern"`` or ``"legacy"``, for a driver that knows only that interface. Without, it is a
        transitional driver: it takes the modern interface where there are virtio capabilities.
    habit
        How a legacy driver accesses the device configuration; one of :data:`~.legacy.HABITS`.
    rng
        For the places of rings and buffers, and the order of descriptors.
    variant
        The ring features that the driver negotiates and uses.
    """
    if transport not in (None, "modern", "legacy"):
        raise ValueError(f"transport is modern, legacy or None, not {transport!r}")
    found = await _identify(host)
    if transport is None:
        transport = "modern" if found.modern_id or await Modern.exists(host) else "legacy"
    if transport == "modern":
        registers: Transport = await Modern.find(host)
    else:
        if found.modern_id or found.revision:
            raise DriverError(f"{found.name} revision {found.revision} has no legacy interface")
        registers = await Legacy.find(host, habit=habit)
    rng = rng or random.Random(0)
    return VirtioDevice(host, registers, found.device_type, rng=rng, variant=variant)


async def _identify(host: Host) -> SimpleNamespace:
    """Device type by the ids.  [§4.1.2, §4.1.2.3]"""
    vendor = await host.config_read(ConfigOffset.VENDOR_ID, 2)
    device = await host.config_read(ConfigOffset.DEVICE_ID, 2)
    name = f"{vendor:04x}:{device:04x}"
    modern = vendor == VENDOR_ID and MODERN_DEVICE_ID_BASE <= device < MODERN_DEVICE_ID_BASE + 0x40
    transitional = vendor == VENDOR_ID and device in LEGACY_DEVICE_IDS
    if not modern and not transitional and (vendor, device) != (vmmci.VENDOR_ID, vmmci.DEVICE_ID):
        raise DriverError(f"{name} is no virtio device")
    revision = await host.config_read(ConfigOffset.REVISION_ID, 1)
    subsystem = await host.config_read(ConfigOffset.SUBSYSTEM_ID, 2)
    device_type = device - MODERN_DEVICE_ID_BASE if modern else subsystem
    return SimpleNamespace(name=name, modern_id=modern, revision=revision, device_type=device_type)

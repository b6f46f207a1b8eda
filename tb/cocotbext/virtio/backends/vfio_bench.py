"""A bench around a card: what it is, it says itself."""

from collections.abc import Iterable

from virtio_spec.blk import BlkConfig, BlkFeature
from virtio_spec.pci import ConfigOffset
from virtio_spec.virtio_pci import MODERN_DEVICE_ID_BASE, VENDOR_ID, Interface

from ..driver import LEGACY_DEVICE_IDS, probe
from ..host import Host
from ..modern import Modern
from ..own import Setup
from ..suite import Bench
from ..suite.registry import TYPES
from .vfio_behind import HeardNoise, UnseenDisk
from .vfio_group import VfioError

__all__ = ["BACKEND", "vfio_bench"]

BACKEND = "vfio"
#: Types whose cases can do without what is behind a card.
KNOWN = ("rng", "blk")


async def vfio_bench(host: Host, setup: Setup, *, without: Iterable[str] = ()) -> Bench:
    """A bench above a card's host, for the driver of ``setup``; :class:`~.vfio_group.VfioError`.

    ``without`` are abilities that the device is known not to have, see :data:`~..suite.registry.ABILITIES`.
    """
    vendor, identity = [
        await host.config_read(offset, 2) for offset in (ConfigOffset.VENDOR_ID, ConfigOffset.DEVICE_ID)
    ]
    kind = identity - MODERN_DEVICE_ID_BASE
    interface = Interface.MODERN
    if identity in LEGACY_DEVICE_IDS:
        kind = await host.config_read(ConfigOffset.SUBSYSTEM_ID, 2)
        interface = Interface.TRANSITIONAL if await Modern.exists(host) else Interface.LEGACY
    names = {int(number): name for name, number in TYPES.items()}
    if vendor != VENDOR_ID or names.get(kind) not in KNOWN:
        raise VfioError(
            f"the card is {vendor:04x}:{identity:04x}, and the types of virtio devices that can be tested on "
            f"a card are {', '.join(KNOWN)}"
        )
    way = setup.transport or ("modern" if interface.has_modern else "legacy")
    transport = (await probe(host, transport=way, habit=setup.habit)).transport
    await transport.reset()
    is_disk, sectors = names[kind] == "blk", 0
    if is_disk:
        sectors = (await transport.config(BlkConfig, "capacity")).capacity
    return setup.bench(
        host,
        backend=BACKEND,
        device=names[kind],
        queue_size=await transport.queue_size(0),
        queues=await transport.num_queues(),
        read_only=is_disk and bool(await transport.offered_features() >> BlkFeature.RO & 1),
        interface=interface,
        entropy=HeardNoise(),
        disk=UnseenDisk(sectors),
        without=frozenset(without),
    )

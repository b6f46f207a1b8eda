"""A bench around the reference device, or a broken one."""

from typing import Any

from virtio_models.blk import Blk
from virtio_models.clock import Clock
from virtio_models.device import ReferenceDevice
from virtio_models.disk import Disk
from virtio_models.entropy import EntropySource
from virtio_models.net import Net
from virtio_models.network import Network
from virtio_models.options import RingOptions
from virtio_models.rng import Rng
from virtio_models.vmmci import Vmmci
from virtio_spec.virtio_pci import Interface

from ..suite import Bench
from ..variant import PLAIN, RingVariant
from .model import ModelHost, ModelVmmci

__all__ = ["model_bench"]

#: Of devices with a modern interface; and of others, whose drivers have no choice.
QUEUE_SIZE, LEGACY_QUEUE_SIZE = 64, 32
ALL_RINGS = RingOptions()
SECTORS = 48


def model_bench(
    name: str,
    *,
    seed: int,
    read_only: bool = False,
    queues: int | None = None,
    device: type[ReferenceDevice] = ReferenceDevice,
    blk: type[Blk] = Blk,
    rng: type[Rng] = Rng,
    net: type[Net] = Net,
    disk: type[Disk] = Disk,
    network: type[Network] = Network,
    vmmci: type[Vmmci] = Vmmci,
    interface: Interface | None = None,
    transport: str | None = None,
    habit: str = "natural",
    queue_size: int | None = None,
    rings: RingOptions = ALL_RINGS,
    variant: RingVariant = PLAIN,
) -> Bench:
    """A bench for device type ``name``; the classes are what it is made of.

    The device offers all that ``rings`` can be, and the driver uses ``variant`` of it.

    Without ``interface`` it is modern, and vmmci legacy; without ``transport`` the driver uses the modern
    interface where there is one.
    """
    if interface is None:
        interface = Interface.LEGACY if name == "vmmci" else Interface.MODERN
    if queues is None:
        queues = 3 if name == "net" else 1
    if transport is None:
        transport = "modern" if interface.has_modern else "legacy"
    if queue_size is None:
        queue_size = QUEUE_SIZE if transport == "modern" else LEGACY_QUEUE_SIZE
    storage, entropy, cable, clock = disk(SECTORS), EntropySource(seed), network(), Clock()
    kinds: dict[str, Any] = {
        "rng": lambda: rng(entropy),
        "blk": lambda: blk(storage, read_only=read_only, queues=queues),
        "net": lambda: net(cable, pairs=queues // 2),
        "vmmci": lambda: vmmci(clock),
    }
    kind = kinds[name]()
    host = ModelHost(kind, interface=interface, device=device, seed=seed, queue_size=queue_size, rings=rings)
    timed = isinstance(kind, Vmmci)
    return Bench(
        host=host,
        device=name,
        backend="model",
        queue_size=queue_size,
        disk=storage,
        entropy=entropy,
        network=cable,
        clock=clock,
        vmmci=ModelVmmci(kind) if timed else None,
        interface=interface,
        transport=transport,
        habit=habit,
        read_only=read_only,
        queues=queues,
        variant=variant,
        seed=seed,
        config_hold_ns=1_000_000_000,
        ack_timeout_ns=kind.ack_timeout_ns if timed else 0,
        shutdown_timeout_ns=kind.shutdown_timeout_ns if timed else 0,
    )

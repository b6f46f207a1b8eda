"""A bench around the reference device, or a broken one."""

from cocotbext.virtio.backends.model import ModelHost
from cocotbext.virtio.suite import Bench
from virtio_models.blk import Blk
from virtio_models.device import ReferenceDevice
from virtio_models.disk import Disk
from virtio_models.entropy import EntropySource
from virtio_models.rng import Rng

__all__ = ["model_bench"]

QUEUE_SIZE = 64
SECTORS = 48


def model_bench(
    name: str,
    *,
    seed: int,
    read_only: bool = False,
    queues: int = 1,
    device: type[ReferenceDevice] = ReferenceDevice,
    blk: type[Blk] = Blk,
    rng: type[Rng] = Rng,
    disk: type[Disk] = Disk,
) -> Bench:
    """A bench for device type ``name``; the classes are what it is made of."""
    storage, entropy = disk(SECTORS), EntropySource(seed)
    kind = rng(entropy) if name == "rng" else blk(storage, read_only=read_only, queues=queues)
    return Bench(
        host=ModelHost(kind, device=device, seed=seed, queue_size=QUEUE_SIZE),
        device=name,
        backend="model",
        queue_size=QUEUE_SIZE,
        disk=storage,
        entropy=entropy,
        read_only=read_only,
        queues=queues,
        seed=seed,
    )

"""Every case of the test list on the reference device."""

import pytest
from cocotbext.virtio.backends.model import ModelHost, run
from cocotbext.virtio.suite import Bench, Case, cases, run_case
from virtio_models.blk import Blk
from virtio_models.device import ReferenceDevice
from virtio_models.disk import Disk
from virtio_models.entropy import EntropySource
from virtio_models.rng import Rng

QUEUE_SIZE = 64


def make_bench(
    name: str,
    *,
    seed: int,
    read_only: bool = False,
    device: type[ReferenceDevice] = ReferenceDevice,
    blk: type[Blk] = Blk,
    rng: type[Rng] = Rng,
) -> Bench:
    disk, entropy = Disk(48), EntropySource(seed)
    kind = rng(entropy) if name == "rng" else blk(disk, read_only=read_only)
    host = ModelHost(kind, device=device, seed=seed, queue_size=QUEUE_SIZE)
    return Bench(
        host=host,
        device=name,
        backend="model",
        queue_size=QUEUE_SIZE,
        disk=disk,
        entropy=entropy,
        read_only=read_only,
        seed=seed,
    )


def listed(profile: str) -> list[tuple[str, Case]]:
    return [
        (device, entry)
        for device in ("rng", "blk")
        for entry in cases(device, profile=profile, backend="model")
    ]


def label(value: object) -> str:
    return getattr(value, "name", str(value))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("device", "entry"), listed("default"), ids=label)
def test_the_reference_device_passes(device, entry, seed):
    run(run_case(entry, make_bench(device, seed=seed)))


@pytest.mark.parametrize("entry", cases("blk", profile="read_only"), ids=lambda entry: entry.name)
def test_the_read_only_reference_device_passes(entry):
    run(run_case(entry, make_bench("blk", seed=1, read_only=True)))


@pytest.mark.parametrize("device", ["rng", "blk"])
def test_the_cases_run_one_after_the_other_on_one_device(device):
    bench = make_bench(device, seed=7)
    for entry in cases(device, backend="model"):
        run(run_case(entry, bench))

"""Every case of the test list on the reference device."""

import pytest
from cocotbext.virtio.backends.model import run
from cocotbext.virtio.suite import Case, cases, run_case
from helpers.bench import model_bench

LISTED = [(device, entry) for device in ("rng", "blk") for entry in cases(device, backend="model")]


def label(value: object) -> str:
    return value.name if isinstance(value, Case) else str(value)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("device", "entry"), LISTED, ids=label)
def test_the_reference_device_passes(device, entry, seed):
    run(run_case(entry, model_bench(device, seed=seed)))


@pytest.mark.parametrize("entry", cases("blk", profile="read_only"), ids=label)
def test_the_read_only_reference_device_passes(entry):
    run(run_case(entry, model_bench("blk", seed=1, read_only=True)))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("queues", [2, 3])
@pytest.mark.parametrize("entry", cases("blk", profile="queues", backend="model"), ids=label)
def test_the_reference_device_with_several_queues_passes(entry, queues, seed):
    run(run_case(entry, model_bench("blk", seed=seed, queues=queues)))


@pytest.mark.parametrize("device", ["rng", "blk"])
def test_the_cases_run_one_after_the_other_on_one_device(device):
    bench = model_bench(device, seed=7)
    for entry in cases(device, backend="model"):
        run(run_case(entry, bench))

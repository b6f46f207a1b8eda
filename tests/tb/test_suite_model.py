"""Every case of the test list on the reference device."""

import pytest
from cocotbext.virtio.backends.model import run
from cocotbext.virtio.suite import Case, cases, run_case
from helpers.bench import model_bench
from virtio_spec.virtio_pci import Interface

#: Interfaces of the device, the one of its driver, and the habit that one has.
DRIVERS = [
    (Interface.MODERN, "modern", "natural"),
    (Interface.TRANSITIONAL, "modern", "natural"),
    (Interface.TRANSITIONAL, "legacy", "bytes"),
    (Interface.LEGACY, "legacy", "natural"),
]
GUESTS = [(Interface.LEGACY, "legacy", habit) for habit in ("natural", "bytes")]
DEVICES = [(device, driver) for device in ("rng", "blk") for driver in DRIVERS]
DEVICES += [("vmmci", driver) for driver in GUESTS]


def listed(devices, *, profile="default"):
    return [
        (device, driver, entry)
        for device, driver in devices
        for entry in cases(device, profile=profile, backend="model", interface=driver[0], transport=driver[1])
    ]


def label(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(value)
    return value.name if isinstance(value, Case) else str(value)


def bench(device, driver, **options):
    interface, transport, habit = driver
    return model_bench(device, interface=interface, transport=transport, habit=habit, **options)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("device", "driver", "entry"), listed(DEVICES), ids=label)
def test_the_reference_device_passes(device, driver, entry, seed):
    run(run_case(entry, bench(device, driver, seed=seed)))


BLK = [("blk", driver) for driver in DRIVERS]


@pytest.mark.parametrize(("device", "driver", "entry"), listed(BLK, profile="read_only"), ids=label)
def test_the_read_only_reference_device_passes(device, driver, entry):
    run(run_case(entry, bench(device, driver, seed=1, read_only=True)))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("queues", [2, 3])
@pytest.mark.parametrize(("device", "driver", "entry"), listed(BLK, profile="queues"), ids=label)
def test_the_reference_device_with_several_queues_passes(device, driver, entry, queues, seed):
    run(run_case(entry, bench(device, driver, seed=seed, queues=queues)))


@pytest.mark.parametrize(("device", "driver"), DEVICES, ids=label)
def test_the_cases_run_one_after_the_other_on_one_device(device, driver):
    one = bench(device, driver, seed=7)
    for _, _, entry in listed([(device, driver)]):
        run(run_case(entry, one))

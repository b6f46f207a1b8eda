"""Every case of the test list on the reference device, with every variant of rings."""

import pytest
from cocotbext.virtio.backends.model import run
from cocotbext.virtio.backends.model_bench import model_bench
from cocotbext.virtio.suite import Case, cases, run_case
from cocotbext.virtio.variant import COVERING, PLAIN, RingVariant, variants
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
DEVICES += [("net", DRIVERS[0])]
DEVICES += [("vmmci", driver) for driver in GUESTS]
BLK = [("blk", driver) for driver in DRIVERS]
#: Variants of a device that has both interfaces: the same rings are behind them.
BOTH = (PLAIN, RingVariant(indirect=True, event_idx=True), RingVariant(True, True, True, True))


def variants_of(driver, device="blk"):
    """All that there are; where another driver, or other devices, have them as well, some."""
    known = COVERING if device == "net" else BOTH if driver[0] == Interface.TRANSITIONAL else variants()
    return [found for found in variants(driver[1]) if found in known]


def seeds(variant):
    """With a ring that is not plain one for each case, and another one for each variant."""
    return (1, 2) if variant == PLAIN else (3 + variants().index(variant),)


def listed(devices, *, profile="default"):
    return [
        (device, driver, variant, seed, entry)
        for device, driver in devices
        for variant in variants_of(driver, device)
        for seed in seeds(variant)
        for entry in cases(
            device,
            profile=profile,
            backend="model",
            interface=driver[0],
            transport=driver[1],
            variant=variant,
        )
    ]


def label(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(value)
    return value.name if isinstance(value, Case | RingVariant) else str(value)


def bench(device, driver, variant, **options):
    interface, transport, habit = driver
    return model_bench(
        device, interface=interface, transport=transport, habit=habit, variant=variant, **options
    )


@pytest.mark.parametrize(("device", "driver", "variant", "seed", "entry"), listed(DEVICES), ids=label)
def test_the_reference_device_passes(device, driver, variant, seed, entry):
    run(run_case(entry, bench(device, driver, variant, seed=seed)))


@pytest.mark.parametrize(
    ("device", "driver", "variant", "seed", "entry"), listed(BLK, profile="read_only"), ids=label
)
def test_the_read_only_reference_device_passes(device, driver, variant, seed, entry):
    run(run_case(entry, bench(device, driver, variant, seed=seed, read_only=True)))


@pytest.mark.parametrize(
    ("device", "driver", "variant", "seed", "entry"), listed(BLK, profile="queues"), ids=label
)
def test_the_reference_device_with_several_queues_passes(device, driver, variant, seed, entry):
    run(run_case(entry, bench(device, driver, variant, seed=seed, queues=2 + seed % 2)))


NET_RUNS = [run[2:] for run in listed([("net", DRIVERS[0])], profile="queues")]


@pytest.mark.parametrize(("variant", "seed", "entry"), NET_RUNS, ids=label)
def test_the_reference_device_with_several_pairs_passes(variant, seed, entry):
    run(run_case(entry, bench("net", DRIVERS[0], variant, seed=seed, queues=5 + 2 * (seed % 2))))


MANY = 20
MANY_RUNS = [
    (variant, entry)
    for _, driver, variant, seed, entry in listed(BLK[:1], profile="queues")
    if variant in BOTH and seed != 2 and not entry.name.startswith("blk.")
]


@pytest.mark.parametrize(("variant", "entry"), MANY_RUNS, ids=label)
def test_the_reference_device_with_many_queues_passes(variant, entry):
    run(run_case(entry, bench("blk", DRIVERS[0], variant, seed=5, queues=MANY)))


RUNS = [(device, driver, variant) for device, driver in DEVICES for variant in variants_of(driver, device)]


@pytest.mark.parametrize(("device", "driver", "variant"), RUNS, ids=label)
def test_the_cases_run_one_after_the_other_on_one_device(device, driver, variant):
    one = bench(device, driver, variant, seed=7)
    found = [entry for *_, other, _, entry in listed([(device, driver)]) if other == variant]
    for entry in dict.fromkeys(found):
        run(run_case(entry, one))

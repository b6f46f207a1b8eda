"""Every case of the test list on the gateware, below a root complex: a run per design, driver and stalls."""

import pytest
from cocotbext.virtio.suite import cases
from cocotbext.virtio.variant import COVERING, PLAIN, RingVariant
from helpers.hostile import HOSTILE
from helpers.shared_run import shared_run
from virtio_sim.config import Configuration, impatient

RNG, BLK = Configuration("rng", 64), Configuration("blk", 128)
WIDE_RNG, WIDE_BLK = Configuration("rng", 256), Configuration("blk", 256)
READ_ONLY, QUEUES = Configuration("blk", 64, read_only=True), Configuration("blk", 128, queues=3)
NET = Configuration("net", 128)
LEGACY_RNG, LEGACY_BLK = (
    Configuration(device, width, queue_size=16, interface="legacy")
    for device, width in (("rng", 64), ("blk", 128))
)
TRANSITIONAL_RNG, TRANSITIONAL_BLK = (
    Configuration(device, width, queue_size=16, interface="transitional")
    for device, width in (("rng", 128), ("blk", 64))
)
VMMCI = Configuration("vmmci", 64)
NEW, OPENBSD, LINUX = ("modern", "natural"), ("legacy", "natural"), ("legacy", "bytes")

#: Design, its driver's interface and habit, and the probability of pauses on the link. A build and a run take
#: half a minute each, so this is a selection: of device type, width, interface, driver and pauses any two
#: occur in all combinations, but for 256 bits, which are modern here. On the native harness a design meets
#: eight kinds of links, and the network device has several pairs of queues.
PLAIN_RUNS = [
    (RNG, NEW, 0.5),
    (WIDE_RNG, NEW, 0.0),
    (BLK, NEW, 0.0),
    (WIDE_BLK, NEW, 0.5),
    (READ_ONLY, NEW, 0.5),
    (QUEUES, NEW, 0.0),
    (NET, NEW, 0.5),
    (LEGACY_RNG, LINUX, 0.0),
    (LEGACY_BLK, OPENBSD, 0.0),
    (TRANSITIONAL_RNG, NEW, 0.0),
    (TRANSITIONAL_RNG, OPENBSD, 0.5),
    (TRANSITIONAL_RNG, LINUX, 0.0),
    (TRANSITIONAL_BLK, NEW, 0.5),
    (VMMCI, OPENBSD, 0.5),
    (VMMCI, LINUX, 0.0),
]
#: And the variant of rings: each with one device type here, and with both on the native harness.
RUNS = [(*run, PLAIN) for run in PLAIN_RUNS]
RUNS += [(RNG, NEW, 0.5, variant) for variant in COVERING[1::2]]
RUNS += [(BLK, NEW, 0.5, variant) for variant in COVERING[2::2]]
RUNS += [(TRANSITIONAL_BLK, LINUX, 0.5, RingVariant.named("split-indirect-event"))]
#: The runs that have hostile modules: rings of every kind are tried on the native harness.
HOSTILE_RUNS = [(RNG, NEW, 0.5, PLAIN), (NET, NEW, 0.5, PLAIN), (BLK, NEW, 0.5, COVERING[2])]
HOSTILE_RUNS += [(LEGACY_RNG, LINUX, 0.0, PLAIN)]


def cases_of(run):
    """What is run on a design."""
    design, driver, _, variant = run
    configuration = impatient(design)
    found = cases(
        configuration.device,
        profile=configuration.profile,
        backend="cocotb",
        interface=configuration.interface,
        transport=driver[0],
        variant=variant,
    )
    return [entry for entry in found if entry.name.partition(".")[0] not in HOSTILE or run in HOSTILE_RUNS]


def listed():
    for run in RUNS:
        design, driver, stall, variant = run
        configuration = impatient(design)
        names = tuple(entry.name for entry in cases_of(run))
        for entry in cases_of(run):
            name = f"{configuration.name}-{' '.join(driver)}-{variant}-stall {stall}-{entry.name}"
            yield pytest.param(configuration, driver, variant.name, stall, names, entry.name, id=name)


@pytest.mark.parametrize(("configuration", "driver", "variant", "stall", "names", "name"), list(listed()))
def test_the_gateware_passes(configuration, driver, variant, stall, names, name):
    ran = shared_run(
        "suite",
        "virtio_sim.suite_bench",
        configuration,
        stall,
        deadline_s=600,
        driver=driver,
        variant=variant,
        only=names,
    )
    found = [event for event in ran.events if event["name"] == name]
    assert found, f"did not run: {dict(ran.failures)}; again: {ran.replay}"
    assert found[0]["status"] == "passed", f"{found[0]['message']}; again: {ran.replay}"

"""Every case of the test list on the gateware, below a root complex: a run per design, driver and stalls."""

from dataclasses import replace

import pytest
from cocotbext.virtio.suite import cases
from cocotbext.virtio.variant import COVERING, PLAIN, RingVariant
from helpers.shared_run import shared_run
from virtio_sim.config import WIDTHS, Configuration

# In cycles: far beyond what the host here takes for an answer, and short enough to wait for.
COMPLETION_TIMEOUT = CONFIG_HOLD = 5_000
MODERN = [Configuration(device, width) for device in ("rng", "blk") for width in WIDTHS]
MODERN += [Configuration("blk", 64, read_only=True), Configuration("blk", 128, queues=3)]
LEGACY = [
    Configuration("rng", 64, queue_size=16, interface="legacy"),
    Configuration("blk", 128, queue_size=16, interface="legacy"),
]
TRANSITIONAL = [
    Configuration("rng", 128, queue_size=16, interface="transitional"),
    Configuration("blk", 64, queue_size=16, interface="transitional"),
]
VMMCI = Configuration("vmmci", 64, config_hold=CONFIG_HOLD, ack_timeout=5_000, shutdown_timeout=10_000)
NEW, OPENBSD, LINUX = ("modern", "natural"), ("legacy", "natural"), ("legacy", "bytes")
STALLS = (0.0, 0.5)

#: Design, its driver's interface and habit, and the probability of pauses on the link.
PLAIN_RUNS = [(design, NEW, stall) for design in MODERN for stall in STALLS]
PLAIN_RUNS += [
    (LEGACY[0], OPENBSD, 0.5),
    (LEGACY[0], LINUX, 0.0),
    (LEGACY[1], OPENBSD, 0.0),
    (LEGACY[1], LINUX, 0.5),
    *((design, driver, 0.5) for design in TRANSITIONAL for driver in (NEW, LINUX)),
    (VMMCI, OPENBSD, 0.5),
    (VMMCI, LINUX, 0.0),
]
#: And the variant of rings.
RUNS = [(*run, PLAIN) for run in PLAIN_RUNS]
RUNS += [(design, NEW, 0.5, variant) for design in (MODERN[0], MODERN[4]) for variant in COVERING[1:]]
RUNS += [(TRANSITIONAL[1], LINUX, 0.5, RingVariant.named("split-indirect-event"))]


def quick(design: Configuration) -> Configuration:
    """With time-outs that a test can wait for."""
    if design is VMMCI:
        return design
    return replace(design, completion_timeout=COMPLETION_TIMEOUT, config_hold=CONFIG_HOLD)


def listed():
    for design, driver, stall, variant in RUNS:
        configuration = quick(design)
        for entry in cases(
            configuration.device,
            profile=configuration.profile,
            backend="cocotb",
            interface=configuration.interface,
            transport=driver[0],
            variant=variant,
        ):
            name = f"{configuration.name}-{' '.join(driver)}-{variant}-stall {stall}-{entry.name}"
            yield pytest.param(configuration, driver, variant.name, stall, entry.name, id=name)


@pytest.mark.parametrize(("configuration", "driver", "variant", "stall", "name"), list(listed()))
def test_the_gateware_passes(configuration, driver, variant, stall, name):
    ran = shared_run(
        "suite",
        "virtio_sim.suite_bench",
        configuration,
        stall,
        deadline_s=600,
        driver=driver,
        variant=variant,
    )
    found = [event for event in ran.events if event["name"] == name]
    assert found, f"did not run: {dict(ran.failures)}; again: {ran.replay}"
    assert found[0]["status"] == "passed", f"{found[0]['message']}; again: {ran.replay}"

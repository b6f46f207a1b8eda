"""Every case of the test list on the gateware, below a root complex: one simulator run per design."""

from dataclasses import replace

import pytest
from cocotbext.virtio.suite import cases
from helpers.shared_run import shared_run
from virtio_sim.config import WIDTHS, Configuration

DESIGNS = [Configuration(device, width) for device in ("rng", "blk") for width in WIDTHS]
DESIGNS += [Configuration("blk", 64, read_only=True), Configuration("blk", 128, queues=3)]
# In cycles: far beyond what the host here takes for an answer, and short enough to wait for.
COMPLETION_TIMEOUT = 5_000
DESIGNS = [replace(design, completion_timeout=COMPLETION_TIMEOUT) for design in DESIGNS]
STALLS = (0.0, 0.5)


def listed():
    for configuration in DESIGNS:
        for stall in STALLS:
            for entry in cases(configuration.device, profile=configuration.profile, backend="cocotb"):
                yield pytest.param(
                    configuration,
                    stall,
                    entry.name,
                    id=f"{configuration.name}-stall {stall}-{entry.name}",
                )


@pytest.mark.parametrize(("configuration", "stall", "name"), list(listed()))
def test_the_gateware_passes(configuration, stall, name):
    ran = shared_run("suite", "virtio_sim.suite_bench", configuration, stall, deadline_s=600)
    found = [event for event in ran.events if event["name"] == name]
    assert found, f"did not run: {dict(ran.failures)}; again: {ran.replay}"
    assert found[0]["status"] == "passed", f"{found[0]['message']}; again: {ran.replay}"

"""A few hundred short seeds, on the gateware and on the reference model."""

from functools import cache

import pytest
from helpers.native import BLK, RNG, endpoint_library
from virtio_sim.fuzz.benches import model, native, on
from virtio_sim.fuzz.campaign import Campaign
from virtio_sim.fuzz.command import configurations

(SEVERAL,) = configurations("blk", width=128, queues=3)
BLOCK = 20
#: Configuration, backend, seeds. The gateware's designs are those of the test list.
RUNS = [(BLK, "native", 140), (RNG, "native", 100), (SEVERAL, "model", 200), (RNG, "model", 60)]
BLOCKS = [
    pytest.param(configuration, backend, first, id=f"{configuration.device}-{backend}-{first}")
    for configuration, backend, count in RUNS
    for first in range(1, count, BLOCK)
]


@cache
def run_of(configuration, backend):
    if backend == "model":
        return on(model(configuration))
    return on(native(endpoint_library(configuration), configuration))


@pytest.mark.parametrize(("configuration", "backend", "first"), BLOCKS)
def test_bad_input_does_no_harm(configuration, backend, first):
    campaign = Campaign(configuration, backend, run_of(configuration, backend))
    failures = campaign.carry_out(first, BLOCK)
    assert not failures, "\n".join(f"{f.plan}\n{f.detail}\nagain: {f.replay}" for f in failures)


@pytest.mark.parametrize("configuration", [BLK, RNG], ids=["blk", "rng"])
def test_devices_go_on_and_give_up_in_turn(configuration):
    """The seeds are such that neither is rare, and valid requests are answered meanwhile."""
    campaign = Campaign(configuration, "native", run_of(configuration, "native"))
    campaign.carry_out(1, 40)
    went_on = campaign.causes["NONE"]
    assert 5 <= went_on <= 35
    assert campaign.answered > 40
    assert len(campaign.oddities) > 25

"""Devices and hosts with one mistake each, which one of a few seeds has to find."""

import pytest
from cocotbext.virtio.fuzz import Plan, completions
from cocotbext.virtio.fuzz.completions import FaultKind
from helpers.native import BLK, endpoint_library
from virtio_sim.fuzz.benches import model, native, on
from virtio_sim.fuzz.command import configurations
from virtio_sim.mutation.planted.bug import bugs

(SEVERAL,) = configurations("blk", width=128, queues=3)
#: Seeds, of those that do the one thing that matters: it is not always seen.
TRIES = 30
SHOWN = [planted for planted in bugs().values() if planted.oddity]


def fails(run, seeds) -> bool:
    return any(isinstance(run(seed, None)[1], Exception) for seed in seeds)


@pytest.mark.parametrize("planted", SHOWN, ids=lambda planted: planted.name)
def test_a_device_with_a_mistake_is_found(planted):
    bench, _ = model(SEVERAL)(0)
    plans = (Plan.of(seed, bench) for seed in range(2_000))
    seeds = [plan.seed for plan in plans if planted.oddity in (step.oddity for step in plan.steps)]
    assert fails(on(model(SEVERAL, device=planted.device)), seeds[:TRIES])


def test_data_that_changed_on_its_way_is_found(monkeypatch):
    """As if the device had not looked at what a completion says: nothing tells it that one is wrong."""

    def flipped(packet):
        return [*packet[:-1], packet[-1] ^ 0x0100_0000]

    found = {name: FaultKind(flipped, rest=True, harmless=True) for name in completions.FAULTS}
    monkeypatch.setattr("cocotbext.virtio.fuzz.plan.FAULTS", found)
    monkeypatch.setattr("cocotbext.virtio.fuzz.session.FAULTS", found)
    assert fails(on(native(endpoint_library(BLK), BLK)), range(TRIES))

"""Raw packets and a misbehaving host, on the gateware; see ``helpers/packet_bench.py``."""

from functools import cache

import pytest
from helpers.packet_bench import CASES
from virtio_sim.build import build_root, simulator
from virtio_sim.config import Configuration
from virtio_sim.hdl import generate
from virtio_sim.runner import Outcome, run

DESIGN = Configuration("rng", 64, queue_size=16, tags=8, completion_timeout=2_000)


@cache
def outcome(stall: float) -> Outcome:
    return run(
        simulator(generate(DESIGN), name=DESIGN.name),
        "helpers.packet_bench",
        directory=build_root() / "packets" / f"{DESIGN.name}-stall-{stall}",
        arguments={"configuration": DESIGN.as_dict(), "stall": stall, "seed": 1},
        deadline_s=300,
    )


@pytest.mark.xdist_group("packets")
@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("name", CASES)
def test_the_gateware_copes(name, stall):
    ran = outcome(stall)
    found = [event for event in ran.events if event["name"] == name]
    assert found, f"did not run: {dict(ran.failures)}; again: {ran.replay}"
    assert found[0]["status"] == "passed", f"{found[0]['message']}; again: {ran.replay}"

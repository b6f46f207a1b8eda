"""Raw packets and a misbehaving host, on the gateware; see ``helpers/packet_bench.py``."""

import pytest
from helpers.packet_bench import CASES
from helpers.shared_run import shared_run
from virtio_sim.config import Configuration

DESIGN = Configuration("rng", 64, queue_size=16, tags=8, completion_timeout=2_000, interface="transitional")


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("name", CASES)
def test_the_gateware_copes(name, stall):
    ran = shared_run("packets", "helpers.packet_bench", DESIGN, stall, deadline_s=300)
    found = [event for event in ran.events if event["name"] == name]
    assert found, f"did not run: {dict(ran.failures)}; again: {ran.replay}"
    assert found[0]["status"] == "passed", f"{found[0]['message']}; again: {ran.replay}"

from pathlib import Path

import pytest
from virtio_sim.benchmarks import guests as module
from virtio_sim.benchmarks.guests import FIGURES, BootFailed, guests
from virtio_sim.guest.artifacts import Artifacts, Prefix
from virtio_sim.guest.report import Result
from virtio_sim.guest.run import Rig

OWN = {"random1_requests_per_s": 600.0, "random16_requests_per_s": 1300.0, "sequential_mb_per_s": 8.5}
PEER = {"random1_requests_per_s": 4000.0, "random16_requests_per_s": 8000.0, "sequential_mb_per_s": 140.0}


@pytest.fixture
def measure(monkeypatch):
    """Rows of a boot that is not done; ``peer`` is how the check of QEMU's disk ends."""

    def make(peer="passed"):
        def run(rig, rows):
            (row,) = rows
            assert row.peer and row.root
            return [
                Result("6.12", "rtl", row.name, "boot", "passed", 5.0, {"boot_s": 5.0}),
                Result("6.12", "rtl", row.name, "speed", "passed", 3.0, OWN),
                Result("6.12", "qemu", row.name, "speed", peer, 1.0, PEER, "no disk"),
            ]

        artifacts = Artifacts(Prefix(Path("/nowhere")), Path("/nowhere"), {}, {})
        monkeypatch.setattr(module, "artifacts", lambda kernels, say: artifacts)
        monkeypatch.setattr(Rig, "run", run)
        return list(guests(1, print))

    return make


def test_the_endpoints_figures_stand_beside_those_of_qemus_disk_in_the_same_guest(measure):
    found = {row.figure: (row.value, row.limit, row.goal) for row in measure()}
    words = {name: said for name, (said, _) in FIGURES.items()}
    assert found.pop(words["boot_s"]) == (5.0, None, 60.0)
    assert found == {words[name]: (OWN[name], PEER[name], None) for name in OWN}


def test_a_boot_that_is_quick_enough_meets_its_goal(measure):
    assert [row.met for row in measure() if row.goal is not None] == [True]


def test_no_figure_comes_of_a_boot_that_failed(measure):
    with pytest.raises(BootFailed, match="^qemu blk root compared, speed failed: no disk$"):
        measure("failed")

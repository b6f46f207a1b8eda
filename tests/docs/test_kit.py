"""The example of docs/kit.md runs."""

import re
from pathlib import Path

from virtio_sim.build import build_root, simulator
from virtio_sim.config import Configuration, impatient
from virtio_sim.hdl import generate
from virtio_sim.runner import run

PAGE = Path(__file__).parents[2] / "docs" / "kit.md"


def test_the_example_for_ones_own_endpoint_passes(monkeypatch, tmp_path):
    example = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    (tmp_path / "kit_example.py").write_text(example)
    monkeypatch.syspath_prepend(tmp_path)
    configuration = impatient(Configuration("blk", 128))  # built for the test list, too
    outcome = run(
        simulator(generate(configuration), name=configuration.name),
        "kit_example",
        directory=build_root() / "docs" / "kit",
        arguments={},
        deadline_s=120,
    )
    assert not outcome.failures, f"{outcome.failures}; again: {outcome.replay}"

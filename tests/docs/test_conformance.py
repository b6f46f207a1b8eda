"""What docs/conformance.md says is so."""

import re
from pathlib import Path

from cocotbext.virtio.conformance import Status, catalogue

TEXT = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()


def test_the_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(example, {})  # noqa: S102 - it is ours
    output = capsys.readouterr().out.splitlines()
    assert output[0] == "MUST Writes end with IOERR. offer(RO)"
    assert len(output) == 2


def test_figures_and_states_are_those_of_the_catalogue():
    assert f"has {len(catalogue()):,} requirements" in TEXT
    assert f"{sum(found.actor == 'device' for found in catalogue().values())} of them" in TEXT
    assert re.findall(r"^\| ([a-z ]+) \| [a-z]", TEXT, re.MULTILINE)[1 : 1 + len(Status)] == list(Status)

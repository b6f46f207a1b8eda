"""The example of docs/kit.md runs."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "kit.md"


def test_the_example_drives_a_device_and_tells_what_passed(capsys):
    example = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    exec(example, {})  # noqa: S102 - it is ours
    output = capsys.readouterr().out
    assert "queue 0: avail.idx 0 → 1" in output and "queue 0: takes used id" in output

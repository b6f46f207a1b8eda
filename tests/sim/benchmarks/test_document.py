"""The benchmarks that the documentation shows are in the form in which the command writes them."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from virtio_sim.benchmarks.document import BEGIN, END, TITLES
from virtio_sim.benchmarks.sizes import SIZES

ROOT = Path(__file__).parents[3]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("document", ["README.md", "docs/benchmarks.md"])
def test_the_documents_table_is_whole(document):
    text = (ROOT / document).read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    head, rule, *rows = text.partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    assert head == f"| {' | '.join(TITLES)} |"
    assert set(rule) == set("|- :")
    assert rows
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == len(TITLES)
        assert all(cells[:4]) and cells[-1] in ("", "yes", "**no**")
        assert (cells[-1] == "") == (cells[-2] == "–")


def test_the_documents_plot_has_both_directions_and_their_limits():
    root = ElementTree.parse(ROOT / "docs" / "request-size.svg").getroot()
    lines = root.findall(f"{SVG}polyline")
    assert len(lines) == 4
    assert all(len(line.get("points", "").split()) == len(SIZES) for line in lines)

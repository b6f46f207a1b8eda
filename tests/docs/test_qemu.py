"""docs/qemu.md: its tables are those of the data."""

from pathlib import Path

from cocotbext.virtio.conformance.deviations import as_markdown, deviations

TEXT = (Path(__file__).parents[2] / "docs" / "qemu.md").read_text()


def test_the_tables_are_those_that_results_are_judged_by():
    assert as_markdown(deviations()) in TEXT


def test_the_version_is_the_one_that_the_tables_are_about():
    (version,) = {row.version for row in deviations()}
    assert f"QEMU {version}" in TEXT

"""Runs of a card, with the reference model in its place."""

from itertools import cycle

import pytest
from cocotbext.virtio.backends import vfio
from cocotbext.virtio.backends.vfio_memory import Pinned, physical_zones
from cocotbext.virtio.conformance import Status
from helpers.card import ADDRESS, ModelCard
from virtio_sim.conformance import card, card_run
from virtio_sim.conformance.report import Report
from virtio_spec.virtio_pci import Interface

PATIENCE_S = 0.0001
PAGE, RUN = 4096, 64


@pytest.fixture
def cards(monkeypatch):
    """Cards that are opened, in their order."""
    opened = []

    def use(interface, **options):
        def make(address):
            opened.append(ModelCard(address, interface, **options))
            return opened[-1]

        monkeypatch.setattr(card_run, "Card", make)
        return opened

    return use


def test_the_test_list_passes_on_a_card_that_is_the_reference_model(cards):
    opened = cards(Interface.TRANSITIONAL)
    found = card_run.card_run(ADDRESS, variants=["split"], patience_s=PATIENCE_S, seed=5)
    assert (found.own.device, found.own.interface) == ("rng", Interface.TRANSITIONAL)
    assert {driver.transport for driver in found.drivers()} == {"modern", "legacy"}
    results = []
    found.execute(5, results.append)
    assert [(result.case, result.driver, result.message) for result in results if result.message] == []
    assert len(results) == sum(len(found.cases(driver)) for driver in found.drivers()) > 100
    assert all(each.closed for each in opened)


def test_of_a_disk_that_nobody_sees_the_test_list_is_what_the_card_itself_shows(cards):
    cards(Interface.MODERN, kind="blk")
    options = {"variants": ["packed-indirect-event"], "patience_s": PATIENCE_S, "seed": 5}
    found = card_run.card_run(ADDRESS, overwrite=True, **options)
    results = []
    found.execute(5, results.append)
    assert [(result.case, result.message) for result in results if result.message] == []
    assert len(results) > 50
    assert found.unseen["BLK-DEV-P02"].startswith("nothing shows what is behind a card")


def test_a_disk_is_written_to_only_if_that_was_said(cards, capsys, tmp_path):
    cards(Interface.MODERN, kind="blk")
    given = arguments(tmp_path, "--case", "common.a_reset_clears*")
    assert card.main(given) == 2
    assert capsys.readouterr().err.startswith(
        f"the test list writes to the whole disk of {ADDRESS}; say --ov"
    )
    assert card.main([*given, "--overwrite"]) == 0


def test_a_disk_that_cannot_be_written_needs_no_consent(cards, tmp_path):
    cards(Interface.MODERN, kind="blk read-only")
    assert card.main(arguments(tmp_path, "--case", "common.*")) == 0


def test_without_an_iommu_the_card_has_physical_addresses_in_pieces(cards, monkeypatch):
    runs = range(Pinned.size // PAGE // RUN)
    frames = [0x10_0000 - 2 * RUN * run + page for run in runs for page in range(RUN)]
    opened = cards(Interface.MODERN, iommu=False)

    def zones(pinned):
        found = physical_zones(pinned, frames=frames, page=PAGE)
        for address, words in found:
            opened[-1].reach(address, words)
        assert len(found) == len(runs)
        return found

    monkeypatch.setattr(vfio, "Pinned", lambda locked: Pinned(locked=False))  # CI may not lock so much
    monkeypatch.setattr(vfio, "physical_zones", zones)
    options = {"variants": ["packed-indirect-event"], "patterns": ["rng.*", "indirect.*"]}
    found = card_run.card_run(ADDRESS, **options, patience_s=PATIENCE_S, seed=5)
    results = []
    found.execute(5, results.append)
    assert [(result.case, result.message) for result in results if result.message] == []
    assert len(results) >= 20


def arguments(tmp_path, *more):
    given = (ADDRESS, "--report", str(tmp_path / "report.json"), "--patience", str(PATIENCE_S))
    return [*given, "--variant", "split", *more]


def test_a_host_that_has_little_gets_lines_and_the_runs_of_a_report(cards, capsys, tmp_path):
    cards(Interface.MODERN)
    assert card.main(arguments(tmp_path, "--case", "rng.*", "--case", "common.a_reset_clears*")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and all(line.endswith(" (modern natural split) ") for line in lines)
    (run,) = Report.read(tmp_path / "report.json").runs.values()
    assert (run.name, run.backend, run.device) == (f"vfio rng modern {ADDRESS}", "vfio", "card rng")
    assert run.accounts["ENT-DEV-01"].status == Status.PROVEN
    assert "kernel" in run.accounts["PCI-ID-DEV-01"].reason


def test_a_case_that_fails_is_told_and_the_next_one_has_the_card_anew(cards, capsys, tmp_path, monkeypatch):
    opened = cards(Interface.MODERN)
    again = cycle(range(200, 240))
    monkeypatch.setattr("virtio_models.entropy.EntropySource.next_byte", lambda source: next(again))
    assert card.main(arguments(tmp_path, "--case", "rng.*", "--case", "common.a_reset_clears*")) == 1
    said = capsys.readouterr().out
    assert "is nowhere in what the noise source gave out" in said
    assert len(opened) == 2 + said.count("Error")


def test_a_card_that_cannot_be_had_is_one_sentence(capsys):
    assert card.main(["card"]) == 2
    assert capsys.readouterr().err == "a card is named by its PCI address, as in 0000:01:00.0, not 'card'\n"


def test_a_device_of_another_type_is_not_tested_on_a_card_yet(cards, capsys, tmp_path, monkeypatch):
    cards(Interface.MODERN)
    monkeypatch.setattr("cocotbext.virtio.backends.vfio_bench.KNOWN", ("net",))
    assert card.main(arguments(tmp_path)) == 2
    said = capsys.readouterr().err
    assert said == (
        "the card is 1af4:1044, and the types of virtio devices that can be tested on a card are net\n"
    )

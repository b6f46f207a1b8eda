"""Figures for people and for programs."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console
from virtio_sim.benchmarks.document import BEGIN, END, markdown, write_documents
from virtio_sim.benchmarks.report import NoResults, Row, read_results, renewed, table, write_results
from virtio_sim.benchmarks.sizes import BENCHES, SIZES, plot

ROWS = [
    Row("bulk to host", "blk-256", "payload bytes per cycle", 28.5, 30.0, 28.0),
    Row("latency", "rng-256", "cycles", 15, None, 12, True),
    Row("simulation speed", "blk-128", "cycles per CPU second", 123456.7),
]
CURVES = [
    Row(bench, "blk-256", f"payload bytes per cycle, {size} bytes", 4.0 + number, 29.0)
    for bench in BENCHES.values()
    for number, size in enumerate(SIZES)
]


@pytest.mark.parametrize(
    ("value", "at_most", "met"), [(9, False, False), (10, False, True), (10, True, True), (11, True, False)]
)
def test_a_goal_is_met_from_its_own_side(value, at_most, met):
    assert Row("b", "c", "f", value, None, 10, at_most).met is met


def test_without_a_goal_nothing_is_met_or_missed():
    assert Row("b", "c", "f", 1.0).met is None


def test_results_are_a_list_that_programs_can_read(tmp_path):
    path = tmp_path / "deep" / "results.json"
    write_results(path, ROWS)
    first = json.loads(path.read_text())[0]
    assert {name: first[name] for name in ("bench", "config", "figure", "value", "limit", "goal")} == {
        "bench": "bulk to host",
        "config": "blk-256",
        "figure": "payload bytes per cycle",
        "value": 28.5,
        "limit": 30.0,
        "goal": 28.0,
    }
    assert read_results(path) == ROWS


def test_results_that_are_not_there_are_asked_for(tmp_path):
    with pytest.raises(NoResults, match="measure first$"):
        read_results(tmp_path / "results.json")


def shown(rows):
    console = Console(file=io.StringIO(), width=160, force_terminal=True, color_system="standard")
    console.print(table(rows))
    return console.file.getvalue().splitlines()


def test_the_table_has_value_limit_share_and_goal():
    (line,) = [line for line in shown(ROWS) if "bulk" in line]
    assert line.split()[-6:] == ["28.50", "30", "95.0%", "≥", "28", "yes"]


def test_only_a_missed_goal_is_red():
    red = [line for line in shown(ROWS) if "\x1b[31m" in line]
    assert len(red) == 1 and "latency" in red[0] and "≤ 12" in red[0]


def test_what_is_measured_again_stands_where_it_stood():
    again, new = replace(ROWS[1], value=14.0), replace(ROWS[0], config="blk-64")
    assert renewed(ROWS, [new, again]) == [ROWS[0], again, *ROWS[2:], new]
    assert renewed([], ROWS) == list(ROWS)


def test_the_document_has_a_table_of_all_but_the_curves():
    assert markdown([*ROWS, *CURVES]).splitlines() == [
        "| bench | config | figure | value | peer or limit | of it | goal | met |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
        "| bulk to host | blk-256 | payload bytes per cycle | 28.50 | 30 | 95.0% | ≥ 28 | yes |",
        "| latency | rng-256 | cycles | 15 | – | – | ≤ 12 | **no** |",
        "| simulation speed | blk-128 | cycles per CPU second | 123,457 | – | – | – |  |",
    ]


def test_results_take_the_place_of_those_before_and_of_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    docs = tmp_path / "docs"
    docs.mkdir()
    documents = [tmp_path / "README.md", docs / "benchmarks.md"]
    for document in documents:
        document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        write_documents([*ROWS, *CURVES])
        for document in documents:
            assert document.read_text() == f"before\n{BEGIN}\n\n{markdown(ROWS)}\n\n{END}\nafter\n"
    assert (docs / "request-size.svg").read_text() == plot(CURVES)


def test_outside_of_a_checkout_there_is_no_document(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoResults, match="run this in a checkout"):
        write_documents(ROWS)

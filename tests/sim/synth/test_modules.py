import io

from rich.console import Console
from virtio_sim.synth.modules import by_module, module_table

#: Cells of a flat netlist.
CELLS = {
    "plain_LUT4_Z": "LUT4",
    "a.x_LUT4_Z": "LUT4",
    "a.x_LUT4_Z_1": "LUT4",
    "a.b$12.y.z_LUT4_Z": "LUT4",
    "a.b$12.y_TRELLIS_FF_Q": "TRELLIS_FF",
    "ab.x_LUT4_Z": "LUT4",
    "ab.m.0.0": "DP16KD",
}
APART = {"": 3, "a": 7, "a.b$12": 9, "ab": 11}


def test_a_cell_belongs_to_the_deepest_submodule_whose_name_it_begins_with():
    found = {module.path: module for module in by_module(CELLS, APART)}
    assert {path: module.own.lut for path, module in found.items()} == {
        "(top)": 1,
        "a": 2,
        "a.b$12": 1,
        "ab": 1,
    }
    assert {path: module.lut_below for path, module in found.items()} == {
        "(top)": 5,
        "a": 3,
        "a.b$12": 1,
        "ab": 1,
    }
    assert (found["a.b$12"].own.ff, found["ab"].own.bram, found["ab"].lut_apart) == (1, 1, 11)


def test_the_largest_is_first():
    assert [module.path for module in by_module(CELLS, APART)][0] == "a"


def test_a_terminal_of_80_columns_shows_every_number():
    console = Console(width=80, record=True, file=io.StringIO())
    cells = {f"engine.rings.avail.kicks.line.fifo.x{number}": "LUT4" for number in range(12_345)}
    console.print(
        module_table("rng-64", by_module(cells, {"": 0, "engine.rings.avail.kicks.line.fifo": 23_456}))
    )
    text = console.export_text()
    for expected in ("engine.rings.avail.kicks.line", "12,345", "23,456", "BRAM"):
        assert expected in text

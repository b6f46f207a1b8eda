import pytest
from virtio_sim.synth.families import ECP5, FAMILIES, Area
from virtio_sim.synth.tools import SynthesisError

#: Cells as Yosys names them, and what they are.
CELLS = {
    "ecp5": {"LUT4": 31, "PFUMX": 4, "L6MUX21": 2, "CCU2C": 16, "TRELLIS_DPR16X4": 3, "TRELLIS_FF": 105}
    | {"DP16KD": 2, "$scopeinfo": 7},
    "xc7": {"LUT1": 1, "LUT2": 10, "LUT6": 18, "INV": 2, "MUXF7": 4, "MUXF8": 2, "CARRY4": 16, "RAM32M": 1}
    | {"RAM64X1D": 1, "SRL16E": 1, "FDRE": 100, "FDSE": 5, "RAMB36E1": 1, "RAMB18E1": 2},
    "gw5a": {"LUT1": 1, "LUT4": 30, "MUX2_LUT5": 4, "MUX2_LUT8": 1, "ALU": 16, "RAM16SDP4": 3, "DFFRE": 100}
    | {"DFFSE": 5, "SDPB": 1, "SDPX9B": 1, "VCC": 1, "GND": 1},
}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_cell_counts_once_as_what_it_is(family):
    assert family.area(CELLS[family.name]) == Area(lut=31, carry=16, lut_ram=3, ff=105, bram=2.0)


def test_a_cell_that_nobody_knows_is_an_error_and_not_left_out():
    with pytest.raises(SynthesisError, match="^nobody knows what a cell MULT18X18D of ecp5 counts as$"):
        ECP5.area({"LUT4": 1, "MULT18X18D": 1})

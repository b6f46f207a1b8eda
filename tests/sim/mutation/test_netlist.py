"""Mutants of a small design, with what Yosys makes of it."""

import pytest
from virtio_sim.mutation import netlist
from virtio_sim.mutation.netlist import Mutant, with_reached
from virtio_sim.synth.tools import SynthesisError

#: As Yosys writes it, but shorter; mutant 1 inverts a bit and mutant 2 is a constant.
MUTATED = r"""module virtio_endpoint(clk, rst, d, q, mutant);
  input clk;
  input rst;
  input [1:0] d;
  output q;
  input [1:0] mutant;
  wire \$1 ;
  wire \$2 ;
  wire \$not ;
  assign \$not  = ~d[0];
  assign \$1  = mutant == 2'h1;
  assign \$2  = mutant == 2'h2;
  assign \$3  = \$1  ? \$not  : d[0];
  assign q = \$2  ? 1'h0 : \$3 ;
endmodule
"""
COMMAND = (
    r"mutate -mode cnot1 -module virtio_endpoint -cell $flatten\reads.\table_channel.$60 -port Q -portbit 15"
    r" -ctrlbit 7 -wire reads.table_channel.extent -wirebit 15"
    " -src /somewhere/hdl/amaranth_virtio/dma/readout.py:100 -src /somewhere/lib/amaranth/lib/fifo.py:7"
)


def test_a_mutant_is_where_yosys_says():
    found = netlist._parsed(COMMAND, 3)
    sources = ("amaranth_virtio/dma/readout.py:100", "amaranth/lib/fifo.py:7")
    assert found == Mutant(
        3, "cnot1", "reads.table_channel.$60", "Q", 15, 7, "reads.table_channel.extent[15]", sources
    )
    assert str(found) == f"cnot1 by bit 7 at Q[15] of reads.table_channel.extent[15] ({', '.join(sources)})"


def test_a_mutant_is_in_force_only_if_it_is_chosen():
    head = COMMAND.partition(" -wire")[0]
    assert netlist._applied(COMMAND, 3, 9) == f"{head} -ctrl mutant 9 3"


@pytest.mark.parametrize("port", ["CLK", "RD_CLK", "WR_CLK", "ARST", "RD_ARST"])
def test_clocks_and_asynchronous_resets_are_left_alone(port):
    assert netlist._mutable(f"{COMMAND}\n{COMMAND.replace('-port Q', f'-port {port}')}\n") == [COMMAND]


def test_every_mutant_has_a_bit_that_says_whether_it_would_have_mattered():
    made = with_reached(MUTATED, 2)
    assert made.startswith("module virtio_endpoint(reached, clk, rst, d, q, mutant);")
    assert r"if ((\$not ) ^ (d[0] )) reached[1] <= 1'h1;" in made
    assert r"if ((1'h0 ) ^ (\$3 )) reached[2] <= 1'h1;" in made


def test_a_mutant_that_yosys_left_out_is_told():
    with pytest.raises(SynthesisError, match="Yosys left out mutants, as number 3"):
        with_reached(MUTATED, 3)

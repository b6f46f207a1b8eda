"""FPGA families: how Yosys maps a design onto them, and what its cells count as."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from .tools import SynthesisError

__all__ = ["ECP5", "FAMILIES", "Area", "Family"]


@dataclass(frozen=True)
class Area:
    """What a design takes of an FPGA.

    Attributes
    ----------
    lut
        LUTs that are logic: of four inputs, of six on xc7.
    carry
        Cells of carry chains: of two bits on ecp5, of four on xc7, of one on gw5a.
    lut_ram
        Cells of distributed memory and shift registers in LUTs.
    ff
        Flip-flops.
    bram
        Block RAMs; one of 18 Kbit counts half on xc7, where one has 36.
    """

    lut: int
    carry: int
    lut_ram: int
    ff: int
    bram: float


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes
    ----------
    name
        In words of the table.
    script
        Yosys' command, without the name of the top module. The design becomes one flat module.
    kinds
        Cell types, as regular expressions, by field of :class:`Area`.
    free
        Cell types that take nothing of all that: multiplexers behind LUTs, constants, notes.
    """

    name: str
    script: str
    kinds: Mapping[str, str]
    free: str
    halves: str = field(default="")

    def area(self, cells: Mapping[str, int]) -> Area:
        """Sum of cells by type; :class:`.tools.SynthesisError` about a type that it does not know."""
        sums = dict.fromkeys(self.kinds, 0.0)
        for cell, number in cells.items():
            for kind, pattern in self.kinds.items():
                if re.fullmatch(pattern, cell):
                    sums[kind] += number / 2 if self.halves and re.fullmatch(self.halves, cell) else number
                    break
            else:
                if not re.fullmatch(self.free, cell):
                    raise SynthesisError(f"nobody knows what a cell {cell} of {self.name} counts as")
        whole = {kind: int(number) for kind, number in sums.items() if kind != "bram"}
        return Area(**whole, bram=sums["bram"])


ECP5 = Family(
    "ecp5",
    "synth_ecp5",
    {
        "lut": "LUT4",
        "carry": "CCU2C",
        "lut_ram": "TRELLIS_DPR16X4",
        "ff": "TRELLIS_FF",
        "bram": "DP16KD",
    },
    free=r"PFUMX|L6MUX21|\$scopeinfo",
)

XC7 = Family(
    "xc7",
    "synth_xilinx -family xc7 -flatten -noiopad -noclkbuf",
    {
        "lut": "LUT[1-6]|INV",
        "carry": "CARRY4",
        "lut_ram": r"RAM\d+[MX]\w*|SRL\w+",
        "ff": "FD[RSCP]E(_1)?",
        "bram": "RAMB(36|18)E1",
    },
    free=r"MUXF[789]|\$scopeinfo",
    halves="RAMB18E1",
)

GW5A = Family(
    "gw5a",
    "synth_gowin -family gw5a -noiopads",
    {
        "lut": "LUT[1-4]",
        "carry": "ALU",
        "lut_ram": r"RAM16\w+",
        "ff": r"DFF\w*",
        "bram": r"(SP|SDP|DP)X?9?B?",
    },
    free=r"MUX2_LUT[5-8]|VCC|GND|GSR|\$scopeinfo",
)

FAMILIES = (ECP5, XC7, GW5A)

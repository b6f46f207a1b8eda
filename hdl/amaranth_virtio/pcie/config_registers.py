"""Configuration registers from a declaration: storage, write masks, RW1C, live fields, read mux.

A register file is a list of :class:`Field`; :class:`ConfigRegisters` knows no register by name.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..registers import ConfigBus

__all__ = ["Access", "ConfigRegisters", "Field"]


class Access(enum.Enum):
    """What a write does to a field.  [PCIe base 5.0 §7.4]"""

    RO = "ro"  # nothing
    RW = "rw"  # stores
    RW1C = "rw1c"  # clears the bits written 1; hardware sets them
    STROBE = "strobe"  # bits written 1 appear at the output for one cycle; reads 0


@dataclass(frozen=True, kw_only=True)
class Field:
    """A run of bits inside one dword of configuration space.

    Parameters
    ----------
    offset
        Byte offset of the register the field belongs to.
    width
        Bits.
    bit
        Lowest bit, counted from bit 0 of ``offset``.
    access
        What a write does.
    init
        Value after reset.
    live
        Name of an input: the value (RO), or strobes that set the bits (RW1C).
    output
        Name of an output: the value, or the strobes (STROBE).
    legal
        Values that may be written (RW): others leave the field as it is.
    kept
        Survives a function level reset.
    """

    offset: int
    width: int
    bit: int = 0
    access: Access = Access.RO
    init: int = 0
    live: str | None = None
    output: str | None = None
    legal: tuple[int, ...] | None = None
    kept: bool = False

    def __post_init__(self):
        if self.width < 1 or self.low + self.width > 32:
            raise ValueError(f"the field at {self.offset:#x}, bit {self.bit}, does not lie inside one dword")
        if not 0 <= self.init < 1 << self.width:
            raise ValueError(f"the initial value {self.init:#x} does not fit into {self.width} bits")
        if self.live is not None and self.access not in (Access.RO, Access.RW1C):
            raise ValueError(f"a field that is {self.access.value} has no live input")
        if self.legal is not None and self.access is not Access.RW:
            raise ValueError(f"a field that is {self.access.value} has no list of legal values")

    @property
    def register(self) -> int:
        """Number of the dword."""
        return (8 * self.offset + self.bit) // 32

    @property
    def low(self) -> int:
        """Lowest bit inside the dword."""
        return (8 * self.offset + self.bit) % 32

    def moved(self, offset: int) -> Self:
        """The same field ``offset`` bytes further up."""
        return replace(self, offset=self.offset + offset)


class ConfigRegisters(wiring.Component):
    """The registers that ``fields`` declares, on a configuration bus.

    Takes a request in every cycle and answers each, reads and writes, two cycles later; a write's
    effect is visible at ``output`` together with its response (strobes one cycle earlier). What no
    field declares reads 0 and ignores writes. A bit set by hardware in the cycle in which it is
    cleared stays set.

    Parameters
    ----------
    fields
        The registers; fields that overlap are a ``ValueError``.

    Members
    -------
    bus : :py:`In(ConfigBus)`
        Requests and responses.
    live : :py:`In(StructLayout)`
        Inputs by the names that the fields give; absent if none does.
    output : :py:`Out(StructLayout)`
        Outputs likewise.
    reset : :py:`In(1)`
        Sets every field that is not ``kept`` to its initial value; a write in the same cycle is lost.
    """

    def __init__(self, *, fields: Iterable[Field]):
        self.fields = tuple(sorted(fields, key=lambda field: (field.register, field.low)))
        for before, after in zip(self.fields, self.fields[1:], strict=False):
            if before.register == after.register and before.low + before.width > after.low:
                raise ValueError(f"two fields overlap in the dword at {4 * after.register:#x}")
        members: dict[str, Any] = {"bus": In(ConfigBus), "reset": In(1)}
        if live := {field.live: field.width for field in self.fields if field.live}:
            members["live"] = In(data.StructLayout(live))
        if output := {field.output: field.width for field in self.fields if field.output}:
            members["output"] = Out(data.StructLayout(output))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        request, response = self.bus.request, self.bus.response
        taken = Signal()
        data = Signal(32)
        lanes = Signal(4)  # that the request in hand writes
        # The request is for this register; decoded before it is in hand.
        chosen = {
            register: Signal(name=f"chosen_{4 * register:02x}")
            for register in sorted({field.register for field in self.fields})
        }
        m.d.comb += request.ready.eq(1)
        m.d.sync += [
            taken.eq(request.valid),
            data.eq(request.p.data),
            lanes.eq(Mux(request.valid & request.p.write, request.p.byte_enable, 0)),
            response.valid.eq(taken),
        ]
        m.d.sync += [select.eq(request.p.register == register) for register, select in chosen.items()]

        read: list[list[Any]] = [[] for _ in range(32)]  # what of each bit of the answer may be 1
        for field in self.fields:
            select = chosen[field.register]
            writes = Cat(select & lanes[lane] for lane in range(4))
            value = self._field(m, field, writes, data[field.low : field.low + field.width])
            for bit in range(field.width):
                if not isinstance(value, Const):
                    read[field.low + bit].append(select & value[bit])
                elif value.value >> bit & 1:
                    read[field.low + bit].append(select)
        m.d.sync += response.payload.eq(Cat(Cat(terms).any() for terms in read))
        return m

    def _field(self, m: Module, field: Field, writes: Any, data: Any) -> Any:
        """Build one field and return what a read of it sees; ``writes`` are the bytes of its dword."""
        live = self.live[field.live] if field.live else Const(0, field.width)
        written = [writes[(field.low + bit) // 8] for bit in range(field.width)]  # by bit of the field
        if field.access is Access.STROBE:
            if field.output:
                m.d.comb += self.output[field.output].eq(Cat(written) & data)
            return Const(0, field.width)
        if field.access is Access.RO:
            value = live if field.live else Const(field.init, field.width)
        else:
            value = Signal(
                field.width, init=field.init, name=field.output or f"at_{4 * field.register:02x}_{field.low}"
            )
            if field.access is Access.RW1C:
                m.d.sync += value.eq((value & ~(Cat(written) & data)) | live)
            elif field.legal is not None:
                merged = Cat(Mux(write, data[bit], value[bit]) for bit, write in enumerate(written))
                with m.If(Cat(merged == item for item in field.legal).any()):
                    m.d.sync += value.eq(merged)
            else:
                # Byte by byte, so that a register with an enable is all that it takes.
                for lane in range(4):
                    bits = [bit for bit in range(field.width) if (field.low + bit) // 8 == lane]
                    if bits:
                        with m.If(writes[lane]):
                            m.d.sync += value[bits[0] : bits[-1] + 1].eq(data[bits[0] : bits[-1] + 1])
            if not field.kept:
                with m.If(self.reset):
                    m.d.sync += value.eq(field.init)
        if field.output:
            m.d.comb += self.output[field.output].eq(value)
        return value

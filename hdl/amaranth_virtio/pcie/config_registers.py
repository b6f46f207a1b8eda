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

from ..registers import ConfigBus, ConfigRequest

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
        current = Signal(ConfigRequest)
        taken = Signal()
        m.d.comb += request.ready.eq(1)
        m.d.sync += [
            current.eq(request.payload),
            taken.eq(request.valid),
            response.valid.eq(taken),
            response.payload.eq(0),
        ]

        written = Signal(32)  # bits of the dword that the request in hand writes
        enabled = Cat(current.byte_enable[lane].replicate(8) for lane in range(4))
        m.d.comb += written.eq(Mux(taken & current.write, enabled, 0))

        values: dict[int, list[tuple[Field, Any]]] = {}
        for field in self.fields:
            selected = Signal(field.width, name=f"written_{4 * field.register:02x}_{field.low}")
            with m.If(current.register == field.register):
                m.d.comb += selected.eq(written[field.low : field.low + field.width])
            value = self._field(m, field, selected, current.data[field.low : field.low + field.width])
            values.setdefault(field.register, []).append((field, value))

        with m.Switch(current.register):
            for register, parts in values.items():
                with m.Case(register):
                    for field, value in parts:
                        m.d.sync += response.payload[field.low : field.low + field.width].eq(value)
        return m

    def _field(self, m: Module, field: Field, selected: Any, written: Any) -> Any:
        """Build one field and return what a read of it sees."""
        live = self.live[field.live] if field.live else Const(0, field.width)
        if field.access is Access.STROBE:
            value, strobes = Const(0, field.width), selected & written
            if field.output:
                m.d.comb += self.output[field.output].eq(strobes)
            return value
        if field.access is Access.RO:
            value = live if field.live else Const(field.init, field.width)
        else:
            value = Signal(
                field.width, init=field.init, name=field.output or f"at_{4 * field.register:02x}_{field.low}"
            )
            if field.access is Access.RW1C:
                m.d.sync += value.eq((value & ~(selected & written)) | live)
            else:
                merged = (value & ~selected) | (written & selected)
                with m.If(Cat(merged == item for item in field.legal).any() if field.legal else Const(1)):
                    m.d.sync += value.eq(merged)
            if not field.kept:
                with m.If(self.reset):
                    m.d.sync += value.eq(field.init)
        if field.output:
            m.d.comb += self.output[field.output].eq(value)
        return value

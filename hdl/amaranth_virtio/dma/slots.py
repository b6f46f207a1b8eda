"""Memory in which completions are put together."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["SlotMemory", "slot_shape", "slot_write_layout"]


def slot_shape(slots: int) -> Shape:
    """Number of a slot; at least one bit, because Verilog has no signals of none."""
    return unsigned(max(1, ceil_log2(slots)))


def slot_write_layout(width: int, slots: int, rows: int) -> data.StructLayout:
    """Payload dwords for a slot: dword 0 goes to lane ``lane`` of row ``row``, the rest behind it.

    ``enable`` has a bit per dword.
    """
    return data.StructLayout(
        {
            "slot": slot_shape(slots),
            "row": ceil_log2(rows),
            "lane": ceil_log2(width // 32),
            "data": width,
            "enable": width // 32,
        }
    )


class SlotMemory(wiring.Component):
    """``slots`` slots of ``rows`` rows of ``width`` bits; written from any dword on, read by rows.

    There is a memory for every dword lane, so a write that begins in lane 3 puts its last three
    dwords into the next row in the same cycle. One write and one read per cycle; a read takes one
    cycle.

    Parameters
    ----------
    width : :class:`int`
        Of a row in bits.
    slots, rows : :class:`int`
        ``rows`` is a power of two.

    Members
    -------
    write : :py:`In(slot_write_layout(width, slots, rows))`
    write_enable : :py:`In(1)`
    read_slot, read_row : :py:`In`
    read_enable : :py:`In(1)`
        While low, ``data`` stays.
    data : :py:`Out(width)`
    """

    def __init__(self, *, width: int, slots: int, rows: int):
        self.width = width
        self.slots = slots
        self.rows = rows
        super().__init__(
            {
                "write": In(slot_write_layout(width, slots, rows)),
                "write_enable": In(1),
                "read_slot": In(slot_shape(slots)),
                "read_row": In(ceil_log2(rows)),
                "read_enable": In(1),
                "data": Out(width),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the memory."""
        m = Module()
        lanes = self.width // 32
        lane_data = Signal(self.width)
        lane_enable = Signal(lanes)
        doubled = Signal(2 * lanes)
        m.d.comb += [
            lane_data.eq(self.write.data),
            doubled.eq(self.write.enable << self.write.lane),
            lane_enable.eq(doubled[:lanes] | doubled[lanes:]),
        ]
        with m.Switch(self.write.lane):
            for lane in range(1, lanes):
                with m.Case(lane):
                    m.d.comb += lane_data.eq(self.write.data.rotate_left(32 * lane))
        wraps = Signal(lanes)  # lanes whose dword is in the next row, never the last one
        m.d.comb += wraps.eq(Cat(*(self.write.lane > lane for lane in range(lanes - 1))))
        next_row = (self.write.row + 1)[: len(self.write.row)]
        for lane in range(lanes):
            m.submodules[f"lane_{lane}"] = memory = Memory(shape=32, depth=self.slots * self.rows, init=[])
            write = memory.write_port()
            read = memory.read_port()
            m.d.comb += [
                write.addr.eq(Cat(Mux(wraps[lane], next_row, self.write.row), self.write.slot)),
                write.data.eq(lane_data[32 * lane : 32 * (lane + 1)]),
                write.en.eq(self.write_enable & lane_enable[lane]),
                read.addr.eq(Cat(self.read_row, self.read_slot)),
                read.en.eq(self.read_enable),
                self.data[32 * lane : 32 * (lane + 1)].eq(read.data),
            ]
        return m

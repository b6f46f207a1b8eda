"""Memory in which completions are put together."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Shape, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..block_ram import NO_COLLISION

__all__ = ["SlotMemory", "slot_shape", "slot_write_layout"]


def slot_shape(slots: int) -> Shape:
    """Number of a slot; at least one bit, because Verilog has no signals of none."""
    return unsigned(max(1, ceil_log2(slots)))


def slot_write_layout(width: int, max_bytes: int) -> data.StructLayout:
    """Payload dwords for the slot of ``tag``, each in its lane.

    ``row``
        Row of the dwords of the first lanes that are enabled; those of lanes in ``wraps`` go to ``behind``,
        the next one. A slot has fewer bits for it, if its channel's reads are shorter.
    ``enable``
        A bit per dword lane.
    """
    row = ceil_log2(max_bytes * 8 // width)
    lanes = width // 32
    return data.StructLayout(
        {"tag": 8, "row": row, "behind": row, "wraps": lanes, "data": width, "enable": lanes}
    )


class SlotMemory(wiring.Component):
    """A slot of ``max_bytes`` for each tag of a channel; written from any dword on, read by rows.

    There is a memory for every dword lane, so a write that begins in lane 3 puts its last three
    dwords into the next row in the same cycle. One write and one read per cycle; a read takes one
    cycle.

    Parameters
    ----------
    width : :class:`int`
        Of a row in bits.
    slots, first_tag : :class:`int`
        The tags.
    max_bytes : :class:`int`
        Size of a slot; a power of two.
    longest : :class:`int`
        ``max_bytes`` of the channel with the greatest slots, for which ``write`` is laid out.

    Members
    -------
    write : :py:`In(slot_write_layout(width, longest))`
    write_enable : :py:`In(1)`
        Its tag is one of the channel's.
    read_slot, read_row : :py:`In`
    read_enable : :py:`In(1)`
        While low, ``data`` stays.
    data : :py:`Out(width)`
    """

    def __init__(self, *, width: int, slots: int, first_tag: int, max_bytes: int, longest: int):
        self.width = width
        self.slots = slots
        self.first_tag = first_tag
        self.rows = max_bytes * 8 // width
        super().__init__(
            {
                "write": In(slot_write_layout(width, longest)),
                "write_enable": In(1),
                "read_slot": In(slot_shape(slots)),
                "read_row": In(ceil_log2(self.rows)),
                "read_enable": In(1),
                "data": Out(width),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the memory."""
        m = Module()
        row_bits = ceil_log2(self.rows)
        slot = (self.write.tag - self.first_tag)[: ceil_log2(self.slots)]
        for lane in range(self.width // 32):
            # A slot is read when it is complete.
            m.submodules[f"lane_{lane}"] = memory = Memory(
                shape=32, depth=self.slots * self.rows, init=[], attrs=NO_COLLISION
            )
            write = memory.write_port()
            read = memory.read_port()
            row = Mux(self.write.wraps[lane], self.write.behind[:row_bits], self.write.row[:row_bits])
            m.d.comb += [
                write.addr.eq(Cat(row, slot)),
                write.data.eq(self.write.data[32 * lane : 32 * (lane + 1)]),
                write.en.eq(self.write_enable & self.write.enable[lane]),
                read.addr.eq(Cat(self.read_row, self.read_slot)),
                read.en.eq(self.read_enable),
                self.data[32 * lane : 32 * (lane + 1)].eq(read.data),
            ]
        return m

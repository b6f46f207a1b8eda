"""Tables of addresses whose frames the driver wants."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["ADDRESSES", "AddressTable"]

ADDRESSES = 16
COLUMNS = 4  # addresses that are compared at a time
ROWS = ADDRESSES // COLUMNS


class AddressTable(wiring.Component):
    """Two tables of 16 addresses, individual and group.  [virtio 1.4 §5.1.6.5.2]

    A new set of addresses is put in beside the one in force, and takes its place as a whole. Of a kind of
    which there are more than 16, all are in it. Reset is that of the clock domain, and empties both tables.

    Members
    -------
    write : :py:`In(1)`, group : :py:`In(1)`, index : :py:`In(4)`, entry : :py:`In(48)`
        Strobe: put ``entry`` at ``index`` of the new set of its kind.
    swap : :py:`In(1)`, individuals, groups : :py:`In(5)`
        Strobe: the new set is in force. It has so many addresses; more than 16 is 17.
    address : :py:`In(48)`, step : :py:`In(2)`
        What is looked for; in each of 4 cycles a ``step`` of its own.
    hit : :py:`Out(1)`
        It was found in the step before.
    """

    write: In(1)
    group: In(1)
    index: In(4)
    entry: In(48)
    swap: In(1)
    individuals: In(5)
    groups: In(5)
    address: In(48)
    step: In(2)
    hit: Out(1)

    def elaborate(self, platform: Any) -> Module:
        """Build a memory for each column; a bank of it is a set."""
        m = Module()
        bank = Signal()  # in force
        counts = Array(Signal(5, name=f"count{kind}") for kind in range(2))
        count = Signal(5)
        searched = self.address[0]
        m.d.comb += count.eq(counts[searched])
        with m.If(self.swap):
            m.d.sync += [bank.eq(~bank), counts[0].eq(self.individuals), counts[1].eq(self.groups)]
        found = []
        for column in range(COLUMNS):
            memory = Memory(shape=48, depth=4 * ROWS, init=[])
            m.submodules[f"column{column}"] = memory
            put, get = memory.write_port(), memory.read_port()
            m.d.comb += [
                put.addr.eq(Cat(self.index[2:], self.group, ~bank)),
                put.data.eq(self.entry),
                put.en.eq(self.write & (self.index[:2] == column)),
                get.addr.eq(Cat(self.step, searched, bank)),
            ]
            exists = Signal(name=f"exists{column}")
            whole_row = count[2:] > self.step
            in_last_row = count[:2] > column if column < COLUMNS - 1 else 0
            m.d.sync += exists.eq(whole_row | ((count[2:] == self.step) & in_last_row))
            found.append(exists & (get.data == self.address))
        every = Signal()
        m.d.sync += every.eq(count > ADDRESSES)
        m.d.comb += self.hit.eq(Cat(found).any() | every)
        return m

"""Values of the device configuration that are read in several accesses."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["CoherentGroup"]


class CoherentGroup(wiring.Component):
    """One value of two or more bytes, which several reads see as it stood at one instant.

    A read of bytes that were not read since the last sample is answered from that sample; every other
    read samples the value in its own cycle. Once all bytes were read, or on ``release``, there is no
    sample any more. So whatever the widths and the order in which a driver reads each byte once, what
    it puts together is a value of the cycle of its first read.

    Parameters
    ----------
    place : :class:`range`
        The group's bytes in the configuration.

    Members
    -------
    value : :py:`In(8 * len(place))`
        The value now.
    selected : :py:`In(n)`, read : :py:`In(4)`
        The driver reads the bytes ``read`` of the ``selected`` one of the ``n`` dwords that the group
        has a part in, counted from the first; at most one at a time.
    answer : :py:`Out(8 * len(place))`
        What is read in this cycle, in each dword on the condition that it is the selected one.
    sampled : :py:`Out(1)`
        Strobe: a sample is taken, so ``answer`` is ``value``.
    release : :py:`In(1)`
        Strobe: forget the sample.
    """

    def __init__(self, *, place: range):
        self.place = place
        first, last = place[0] // 4, place[-1] // 4
        super().__init__(
            {
                "value": In(8 * len(place)),
                "selected": In(last - first + 1),
                "read": In(4),
                "answer": Out(8 * len(place)),
                "sampled": Out(1),
                "release": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        count = len(self.place)
        sample = Signal(8 * count)
        seen = Signal(count)
        touched = Signal(count)
        again = Signal()

        # The answer is prepared for every dword at once, so that it does not wait for the selection.
        for number, selected in enumerate(self.selected):
            first_byte = 4 * (self.place[0] // 4 + number)
            inside = [at for at, byte in enumerate(self.place) if byte // 4 == first_byte // 4]
            reads = [self.read[self.place[at] % 4] for at in inside]
            repeated = Signal(name=f"repeated_{number}")
            m.d.comb += repeated.eq(
                Cat(read & seen[at] for at, read in zip(inside, reads, strict=True)).any()
            )
            part = slice(8 * inside[0], 8 * inside[-1] + 8)
            m.d.comb += self.answer[part].eq(
                Mux(seen.any() & ~repeated, sample[part], self.value[part]),
            )
            for at, read in zip(inside, reads, strict=True):
                m.d.comb += touched[at].eq(selected & read)
            with m.If(selected):
                m.d.comb += again.eq(repeated)

        after = touched | Mux(self.sampled, 0, seen)
        m.d.comb += self.sampled.eq(touched.any() & (again | ~seen.any()))
        with m.If(self.sampled):
            m.d.sync += sample.eq(self.value)
        # When all are seen, every read is a repetition: nothing is open, just as when none is.
        m.d.sync += seen.eq(Mux(self.release, 0, after))
        return m

"""Cut a request at addresses that no TLP may cross."""

from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .layout import read_request_layout

__all__ = ["Splitter", "Whole", "check_max_bytes", "part_layout"]

PAGE_BITS = 12  # no request crosses a 4 KiB boundary  [PCIe base 5.0 §2.2.7]


def check_max_bytes(max_bytes: Any) -> int:
    """``max_bytes`` if a TLP can be limited to it, else an exception."""
    if not isinstance(max_bytes, int):
        raise TypeError(f"max_bytes must be an integer, not {max_bytes!r}")
    if max_bytes not in (128, 256, 512, 1024, 2048, 4096):
        raise ValueError(f"max_bytes must be a power of two from 128 to 4096, not {max_bytes}")
    return max_bytes


def part_layout(context: Any) -> data.StructLayout:
    """A part of a request that fits into one TLP.

    ``address``
        Of its first byte.
    ``final``
        Bits 11:0 of the address of its last byte; the bits above are those of ``address``.
    ``last``
        Last part of its request.
    """
    return data.StructLayout({"address": 64, "final": PAGE_BITS, "last": 1, "context": context})


def splitter_members(context: Any) -> dict[str, Any]:
    """Members of :class:`Splitter` and of what takes its place."""
    return {
        "i": In(stream.Signature(read_request_layout(context))),
        "o": Out(stream.Signature(part_layout(context))),
        "size": In(3),
        "cut": In(1),
        "flush": In(1),
        "busy": Out(1),
    }


class Splitter(wiring.Component):
    """Split requests at multiples of ``min(max_bytes, 128 << size)`` bytes.

    One part per cycle, the first two cycles after its request was taken. The next request is taken in the
    cycle behind that in which the last part was made, whoever takes that: at most one in 2 cycles.

    Parameters
    ----------
    max_bytes : :class:`int`
        Power of two from 128 to 4096.
    context : shape
        Carried from a request to its parts.

    Members
    -------
    i : :py:`In(stream of read_request_layout(context))`
        ``length`` is 1 to 2**32 - 1.
    o : :py:`Out(stream of part_layout(context))`
    size : :py:`In(3)`
        Field of Device Control: Max_Payload_Size or Max_Read_Request_Size. Values above 5 are 5.
    cut : :py:`In(1)`
        The request that is being split ends with the part that is cut off now.
    flush : :py:`In(1)`
        While high, everything inside and everything that arrives is dropped.
    busy : :py:`Out(1)`
        A request is inside.
    """

    def __init__(self, *, max_bytes: int, context: Any):
        self.max_bytes = check_max_bytes(max_bytes)
        self.context = context
        super().__init__(splitter_members(context))

    def elaborate(self, platform: Any) -> Module:
        """Build the splitter."""
        m = Module()
        active = Signal()
        address = Signal(64)
        left = Signal(32)  # bytes behind the one at ``address``
        final = Signal(PAGE_BITS)  # of the whole request
        context = Signal.like(self.i.payload.context)

        # Bits of an address inside a part; bit 7 is the highest of 128 << 1.
        inside = Cat(
            C(0b1111111, 7),
            *((self.size > bit - 7) if 1 << bit < self.max_bytes else C(0, 1) for bit in range(7, PAGE_BITS)),
        )
        boundary = Signal(PAGE_BITS)  # bytes behind the one at ``address`` and before the next boundary
        last = Signal()
        m.d.comb += [
            boundary.eq(~address[:PAGE_BITS] & inside),
            last.eq((left <= boundary) | self.cut),
            self.busy.eq(active | self.o.valid),
        ]
        step = Signal()
        m.d.comb += [
            step.eq(active & (~self.o.valid | self.o.ready)),
            self.i.ready.eq(~active | self.flush),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(step):
            m.d.sync += [
                self.o.valid.eq(1),
                self.o.payload.address.eq(address),
                self.o.payload.final.eq(Mux(left <= boundary, final, address[:PAGE_BITS] | inside)),
                self.o.payload.last.eq(last),
                self.o.payload.context.eq(context),
                address.eq((address | inside) + 1),
                left.eq(left - boundary - 1),
                active.eq(~last),
            ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                active.eq(1),
                address.eq(self.i.payload.address),
                left.eq(self.i.payload.length - 1),
                final.eq(self.i.payload.address[:PAGE_BITS] + self.i.payload.length[:PAGE_BITS] - 1),
                context.eq(self.i.payload.context),
            ]
        with m.If(self.flush):
            m.d.sync += [active.eq(0), self.o.valid.eq(0)]
        return m


class Whole(wiring.Component):
    """In the place of a :class:`Splitter`, for a client whose requests cross no multiple of 128 bytes.

    One part in 2 cycles, one cycle after its request; for the members see there.
    """

    def __init__(self, *, context: Any):
        self.context = context
        super().__init__(splitter_members(context))

    def elaborate(self, platform: Any) -> Module:
        """Build the register between request and part."""
        m = Module()
        request = self.i.payload
        final = (request.address[:7] + request.length[:8] - 1)[:7]
        m.d.comb += [self.i.ready.eq(~self.o.valid | self.flush), self.busy.eq(self.o.valid)]
        with m.If(self.o.ready | self.flush):
            m.d.sync += self.o.valid.eq(0)
        with m.If(~self.o.valid):
            m.d.sync += [
                self.o.valid.eq(self.i.valid & ~self.flush),
                self.o.payload.address.eq(request.address),
                self.o.payload.final.eq(Cat(final, request.address[7:PAGE_BITS])),
                self.o.payload.last.eq(1),
                self.o.payload.context.eq(request.context),
            ]
        return m

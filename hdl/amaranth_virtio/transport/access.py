"""One access to a register front end."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..registers import RegisterBus, RegisterRequest

__all__ = ["RegisterAccess"]


class RegisterAccess(wiring.Component):
    """The register bus as accesses of two cycles: what is looked up by address has one to be found.

    In the first cycle of an access only ``active`` is high. In the second the request stands in
    ``access``, and ``reading`` or ``writing`` is high. A read's answer comes one cycle later. No
    access starts while ``busy`` is high.

    Members
    -------
    bus : :py:`In(RegisterBus)`
        The accesses.
    busy : :py:`In(1)`
        Requests wait; not looked at in the second cycle. Must not depend on ``active`` in the same cycle.
    active : :py:`Out(1)`
        An access is under way.
    access : :py:`Out(RegisterRequest)`, reading : :py:`Out(1)`, writing : :py:`Out(1)`
        The access in its second cycle; the strobes are high in no other.
    answer : :py:`In(32)`
        What the access reads, in its second cycle.
    """

    bus: In(RegisterBus)
    busy: In(1)
    active: Out(1)
    access: Out(RegisterRequest)
    reading: Out(1)
    writing: Out(1)
    answer: In(32)

    def elaborate(self, platform):
        m = Module()
        bus: Any = self.bus
        access: Any = self.access
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += access.eq(bus.request.p)
                with m.If(bus.request.valid & ~self.busy):
                    m.d.comb += self.active.eq(1)
                    m.next = "ACCESS"
            with m.State("ACCESS"):
                m.d.comb += [
                    self.active.eq(1),
                    bus.request.ready.eq(1),
                    self.writing.eq(access.write),
                    self.reading.eq(~access.write),
                ]
                m.next = "IDLE"
        m.d.sync += [bus.response.valid.eq(self.reading), bus.response.p.eq(self.answer)]
        return m

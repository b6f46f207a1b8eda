"""The register bus: many masters onto one, and one onto many targets."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..one_hot import nearest_behind, one_hot_mux
from ..registers import RegisterBus

__all__ = ["Region", "RegisterArbiter", "RegisterDecoder", "RegisterPipe"]


class RegisterArbiter(wiring.Component):
    """Several masters onto one register bus, round robin by access.

    A request is taken in the cycle in which the output is. The grant is a register: it moves while an
    access is taken, and an access that comes while nothing is offered waits one cycle for it, unless its
    master had the grant last. One read is outstanding at most; while it waits for its response the
    writes of all masters pass.

    Parameters
    ----------
    masters : :class:`int`
        Number of masters, at least 1.

    Members
    -------
    i : :py:`In(RegisterBus).array(masters)`
        The masters.
    o : :py:`Out(RegisterBus)`
        Their accesses; each response goes back to the master that read.
    """

    def __init__(self, *, masters: int):
        if not isinstance(masters, int) or masters < 1:
            raise ValueError(f"a register bus has at least one master, not {masters!r}")
        self.masters = masters
        super().__init__({"i": In(RegisterBus).array(masters), "o": Out(RegisterBus)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        grant = Signal(self.masters, init=1)  # one-hot
        reading = Signal()
        reader = Signal(self.masters)
        request = self.o.request

        eligible = Cat(port.request.valid & (port.request.payload.write | ~reading) for port in self.i)
        m.d.comb += [
            request.valid.eq((eligible & grant).any()),
            request.payload.eq(one_hot_mux(grant, [port.request.payload for port in self.i])),
            Cat(port.request.ready for port in self.i).eq(
                eligible & grant & request.ready.replicate(self.masters)
            ),
        ]
        following = nearest_behind(grant, eligible)
        with m.If(following.any() & (request.ready | ~request.valid)):
            m.d.sync += grant.eq(following)

        with m.If(self.o.response.valid):
            m.d.sync += reading.eq(0)
        with m.If(request.valid & request.ready & ~request.payload.write):
            m.d.sync += [reading.eq(1), reader.eq(grant)]
        for number, port in enumerate(self.i):
            m.d.comb += [
                port.response.valid.eq(self.o.response.valid & reader[number]),
                port.response.payload.eq(self.o.response.payload),
            ]
        return m


class RegisterPipe(wiring.Component):
    """A register between two parts of a register bus: an access in 2 cycles at most, one cycle later.

    Neither who asks nor whether a target is ready is seen on the other side in its cycle. Responses pass.

    Members
    -------
    i : :py:`In(RegisterBus)`
        Towards the masters.
    o : :py:`Out(RegisterBus)`
        Towards the targets.
    """

    i: In(RegisterBus)
    o: Out(RegisterBus)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        request = self.o.request
        m.d.comb += [
            self.i.request.ready.eq(~request.valid),
            self.i.response.valid.eq(self.o.response.valid),
            self.i.response.payload.eq(self.o.response.payload),
        ]
        with m.If(~request.valid):
            m.d.sync += [request.valid.eq(self.i.request.valid), request.payload.eq(self.i.request.payload)]
        with m.Elif(request.ready):
            m.d.sync += request.valid.eq(0)
        return m


class Region(NamedTuple):
    """``size`` bytes from offset ``start`` of BAR ``bar``."""

    bar: int
    start: int
    size: int


class RegisterDecoder(wiring.Component):
    """One register bus onto many targets.

    Requests pass combinationally and unchanged: a target of ``size`` bytes looks at the low bits of
    the address. Responses take one cycle. Outside all regions writes are ignored and reads answer 0.
    A target that has a read open does not hold up writes, as long as it takes them itself.

    Parameters
    ----------
    regions : sequence of :class:`Region`
        One per target: a power of two of at least 4 bytes, naturally aligned; disjoint.

    Members
    -------
    i : :py:`In(RegisterBus)`
        The accesses.
    o : :py:`Out(RegisterBus).array(len(regions))`
        The targets.
    """

    def __init__(self, *, regions: Sequence[tuple[int, int, int]]):
        self.regions = tuple(Region(*region) for region in regions)
        if not self.regions:
            raise ValueError("a register decoder has at least one region")
        for region in self.regions:
            if region.bar not in range(6):
                raise ValueError(f"{region} lies in no BAR from 0 to 5")
            if region.size < 4 or region.size & (region.size - 1) or region.size > 1 << 16:
                raise ValueError(f"{region} has a size that is no power of two from 4 to 65536")
            if region.start % region.size or region.start not in range(1 << 16):
                raise ValueError(f"{region} is not naturally aligned in 64 KiB")
        for number, one in enumerate(self.regions):
            for other in self.regions[:number]:
                if one.bar == other.bar and not (
                    one.start + one.size <= other.start or other.start + other.size <= one.start
                ):
                    raise ValueError(f"{other} and {one} overlap")
        super().__init__({"i": In(RegisterBus), "o": Out(RegisterBus).array(len(self.regions))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        request = self.i.request
        # Regions are disjoint and one read is outstanding, so that readies and responses may be or-ed.
        mapped = 0
        ready = 0
        answered = 0
        response = 0
        for region, target in zip(self.regions, self.o, strict=True):
            low = region.size.bit_length() - 1
            hit = Signal(name=f"hit_{region.bar}_{region.start:x}")
            m.d.comb += [
                hit.eq(
                    (request.payload.bar == region.bar)
                    & (request.payload.address[low:] == region.start >> low)
                ),
                target.request.valid.eq(request.valid & hit),
                target.request.payload.eq(request.payload),
            ]
            mapped |= hit
            ready |= hit & target.request.ready
            answered |= target.response.valid
            response |= Mux(target.response.valid, target.response.payload, 0)
        lost = request.valid & ~mapped & ~request.payload.write
        m.d.comb += request.ready.eq(ready | ~mapped)
        m.d.sync += [self.i.response.valid.eq(answered | lost), self.i.response.payload.eq(response)]
        return m

"""Tags for the requests of a block device that are under way."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .storage import tag_shape

__all__ = ["TagPool"]


class TagPool(wiring.Component):
    """Hands out tags that are not in use. Returned ones come back in the order of their return.

    Parameters
    ----------
    requests : :class:`int`
        Tags, a power of two.

    Members
    -------
    tag : :py:`Out(n)`, available : :py:`Out(1)`
        A free tag, if there is one; the same until it is taken.
    take : :py:`In(1)`
        Strobe: ``tag`` is in use now. Only while ``available``.
    free : :py:`In(1)`, freed : :py:`In(n)`
        Strobe: tag ``freed`` is not in use any more. It can be taken from the next cycle on.
    idle : :py:`Out(1)`
        No tag is in use.
    """

    tag: Any
    available: Any
    take: Any
    free: Any
    freed: Any
    idle: Any

    def __init__(self, *, requests: int):
        shape = tag_shape(requests)
        self.requests = requests
        super().__init__(
            {
                "tag": Out(shape),
                "available": Out(1),
                "take": In(1),
                "free": In(1),
                "freed": In(shape),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shape = tag_shape(self.requests)
        m.submodules.memory = memory = Memory(shape=shape, depth=self.requests, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        # One bit more than an address, to tell all from none.
        taken, returned = (Signal(shape.width + 1, name=name) for name in ("taken", "returned"))
        lapped, passed = Signal(), Signal()  # the memory holds tags; before, they are handed out in order
        m.d.comb += [
            read.addr.eq(taken),
            write.addr.eq(returned),
            write.data.eq(self.freed),
            write.en.eq(self.free),
            self.tag.eq(Mux(lapped, read.data, taken)),
            self.available.eq((taken ^ returned) != self.requests),
            self.idle.eq(taken == returned),
        ]
        m.d.sync += [taken.eq(taken + self.take), returned.eq(returned + self.free)]
        m.d.comb += lapped.eq(passed | taken[-1])
        m.d.sync += passed.eq(lapped)
        return m

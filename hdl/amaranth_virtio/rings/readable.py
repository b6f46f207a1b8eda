"""Reads of the bytes that the driver wrote for the device."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..dma.layout import ChainContext, read_request_layout
from .fifo import Fifo
from .row_walk import RowWalk, part_layout
from .walk_layout import WalkShape

__all__ = ["ReadableMover"]


class ReadableMover(wiring.Component):
    """Request the device-readable segments of chain after chain, ahead of the device.

    One request per segment, at most one in 2 cycles; the read channel holds it back when it has
    enough outstanding. The context of a chain's last request says so. Reset is that of the clock
    domain.

    Parameters
    ----------
    shape : :class:`WalkShape`
    tokens : :class:`int`
        Chains in flight.

    Members
    -------
    chain : :py:`In(stream of part_layout(shape), always_ready)`
        Readable parts of chains, which are not empty.
    read : :py:`Out(shape.read)`
    request : :py:`Out(stream.Signature(read_request_layout(ChainContext)))`
        Request half of the read channel for data.
    """

    def __init__(self, *, shape: WalkShape, tokens: int):
        self.shape = shape
        self.tokens = tokens
        super().__init__(
            {
                "chain": In(stream.Signature(part_layout(shape), always_ready=True)),
                "read": Out(shape.read),
                "request": Out(stream.Signature(read_request_layout(ChainContext))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Put a FIFO before a walk."""
        m = Module()
        m.submodules.fifo = fifo = Fifo(shape=part_layout(self.shape), depth=self.tokens)
        m.submodules.walk = walk = RowWalk(shape=self.shape)
        connect(m, flipped(self.chain), fifo.i)
        connect(m, fifo.o, walk.i)
        connect(m, walk.read, flipped(self.read))
        request, found = self.request.payload, walk.o.payload
        m.d.comb += [
            request.address.eq(found.segment.address),
            request.length.eq(found.segment.length),
            request.context.token.eq(found.token),
            request.context.last.eq(found.last),
            self.request.valid.eq(walk.o.valid),
            walk.o.ready.eq(self.request.ready),
        ]
        return m

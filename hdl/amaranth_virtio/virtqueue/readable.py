"""Reads of the bytes that the driver wrote for the device."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..dma.layout import ChainContext, read_request_layout
from .layout import ReadableJob, SegmentLookup

__all__ = ["ReadableMover"]


class ReadableMover(wiring.Component):
    """Request the device-readable segments of chain after chain, ahead of the device.

    One request per segment, at most one in 2 cycles; the read channel holds it back when it has
    enough outstanding. The context of a chain's last request says so. Reset is that of the clock
    domain.

    Members
    -------
    job : :py:`In(stream.Signature(ReadableJob))`
        Chains to read.
    lookup : :py:`Out(SegmentLookup)`
        Their readable segments.
    read : :py:`Out(stream.Signature(read_request_layout(ChainContext)))`
        Request half of the read channel for data.
    """

    job: In(stream.Signature(ReadableJob))
    lookup: Out(SegmentLookup)
    read: Out(stream.Signature(read_request_layout(ChainContext)))

    def elaborate(self, platform: Any) -> Module:
        """Build the FSM that goes through the segments of one job after another."""
        m = Module()
        job = Signal(ReadableJob)
        index = Signal(16)
        last = Signal()
        request = self.read.payload
        m.d.comb += [
            self.lookup.select.token.eq(job.token),
            self.lookup.select.index.eq(index),
            last.eq(index + 1 == job.segments),
            request.address.eq(self.lookup.segment.address),
            request.length.eq(self.lookup.segment.length),
            request.context.token.eq(job.token),
            request.context.last.eq(last),
        ]
        with m.FSM():
            with m.State("TAKE"):
                m.d.comb += self.job.ready.eq(1)
                m.d.sync += [job.eq(self.job.payload), index.eq(0)]
                with m.If(self.job.valid):
                    m.next = "LOOK_UP"
            with m.State("LOOK_UP"):
                m.next = "READ"
            with m.State("READ"):
                m.d.comb += self.read.valid.eq(1)
                with m.If(self.read.ready):
                    m.d.sync += index.eq(index + 1)
                    m.next = "LOOK_UP"
                    with m.If(last):
                        m.next = "TAKE"
        return m

"""The first error."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.layout import Cause

from ..chain import TOKEN
from .layout import ChainLookup, ErrorReport

__all__ = ["ErrorFilter"]


class ErrorFilter(wiring.Component):
    """Pass the first error on, one cycle later, and hold ``halted`` from then until reset.

    Of errors in one cycle the first of ``reports`` counts. Reset is that of the clock domain.

    Parameters
    ----------
    sources : :class:`int`
        Number of components that report.

    Members
    -------
    reports : :py:`In(stream.Signature(ErrorReport, always_ready=True)).array(sources)`
        Errors.
    fault : :py:`In(stream.Signature(8, always_ready=True))`
        Token of a chain whose bytes could not be read.
    chain : :py:`Out(ChainLookup)`
        Where that chain came from.
    error : :py:`Out(stream.Signature(ErrorReport, always_ready=True))`
        The first error.
    halted : :py:`Out(1)`
        There was an error.
    """

    def __init__(self, *, sources: int):
        self.sources = sources
        super().__init__(
            {
                "reports": In(stream.Signature(ErrorReport, always_ready=True)).array(sources),
                "fault": In(stream.Signature(TOKEN, always_ready=True)),
                "chain": Out(ChainLookup),
                "error": Out(stream.Signature(ErrorReport, always_ready=True)),
                "halted": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the register that lets the first error pass."""
        m = Module()
        faulted = Signal()
        m.d.comb += self.chain.token.eq(self.fault.payload)
        m.d.sync += [faulted.eq(self.fault.valid), self.error.valid.eq(0)]

        def report(payload: Any) -> None:
            m.d.sync += [self.error.payload.eq(payload), self.error.valid.eq(1), self.halted.eq(1)]

        fault = Signal(ErrorReport)
        m.d.comb += [
            fault.cause.eq(Cause.DMA_ERROR),
            fault.queue.eq(self.chain.record.queue),
            fault.head.eq(self.chain.record.head),
        ]
        with m.If(~self.halted):
            # The last assignment counts.
            with m.If(faulted):
                report(fault)
            for source in reversed(range(self.sources)):
                with m.If(self.reports[source].valid):
                    report(self.reports[source].payload)
        return m

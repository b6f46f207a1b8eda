"""The first error."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .layout import ErrorReport

__all__ = ["FirstError"]


class FirstError(wiring.Component):
    """Pass the first error on, one cycle later, and hold ``halted`` from then until reset.

    Of errors in one cycle the first of ``reports`` counts. Reset is that of the clock domain.

    Parameters
    ----------
    sources : :class:`int`
        Number of components that report.

    Members
    -------
    reports : :py:`In(stream.Signature(ErrorReport, always_ready=True)).array(sources)`
    error : :py:`Out(stream.Signature(ErrorReport, always_ready=True))`
    halted : :py:`Out(1)`
    """

    def __init__(self, *, sources: int):
        self.sources = sources
        report = stream.Signature(ErrorReport, always_ready=True)
        super().__init__({"reports": In(report).array(sources), "error": Out(report), "halted": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        """Build the register that lets the first error pass."""
        m = Module()
        m.d.sync += self.error.valid.eq(0)
        with m.If(~self.halted):
            for report in reversed(self.reports):  # the last assignment counts
                with m.If(report.valid):
                    m.d.sync += [
                        self.error.payload.eq(report.payload),
                        self.error.valid.eq(1),
                        self.halted.eq(1),
                    ]
        return m

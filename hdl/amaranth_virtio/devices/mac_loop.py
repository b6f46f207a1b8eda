"""What stands in for a MAC in simulation."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from .mac import MacSignature

__all__ = ["MacCrossover", "MacLoopback"]

SPEED = 10_000  # Mbit/s


def _wire(m: Module, source: Any, sink: Any, *, checked: bool) -> None:
    """Frames that one MAC transmits come in at the other one; it can be the same."""
    m.d.comb += [
        sink.receive.valid.eq(source.transmit.valid),
        sink.receive.payload.eq(source.transmit.payload),
        sink.receive.payload.checked.eq(source.transmit.payload.last & checked),
        source.transmit.ready.eq(sink.receive.ready),
        sink.link_up.eq(1),
        sink.speed.eq(SPEED),
    ]


class MacLoopback(wiring.Component):
    """All that is sent comes back, in the same cycle.

    Parameters
    ----------
    width : :class:`int`
        Of a beat in bits.
    checked : :class:`bool`
        Frames are said to have a right checksum.

    Members
    -------
    port : :py:`In(MacSignature(width))`
    """

    port: Any

    def __init__(self, *, width: int, checked: bool = False):
        self.width = width
        self.checked = checked
        super().__init__({"port": In(MacSignature(width))})

    def elaborate(self, platform: Any) -> Module:
        """Build the wire."""
        m = Module()
        _wire(m, self.port, self.port, checked=self.checked)
        return m


class MacCrossover(wiring.Component):
    """Two devices that are connected to each other; what one sends arrives in the same cycle.

    Parameters
    ----------
    width : :class:`int`
        Of a beat in bits.
    checked : :class:`bool`
        Frames are said to have a right checksum.

    Members
    -------
    a, b : :py:`In(MacSignature(width))`
    """

    a: Any
    b: Any

    def __init__(self, *, width: int, checked: bool = False):
        self.width = width
        self.checked = checked
        super().__init__({"a": In(MacSignature(width)), "b": In(MacSignature(width))})

    def elaborate(self, platform: Any) -> Module:
        """Build two wires."""
        m = Module()
        _wire(m, self.a, self.b, checked=self.checked)
        _wire(m, self.b, self.a, checked=self.checked)
        return m

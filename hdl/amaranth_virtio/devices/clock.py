"""What a device type knows of the time of day."""

from amaranth.hdl import signed
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

__all__ = ["MICROSECONDS", "ClockSignature"]

MICROSECONDS = 20  # bits, for 0 to 999,999


class ClockSignature(wiring.Signature):
    """The time of day, from whoever keeps it (``Out`` is driven by the clock).

    Always valid. Both members change in the same cycle, to the next microsecond or to any other time:
    what they show in one cycle is one instant.

    ``seconds``
        Since 1970-01-01 00:00 UTC; negative before.
    ``microseconds``
        0 to 999,999, counted forwards from ``seconds``.
    """

    def __init__(self):
        super().__init__({"seconds": Out(signed(64)), "microseconds": Out(MICROSECONDS)})

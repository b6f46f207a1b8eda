"""The register bus: 32-bit accesses with byte enables to what lies behind the BARs."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RegisterBus", "RegisterRequest"]


class RegisterRequest(data.Struct):
    """One access to one dword."""

    bar: 3
    address: 16  # byte offset inside the BAR; bits 1:0 are zero
    write: 1
    byte_enable: 4  # may be 0: a read then has no side effect, a write changes nothing
    data: 32


RegisterBus = wiring.Signature(
    {
        # A write is done when its request is taken. At most one read is outstanding: after a read
        # request the master may send writes, and no other read, until the response has come.
        "request": Out(stream.Signature(RegisterRequest)),
        # Answers a read, one cycle after the request at the earliest. The master always accepts.
        # Reads with side effects have them on the enabled bytes only.
        "response": In(stream.Signature(32, always_ready=True)),
    }
)

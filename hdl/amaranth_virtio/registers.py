"""The register bus to what lies behind the BARs, and its like for configuration space."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ConfigBus", "ConfigRequest", "RegisterBus", "RegisterRequest"]


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


class ConfigRequest(data.Struct):
    """One access to one dword of configuration space."""

    register: 10  # dword number
    write: 1
    byte_enable: 4
    data: 32


ConfigBus = wiring.Signature(
    {
        # One access at a time: after a request the master sends none until the response has come.
        "request": Out(stream.Signature(ConfigRequest)),
        # Answers reads and writes (configuration writes are non-posted), one cycle after the request
        # at the earliest. The master always accepts. A write's response data is ignored.
        "response": In(stream.Signature(32, always_ready=True)),
    }
)

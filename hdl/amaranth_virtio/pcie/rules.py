"""Which packets the standard calls malformed for what their header says."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.tlp import TlpHeader, TlpType

__all__ = ["HeaderRules", "PacketClass"]


class PacketClass(data.Struct):
    """What kind of packet a header belongs to; at most one bit, and none is malformed."""

    posted: 1  # memory write
    message: 1
    non_posted: 1  # anything that needs a completion
    completion: 1


class HeaderRules(wiring.Component):
    """Classify a header.  [PCIe base 5.0 §2.2.1, §2.3]

    Combinational. No class for a Fmt and Type that the standard does not define together, or a
    request which breaks a rule that receivers may check:

    - a memory request crosses a 4 KiB boundary, or its byte enables do not suit its length: Last DW
      BE is 0 if and only if Length is 1, First DW BE is 0 only then  [§2.2.5, §2.2.7];
    - a configuration or I/O request has another Length than 1, or a Last DW BE other than 0  [§2.2.7].

    Members
    -------
    header : :py:`In(TlpHeader)`
        The header.
    kind : :py:`Out(PacketClass)`
        Its class.
    """

    header: In(TlpHeader)
    kind: Out(PacketClass)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        common = self.header.common
        request = self.header.memory32
        has_data = common.fmt[1]
        four = common.fmt[0]

        one = common.length == 1
        single = Signal()  # as configuration and I/O requests have to be
        fits = Signal()  # as memory requests have to be
        length = Cat(common.length, common.length == 0)
        address = Mux(four, self.header.memory64.address_low, request.address)
        m.d.comb += [
            single.eq(one & (request.last_be == 0)),
            fits.eq(
                (one == (request.last_be == 0))
                & (one | (request.first_be != 0))
                & (address[2:12] + length <= 1024)
            ),
        ]

        with m.If(common.fmt[2] == 0), m.Switch(common.type):
            with m.Case(TlpType.MEMORY):
                m.d.comb += [self.kind.posted.eq(has_data & fits), self.kind.non_posted.eq(~has_data & fits)]
            with m.Case(TlpType.MEMORY_LOCKED):
                m.d.comb += self.kind.non_posted.eq(~has_data & fits)
            with m.Case(TlpType.IO, TlpType.CONFIG_0, TlpType.CONFIG_1):
                m.d.comb += self.kind.non_posted.eq(~four & single)
            with m.Case(
                TlpType.FETCH_ADD, TlpType.SWAP, TlpType.COMPARE_AND_SWAP, TlpType.DEFERRABLE_MEMORY_WRITE
            ):
                m.d.comb += self.kind.non_posted.eq(has_data)
            with m.Case(TlpType.COMPLETION, TlpType.COMPLETION_LOCKED):
                m.d.comb += self.kind.completion.eq(~four)
            with m.Case("10---"):  # TlpType.MESSAGE, any routing
                m.d.comb += self.kind.message.eq(four)
        return m

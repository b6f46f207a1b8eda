"""Deal completions out to the read channels."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..tlp import TlpSignature, check_width

__all__ = ["CompletionRouter"]


class CompletionRouter(wiring.Component):
    """Give each completion to the channel whose tag it carries.  Combinational, never stalls.

    Parameters
    ----------
    width : :class:`int`
        Of the TLP streams.
    channels : sequence of :class:`range`
        Tags of each channel; they do not overlap.

    Members
    -------
    i : :py:`In(TlpSignature(width))`
        Completions. Always accepted.
    o : :py:`Out(TlpSignature(width)).array(len(channels))`
        One per channel, which accepts always: ``ready`` is not looked at.
    unexpected : :py:`Out(1)`
        Strobe: a completion with a tag of no channel was dropped.
    """

    def __init__(self, *, width: int, channels: Sequence[range]):
        if not channels:
            raise ValueError("channels must name at least one range of tags")
        taken: set[int] = set()
        for tags in channels:
            if not tags or tags.step != 1 or tags.start < 0 or tags.stop > 256:
                raise ValueError(f"channels must be ranges of tags from 0 to 255, not {tags!r}")
            if taken & set(tags):
                raise ValueError(f"tags {tags!r} belong to more than one channel")
            taken |= set(tags)
        self.width = check_width(width)
        self.channels = tuple(channels)
        super().__init__(
            {
                "i": In(TlpSignature(width)),
                "o": Out(TlpSignature(width)).array(len(channels)),
                "unexpected": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Build the router."""
        m = Module()
        header = self.i.payload.header.completion
        first = self.i.payload.first
        ten_bit = header.common.tag_8 | header.common.tag_9
        somebody = Signal(len(self.channels))
        m.d.comb += self.i.ready.eq(1)
        for number, tags in enumerate(self.channels):
            chosen = Signal(name=f"chosen_{number}")  # by the packet's first beat
            # In the range; a tag below it wraps to behind its end.
            index = Signal.like(header.tag, name=f"index_{number}")
            m.d.comb += [
                index.eq(header.tag - tags.start),
                somebody[number].eq((index < len(tags)) & ~ten_bit),
                self.o[number].payload.eq(self.i.payload),
                self.o[number].valid.eq(self.i.valid & ((first & somebody[number]) | (~first & chosen))),
            ]
            with m.If(self.i.valid & first):
                m.d.sync += chosen.eq(somebody[number])
        m.d.comb += self.unexpected.eq(self.i.valid & first & ~somebody.any())
        return m

"""What is behind a network device."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["MacSignature", "packet_layout"]


def packet_layout(width: int) -> data.StructLayout:
    """Beats of an Ethernet frame without its FCS.

    ``data``, ``keep``
        Octets, the first in byte lane 0, and which lanes have one: all but in the last beat, where they begin
        at lane 0 and there is at least one.
    ``first``, ``last``
        First and last beat of the frame.
    ``error``
        Only with ``last``: the frame is bad, and whoever receives it drops it.
    ``checked``
        Only with ``last`` and only on its way to the driver: the checksum of the TCP or UDP segment inside
        was looked at and is right.
    """
    return data.StructLayout(
        {"data": width, "keep": width // 8, "first": 1, "last": 1, "error": 1, "checked": 1}
    )


class MacSignature(wiring.Signature):
    """The network device's side of a MAC (``Out`` towards the MAC).

    ``transmit``
        Frames of the driver. Once a frame's first beat is offered the others follow without a gap as fast as
        they are taken.
    ``receive``
        Frames from the network. They are taken at any rate; what does not fit is dropped as whole frames.
    ``link_up``
        There is a link: STATUS.
    ``speed``
        Mbit/s, or all ones: SPEED_DUPLEX; the link is full duplex.
    """

    def __init__(self, width: int):
        self.width = width
        super().__init__(
            {
                "transmit": Out(stream.Signature(packet_layout(width))),
                "receive": In(stream.Signature(packet_layout(width))),
                "link_up": In(1),
                "speed": In(32),
            }
        )

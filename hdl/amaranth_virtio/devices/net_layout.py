"""What runs between the parts of the network device."""

from amaranth.hdl import unsigned
from amaranth.lib import data
from amaranth.utils import bits_for, ceil_log2
from virtio_spec.net import NetHeader
from virtio_spec.wire import size

from ..chain import TOKEN

__all__ = [
    "FLOW",
    "HEADER_BYTES",
    "TAGGED_HEADER_BYTES",
    "CompletedChain",
    "SentHeader",
    "frame_bits",
    "frame_row_layout",
    "job_layout",
    "judged_layout",
    "part_layout",
    "received_layout",
    "row_bits",
    "sent_layout",
]

HEADER_BYTES = size(NetHeader)
TAGGED_HEADER_BYTES = 18  # Ethernet header with a VLAN tag
FLOW = unsigned(8)  # hash of a conversation


def frame_bits(mtu: int) -> int:
    """Bits of the greatest number of bytes of a frame and its header."""
    return bits_for(HEADER_BYTES + TAGGED_HEADER_BYTES + mtu)


def row_bits(width: int, mtu: int) -> int:
    """Bits of the greatest number of rows of a frame."""
    return bits_for(-(-8 * (TAGGED_HEADER_BYTES + mtu) // width))


class CompletedChain(data.Struct):
    """A chain that is done, with an acknowledgement in it if there is room, or nothing."""

    token: TOKEN
    acknowledge: 1
    error: 1


class SentHeader(data.Struct):
    """What counts of the header of a frame to be sent, and where it is from."""

    needs_csum: 1
    refused: 1  # both tunnel bits are set
    csum_start: 16
    csum_offset: 16
    token: TOKEN


def frame_row_layout(width: int) -> data.StructLayout:
    """A row of a frame: every one is full but the ``last``, which has ``count`` bytes.

    ``error``, only with ``last``: the frame is not whole.
    """
    return data.StructLayout({"data": width, "count": ceil_log2(width // 8 + 1), "last": 1, "error": 1})


def sent_layout(width: int, mtu: int) -> data.StructLayout:
    """A frame that is complete in the buffer.

    ``rows``, ``end``
        Number of its last row, and of the last byte in that.
    ``patch``
        It gets a checksum: of the ``checksum``'s two bytes the lower one goes to the lower byte of word
        ``lower`` of the frame, the other one to the upper byte of word ``upper``. A word has 16 bits, its
        lower byte comes first.
    """
    words = frame_bits(mtu) - 1
    return data.StructLayout(
        {
            "rows": row_bits(width, mtu),
            "end": ceil_log2(width // 8),
            "patch": 1,
            "lower": words,
            "upper": words,
            "checksum": 16,
        }
    )


def received_layout(width: int, mtu: int) -> data.StructLayout:
    """A frame from the network, complete in the buffer.

    ``address``
        Its destination.
    ``rows``
        Rows that it has in the buffer.
    ``total``
        Bytes with the header.
    ``tail``
        With the header before it, its last bytes have a row of their own.
    ``checked``
        As in :func:`packet_layout`.
    """
    return data.StructLayout(
        {"address": 48, "rows": row_bits(width, mtu), "total": frame_bits(mtu), "tail": 1, "checked": 1}
    )


def judged_layout(width: int, mtu: int, pairs: int) -> data.StructLayout:
    """A frame from the network, whether it is ``wanted``, and the ``pair`` of its flow.

    The rest as in :func:`received_layout`.
    """
    return data.StructLayout(
        {
            "rows": row_bits(width, mtu),
            "total": frame_bits(mtu),
            "tail": 1,
            "checked": 1,
            "wanted": 1,
            "pair": bits_for(pairs),
        }
    )


def job_layout(width: int, mtu: int, quota: int) -> data.StructLayout:
    """Read the next frame out of the buffer, or ``drop`` it; it will be in ``buffers`` chains."""
    return data.StructLayout(
        {
            "rows": row_bits(width, mtu),
            "tail": 1,
            "drop": 1,
            "checked": 1,
            "buffers": bits_for(quota),
        }
    )


def part_layout(mtu: int) -> data.StructLayout:
    """The next bytes of header and frames are to go into a chain: ``count`` of them, perhaps none.

    ``more``
        The frame goes on in another chain.
    """
    return data.StructLayout({"token": TOKEN, "count": frame_bits(mtu), "more": 1})

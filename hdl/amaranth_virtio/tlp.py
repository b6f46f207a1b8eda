"""The TLP stream that every module inside the endpoint speaks."""

from amaranth.lib import data, stream
from virtio_spec.tlp import TlpHeader

__all__ = ["WIDTHS", "RawSignature", "TlpSignature", "check_width", "raw_layout", "tlp_layout"]

WIDTHS = (64, 128, 256, 512)


def check_width(width: int) -> int:
    """Return ``width`` if it is one of :data:`WIDTHS`, else raise a ``ValueError``."""
    if width not in WIDTHS:
        raise ValueError(f"width must be one of {', '.join(map(str, WIDTHS))}, not {width!r}")
    return width


def tlp_layout(width: int) -> data.StructLayout:
    """One beat of a transaction layer packet.

    ``header``
        The packet's header; meaningful in the ``first`` beat only.
    ``data``
        Payload. Payload dword 0 is in lane 0 (bits 31:0) of the first beat, whatever the header's
        length; byte 0 of a dword is in its bits 7:0.
    ``enable``
        One bit per dword lane, contiguous from lane 0. Every beat but the last is full; a packet
        without payload is one beat with ``enable`` 0. A digest is never part of the payload.
    ``first``, ``last``
        Packet boundaries.
    """
    return data.StructLayout(
        {
            "header": TlpHeader,
            "data": width,
            "enable": width // 32,
            "first": 1,
            "last": 1,
        }
    )


def raw_layout(width: int) -> data.StructLayout:
    """One beat of a raw packet: header dwords and payload contiguous from lane 0.

    A header dword carries byte 0 of the standard's figures in bits 31:24, a payload dword carries
    its first byte in bits 7:0. ``enable`` has one bit per dword lane, contiguous from lane 0, all
    ones in every beat but the last.
    """
    return data.StructLayout({"data": width, "enable": width // 32, "first": 1, "last": 1})


def TlpSignature(width: int) -> stream.Signature:
    """Stream of :func:`tlp_layout`."""
    return stream.Signature(tlp_layout(width))


def RawSignature(width: int) -> stream.Signature:
    """Stream of :func:`raw_layout`."""
    return stream.Signature(raw_layout(width))

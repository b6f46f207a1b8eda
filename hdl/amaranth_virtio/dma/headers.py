"""Memory request headers.  [PCIe base 5.0 §2.2.5, §2.2.7]"""

from typing import Any

from amaranth.hdl import C, Cat, Mux, Value
from virtio_spec.tlp import Fmt, TlpType

__all__ = ["byte_enables", "memory_request"]


def byte_enables(first: Any, last: Any, single: Any) -> tuple[Value, Value]:
    """First and Last DW BE of bytes that run from byte ``first`` of a dword to byte ``last`` of a dword.

    ``single`` says that the two are the same dword: Last DW BE is then 0.  [§2.2.5]
    """
    from_first = (C(0b1111, 4) << first)[:4]
    to_last = C(0b1111, 4) >> (3 - last)[:2]
    return Mux(single, from_first & to_last, from_first), Mux(single, C(0, 4), to_last)


def memory_request(
    header: Any,
    *,
    write: bool,
    address: Any,
    dwords: Any,
    first_be: Any,
    last_be: Any,
    requester_id: Any,
    tag: Any,
    long: Any = None,
) -> list[Any]:
    """Statements that make ``header`` (a :class:`TlpHeader`) a memory read or write request.

    ``address`` is a byte address of 64 bits, whose bits 1:0 are dropped; below 4 GiB the request has
    the 3-dword header that it must have there [§2.2.4.1]. ``dwords`` is 1 to 1024. Traffic class,
    attributes and the rest are 0, which they are by not being assigned: a ``header`` is for one
    kind of request. ``long`` is whether the address is 4 GiB or above, for who knows already.
    """
    low = Cat(C(0, 2), address[2:32])
    high = address[32:64]
    long = high.any() if long is None else long
    short_fmt, long_fmt = (Fmt.DATA_3DW, Fmt.DATA_4DW) if write else (Fmt.HEADER_3DW, Fmt.HEADER_4DW)
    return [
        header.common.type.eq(TlpType.MEMORY),
        header.common.fmt.eq(Mux(long, C(long_fmt.value, 3), C(short_fmt.value, 3))),
        header.common.length.eq(dwords),  # 1024 is 0
        header.memory32.requester_id.eq(requester_id),
        header.memory32.tag.eq(tag),
        header.memory32.first_be.eq(first_be),
        header.memory32.last_be.eq(last_be),
        header.dwords[2].eq(Mux(long, high, low)),
        header.dwords[3].eq(Mux(long, low, 0)),
    ]

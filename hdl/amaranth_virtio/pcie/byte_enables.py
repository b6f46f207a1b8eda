"""What byte enables say about the first and the last byte of a request.  [PCIe base 5.0 §2.2.5, §2.3.1.1]"""

from typing import Any

from amaranth.hdl import Mux

__all__ = ["byte_count", "bytes_after", "bytes_before"]


def bytes_before(enables: Any) -> Any:
    """Disabled bytes before the first enabled one, 0 to 3; 0 if none is enabled."""
    return Mux(enables[0], 0, Mux(enables[1], 1, Mux(enables[2], 2, Mux(enables[3], 3, 0))))


def bytes_after(enables: Any) -> Any:
    """Disabled bytes after the last enabled one, 0 to 3; 3 if none is enabled."""
    return Mux(enables[3], 0, Mux(enables[2], 1, Mux(enables[1], 2, 3)))


def byte_count(length: Any, first_be: Any, last_be: Any) -> Any:
    """Bytes from the first enabled one to the last; 1 for the read of one dword with none enabled.

    ``length`` is in dwords, 1 to 1024; the result is 1 to 4096.
    """
    end = Mux(length == 1, first_be, last_be)
    return (length << 2) - bytes_before(first_be) - bytes_after(end)

"""The interrupt messages of a host."""

__all__ = ["MESSAGE_VECTORS", "message_of"]

MESSAGE_VECTORS = 128


def message_of(vector: int) -> tuple[int, int]:
    """Address and data of an interrupt vector; odd ones are above 4 GiB.  ``ValueError`` if there is none."""
    if not 0 <= vector < MESSAGE_VECTORS:
        raise ValueError(f"vector {vector} is not below {MESSAGE_VECTORS}")
    return 0xFEE0_0000 + 0x1000 * vector + (vector & 1) * (1 << 32), 0x4500 + vector

"""Bytes cut into buffers."""

from collections.abc import Sequence

__all__ = ["cut", "pieces"]


def cut(total: int, points: Sequence[int]) -> list[int]:
    """Lengths of the pieces of ``total`` bytes cut at ``points``; points outside of it do not cut."""
    edges = [0, *sorted({point for point in points if 0 < point < total}), total]
    return [end - start for start, end in zip(edges, edges[1:], strict=False) if end > start]


def pieces(data: bytes, points: Sequence[int]) -> list[bytes]:
    """The parts of ``data`` cut at these points, as :func:`cut` has them."""
    found, at = [], 0
    for length in cut(len(data), points):
        found.append(data[at : at + length])
        at += length
    return found

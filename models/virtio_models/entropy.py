"""A seeded source of noise bytes, which can be made to fail as real ones do."""

import random

__all__ = ["EntropySource"]


class EntropySource:
    """Deterministic bytes.

    Parameters
    ----------
    seed
        Same seed, same bytes.

    Attributes
    ----------
    history
        Every byte given out so far.
    """

    def __init__(self, seed: int = 0):
        self.history = bytearray()
        self._rng = random.Random(f"entropy {seed}")
        self._stuck: int | None = None
        self._bias: tuple[int, float] | None = None

    def next_byte(self) -> int:
        """One byte of noise."""
        byte = self._rng.randrange(256)
        if self._bias is not None and self._rng.random() < self._bias[1]:
            byte = self._bias[0]
        if self._stuck is not None:
            byte = self._stuck
        self.history.append(byte)
        return byte

    def stick(self, value: int) -> None:
        """Give out ``value`` only, until :meth:`heal`."""
        self._stuck = value

    def bias(self, value: int, probability: float) -> None:
        """Give out ``value`` with ``probability``, noise otherwise, until :meth:`heal`."""
        self._bias = value, probability

    def heal(self) -> None:
        """Be a good source again."""
        self._stuck = self._bias = None

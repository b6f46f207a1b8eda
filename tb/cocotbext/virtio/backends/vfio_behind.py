"""What is behind a card, as far as the card itself shows it."""

from typing import Any, NoReturn

from virtio_models.disk import Disk
from virtio_models.entropy import EntropySource

__all__ = ["HeardNoise", "UnseenDisk"]

#: So many bytes are noise enough to be told from what is no noise, and do not come twice by chance.
TELLING = 8


class HeardNoise(EntropySource):
    """A source of noise that nobody sees: what a device gave out came from it if it can be noise.

    A run of at least eight bytes that are all equal, or that came before, did not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.history = _Heard()


class _Heard(bytearray):
    """Finds in itself whatever it is asked for, once."""

    def find(self, piece: Any, start: Any = 0, end: Any = None, /) -> int:
        """Where ``piece`` is now; -1 if it is no noise."""
        if len(piece) >= TELLING and (len(set(piece)) == 1 or super().find(piece[:TELLING]) >= 0):
            return -1
        self.extend(piece)
        return len(self) - len(piece)


class UnseenDisk(Disk):
    """A disk of which nothing is known but its capacity; a case that looks at more is not for cards."""

    def __init__(self, capacity: int):
        self.__dict__["capacity"] = capacity

    def heal(self) -> None:
        """Nothing can be wrong with it that a case has done."""

    def __getattribute__(self, name: str) -> Any:
        if name not in ("capacity", "heal", "__dict__", "__class__"):
            raise LookupError(f"nothing shows what is behind a card: {name} of its disk")
        return self.__dict__["capacity"] if name == "capacity" else object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise LookupError(f"nothing reaches what is behind a card: {name} of its disk")

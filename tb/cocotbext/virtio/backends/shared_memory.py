"""Memory that a device shares with this process, be it one of QEMU's or a card.

It is accessed without asking anybody: what a device wrote is found by comparing, what it read leaves no
trace. A byte that was overwritten with itself is not seen.
"""

from collections.abc import Iterator, Mapping

from ..memory import Arena, Bytes, Grant, HostMemory

__all__ = ["SharedMemory", "Watched"]

BLOCK = 4096


class Watched:
    """Memory beside a copy of what it held when it was last looked at.

    Parameters
    ----------
    store
        The memory itself.
    """

    def __init__(self, store: Bytes):
        self._store = store
        self._copy = bytearray(store[:])
        self._reach = 0  # the driver's memory ends below that

    def __len__(self) -> int:
        return len(self._copy)

    def __getitem__(self, key: slice, /) -> bytes:
        return bytes(self._store[key])

    def __setitem__(self, key: slice, value: bytes, /) -> None:
        self._store[key] = value
        self._copy[key] = value
        self._reach = max(self._reach, key.stop)

    def changes(self, *, everywhere: bool) -> Iterator[tuple[int, int]]:
        """Start and length of the runs that somebody else has written since the last time.

        Unless ``everywhere``, only where the driver ever had something.
        """
        end = len(self._copy) if everywhere else self._reach
        found = bytes(self._store[0:end])
        if found == self._copy[:end]:
            return
        for start in range(0, end, BLOCK):
            stop = min(start + BLOCK, end)
            if found[start:stop] != self._copy[start:stop]:
                yield from self._runs(found, start, stop)
        self._copy[:end] = found

    def _runs(self, found: bytes, start: int, stop: int) -> Iterator[tuple[int, int]]:
        first = None
        for position in range(start, stop + 1):
            if position < stop and found[position] != self._copy[position]:
                first = position if first is None else first
            elif first is not None:
                yield first, position - first
                first = None


class SharedMemory(HostMemory):
    """Host memory whose grants are checked against what was written since the last look.

    Parameters
    ----------
    stores
        Memory by its address.
    """

    def __init__(self, stores: Mapping[int, Bytes], *, seed: int = 0):
        self._watched = {base: Watched(store) for base, store in stores.items()}
        super().__init__([Arena(base, store) for base, store in self._watched.items()], seed=seed)

    def look(self, *, everywhere: bool = False) -> None:
        """Check what the device has written, as far as the driver ever had memory or ``everywhere``."""
        for base, store in self._watched.items():
            for start, length in store.changes(everywhere=everywhere):
                self.check(base + start, length, write=True)
                if self.observer is not None:
                    self.observer.dma(base + start, self.read(base + start, length), write=True)

    def revoke(self, grant: Grant) -> None:
        """Take a grant back, once it is known what it was used for."""
        self.look()
        super().revoke(grant)

    def forget(self) -> None:
        """Take everything back, once it is known what it was used for."""
        self.look(everywhere=True)
        super().forget()

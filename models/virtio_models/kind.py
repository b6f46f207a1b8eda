"""What a device type declares and does."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from virtio_spec.virtio import DeviceType
from virtio_spec.virtio_pci import Interface

from .config_space import Identity

__all__ = ["DeviceKind", "Waiting"]


@dataclass(frozen=True)
class Waiting:
    """A chain that waits to be served: its readable bytes, and how many it has room for."""

    readable: bytes
    room: int


class DeviceKind:
    """A device type: what it declares, and what it does with chains.

    Attributes
    ----------
    device_type, class_code, features, requires, queues
        As the standard has them; ``requires`` maps a feature bit to those it cannot be without.
    identity
        PCI ids of a device outside virtio's ranges.
    interfaces, msix
        Register interfaces it can have, and whether MSI-X beside INTx.
    config_layout
        Structure of what :meth:`config` returns, ``None`` if there is no configuration.
    together
        Groups of names of neighbouring fields that are read as one value of one instant; each other
        field is one of its own.
    writable
        Names of fields that the driver may write; see :meth:`config_written`.
    acknowledge
        Field whose first byte, read or written, takes back the configuration bit of the ISR status.
    accepted
        Features in force: 0 before FEATURES_OK, and on the legacy interface as the driver writes them.
    driver_ok, legacy
        Whether the driver has set DRIVER_OK, and whether it uses the legacy interface.
    changed
        To be called after :meth:`config` has changed in a way that the driver is to be told of.
    poke
        To be called when something has come from outside that waiting chains may be served with.
    in_use
        Whether the queue of a number is enabled and not being reset.
    """

    device_type: ClassVar[DeviceType]
    class_code: ClassVar[int]
    identity: ClassVar[Identity | None] = None
    interfaces: ClassVar[tuple[Interface, ...]] = tuple(Interface)
    msix: ClassVar[bool] = True
    features: int = 0
    requires: Mapping[int, tuple[int, ...]] = {}
    queues: int = 1
    config_layout: ClassVar[Any] = None
    together: ClassVar[tuple[tuple[str, ...], ...]] = ()
    writable: ClassVar[tuple[str, ...]] = ()
    acknowledge: ClassVar[str | None] = None

    accepted: int = 0
    driver_ok: bool = False
    legacy: bool = False
    changed: Callable[[], None] = staticmethod(lambda: None)
    poke: Callable[[], None] = staticmethod(lambda: None)
    in_use: Callable[[int], bool] = staticmethod(lambda queue: False)

    def config(self) -> bytes | None:
        """Device configuration as of now, ``None`` if there is none."""
        return None

    def config_written(self, offset: int, data: bytes) -> None:
        """The driver has written bytes of writable fields."""

    def reset(self) -> None:
        """The device is being reset: nothing is negotiated any more."""
        self.accepted, self.driver_ok, self.legacy = 0, False, False

    def elapse(self, ns: int) -> None:
        """Time passes."""

    def serve(self, queue: int, waiting: Sequence[Waiting], rng: random.Random) -> list[tuple[int, bytes]]:
        """Which of the chains waiting on a queue, oldest first, are done, and what is written into them.

        Returns pairs of a position in ``waiting`` and the bytes that go into the chain's writable part
        from the start, in the order in which the chains are to be used. Those of one call are neighbours
        in the used ring and told to the driver together. Empty: nothing yet; asked again when another
        chain comes, after :attr:`poke`, and whenever the device has nothing else to do.
        """
        position = rng.randrange(len(waiting))
        data = self.handle(waiting[position].readable, waiting[position].room)
        return [] if data is None else [(position, data)]

    def handle(self, readable: bytes, room: int) -> bytes | None:
        """Serve a chain of a kind whose chains are served one by one: as :meth:`serve`, ``None``: not yet."""
        # Not abstract: a kind without queues, as vmmci, is never handed a chain.
        raise NotImplementedError(f"{type(self).__name__} has no queues")

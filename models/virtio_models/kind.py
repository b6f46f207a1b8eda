"""What a device type declares and does."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from virtio_spec.virtio import DeviceType
from virtio_spec.virtio_pci import Interface

from .config_space import Identity

__all__ = ["DeviceKind"]


class DeviceKind:
    """A device type: what it declares, and what it does with a chain.

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

    def handle(self, readable: bytes, room: int) -> bytes | None:
        """Serve a chain: what goes into its writable bytes from the start, or ``None`` for "not yet"."""
        # Not abstract: a kind without queues, as vmmci, is never handed a chain.
        raise NotImplementedError(f"{type(self).__name__} has no queues")

"""What a planted bug is, how one is entered into the catalogue, and a bench with one.

::

    @bug(seen("rng", "msix.a_reset_takes_all_vectors_away"), traps=(19,))
    class VectorsStartAtZero(ReferenceDevice):
        '''After a reset vectors are 0, not NO_VECTOR.'''
"""

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cocotbext.virtio.backends.model_bench import model_bench
from cocotbext.virtio.suite import Bench
from cocotbext.virtio.variant import PLAIN, RingVariant, variants
from virtio_models.blk import Blk
from virtio_models.device import ReferenceDevice
from virtio_models.disk import Disk
from virtio_models.net import Net
from virtio_models.packed import PackedQueue
from virtio_models.pci import PciFunction
from virtio_models.rng import Rng
from virtio_models.snapshots import Snapshots
from virtio_models.split import SplitQueue
from virtio_models.vmmci import Vmmci

__all__ = ["Bug", "Seen", "bug", "bugs", "seen"]

#: Modules of this package that hold bugs.
MODULES = (
    *("device", "pci", "split", "packed", "queues", "legacy", "legacy_header", "intx", "reads"),
    *("rng", "blk", "net", "vmmci", "hostile"),
)
VARIANTS = {variant.name: variant for variant in variants()}

T = TypeVar("T", bound=type)


@dataclass(frozen=True)
class Seen:
    """Where a bug is seen.

    Attributes
    ----------
    device
        Type of the device.
    case
        Of the test list.
    variant
        The rings that the driver uses.
    options
        More of :func:`~cocotbext.virtio.backends.model_bench.model_bench`'s.
    """

    device: str
    case: str
    variant: RingVariant
    options: dict[str, Any]

    @property
    def profile(self) -> str:
        """The part of the test list that is for such a device."""
        return next((known for known in ("read_only", "queues") if known in self.options), "default")


def seen(device: str, case: str, *, variant: str = PLAIN.name, **options: Any) -> Seen:
    """A place where a bug is seen; ``variant`` is the name of one."""
    return Seen(device, case, VARIANTS[variant], options)


@dataclass(frozen=True)
class Bug:
    """One mistake.

    Attributes
    ----------
    name
        Short and unique.
    broken
        The class that has it.
    seen
        Where it is seen, at least once.
    traps
        Numbers of the known hardware traps that it is one of.
    oddity
        Of the fuzzer, if it is one that shows it.
    """

    name: str
    broken: type
    seen: tuple[Seen, ...]
    traps: tuple[int, ...]
    oddity: str

    @property
    def what(self) -> str:
        """A sentence about it."""
        return (self.broken.__doc__ or "").partition("\n")[0]

    @property
    def device(self) -> type[ReferenceDevice]:
        """The whole device, if the bug is not in its device type."""
        return self._parts().get("device", ReferenceDevice)

    def bench(self, where: Seen, *, seed: int) -> Bench:
        """A bench with the bug."""
        return model_bench(where.device, seed=seed, variant=where.variant, **where.options, **self._parts())

    def _parts(self) -> dict[str, Any]:
        for base, place in PLACES.items():
            if issubclass(self.broken, base):
                return place(self.broken)
        raise TypeError(f"{self.broken.__name__} stands for no part of a bench")


_registered: dict[str, Bug] = {}


def bug(*where: Seen, traps: Sequence[int] = (), oddity: str = "") -> Callable[[T], T]:
    """Enter a class into the catalogue; see :class:`Bug`."""

    def register(broken: T) -> T:
        name = re.sub(r"(?<!^)(?=[A-Z])", "-", broken.__name__).lower()
        if name in _registered:
            raise ValueError(f"there are two bugs {name!r}")
        _registered[name] = Bug(name, broken, where, tuple(traps), oddity)
        return broken

    return register


def bugs() -> dict[str, Bug]:
    """All of them by their names."""
    for module in MODULES:
        importlib.import_module(f".{module}", __package__)
    return dict(_registered)


def _with_function(function: type[PciFunction]) -> dict[str, Any]:
    class Broken(ReferenceDevice):
        def __init__(self, *arguments: Any, **options: Any):
            super().__init__(*arguments, **options)
            self.pci.__class__ = function

    return {"device": Broken}


def _with_snapshots(snapshots: type[Snapshots]) -> dict[str, Any]:
    class Broken(ReferenceDevice):
        def __init__(self, *arguments: Any, **options: Any):
            super().__init__(*arguments, **options)
            self._snapshots.__class__ = snapshots

    return {"device": Broken}


def _with_split(queue: type[SplitQueue]) -> dict[str, Any]:
    class Broken(ReferenceDevice):
        split_ring = queue

    return {"device": Broken}


def _with_packed(queue: type[PackedQueue]) -> dict[str, Any]:
    class Broken(ReferenceDevice):
        packed_ring = queue

    return {"device": Broken}


#: What of a bench a class stands for, by what it is derived from.
PLACES: dict[type, Callable[[Any], dict[str, Any]]] = {
    ReferenceDevice: lambda broken: {"device": broken},
    SplitQueue: _with_split,
    PackedQueue: _with_packed,
    PciFunction: _with_function,
    Snapshots: _with_snapshots,
    Rng: lambda broken: {"rng": broken},
    Blk: lambda broken: {"blk": broken},
    Net: lambda broken: {"net": broken},
    Disk: lambda broken: {"disk": broken},
    Vmmci: lambda broken: {"vmmci": broken},
}

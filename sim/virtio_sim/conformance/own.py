"""Somebody else's device: its bench, found by a name, and what the two say of themselves."""

import importlib
import inspect
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cocotbext.virtio.conformance import Facts, look
from cocotbext.virtio.own import BACKEND, Setup
from cocotbext.virtio.suite import Bench, Case, cases
from virtio_spec.virtio import Feature
from virtio_spec.virtio_pci import Interface

from ..config import ConfigError
from .plan import Driver, drivers

__all__ = ["Make", "Own", "load"]

Make = Callable[[Setup], Coroutine[Any, Any, Bench]]
#: Pairs of queues, and the control queue, are what a network device has at least.
FEWEST_QUEUES = {"net": 3}
#: Abilities of a backend that are features of a device.
FEATURES = {
    "ring_reset": Feature.RING_RESET,
    "notification_data": Feature.NOTIFICATION_DATA,
    "notif_config_data": Feature.NOTIF_CONFIG_DATA,
}


def load(name: str) -> Make:
    """What ``package.module:function`` names; modules of the working directory are found, too.

    :class:`ConfigError`
    """
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise ConfigError(f"a bench is named as in package.module:function, not {name!r}")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise ConfigError(
                f"there is no module {module} in the working directory, nor on PYTHONPATH"
            ) from None
        raise ConfigError(f"{module} cannot be imported: {error}") from error
    except Exception as error:  # whatever a module of the user's raises
        raise ConfigError(f"{module} cannot be imported: {type(error).__name__}: {error}") from error
    make = getattr(found, function, None)
    if make is None:
        raise ConfigError(f"there is no {function} in {module}")
    if not inspect.iscoroutinefunction(make):
        raise ConfigError(f"{name} is no coroutine function: it has to be async def {function}(setup)")
    return make


@dataclass(frozen=True)
class Own:
    """A device as its bench and it itself describe it.

    Attributes
    ----------
    device, interface, queues, read_only
        As :class:`~cocotbext.virtio.suite.Bench` has them.
    link
        Whether the bench has raw packets.
    facts
        What the device says.
    """

    device: str
    interface: Interface
    queues: int
    read_only: bool
    link: bool
    facts: Facts

    @classmethod
    async def of(cls, bench: Bench) -> "Own":
        """Look at the device of a bench."""
        if not isinstance(bench, Bench):
            raise TypeError(f"what was made is no Bench, but {bench!r}")
        link = bench.link is not None
        facts = await look(bench)
        return cls(bench.device, bench.interface, bench.queues, bench.read_only, link, facts)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "Own":
        """Back from JSON."""
        return cls(
            **{
                **given,
                "interface": Interface(given["interface"]),
                "facts": Facts.from_dict(given["facts"]),
            }
        )

    @property
    def profile(self) -> str:
        """The part of the test list that is for it."""
        if self.read_only:
            return "read_only"
        return "queues" if self.queues > FEWEST_QUEUES.get(self.device, 1) else "default"

    def drivers(self, variants: Sequence[str]) -> list[Driver]:
        """Those whose rings it offers."""
        listed = drivers(self.device, self.interface, variants)
        return [driver for driver in listed if not driver.variant.features & ~self.facts.features]

    def cases(self, driver: Driver, *, backend: str = BACKEND) -> list[Case]:
        """The test list of one driver."""
        abilities = {name for name, bit in FEATURES.items() if self.facts.features >> bit & 1}
        return cases(
            self.device,
            profile=self.profile,
            backend=backend,
            interface=self.interface,
            transport=driver.transport,
            variant=driver.variant,
            abilities=abilities | ({"link"} if self.link else set()),
        )

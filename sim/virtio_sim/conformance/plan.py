"""What is run for a report: designs, and the drivers on each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cocotbext.virtio.suite import Case, cases
from cocotbext.virtio.variant import COVERING, PLAIN, RingVariant, variants
from virtio_spec.virtio_pci import Interface

from ..config import DEVICES, INTERFACES, ConfigError, Configuration, impatient

__all__ = ["BACKENDS", "Driver", "Run", "check_variants", "drivers", "plan"]

BACKENDS = ("model", "native", "cocotb", "qtest")
#: Devices whose data path is as wide as most: what is true of one width is tested to be true of all.
WIDTH_OF = {"blk": 128}
WIDTH = 64
#: The device type that QEMU does not have.
FOREIGN = "vmmci"
#: Of several, only as many as show that there are several.
QUEUES = 2
LEGACY_VARIANTS = (PLAIN, RingVariant(indirect=True, event_idx=True))
#: Some cases are for split rings with indirect tables that need not be in order.
MODERN_VARIANTS = (*COVERING, LEGACY_VARIANTS[1])


@dataclass(frozen=True)
class Driver:
    """How a driver works: its interface, how it reads the configuration of a legacy device, and its rings."""

    transport: str
    habit: str
    variant: RingVariant

    def __str__(self) -> str:
        return f"{self.transport} {self.habit} {self.variant}"


@dataclass(frozen=True)
class Run:
    """One device on one backend, and everything that is run on it.

    Attributes
    ----------
    backend
        One of :data:`BACKENDS`.
    configuration
        The device; of the reference model and of QEMU's devices the data path's width has no meaning.
    variants
        Names of the variants of rings to be run; empty for those that together have every feature.
    """

    backend: str
    configuration: Configuration
    variants: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Short and unique, so that a later run of the same kind takes its place in a report."""
        configuration = self.configuration
        width = "" if self.backend in ("model", "qtest") else f"-{configuration.width}"
        words = [self.backend, f"{configuration.device}{width}", configuration.interface]
        return " ".join([*words, *([configuration.profile] if configuration.profile != "default" else [])])

    @property
    def device(self) -> str:
        """What it is an example of: a device type of this project's, or one of QEMU's."""
        return f"{'QEMU ' if self.backend == 'qtest' else ''}{self.configuration.device}"

    def drivers(self) -> list[Driver]:
        """All of them, the one of the modern interface first."""
        configuration = self.configuration
        return drivers(configuration.device, Interface(configuration.interface), self.variants)

    def cases(self, driver: Driver) -> list[Case]:
        """The test list of one driver."""
        return cases(
            self.configuration.device,
            profile=self.configuration.profile,
            backend=self.backend,
            interface=self.configuration.interface,
            transport=driver.transport,
            variant=driver.variant,
        )


def drivers(device: str, interface: Interface, named: Sequence[str]) -> list[Driver]:
    """For a device with such registers; rings are those ``named``, or a choice that has every feature."""

    def rings(transport: str, otherwise: Sequence[RingVariant]) -> Sequence[RingVariant]:
        if device == "vmmci":
            return (PLAIN,)
        return [variant for variant in variants(transport) if variant.name in named] if named else otherwise

    found = []
    if interface.has_modern:
        found += [Driver("modern", "natural", variant) for variant in rings("modern", MODERN_VARIANTS)]
    if interface.has_legacy:
        for habit in ("bytes",) if interface.has_modern else ("natural", "bytes"):
            found += [Driver("legacy", habit, variant) for variant in rings("legacy", LEGACY_VARIANTS)]
    return found


def check_variants(named: Sequence[str]) -> None:
    """:class:`ConfigError` if there is none of such a name."""
    for name in named:
        if name not in [variant.name for variant in variants()]:
            raise ConfigError(f"there is no variant of rings {name!r}")


def plan(
    backend: str, *, device: str | None = None, interface: str = "", variants_named: Sequence[str] = ()
) -> list[Run]:
    """Runs for a report; :class:`ConfigError`.

    All devices and all their interfaces, unless some are named; what else a device can be (read-only, several
    queues) with the first of its interfaces.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"there is no backend {backend!r}; choose one of {', '.join(BACKENDS)}")
    check_variants(variants_named)
    runs = []
    if (backend, device) == ("qtest", FOREIGN):
        raise ConfigError(f"QEMU has no {FOREIGN}")
    for chosen in DEVICES if device is None else (device,):
        if (backend, chosen) == ("qtest", FOREIGN):
            continue
        # A wrong name, or an interface that the device does not have, is found by the configuration.
        of_device = INTERFACES.get(chosen, ("",))
        if device is None and interface and interface not in of_device:
            continue
        interfaces = (interface,) if interface else of_device
        for position, name in enumerate(interfaces):
            for options in ({}, *(_more(backend, chosen) if not position else ())):
                runs.append(Run(backend, _configuration(chosen, name, **options), tuple(variants_named)))
    if not any(run.cases(driver) for run in runs for driver in run.drivers()):
        raise ConfigError("there is no such device with such an interface and such rings")
    return runs


def _more(backend: str, device: str) -> Sequence[dict[str, Any]]:
    """What a device can be besides; the cable of QEMU's network devices is for one pair of queues."""
    if (backend, device) == ("qtest", "net"):
        return ()
    return {"blk": ({"read_only": True}, {"queues": QUEUES}), "net": ({"queues": QUEUES},)}.get(device, ())


def _configuration(device: str, interface: str, **options: Any) -> Configuration:
    return impatient(Configuration(device, WIDTH_OF.get(device, WIDTH), interface=interface, **options))

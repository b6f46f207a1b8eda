"""Runs of a real card through VFIO, in this process."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

from cocotbext.virtio.backends.run import run as wait_for
from cocotbext.virtio.backends.vfio import PATIENCE_S, VfioHost
from cocotbext.virtio.backends.vfio_bench import BACKEND, vfio_bench
from cocotbext.virtio.backends.vfio_card import Card
from cocotbext.virtio.backends.vfio_group import VfioError
from cocotbext.virtio.conformance import Facts
from cocotbext.virtio.conformance.unseen import reasons, unseen, why_unseen
from cocotbext.virtio.own import Setup
from cocotbext.virtio.suite import Bench, Case
from cocotbext.virtio.suite.registry import ABILITIES

from ..config import ConfigError
from .one import Listener, run_one
from .own import Own
from .plan import Driver, check_variants

__all__ = ["CardRun", "card_run"]


@dataclass(frozen=True)
class CardRun:
    """A card, and everything that is run on it: as :class:`.plan.Run`.

    Attributes
    ----------
    address
        Of its PCI function.
    own
        What it is.
    variants
        Names of the variants of rings to be run; empty for those that together have every feature.
    without
        Abilities that it is known not to have.
    patience_s
        How long it is watched when it should do nothing.
    patterns
        Of the names of cases to be run; empty for all.
    """

    address: str
    own: Own
    variants: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()
    patience_s: float = PATIENCE_S
    patterns: tuple[str, ...] = ()

    @property
    def backend(self) -> str:
        """Its name in reports."""
        return BACKEND

    @property
    def device(self) -> str:
        """What it is an example of."""
        return f"card {self.own.device}"

    @property
    def name(self) -> str:
        """Short and unique, so that a later run of the same kind takes its place in a report."""
        return f"{BACKEND} {self.own.device} {self.own.interface} {self.address}"

    def drivers(self) -> list[Driver]:
        """All of them, the one of the modern interface first."""
        return self.own.drivers(self.variants)

    def cases(self, driver: Driver) -> list[Case]:
        """The test list of one driver."""
        listed = [case for case, why in self._listed(driver) if not why]
        return [case for case in listed if any(fnmatchcase(case.name, each) for each in self.patterns or "*")]

    def _listed(self, driver: Driver) -> list[tuple[Case, str]]:
        """All cases, with why they are left out."""
        listed = self.own.cases(driver, backend=BACKEND)
        return [
            (case, why_unseen(self.own.device, case, str(driver), unseen()))
            for case in listed
            if self.without.isdisjoint(case.needs)
        ]

    @cached_property
    def unseen(self) -> dict[str, str]:
        """Why requirements cannot be shown, by their ids."""
        listed = [each for driver in self.drivers() for each in self._listed(driver)]
        return dict(reasons((case, why) for case, why in listed if why))

    def execute(self, seed: int, listener: Listener) -> Facts:
        """All of it, and what the device says of itself."""
        for driver in self.drivers():
            bench, host = _up(self.address, self.patience_s, self.without, seed, driver)
            try:
                for case in self.cases(driver):
                    result = run_one(case, driver, bench)
                    listener(result)
                    if result.message:  # the next case is not to suffer from it
                        host.close()
                        bench, host = _up(self.address, self.patience_s, self.without, seed, driver)
            finally:
                host.close()
        return self.own.facts


def _up(
    address: str, patience_s: float, without: frozenset[str], seed: int, driver: Driver | None = None
) -> tuple[Bench, VfioHost]:
    """The card, which the kernel resets whenever somebody opens it."""
    setup = Setup(seed=seed)
    if driver is not None:
        setup = Setup(seed=seed, transport=driver.transport, habit=driver.habit, variant=driver.variant)
    host = VfioHost(Card(address), seed=seed, patience_s=patience_s)
    try:
        return wait_for(vfio_bench(host, setup, without=without)), host
    except BaseException:
        host.close()
        raise


def card_run(
    address: str,
    *,
    variants: Sequence[str] = (),
    without: Sequence[str] = (),
    patience_s: float = PATIENCE_S,
    patterns: Sequence[str] = (),
    overwrite: bool = False,
    seed: int,
) -> CardRun:
    """Ask the card at ``address`` what it is; :class:`ConfigError`.

    A disk that can be written needs ``overwrite``.
    """
    check_variants(variants)
    if unknown := set(without) - ABILITIES[BACKEND]:
        raise ConfigError(
            f"a card cannot be without {min(unknown)}, but without {', '.join(sorted(ABILITIES[BACKEND]))}"
        )
    try:
        bench, host = _up(address, patience_s, frozenset(without), seed)
    except VfioError as error:
        raise ConfigError(str(error)) from error
    try:
        own = wait_for(Own.of(bench))
    finally:
        host.close()
    found = CardRun(address, own, tuple(variants), frozenset(without), patience_s, tuple(patterns))
    if own.device == "blk" and not own.read_only and not overwrite:
        raise ConfigError(
            f"the test list writes to the whole disk of {address}; say --overwrite if nothing on it is needed"
        )
    if not found.drivers():
        raise ConfigError("the device does not offer such rings")
    return found

"""Runs of somebody else's device, in this process or in a simulation of its Verilog.

What it is, it says itself: the bench its type and its interfaces, and the device what it offers. Only then it
is known what is run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cocotbext.virtio.backends.native import NativeHost
from cocotbext.virtio.backends.run import run as wait_for
from cocotbext.virtio.conformance import Facts
from cocotbext.virtio.own import BACKEND, Setup
from cocotbext.virtio.suite import Case

from ..build import build_root, simulator
from ..config import ConfigError
from ..runner import run as simulate
from ..suite_bench import OWN
from .backends import DEADLINE_S, DeviceUnknown, on_simulator, why
from .one import Listener, run_one
from .own import Make, Own, load
from .plan import Driver, check_variants

__all__ = ["OwnRun", "own_run"]


@dataclass(frozen=True)
class OwnRun:
    """A bench of one's own, and everything that is run on it: as :class:`.plan.Run`.

    Attributes
    ----------
    bench
        Its name, ``package.module:function``.
    own
        What it is.
    variants
        Names of the variants of rings to be run; empty for those that together have every feature.
    executable, top
        The simulator, if there is one, and the top module in it.
    """

    bench: str
    own: Own
    variants: tuple[str, ...] = ()
    executable: Path | None = None
    top: str = ""

    @property
    def backend(self) -> str:
        """Its name in reports."""
        return BACKEND

    @property
    def device(self) -> str:
        """Its type."""
        return self.own.device

    @property
    def name(self) -> str:
        """Unique in a report."""
        return f"{BACKEND} {self.bench} {self.own.interface}"

    def drivers(self) -> list[Driver]:
        """All of them, the one of the modern interface first."""
        return self.own.drivers(self.variants)

    def cases(self, driver: Driver) -> list[Case]:
        """The test list of one driver."""
        return self.own.cases(driver)

    def execute(self, seed: int, listener: Listener) -> Facts:
        """All of it, and what the device says of itself."""
        for driver in self.drivers():
            if self.executable is not None:
                listed = self.cases(driver)
                arguments = {"bench": self.bench, "seed": seed, "only": [case.name for case in listed]}
                on_simulator(self.name, driver, listed, self.executable, arguments, listener, top=self.top)
            else:
                self._here(driver, seed, listener)
        return self.own.facts

    def _here(self, driver: Driver, seed: int, listener: Listener) -> None:
        make = load(self.bench)
        setup = Setup(seed=seed, transport=driver.transport, habit=driver.habit, variant=driver.variant)
        bench = wait_for(make(setup))
        for case in self.cases(driver):
            host = bench.host if isinstance(bench.host, NativeHost) else None
            result = run_one(case, driver, bench, host)
            listener(result)
            if not result.passed:
                bench = wait_for(make(setup))


def own_run(bench: str, verilog: Sequence[Path], top: str, *, variants: Sequence[str], seed: int) -> OwnRun:
    """Find the bench, build what is to be simulated, and ask the device what it is.

    :class:`ConfigError`, :class:`~..build.BuildError`, :class:`DeviceUnknown`
    """
    check_variants(variants)
    make = load(bench)
    if bool(verilog) != bool(top):
        raise ConfigError(
            "--verilog and --top belong together: the sources, and the module that is simulated"
        )
    executable = None
    if verilog:
        executable = simulator(_sources(verilog), name=top, top=top)
        own = _ask_simulation(bench, executable, top, seed)
    else:
        try:
            own = wait_for(_ask(make, seed))
        except Exception as error:  # whatever a bench of the user's raises
            raise DeviceUnknown(f"{bench} did not come up: {type(error).__name__}: {error}") from error
    found = OwnRun(bench, own, tuple(variants), executable, top)
    if not found.drivers():
        raise ConfigError("the device does not offer such rings")
    return found


def _sources(paths: Sequence[Path]) -> str:
    """All in one, with the names of the files for what Verilator has to say about them."""
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"there is no {path}")
    return "\n".join(f'`line 1 "{path}" 0\n{path.read_text()}' for path in paths)


async def _ask(make: Make, seed: int) -> Own:
    return await Own.of(await make(Setup(seed=seed)))


def _ask_simulation(bench: str, executable: Path, top: str, seed: int) -> Own:
    outcome = simulate(
        executable,
        "virtio_sim.suite_bench",
        directory=build_root() / "conformance" / f"{BACKEND} {bench}".replace(" ", "-"),
        arguments={"bench": bench, "seed": seed, "stall": 0.0, "only": []},
        deadline_s=DEADLINE_S,
        top=top,
    )
    for event in outcome.events:
        if event["name"] == OWN:
            return Own.from_dict(event[OWN])
    raise DeviceUnknown(f"{bench} did not come up in the simulation: {why(outcome)}")

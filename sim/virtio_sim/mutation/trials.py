"""The test list above a netlist with mutants, one endpoint per case."""

import ctypes
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cocotbext.virtio.backends.run import run as wait_for
from cocotbext.virtio.suite import Case, run_case

from ..build import NATIVE_PORTS, native_harness
from ..conformance.backends import STALL
from ..conformance.plan import Driver, Run, plan
from ..native.bring_up import bring_up
from ..native.library import LinkModel, NativeEndpoint
from .netlist import Mutant, Netlist
from .processes import limit, spread

__all__ = ["HARNESS", "Clean", "Kill", "MutantEndpoint", "Trial", "Trials", "build"]

#: The native harness, and what mutants need besides.
HARNESS = Path(__file__).with_name("mutants.cpp")
#: Of a case, in real time: many times what the longest one takes on a busy machine.
LIMIT_S = 60.0
#: Of everything random.
SEED = 1


@dataclass(frozen=True)
class Trial:
    """A case, and the driver that carries it out."""

    driver: Driver
    case: Case

    def __str__(self) -> str:
        return f"{self.case.name} ({self.driver.variant})"


@dataclass(frozen=True)
class Clean:
    """What a trial did without a mutant in force.

    Attributes
    ----------
    wall_s
        What it took.
    reached
        Numbers of the mutants that would have mattered at all.
    message
        Why it failed; it says nothing about mutants then.
    """

    wall_s: float
    reached: frozenset[int]
    message: str


@dataclass(frozen=True)
class Kill:
    """A trial that failed with a mutant, and how."""

    trial: str
    message: str


class MutantEndpoint(NativeEndpoint):
    """One with mutants in it."""

    def mutate(self, number: int) -> None:
        """Let a mutant be in force from the reset on that follows."""
        self._library.vn_mutate.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        self._call("vn_mutate", number)
        self.reset()

    def reached(self, count: int) -> frozenset[int]:
        """Numbers of those, of ``count``, that would have mattered until now."""
        words = (ctypes.c_uint32 * (count // 32 + 1))()
        self._library.vn_reached.argtypes = [ctypes.c_void_p, type(words), ctypes.c_uint32]
        self._call("vn_reached", words, len(words))
        return frozenset(n for n in range(1, count + 1) if words[n // 32] >> n % 32 & 1)


def build(run: Run, netlist: Netlist) -> Path:
    """The native harness above a netlist of the run's configuration."""
    configuration = run.configuration
    return native_harness(
        netlist.verilog,
        name=f"mutants-{configuration.name}",
        width=configuration.width,
        port=NATIVE_PORTS[configuration.device],
        more=HARNESS,
    )


@dataclass(frozen=True)
class Trials:
    """All that the test list has for a design.

    Attributes
    ----------
    library
        Made by :func:`build`.
    run
        Says which cases, and which drivers.
    mutants
        Of the design.
    jobs
        Processes at a time.
    every_driver
        Whether a case is tried with every driver; else with the first that makes it reach the mutant.
    """

    library: Path
    run: Run
    mutants: Sequence[Mutant]
    jobs: int
    every_driver: bool = False

    @classmethod
    def run_of(cls, device: str) -> Run:
        """The device as it is by default, modern, below the native harness."""
        return plan("native", device=device, interface="modern")[0]

    def all(self) -> list[Trial]:
        """In the order of the test list."""
        return [Trial(driver, case) for driver in self.run.drivers() for case in self.run.cases(driver)]

    def clean(self, heard: Callable[[int], None]) -> dict[Trial, Clean]:
        """All of them without a mutant; ``heard`` gets how many have run since its last call."""
        trials = self.all()

        def work(numbers: Sequence[int], tell: Callable[[Any], None]) -> None:
            tell([(number, self._clean(trials[number])) for number in numbers])

        shares = [range(start, min(start + 16, len(trials))) for start in range(0, len(trials), 16)]
        found: dict[Trial, Clean] = {}
        for ended in spread(shares, work, jobs=self.jobs):
            if ended.ended_by is not None:
                raise RuntimeError(f"the simulation without a mutant was ended by {ended.ended_by.name}")
            found |= {trials[number]: clean for number, clean in ended.told[0]}
            heard(len(ended.item))
        return {trial: found[trial] for trial in trials}

    def _clean(self, trial: Trial) -> Clean:
        started = time.monotonic()
        with Attempt(self, trial, 0) as attempt:
            message = attempt.message()
            reached = attempt.endpoint.reached(len(self.mutants))
        return Clean(time.monotonic() - started, reached, message)

    def attack(
        self, chosen: Sequence[Mutant], clean: dict[Trial, Clean]
    ) -> Iterator[tuple[Mutant, Kill | None]]:
        """Each mutant with the trials that reach it, until one fails; as it is decided.

        Those that found most in their time so far come first; of the others each case with one driver before
        any with a second one, and the quickest first. So which trial is the first to find a mutant depends on
        what was found before; whether one does, does not.
        """
        usable = {trial: found for trial, found in clean.items() if not found.message}
        kills: Counter[str] = Counter()
        of_case: dict[str, list[Trial]] = {}
        for trial in usable:
            of_case.setdefault(trial.case.name, []).append(trial)
        # Each case begins with another driver than the one before it.
        nth = {
            trial: (place - first) % len(same)
            for first, same in enumerate(of_case.values())
            for place, trial in enumerate(same)
        }

        def worth(trial: Trial) -> tuple[float, int, float]:
            wall_s = usable[trial].wall_s
            return kills[str(trial)] / wall_s, -nth[trial], -wall_s

        def work(mutant: Mutant, tell: Callable[[Any], None]) -> None:
            tried: set[str] = set()
            for trial in sorted(usable, key=worth, reverse=True):
                if mutant.number not in usable[trial].reached:
                    continue
                if trial.case.name in tried and not self.every_driver:
                    continue
                tried.add(trial.case.name)
                tell(str(trial))  # who ends the process has found it
                limit(LIMIT_S)
                with Attempt(self, trial, mutant.number) as attempt:
                    if message := attempt.message():
                        tell(Kill(str(trial), message))
                        return
                limit(0)
            tell(None)

        for ended in spread(chosen, work, jobs=self.jobs):
            told = ended.told[-1]
            if ended.ended_by is not None:
                told = Kill(told, f"the simulation was ended by {ended.ended_by.name}")
            if told is not None:
                kills[told.trial] += 1
            yield ended.item, told


class Attempt:
    """An endpoint of its own with a mutant in force, 0 for none, and one trial on it."""

    def __init__(self, trials: Trials, trial: Trial, mutant: int):
        self._trials, self._trial, self._mutant = trials, trial, mutant
        self.endpoint: MutantEndpoint

    def __enter__(self) -> "Attempt":
        return self

    def __exit__(self, *_: object) -> None:
        self.endpoint.close()

    def _make(self, library: Path, *, link: LinkModel) -> MutantEndpoint:
        self.endpoint = MutantEndpoint(library, link=link)
        if self._mutant:
            self.endpoint.mutate(self._mutant)
        return self.endpoint

    def message(self) -> str:
        """How the trial fails; empty if it does not."""
        driver = self._trial.driver
        try:
            bench, host = wait_for(
                bring_up(
                    self._trials.library,
                    self._trials.run.configuration,
                    link=LinkModel(stall=STALL, seed=SEED),
                    seed=SEED,
                    transport=driver.transport,
                    habit=driver.habit,
                    make=self._make,
                )
            )
            bench.variant = driver.variant
            wait_for(run_case(self._trial.case, bench))
        except Exception as error:  # whatever it is, the trial has failed
            return f"{type(error).__name__}: {error}"
        host.checker.finish()
        return "; ".join(host.checker.findings)

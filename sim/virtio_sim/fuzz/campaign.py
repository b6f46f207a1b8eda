"""Many seeds, one after the other: what they showed, and the shortest way to see a failure again."""

import json
import traceback
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cocotbext.virtio.fuzz import Outcome, Plan
from virtio_spec.layout import Cause

from ..config import Configuration
from .benches import Run

__all__ = ["Campaign", "Failure", "command_of"]


@dataclass(frozen=True)
class Failure:
    """A seed that failed.

    Attributes
    ----------
    plan
        With no more steps than it takes.
    message
        What was wrong, with these.
    detail
        Where that was seen.
    replay
        The command that does it again.
    """

    plan: Plan
    message: str
    detail: str
    replay: str


def command_of(
    configuration: Configuration, backend: str, seed: int, steps: Iterable[int] | None = None
) -> str:
    """The command that carries out a seed, or these of its steps."""
    words = [f"make fuzz DEVICE={configuration.device} SEED={seed} SEEDS=1"]
    if configuration.device == "blk":
        words.append(f"QUEUES={configuration.queues}")
    words.append(f"WIDTH={configuration.width}")
    words += [f"BACKEND={backend}"] if backend != "native" else []
    words += [f"STEPS={','.join(map(str, steps))}"] if steps is not None else []
    return " ".join(words)


@dataclass
class Campaign:
    """Seeds on one configuration.

    Parameters
    ----------
    configuration, backend
        For the commands that replay failures.
    run
        Carries a seed out.

    Attributes
    ----------
    seeds, answered
        How many seeds were carried out, and valid requests answered in them.
    causes
        How many devices gave up for each cause; ``NONE`` went on.
    oddities
        How often each was done to devices that went on, and to those that did not.
    failures
        In the order in which they were found.
    """

    configuration: Configuration
    backend: str
    run: Run
    seeds: int = 0
    answered: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    oddities: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def carry_out(self, first: int, count: int) -> list[Failure]:
        """Seeds ``first`` and so on; the failures among them."""
        return [failure for seed in range(first, first + count) for failure in self.one(seed)]

    def one(self, seed: int, steps: Collection[int] | None = None) -> list[Failure]:
        """One seed, whose failure is cut down, or just some of its steps."""
        plan, outcome = self.run(seed, steps)
        self.seeds += 1
        if not isinstance(outcome, Exception):
            self._count(outcome)
            return []
        whole = steps is None
        failure = self._shortest(plan, outcome) if whole else self._failure(plan, outcome, whole=False)
        self.failures.append(failure)
        return [failure]

    def _count(self, outcome: Outcome) -> None:
        self.answered += outcome.answered
        self.causes[outcome.cause.name] += 1
        what = "went on" if outcome.cause == Cause.NONE else "needed a reset"
        for name in outcome.oddities:
            self.oddities.setdefault(name, Counter())[what] += 1

    def _shortest(self, plan: Plan, error: Exception) -> Failure:
        """Leave out one step after the other that it fails without, but for the last one left."""
        whole = True
        for step in plan.steps:
            if len(plan.steps) == 1:
                break
            fewer, outcome = self.run(plan.seed, [left.number for left in plan.steps if left != step])
            if isinstance(outcome, Exception):
                plan, error, whole = fewer, outcome, False
        return self._failure(plan, error, whole=whole)

    def _failure(self, plan: Plan, error: Exception, *, whole: bool) -> Failure:
        steps = None if whole else [step.number for step in plan.steps]
        return Failure(
            plan=plan,
            message=f"{type(error).__name__}: {error}",
            detail="".join(traceback.format_exception(error)),
            replay=command_of(self.configuration, self.backend, plan.seed, steps),
        )

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "config": self.configuration.name,
            "backend": self.backend,
            "seeds": self.seeds,
            "failed": len(self.failures),
            "answered": self.answered,
            "causes": dict(sorted(self.causes.items())),
            "oddities": {name: dict(sorted(found.items())) for name, found in sorted(self.oddities.items())},
            "failures": [
                {
                    "seed": failure.plan.seed,
                    "plan": str(failure.plan),
                    "message": failure.message,
                    "replay": failure.replay,
                }
                for failure in self.failures
            ],
        }

    @staticmethod
    def write(path: Path, campaigns: Iterable["Campaign"]) -> None:
        """The summaries of all of them as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([campaign.summary() for campaign in campaigns], indent=2) + "\n")

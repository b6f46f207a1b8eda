"""Sequences of a driver's actions, found and cut down by Hypothesis, in lockstep with the reference model."""

import traceback
from dataclasses import dataclass

from cocotbext.virtio.backends.run import run
from cocotbext.virtio.fuzz.lockstep import ACTIONS, Lockstep
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from .benches import Bring

__all__ = ["STEPS", "SequenceFailure", "sequences"]

#: Actions in a sequence at most.
STEPS = 12
NUMBERS = st.integers(0, 31)


@dataclass(frozen=True)
class SequenceFailure:
    """What the shortest sequence found is: its actions, and what was wrong after the last one."""

    actions: list[tuple[str, int]]
    message: str
    detail: str

    def __str__(self) -> str:
        steps = ", ".join(f"{name}({number})" for name, number in self.actions)
        return f"{steps}: {self.message}"


def sequences(reference: Bring, device: Bring, *, seed: int, count: int) -> SequenceFailure | None:
    """Try ``count`` sequences that ``seed`` stands for; the shortest that fails, if one does."""
    last: list[SequenceFailure] = []

    class Driver(RuleBasedStateMachine):
        """Both devices are new for each sequence, so that it is the same whatever ran before."""

        @initialize(number=NUMBERS)
        def start(self, number: int) -> None:
            made = [bring(seed) for bring in (reference, device)]
            self.closing = [close for _, close in made]
            self.done: list[tuple[str, int]] = []
            self.pair = Lockstep([bench for bench, _ in made])
            run(self.pair.find())
            self.act("start", number)

        @rule(name=st.sampled_from(list(ACTIONS)), number=NUMBERS)
        def act(self, name: str, number: int) -> None:
            self.done.append((name, number))
            self._attempt(lambda: run(self.pair.act(name, number)))

        def teardown(self) -> None:
            try:
                if hasattr(self, "pair") and not getattr(self, "failed", False):
                    self._attempt(lambda: run(self.pair.finish()))
            finally:
                for close in getattr(self, "closing", []):
                    close()

        def _attempt(self, something) -> None:
            try:
                something()
            except Exception as error:  # whatever it is, the two devices do not agree
                self.failed = True
                message = f"{type(error).__name__}: {error}"
                last[:] = [
                    SequenceFailure(list(self.done), message, "".join(traceback.format_exception(error)))
                ]
                raise

    chosen = settings(
        max_examples=count,
        stateful_step_count=STEPS,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
        report_multiple_bugs=False,
    )
    try:
        run_state_machine_as_test(seeded(seed)(Driver), settings=chosen)
    except Exception:  # noted by the last attempt, as Hypothesis ends with the shortest sequence
        if not last:
            raise
        return last[0]
    return None

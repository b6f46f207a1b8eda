"""What a seed stands for."""

import random
from collections.abc import Collection
from dataclasses import dataclass, replace

from ..suite.registry import Bench
from ..variant import RingVariant, variants
from .completions import FAULTS
from .malformations import CATALOGUE

__all__ = ["LINK", "PAUSE", "QUEUE_RESET", "REQUESTS", "RING", "Plan", "Step"]

#: Kinds of steps.
REQUESTS, PAUSE, RING, LINK, QUEUE_RESET = "requests", "pause", "ring", "link", "queue reset"
#: How many steps there are of each, the former ones at random among the others.
ODDITIES, OTHERS = (1, 1, 2, 3), range(1, 6)
#: Sizes of queues: a driver may choose.
SPLIT_SIZES, PACKED_SIZES = (4, 8, 16), range(5, 18)


@dataclass(frozen=True)
class Step:
    """One step: its number, which its random numbers depend on, its kind, and the oddity that it does."""

    number: int
    kind: str
    oddity: str = ""

    def __str__(self) -> str:
        return f"{self.number}: {self.kind} {self.oddity}".rstrip()


@dataclass(frozen=True)
class Plan:
    """One run: the same for the same seed on the same kind of bench.

    Attributes
    ----------
    seed
        For everything random.
    variant, sizes, interrupts
        How the driver sets the device up: the rings, how many entries they have, whether there is MSI-X.
        Notifications may have data, and queues may be reset.
    impatient
        The driver resets the device without waiting for anything.
    flr
        It does so by a function-level reset.
    steps
        What happens until then, in order.
    """

    seed: int
    variant: RingVariant
    sizes: tuple[int, ...]
    interrupts: bool
    impatient: bool
    flr: bool
    steps: tuple[Step, ...]

    @classmethod
    def of(cls, seed: int, bench: Bench) -> "Plan":
        """What this seed stands for."""
        rng = random.Random(f"{seed} plan")
        variant = rng.choice(variants())
        choices = PACKED_SIZES if variant.packed else SPLIT_SIZES
        sizes = tuple(rng.choice(choices) for _ in range(bench.queues))
        rings = [name for name, entry in CATALOGUE.items() if entry.variants(variant)]
        faults = list(FAULTS) if bench.link is not None else []
        odd = [LINK if faults and rng.random() < 0.3 else RING for _ in range(rng.choice(ODDITIES))]
        kinds = odd + [PAUSE if rng.random() < 0.25 else REQUESTS for _ in range(rng.choice(OTHERS))]
        rng.shuffle(kinds)
        steps = []
        for number, kind in enumerate(kinds):
            oddity = ""
            if kind in (RING, LINK):
                # Each at most once, so that two do not get into each other's way.
                left = rings if kind == RING else faults
                oddity = left.pop(rng.randrange(len(left)))
            steps.append(Step(number, kind, oddity))
        more = random.Random(f"{seed} features")
        variant = replace(
            variant,
            notification_data=bench.has("notification_data") and more.random() < 0.5,
            ring_reset=bench.has("ring_reset") and more.random() < 0.4,
        )
        if variant.ring_reset:
            for number in range(len(kinds), len(kinds) + more.randrange(1, 3)):
                steps.insert(more.randrange(1, len(steps) + 1), Step(number, QUEUE_RESET))
        return cls(
            seed=seed,
            variant=variant,
            sizes=sizes,
            interrupts=rng.random() < 0.85,
            impatient=rng.random() < 0.1,
            flr=rng.random() < 0.2,
            steps=tuple(steps),
        )

    def only(self, numbers: Collection[int]) -> "Plan":
        """The same with these steps alone, which are what they were."""
        return replace(self, steps=tuple(step for step in self.steps if step.number in numbers))

    def __str__(self) -> str:
        how = [str(self.variant), f"queues of {', '.join(map(str, self.sizes))}"]
        how += [] if self.interrupts else ["no MSI-X"]
        how += ["reset in between"] if self.impatient else []
        how += ["FLR"] if self.flr else []
        return "; ".join([*how, *map(str, self.steps)])

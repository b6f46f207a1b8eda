"""A fresh bench for each seed, so that a seed is the same whatever ran before."""

import random
from collections.abc import Callable, Collection
from pathlib import Path

from cocotbext.virtio.backends.model_bench import model_bench
from cocotbext.virtio.backends.native import NativeHost, run
from cocotbext.virtio.fuzz import Outcome, Plan, fuzz
from cocotbext.virtio.memory import Arena
from cocotbext.virtio.suite import Bench
from virtio_models.device import ReferenceDevice
from virtio_spec.virtio_pci import Interface

from ..config import Configuration
from ..native.bring_up import bring_up
from ..native.library import LinkModel

__all__ = ["Bring", "Run", "link_of", "model", "native", "on"]

#: Memory at the edges: around 4 GiB, and at the end of all addresses, of which the last page is kept free.
AROUND_4_GIB, AROUND_BYTES = 0xFFFF_F800, 1 << 13
TOP_BYTES, TOP_FREE = 3 << 12, 2 << 12

#: A bench for a seed, and what gives it up.
Bring = Callable[[int], tuple[Bench, Callable[[], None]]]
#: Carries a seed out, all of it or some of its steps.
Run = Callable[[int, Collection[int] | None], tuple[Plan, Outcome | Exception]]


def link_of(seed: int) -> LinkModel:
    """The link that a seed has. None is so slow that a request takes longer than a run waits for it."""
    rng = random.Random(f"{seed} link")
    return LinkModel(
        bytes_per_kilocycle=rng.choice((0, 0, 15_750, 6_000)),
        packet_bytes=rng.choice((0, 8, 20)),
        latency=rng.choice((0, 0, 5, 20)),
        memory_latency=rng.choice((0, 5, 60)),
        jitter=rng.choice((0, 20, 80)),
        boundary=rng.choice((64, 128)),
        shuffle=rng.random() < 0.8,
        posted_credits=rng.choice((0, 0, 2)),
        stall=rng.choice((0, 0, 200, 500)),
        seed=seed,
    )


def edges() -> list[Arena]:
    """Memory where addresses are remarkable."""
    top = Arena((1 << 64) - TOP_BYTES, bytearray(TOP_BYTES), free=[(0, TOP_FREE)])
    return [Arena(AROUND_4_GIB, bytearray(AROUND_BYTES)), top]


def native(library: Path, configuration: Configuration) -> Bring:
    """Benches on the gateware in a shared library."""

    def bring(seed: int) -> tuple[Bench, Callable[[], None]]:
        found: tuple[Bench, NativeHost] = run(bring_up(library, configuration, link=link_of(seed), seed=seed))
        bench, host = found
        for arena in edges():
            host.memory.arenas.append(arena)
            host.device.map(arena.base, arena.store, len(arena.store))
        return bench, host.device.close

    return bring


def model(configuration: Configuration, *, device: type[ReferenceDevice] = ReferenceDevice) -> Bring:
    """Benches on the reference model, or on a ``device`` that is broken."""

    def bring(seed: int) -> tuple[Bench, Callable[[], None]]:
        bench = model_bench(
            configuration.device,
            seed=seed,
            queues=configuration.virtqueues,
            device=device,
            interface=Interface(configuration.interface),
            queue_size=configuration.queue_size,
        )
        bench.host.memory.arenas += edges()
        return bench, lambda: None

    return bring


def on(bring: Bring) -> Run:
    """Runs on such benches."""

    def carry_out(seed: int, steps: Collection[int] | None = None) -> tuple[Plan, Outcome | Exception]:
        bench, close = bring(seed)
        plan = Plan.of(seed, bench)
        plan = plan if steps is None else plan.only(steps)
        try:
            return plan, run(fuzz(bench, plan))
        except Exception as error:  # whatever it is, the next seed still runs
            return plan, error
        finally:
            close()

    return carry_out

"""How fast the backends simulate: the same work on each, in one run of this program."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from cocotbext.virtio.backends.native import run as run_native

from ..build import build_root, native_library, simulator
from ..config import Configuration
from ..hdl import generate
from ..native.bring_up import bring_up
from ..native.library import Event, LinkModel, NativeEndpoint
from ..runner import run
from .bulk import CONFIGURATION, Bulk, disk
from .report import Row

__all__ = ["speed"]

GOAL = 100.0
QUIET = 2048
#: The link of the cocotb backend: Gen3 with a lane for each 32 bits.
LINK = LinkModel(bytes_per_kilocycle=15_750, packet_bytes=8)
CYCLES = 100_000_000
DEADLINE_S = 1800


@dataclass(frozen=True)
class Measured:
    """Clock cycles of the design, and seconds of processor time that they took."""

    cycles: int
    seconds: float

    @property
    def rate(self) -> float:
        """Cycles per second."""
        return self.cycles / self.seconds


def speed(seed: int) -> Iterator[Row]:
    """Rows of the comparison, each as soon as it is known."""
    configuration = CONFIGURATION
    below = _cocotb(configuration, seed)
    yield Row("simulation speed", f"{configuration.name} cocotb", "cycles per CPU second", below.rate)
    above = _native(configuration, seed)
    yield Row("simulation speed", f"{configuration.name} native", "cycles per CPU second", above.rate)
    ratio = above.rate / below.rate
    yield Row("simulation speed", configuration.name, "native over cocotb", ratio, None, GOAL)


def _cocotb(configuration: Configuration, seed: int) -> Measured:
    outcome = run(
        simulator(generate(configuration), name=configuration.name),
        "virtio_sim.benchmarks.cocotb_bulk",
        directory=build_root() / "bench" / "cocotb",
        arguments={"configuration": configuration.as_dict(), "seed": seed},
        deadline_s=DEADLINE_S,
    )
    if outcome.failures:
        raise RuntimeError(f"{'; '.join(outcome.failures.values())}; again: {outcome.replay}")
    return Measured(**outcome.events[0])


def _native(configuration: Configuration, seed: int) -> Measured:
    library = native_library(generate(configuration), configuration)

    async def measure() -> Measured:
        bench, host = await bring_up(
            library,
            configuration,
            link=replace(LINK, seed=seed),
            seed=seed,
            disk=disk(seed),
            watched=False,
        )
        work = Bulk(bench)
        await work.prepare()
        endpoint = host.device
        assert isinstance(endpoint, NativeEndpoint)
        cycles, started = endpoint.cycles, time.process_time()
        await work.kick()
        endpoint.run(CYCLES, stop_at=Event.QUIET, quiet=QUIET)
        measured = Measured(endpoint.cycles - cycles - QUIET, time.process_time() - started)
        assert work.done(), "the device came to rest before its work was done"
        await work.check()
        return measured

    return run_native(measure())

"""Whether the native harness and cocotbext-pcie's root complex show the same endpoint."""

from collections.abc import Callable, Iterator

from ..build import build_root, simulator
from ..hdl import generate
from ..runner import run
from .on_native import measure
from .report import Row
from .traffic import Traffic
from .workloads import WORKLOADS

__all__ = ["FIGURES", "Disagreement", "agreement"]

#: In percent. The link models differ: on cocotbext-pcie's, flow control packets take bandwidth, and packets
#: move at times that are no multiples of the clock, so that a read takes some cycles more or less. What is
#: as fast as the link hardly shows that; requests of a page, which wait for rings in between, do.
TOLERANCE, TOLERANCE_WITH_LATENCY = 1.0, 4.0
DEADLINE_S = 1800


class Disagreement(Exception):
    """A figure depends on the backend, and so says little about the endpoint; the message is for the user."""


def to_host(traffic: Traffic) -> float:
    """Bytes of data per cycle into the host."""
    return traffic.rate(to_host=True)


def from_host(traffic: Traffic) -> float:
    """Bytes of data per cycle out of the host."""
    return traffic.rate(to_host=False)


def first_packet(traffic: Traffic) -> float:
    """Cycles from the kick to the device's first packet."""
    return traffic.delay(lambda packet: packet.to_host)


#: Of each workload: how many chains, and what is compared.
FIGURES: dict[str, tuple[int, tuple[Callable[[Traffic], float], ...]]] = {
    "bulk to host": (4, (to_host,)),
    "bulk from host": (4, (from_host,)),
    "both ways": (8, (to_host, from_host)),
    "random reads": (64, (to_host,)),
    "random writes": (64, (from_host,)),
    "latency": (1, (first_packet,)),
}


def agreement(seed: int) -> Iterator[Row]:
    """How far the backends are apart, in percent; :class:`Disagreement` if that is too far."""
    for name, (completed, figures) in FIGURES.items():
        work = WORKLOADS[name]
        traffic = measure(work, completed, seed=seed)
        outcome = run(
            simulator(generate(work.configuration), name=work.configuration.name),
            "virtio_sim.benchmarks.cocotb_workload",
            directory=build_root() / "bench" / "cocotb",
            arguments={"workload": name, "completed": completed, "seed": seed},
            deadline_s=DEADLINE_S,
        )
        if outcome.failures:
            raise RuntimeError(f"{'; '.join(outcome.failures.values())}; again: {outcome.replay}")
        for figure, below in zip(figures, outcome.events[0]["figures"], strict=True):
            above = figure(traffic)
            apart = 100 * abs(above - below) / below
            words = f"{name}, {figure.__name__.replace('_', ' ')}: native {above:.2f}, cocotb {below:.2f}"
            most = TOLERANCE_WITH_LATENCY if name.startswith("random") else TOLERANCE
            if apart > most:
                raise Disagreement(f"{words}, more than {most:g} % apart")
            yield Row("agreement of the backends", work.configuration.name, f"{words}; % apart", apart)

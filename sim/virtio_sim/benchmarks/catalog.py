"""All benchmarks, by name."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..guest.run import Say
from . import endpoint
from .agreement import agreement
from .guests import guests
from .report import Row
from .sizes import request_sizes
from .speed import speed

__all__ = ["BENCHMARKS", "Benchmark", "chosen"]


@dataclass(frozen=True)
class Benchmark:
    """Something that is measured.

    Attributes
    ----------
    name
        By whose words it is chosen.
    how
        How it is measured.
    measure
        Gets the seed and whom to tell what happens; makes rows as they are known.
    guest
        Boots a Linux guest, which takes minutes.
    """

    name: str
    how: str
    measure: Callable[[int, Say], Iterator[Row]]
    guest: bool = False


def _quiet(measure: Callable[[int], Iterator[Row]]) -> Callable[[int, Say], Iterator[Row]]:
    return lambda seed, say: measure(seed)


BENCHMARKS = (
    Benchmark(
        "bulk to host",
        "block reads of 128 KiB in 4 KiB segments, queue depth 32, indirect tables, event index, interrupts",
        _quiet(endpoint.bulk_to_host),
    ),
    Benchmark("bulk from host", "block writes, the same", _quiet(endpoint.bulk_from_host)),
    Benchmark(
        "both ways at once",
        "reads and writes in turns in one queue, 32 of each; the limit counts requests for reads, too",
        _quiet(endpoint.both_ways),
    ),
    Benchmark(
        "DMA engines alone",
        "Reads and ScatterWriter above the PCIe function, 4 KiB after 4 KiB, without rings or a device",
        _quiet(endpoint.dma_engines),
    ),
    Benchmark(
        "random 4 KiB",
        "block requests of one page, queue depth 32, indirect tables, event index, interrupts",
        _quiet(endpoint.random_pages),
    ),
    Benchmark(
        "latency",
        "an rng at rest is kicked; between the ends of packets on the raw streams, without event index",
        _quiet(endpoint.latency),
    ),
    Benchmark(
        "small packets, ring overhead",
        "frames of 64 bytes, a descriptor each, 256 under way, event index, no interrupts",
        _quiet(endpoint.small_packets),
    ),
    Benchmark(
        "scaling",
        "the same on 1 to 127 pairs at once, of endpoints with as many, which take a minute to build each",
        _quiet(endpoint.scaling),
    ),
    Benchmark(
        "request size",
        "block requests from 512 bytes to 128 KiB, queue depth 32; the plot",
        _quiet(request_sizes),
    ),
    Benchmark(
        "agreement of the backends",
        "short runs of the rows above, on the native harness and below cocotbext-pcie's root complex",
        _quiet(agreement),
    ),
    Benchmark(
        "simulation speed",
        "block reads on both backends, in processor time of one run",
        _quiet(speed),
    ),
    Benchmark("Linux guest", "beside QEMU's own disk in the same guest", guests, guest=True),
)


def chosen(words: str, *, guest: bool) -> list[Benchmark]:
    """Those with all these words in their name, guests only if wanted."""
    return [
        each
        for each in BENCHMARKS
        if (guest or not each.guest) and all(word in each.name.lower() for word in words.lower().split())
    ]

"""A bench on the native backend: the endpoint in this process, what is behind it, and the host."""

from collections.abc import Callable
from pathlib import Path

from cocotbext.virtio.backends.native import NativeHost
from cocotbext.virtio.backends.native_ports import NativeVmmci, serve_disk, serve_network, show_clock
from cocotbext.virtio.suite import Bench
from virtio_models.clock import Clock
from virtio_models.disk import Disk

from ..bench_of import PERIOD_NS, bench_of
from ..config import Configuration
from .library import IMMEDIATE, LinkModel, NativeEndpoint

__all__ = ["PERIOD_NS", "bring_up"]


async def bring_up(
    library: Path,
    configuration: Configuration,
    *,
    link: LinkModel = IMMEDIATE,
    seed: int = 0,
    disk: Disk | None = None,
    clock: Clock | None = None,
    transport: str | None = None,
    habit: str = "natural",
    watched: bool = True,
    make: Callable[..., NativeEndpoint] = NativeEndpoint,
) -> tuple[Bench, NativeHost]:
    """Enumerate an endpoint of its own out of ``library``, which is that of ``configuration``.

    ``link`` has the link, its stalls and their seed, ``seed`` is for the rest. ``disk`` is what a block
    device shows, by default 64 empty sectors; ``clock`` is the time of a vmmci. The driver uses the
    interface ``transport``, by default the modern one where there is one. What is not ``watched`` is
    fast: no checkers, no raw packets. ``make`` makes the endpoint.
    """
    endpoint = make(library, link=link)
    host = NativeHost(endpoint, period_ns=PERIOD_NS, seed=seed, watched=watched)
    bench = bench_of(
        configuration,
        host,
        backend="native",
        checker=host.checker,
        link=host.link,
        seed=seed,
        disk=disk,
        clock=clock,
        transport=transport,
        habit=habit,
    )
    if configuration.device == "rng":
        endpoint.entropy(bench.entropy.next_byte)
    elif configuration.device == "blk":
        serve_disk(endpoint, bench.disk)
    elif configuration.device == "net":
        serve_network(endpoint, bench.network)
    else:
        show_clock(endpoint, bench.clock)
        bench.vmmci = NativeVmmci(host)
    await host.start()
    return bench, host

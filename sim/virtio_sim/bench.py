"""Inside the simulator: the design, what is behind it, and the host, put together into a bench."""

from typing import Any

from cocotbext.virtio.backends.cocotb import CocotbHost
from cocotbext.virtio.ports import EntropyPort, StoragePort
from cocotbext.virtio.suite import Bench
from virtio_models.disk import Disk
from virtio_models.entropy import EntropySource

from .config import Configuration

__all__ = ["PERIOD_NS", "bring_up"]

PERIOD_NS = 4


async def bring_up(
    dut: Any, configuration: Configuration, *, stall: float = 0.0, seed: int = 0, disk: Disk | None = None
) -> tuple[Bench, CocotbHost]:
    """Reset and enumerate the design; ``disk`` is what a block device shows, by default 64 empty sectors."""
    host = CocotbHost(dut, width=configuration.width, period_ns=PERIOD_NS, stall=stall, seed=seed)
    bench = Bench(
        host=host,
        device=configuration.device,
        backend="cocotb",
        queue_size=configuration.queue_size,
        disk=disk or Disk(64),
        entropy=EntropySource(seed),
        width=configuration.width,
        read_only=configuration.read_only,
        queues=configuration.queues,
        seed=seed,
        checkers=[host.checker],
        link=host.link,
        completion_timeout_ns=configuration.completion_timeout * PERIOD_NS,
    )
    if configuration.device == "rng":
        EntropyPort(dut, clk=dut.clk, entropy=bench.entropy, stall=stall, seed=seed)
    else:
        bench.checkers.append(
            StoragePort(dut, clk=dut.clk, width=configuration.width, disk=bench.disk, stall=stall, seed=seed)
        )
    await host.start()
    return bench, host

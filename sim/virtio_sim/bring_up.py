"""Inside the simulator: the design, what is behind it, and the host, put together into a bench."""

from typing import Any

from cocotbext.virtio.backends.cocotb import CocotbHost
from cocotbext.virtio.ports import ClockPort, EntropyPort, MacPort, StoragePort, VmmciPort
from cocotbext.virtio.suite import Bench
from virtio_models.clock import Clock
from virtio_models.disk import Disk

from .bench_of import PERIOD_NS, bench_of
from .config import Configuration

__all__ = ["PERIOD_NS", "bring_up"]


async def bring_up(
    dut: Any,
    configuration: Configuration,
    *,
    stall: float = 0.0,
    seed: int = 0,
    disk: Disk | None = None,
    clock: Clock | None = None,
    transport: str | None = None,
    habit: str = "natural",
) -> tuple[Bench, CocotbHost]:
    """Reset and enumerate the design.

    ``disk`` is what a block device shows, by default 64 empty sectors; ``clock`` is the time of a vmmci.
    The driver uses the interface ``transport``, by default the modern one where there is one.
    """
    host = CocotbHost(dut, width=configuration.width, period_ns=PERIOD_NS, stall=stall, seed=seed)
    bench = bench_of(
        configuration,
        host,
        backend="cocotb",
        checker=host.checker,
        link=host.link,
        seed=seed,
        disk=disk,
        clock=clock,
        transport=transport,
        habit=habit,
    )
    if configuration.device == "rng":
        EntropyPort(dut, clk=dut.clk, entropy=bench.entropy, stall=stall, seed=seed)
    elif configuration.device == "blk":
        bench.checkers.append(
            StoragePort(dut, clk=dut.clk, width=configuration.width, disk=bench.disk, stall=stall, seed=seed)
        )
    elif configuration.device == "net":
        bench.checkers.append(
            MacPort(
                dut, clk=dut.clk, width=configuration.width, network=bench.network, stall=stall, seed=seed
            )
        )
    else:
        ClockPort(dut, clock=bench.clock)
        bench.vmmci = VmmciPort(dut, clk=dut.clk)
    await host.start()
    return bench, host

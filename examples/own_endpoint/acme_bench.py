"""A bench for acme_rng below a simulated root complex."""

from cocotbext.virtio.backends.cocotb import CocotbHost
from cocotbext.virtio.own import Setup
from cocotbext.virtio.ports import EntropyPort
from cocotbext.virtio.suite import Bench
from virtio_models.entropy import EntropySource

__all__ = ["make"]


async def make(setup: Setup) -> Bench:
    """Clock, reset, and enumeration; what is behind the device; and what the device is."""
    host = CocotbHost(setup.dut, width=64, stall=setup.stall, seed=setup.seed)
    noise = EntropySource(setup.seed)
    EntropyPort(setup.dut, clk=setup.dut.clk, entropy=noise, stall=setup.stall, seed=setup.seed)
    await host.start()
    return setup.bench(host, device="rng", queue_size=128, entropy=noise, checkers=[host.checker])

"""The DMA engines alone, on the native harness."""

from pathlib import Path

from cocotbext.virtio.backends.native import NativeHost, run
from cocotbext.virtio.driver import probe
from virtio_spec.layout import MODERN_BAR

from ..build import TOPLEVEL, kept, native_harness
from ..hdl import SOURCES
from ..native.library import NativeEndpoint
from ..verilog import to_verilog
from . import dma_top
from .dma_top import READS, REGION, WRITES, DmaTop
from .reference import MODEL, WIDTH, configure
from .traffic import Kind, Traffic

__all__ = ["measure"]

NAME = f"dma-engines-{WIDTH}"
#: Cycles until both directions are at full speed.
SETTLING = 2_000


def measure(*, reads: bool, writes: bool, cycles: int) -> Traffic:
    """All packets of so many cycles with the engines at work."""
    content = [NAME, Path(dma_top.__file__).read_text(), *SOURCES]
    verilog = kept(NAME, content, lambda: to_verilog(DmaTop(width=WIDTH), name=TOPLEVEL))

    async def work() -> Traffic:
        endpoint = NativeEndpoint(native_harness(verilog, name=NAME, width=WIDTH), link=MODEL)
        host = NativeHost(endpoint, watched=False)
        await host.start()
        await configure(await probe(host))
        (low, _) = host.memory.arenas
        areas = [(range(start, start + REGION), Kind.DATA) for start in (READS, WRITES)]
        traffic = Traffic(range(low.base, low.base + len(low.store)), areas)
        await host.bar_write(MODERN_BAR, 0, 4, reads | writes << 1)
        endpoint.run(SETTLING)
        endpoint.log(True)
        endpoint.run(cycles)
        for packet in endpoint.packets():
            traffic.add(*packet)
        return traffic

    return run(work())

"""A workload on the native harness."""

from dataclasses import replace
from itertools import cycle

from cocotbext.virtio.backends.native import run
from virtio_models.disk import Disk
from virtio_spec.blk import SECTOR_BYTES

from ..build import native_library
from ..hdl import generate
from ..native.bring_up import bring_up
from ..native.library import LinkModel, NativeEndpoint
from .reference import MODEL
from .traffic import Traffic
from .workloads import DISK_SECTORS, Workload, begin, incoming

__all__ = ["measure"]


#: Of the cable in Mbit/s: frames begin right behind each other.
CABLE = 400_000


def measure(workload: Workload, completed: int, *, seed: int, link: LinkModel = MODEL) -> Traffic:
    """All packets from the first kick until so many chains have come back."""
    library = native_library(generate(workload.configuration), workload.configuration)

    async def work() -> Traffic:
        bench, host = await bring_up(
            library,
            workload.configuration,
            link=replace(link, seed=seed),
            seed=seed,
            disk=Disk(DISK_SECTORS),
            watched=False,
        )
        endpoint = host.device
        assert isinstance(endpoint, NativeEndpoint)
        if workload.configuration.device == "blk":  # in C++: Python would be the slower part
            endpoint.storage_memory(bytearray(DISK_SECTORS * SECTOR_BYTES), DISK_SECTORS)
        load, traffic = await begin(bench, workload)
        if workload.frames:
            frames = cycle(incoming(workload.configuration.queues))
            endpoint.network(lambda _: None, lambda: (next(frames), False, False))
            endpoint.cable(True, CABLE)

        def take() -> None:
            for packet in endpoint.packets():
                traffic.add(*packet)

        endpoint.log(True)
        load.passed = take
        await load.start()
        await load.until(completed)
        take()
        return traffic

    return run(work())

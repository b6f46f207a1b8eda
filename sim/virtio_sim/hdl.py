"""Verilog of a named configuration."""

from functools import cache
from typing import Any

from amaranth_virtio.devices.blk import BlkDevice
from amaranth_virtio.devices.ram_blk import RamBlkDevice
from amaranth_virtio.devices.rng import RngDevice
from amaranth_virtio.endpoint import Endpoint

from .build import TOPLEVEL
from .config import Configuration
from .verilog import to_verilog

__all__ = ["generate"]

SERIAL = b"virtio-endpoint"


@cache
def generate(configuration: Configuration) -> str:
    """The endpoint as one Verilog file; its top module is :data:`.build.TOPLEVEL`."""
    if configuration.device == "rng":
        device = RngDevice(width=configuration.width)
    else:
        options: dict[str, Any] = {
            "width": configuration.width,
            "read_only": configuration.read_only,
            # The header and the status take a descriptor each.
            "seg_max": max(configuration.queue_size - 2, 1),
            "serial": SERIAL,
            "queues": configuration.queues,
        }
        if configuration.ram_sectors:
            device = RamBlkDevice(sectors=configuration.ram_sectors, **options)
        else:
            device = BlkDevice(**options)
    endpoint = Endpoint(
        device=device,
        queue_size=configuration.queue_size,
        tags=configuration.tags,
        completion_timeout=configuration.completion_timeout,
    )
    return to_verilog(endpoint, name=TOPLEVEL)

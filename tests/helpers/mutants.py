"""Broken devices, and whether a case of the test list sees that they are."""

from collections.abc import Mapping
from typing import Any

from cocotbext.virtio.backends.model import run
from cocotbext.virtio.backends.model_bench import model_bench
from cocotbext.virtio.devices.blk import BlkError
from cocotbext.virtio.devices.net import CommandRefused
from cocotbext.virtio.function import DriverError
from cocotbext.virtio.host import BusError, HostTimeout
from cocotbext.virtio.suite import cases, run_case
from cocotbext.virtio.variant import PLAIN
from virtio_models.device import ReferenceDevice
from virtio_models.pci import PciFunction

__all__ = ["is_found", "with_function"]

SEEDS = range(6)


def with_function(function: type[PciFunction]) -> type[ReferenceDevice]:
    """A device whose PCI function is of this class."""

    class Broken(ReferenceDevice):
        def __init__(self, *arguments: Any, **options: Any):
            super().__init__(*arguments, **options)
            self.pci.__class__ = function

    return Broken


def is_found(device: str, name: str, broken: Mapping[str, Any]) -> bool:
    """Whether the case fails on such a bench, with one of a few seeds: not every order of events shows it."""
    profile = next((known for known in ("read_only", "queues") if known in broken), "default")
    variant = broken.get("variant", PLAIN)
    (entry,) = [entry for entry in cases(device, profile=profile, variant=variant) if entry.name == name]
    for seed in SEEDS:
        try:
            run(run_case(entry, model_bench(device, seed=seed, **broken)))
        except (AssertionError, BlkError, BusError, CommandRefused, DriverError, HostTimeout):
            return True
    return False

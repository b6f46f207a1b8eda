"""What a configuration means for the test list, whatever the backend."""

from typing import Any

from cocotbext.virtio.host import Host
from cocotbext.virtio.suite import Bench
from virtio_models.clock import Clock
from virtio_models.disk import Disk
from virtio_models.entropy import EntropySource
from virtio_spec.virtio_pci import Interface

from .config import Configuration

__all__ = ["PERIOD_NS", "bench_of"]

#: What a clock cycle counts as.
PERIOD_NS = 4


def bench_of(
    configuration: Configuration,
    host: Host,
    *,
    backend: str,
    checker: Any,
    link: Any,
    seed: int,
    disk: Disk | None,
    clock: Clock | None,
    transport: str | None,
    habit: str,
) -> Bench:
    """A bench above ``host``.

    ``disk`` is what a block device shows, by default 64 empty sectors; ``clock`` is the time of a vmmci.
    The driver uses the interface ``transport``, by default the modern one where there is one.
    """
    interface = Interface(configuration.interface)
    return Bench(
        host=host,
        device=configuration.device,
        backend=backend,
        queue_size=configuration.queue_size,
        disk=disk or Disk(64),
        entropy=EntropySource(seed),
        clock=clock or Clock(),
        interface=interface,
        transport=transport or ("modern" if interface.has_modern else "legacy"),
        habit=habit,
        width=configuration.width,
        read_only=configuration.read_only,
        queues=configuration.virtqueues,
        seed=seed,
        checkers=[checker],
        link=link,
        completion_timeout_ns=configuration.completion_timeout * PERIOD_NS,
        config_hold_ns=configuration.config_hold * PERIOD_NS,
        ack_timeout_ns=configuration.ack_timeout * PERIOD_NS,
        shutdown_timeout_ns=configuration.shutdown_timeout * PERIOD_NS,
    )

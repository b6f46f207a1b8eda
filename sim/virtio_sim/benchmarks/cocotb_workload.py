"""Cocotb module: a workload below cocotbext-pcie's root complex; reports its figures."""

from collections.abc import Sequence

import cocotb
from virtio_models.disk import Disk

from ..bring_up import bring_up
from ..runner import parameters, report_event
from .agreement import FIGURES
from .reference import LINK, READ_LATENCY_NS
from .traffic import Traffic
from .workloads import DISK_SECTORS, WORKLOADS, begin


class Observer:
    """Puts what passes on the raw streams into a :class:`.traffic.Traffic`."""

    def __init__(self, host, traffic: Traffic):
        self._host, self._traffic = host, traffic

    def from_host(self, dwords: Sequence[int]) -> None:
        """A packet that the device took."""
        self._traffic.add(False, self._host.cycles(), dwords)

    def from_device(self, dwords: Sequence[int]) -> None:
        """A packet that was taken from the device."""
        self._traffic.add(True, self._host.cycles(), dwords)

    def broken_framing(self, what: str) -> None:
        """The figures mean nothing then."""
        raise AssertionError(what)


@cocotb.test()
async def workload(dut) -> None:
    """One run."""
    given = parameters()
    work = WORKLOADS[given["workload"]]
    bench, host = await bring_up(dut, work.configuration, seed=given["seed"], disk=Disk(DISK_SECTORS))
    host.completer.shuffle = False
    host.completer.completion = LINK.max_payload
    host.completer.latency_ns = READ_LATENCY_NS
    load, traffic = await begin(bench, work)
    host.port.observers = [Observer(host, traffic)]  # without the checkers, which are for tests
    await load.start()
    await load.until(given["completed"])
    _, figures = FIGURES[given["workload"]]
    report_event(figures=[figure(traffic) for figure in figures])

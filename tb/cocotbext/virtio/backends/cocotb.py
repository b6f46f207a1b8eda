"""Host below which RTL runs in a simulator: a root complex, a link with flow control, raw TLPs."""

import logging
import mmap
from collections.abc import Callable
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, First, RisingEdge, Timer, with_timeout
from cocotb.utils import get_sim_time
from cocotbext.pcie.core import RootComplex
from cocotbext.pcie.core.tlp import CplStatus, Tlp, TlpType
from cocotbext.pcie.core.utils import PcieId

from ..checkers.tlp import TlpChecker
from ..host import BusError, Host, HostTimeout, check_io
from ..memory import Arena, HostMemory
from ..phy import RawTlpPort
from ..trace import Trace
from .completer import HostCompleter
from .link import PortLink
from .messages import message_of

__all__ = ["CocotbHost"]

#: Address and size of the host's memory: one part reached with 32-bit, one with 64-bit addresses.
MEMORY = ((0x0100_0000, 16 << 20), (0x12_3400_0000, 16 << 20))
DEVICE = PcieId(1, 0, 0)
REQUEST_TIMEOUT_NS = 100_000
#: Longer than packets are on their way: what comes to the device meanwhile is lost.
RESET_NS = 5_000
_STATUS = {CplStatus.UR: "UR", CplStatus.CA: "CA", CplStatus.CRS: "RRS"}


class CocotbHost(Host):
    """A root complex above the device under test; call :meth:`start` before anything else.

    Parameters
    ----------
    dut
        Top level with ``clk``, ``rst`` and the raw streams ``rx`` and ``tx``.
    width
        Of the raw streams' data, in bits.
    period_ns
        Of the clock.
    stall
        Probability of a pause on the raw streams, in each cycle.
    seed
        For pauses, buffer addresses, and order and size of completions.

    Attributes
    ----------
    rc, port, completer
        The parts that tests at packet level work with.
    checker, trace
        Watch the port.
    link
        Raw packets for the test list.
    """

    def __init__(self, dut: Any, *, width: int, period_ns: int = 4, stall: float = 0.0, seed: int = 0):
        self.period_ns = period_ns
        self._dut = dut
        self.memory = HostMemory([Arena(base, mmap.mmap(-1, size)) for base, size in MEMORY], seed=seed)
        self.rc = RootComplex()
        # Enumeration probes empty slots; and each access would be a line.
        logging.getLogger("cocotb.pcie").setLevel(logging.ERROR)
        self.port = RawTlpPort(dut, clk=dut.clk, width=width, stall=stall, seed=seed)
        self.completer = HostCompleter(self.rc, self.memory, seed=seed)
        self.trace = Trace(self.now_ns, self.memory, message=message_of)
        self.checker = TlpChecker(self.memory, self.completer.is_message, self.now_ns)
        self.port.observers += [self.trace, self.checker]
        self.link = PortLink(self, int(DEVICE))
        self.rc.make_port().connect(self.port)
        self.clocks = []
        self._bars: dict[int, int] = {}
        self._io_bars: set[int] = set()

    async def start(self) -> None:
        """Clock, reset, enumeration; both spaces and bus mastering are on at the end."""
        self._dut.rst.value = 1
        Clock(self._dut.clk, self.period_ns, unit="ns", impl="gpi").start()
        await ClockCycles(self._dut.clk, 4)
        self._dut.rst.value = 0
        await ClockCycles(self._dut.clk, 4)
        await with_timeout(self.rc.enumerate(timeout=REQUEST_TIMEOUT_NS), 5, "ms")
        function = self.rc.find_device(DEVICE)
        if function is None:
            raise HostTimeout("enumeration found no device")
        await with_timeout(function.enable_device(), REQUEST_TIMEOUT_NS, "ns")
        await with_timeout(function.set_master(), REQUEST_TIMEOUT_NS, "ns")
        self._bars = {
            number: address for number, address in enumerate(function.bar_addr) if function.bar_size[number]
        }
        self.trace.bars = self._bars
        self._io_bars = {number for number in self._bars if function.bar_raw[number] & 1}
        cocotb.start_soon(self._run_clocks())

    async def reset(self) -> None:
        """Reset the clock domain, and what is known of the link."""
        await RisingEdge(self._dut.clk)
        self._dut.rst.value = 1
        self.port.reset(held=True)
        await Timer(RESET_NS, "ns")
        await RisingEdge(self._dut.clk)
        self._dut.rst.value = 0
        self.port.reset(held=False)
        self.checker.link_reset()
        await ClockCycles(self._dut.clk, 4)

    async def _run_clocks(self) -> None:
        while True:
            await Timer(1, "us")
            for clock in self.clocks:
                clock.advance(1)

    async def config_read(self, offset: int, size: int) -> int:
        """See :class:`Host`."""
        return await self._read(self._config(offset, size), f"configuration read of {size} at {offset:#x}")

    async def config_write(self, offset: int, size: int, value: int) -> None:
        """See :class:`Host`."""
        request = self._config(offset, size, value.to_bytes(size, "little"))
        await self._complete(request, f"configuration write of {size} at {offset:#x}")

    async def bar_read(self, bar: int, offset: int, size: int) -> int:
        """See :class:`Host`."""
        request = self._request(bar, offset, size)
        request.set_addr_be(self._bars[bar] + offset, size)
        return await self._read(request, f"read of {size} at BAR {bar} + {offset:#x}")

    async def bar_write(self, bar: int, offset: int, size: int, value: int) -> None:
        """See :class:`Host`."""
        request = self._request(bar, offset, size, write=True)
        request.set_addr_be_data(self._bars[bar] + offset, value.to_bytes(size, "little"))
        if bar in self._io_bars:
            await self._complete(request, f"write of {size} at BAR {bar} + {offset:#x}")
        else:
            await with_timeout(self.rc.perform_posted_operation(request), REQUEST_TIMEOUT_NS, "ns")

    def bar_address(self, bar: int) -> int:
        """Where enumeration has put a BAR."""
        return self._bars[bar]

    def msix_message(self, vector: int) -> tuple[int, int]:
        """See :class:`Host`."""
        return message_of(vector)

    def interrupts(self, vector: int) -> int:
        """See :class:`Host`."""
        return self.completer.interrupts[vector]

    def intx(self) -> bool:
        """See :class:`Host`."""
        return bool(self.completer.wires)

    def intx_asserted(self) -> int:
        """See :class:`Host`."""
        return self.completer.assertions

    async def until(self, condition: Callable[[], bool], *, timeout_ns: int = 1_000_000) -> None:
        """See :class:`Host`."""
        end = self.now_ns() + timeout_ns
        while not condition():
            left = end - self.now_ns()
            if left <= 0:
                raise HostTimeout(f"did not happen within {timeout_ns} ns")
            self.completer.stored.clear()
            await First(self.completer.stored.wait(), Timer(left, "ns"))

    async def sleep(self, ns: int) -> None:
        """See :class:`Host`."""
        await Timer(max(ns, 1), "ns")

    def now_ns(self) -> int:
        """See :class:`Host`."""
        return int(get_sim_time("ns"))

    def cycles(self) -> int:
        """Clock cycles so far."""
        return self.now_ns() // self.period_ns

    def _config(self, offset: int, size: int, content: bytes | None = None) -> Any:
        request = Tlp()
        request.fmt_type = TlpType.CFG_READ_1 if content is None else TlpType.CFG_WRITE_1
        request.requester_id, request.completer_id = PcieId(0, 0, 0), DEVICE
        if content is None:
            request.set_addr_be(offset, size)
        else:
            request.set_addr_be_data(offset, content)
        return request

    def _request(self, bar: int, offset: int, size: int, *, write: bool = False) -> Any:
        request = Tlp()
        request.requester_id = PcieId(0, 0, 0)
        if bar in self._io_bars:
            check_io(offset, size)
            request.fmt_type = TlpType.IO_WRITE if write else TlpType.IO_READ
        elif self._bars[bar] + offset >= 1 << 32:
            request.fmt_type = TlpType.MEM_WRITE_64 if write else TlpType.MEM_READ_64
        else:
            request.fmt_type = TlpType.MEM_WRITE if write else TlpType.MEM_READ
        return request

    async def _read(self, request: Any, what: str) -> int:
        first, last = request.get_first_be_offset(), request.get_last_be_offset()
        content = b"".join(bytes(part.get_data()) for part in await self._complete(request, what))
        return int.from_bytes(content[first : len(content) - last], "little")

    async def _complete(self, request: Any, what: str) -> list[Any]:
        """Completions of a non-posted request, all successful."""
        completions = await self.rc.perform_nonposted_operation(request, REQUEST_TIMEOUT_NS, "ns")
        if not completions:
            raise BusError("timeout", what)
        if (status := completions[-1].status) is not CplStatus.SC:
            raise BusError(_STATUS[status], what)
        return completions

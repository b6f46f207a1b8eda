"""The PCI_CFG window: BAR accesses by way of configuration space.  [virtio 1.4 §4.1.4.9]"""

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Const, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..registers import ConfigBus, ConfigRequest, RegisterBus
from .bars import Bar

__all__ = ["ConfigWindow", "WindowSettings"]


class WindowSettings(data.Struct):
    """What the driver wrote into the capability."""

    bar: 8
    offset: 32
    length: 32
    data: 32  # pci_cfg_data


class ConfigWindow(wiring.Component):
    """Stands before the configuration registers and turns accesses to pci_cfg_data into BAR accesses.

    Every request goes on to the registers, and one is in hand at a time; without a BAR access the
    answer comes three cycles later than the registers give it. A request for
    pci_cfg_data with any byte enabled does one access besides, of ``length`` bytes, whatever bytes
    are enabled: a write after the register has taken it, with the first bytes of the register; a
    read before, and its data becomes the first bytes of the register. If the bar has no address
    range here, the length is not 1, 2 or 4, or the offset is not a multiple of it or lies outside the
    BAR, there is no access and the register is plain storage. Memory and I/O Space Enable have no say.

    Parameters
    ----------
    register
        Dword number of pci_cfg_data.
    bars
        The BARs that can be reached.

    Members
    -------
    upstream : :py:`In(ConfigBus)`
        Requests as they come.
    downstream : :py:`Out(ConfigBus)`
        The registers.
    bus : :py:`Out(RegisterBus)`
        The BARs.
    settings : :py:`In(WindowSettings)`
        The registers of the capability, up to date with each response from downstream.
    enable : :py:`In(1)`
        While low there are no BAR accesses.
    """

    upstream: In(ConfigBus)
    downstream: Out(ConfigBus)
    bus: Out(RegisterBus)
    settings: In(WindowSettings)
    enable: In(1)

    def __init__(self, *, register: int, bars: Iterable[Bar]):
        self.register = register
        self.bars = tuple(bars)
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        settings = self.settings
        legal, lanes = Signal(), Signal(4)  # lanes: the first ``length`` bytes
        with m.Switch(settings.length):
            for length in (1, 2, 4):
                with m.Case(length):
                    aligned = settings.offset & (length - 1) == 0
                    m.d.comb += [lanes.eq((1 << length) - 1), legal.eq(aligned & self._reachable())]

        current, touches = Signal(ConfigRequest), Signal()
        answer = Signal(32)  # what the registers or the BAR said
        shift = settings.offset[:2]
        m.d.comb += [
            self.downstream.request.payload.eq(current),
            self.bus.request.p.bar.eq(settings.bar),
            self.bus.request.p.address.eq(settings.offset & ~3),
            self.bus.request.p.write.eq(current.write),
            self.bus.request.p.byte_enable.eq(lanes << shift),
            self.bus.request.p.data.eq(settings.data << (shift << 3)),
            self.upstream.response.payload.eq(answer),
        ]

        with m.FSM():
            with m.State("IDLE"):
                request = self.upstream.request
                m.d.comb += request.ready.eq(1)
                hit = (request.p.register == self.register) & request.p.byte_enable.any()
                m.d.sync += [current.eq(request.payload), touches.eq(hit)]
                with m.If(request.valid):
                    m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.sync += touches.eq(touches & legal & self.enable)
                with m.If(touches & legal & self.enable & ~current.write):
                    m.next = "ACCESS"
                with m.Else():
                    m.next = "REGISTER"
            with m.State("REGISTER"):
                m.d.comb += self.downstream.request.valid.eq(1)
                with m.If(self.downstream.request.ready):
                    m.next = "REGISTERED"
            with m.State("REGISTERED"):
                m.d.sync += answer.eq(self.downstream.response.payload)
                with m.If(self.downstream.response.valid):
                    m.next = "RESPOND"
                    with m.If(touches & current.write):
                        m.next = "ACCESS"
            with m.State("ACCESS"):
                m.d.comb += self.bus.request.valid.eq(1)
                with m.If(self.bus.request.ready):
                    m.next = "FETCHED"
                    with m.If(current.write):
                        m.next = "RESPOND"
            with m.State("FETCHED"):
                m.d.sync += answer.eq(self.bus.response.payload >> (shift << 3))
                with m.If(self.bus.response.valid):
                    m.next = "STORE"
            with m.State("STORE"):
                stored = self.downstream.request
                m.d.comb += [
                    stored.valid.eq(1),
                    stored.p.write.eq(1),
                    stored.p.byte_enable.eq(lanes),
                    stored.p.data.eq(answer),
                ]
                with m.If(stored.ready):
                    m.next = "STORED"
            with m.State("STORED"):
                with m.If(self.downstream.response.valid):
                    m.next = "REGISTER"
            with m.State("RESPOND"):
                m.d.comb += self.upstream.response.valid.eq(1)
                m.next = "IDLE"
        return m

    def _reachable(self) -> Any:
        """Offset inside the BAR, for a BAR that exists."""
        found = Const(0)
        for bar in self.bars:
            inside = self.settings.offset[exact_log2(bar.size) :] == 0
            found = found | ((self.settings.bar == bar.index) & inside)
        return found

"""The PCI_CFG window: BAR accesses by way of configuration space.  [virtio 1.4 §4.1.4.9]"""

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import C, Cat, Const, Module, Mux, Signal
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
    answer comes two cycles later than the registers give it. A request for
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

        # The request in hand; while what was read from a BAR goes into the register, that write instead.
        current, touches, storing = Signal(ConfigRequest), Signal(), Signal()
        fetched = self.bus.response.payload
        data = settings.data
        # A write has its bytes in all lanes where they may have to be.
        low_half = Mux(lanes[1], data[8:16], data[:8])
        m.d.comb += [
            self.downstream.request.payload.eq(current),
            self.bus.request.p.bar.eq(settings.bar),
            self.bus.request.p.address.eq(Cat(C(0, 2), settings.offset[2:])),
            self.bus.request.p.write.eq(current.write),
            self.bus.request.p.byte_enable.eq(lanes << settings.offset[:2]),
            self.bus.request.p.data.eq(
                Cat(
                    data[:8],
                    low_half,
                    Mux(lanes[2], data[16:24], data[:8]),
                    Mux(lanes[2], data[24:], low_half),
                )
            ),
            self.upstream.response.payload.eq(self.downstream.response.payload),
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
                with m.If(self.downstream.response.valid):
                    m.d.sync += storing.eq(0)
                    with m.If(storing):
                        m.d.sync += current.write.eq(0)
                        m.next = "REGISTER"
                    with m.Elif(touches & current.write):
                        m.next = "ACCESS"
                    with m.Else():
                        m.d.comb += self.upstream.response.valid.eq(1)
                        m.next = "IDLE"
            with m.State("ACCESS"):
                m.d.comb += self.bus.request.valid.eq(1)
                with m.If(self.bus.request.ready):
                    m.next = "FETCHED"
                    with m.If(current.write):
                        m.next = "WRITTEN"
            with m.State("WRITTEN"):
                m.d.comb += self.upstream.response.valid.eq(1)
                m.next = "IDLE"
            with m.State("FETCHED"):
                m.d.sync += [
                    current.data.eq(
                        Cat(
                            fetched.word_select(settings.offset[:2], 8),
                            Mux(settings.offset[1], fetched[24:], fetched[8:16]),
                            fetched[16:],
                        )
                    ),
                    current.byte_enable.eq(lanes),
                ]
                with m.If(self.bus.response.valid):
                    m.d.sync += [current.write.eq(1), storing.eq(1)]
                    m.next = "REGISTER"
        return m

    def _reachable(self) -> Any:
        """Offset inside the BAR, for a BAR that exists."""
        found = Const(0)
        for bar in self.bars:
            inside = self.settings.offset[exact_log2(bar.size) :] == 0
            found = found | ((self.settings.bar == bar.index) & inside)
        return found

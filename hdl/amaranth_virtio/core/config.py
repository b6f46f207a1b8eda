"""Device configuration and its generation."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["DeviceConfig"]


class DeviceConfig(wiring.Component):
    """Dword access to the device configuration.  [virtio 1.4 §2.5, §4.1.4.3.1]

    The generation counts up when the configuration changes, but only if any of it was read since it
    counted last: what was never read cannot have been read torn. A reset does not touch it.

    Parameters
    ----------
    bits : :class:`int`
        Size of the configuration.

    Members
    -------
    config : :py:`In(bits)`, changed : :py:`In(1)`
        The configuration; ``changed`` in the first cycle with the new value.
    index : :py:`In(10)`, data : :py:`Out(32)`
        Dword ``index`` in the same cycle; 0 behind the end.
    read : :py:`In(1)`
        The driver reads in this cycle.
    generation : :py:`Out(8)`
    """

    def __init__(self, *, bits: int):
        self.bits = bits
        super().__init__(
            {
                "config": In(bits),
                "changed": In(1),
                "index": In(10),
                "data": Out(32),
                "read": In(1),
                "generation": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        with m.Switch(self.index):
            for dword in range(-(-self.bits // 32)):
                with m.Case(dword):
                    m.d.comb += self.data.eq(self.config[32 * dword : 32 * dword + 32])

        read_since = Signal()
        with m.If(self.changed & read_since):
            m.d.sync += [self.generation.eq(self.generation + 1), read_since.eq(0)]
        with m.If(self.read):
            m.d.sync += read_since.eq(1)
        return m

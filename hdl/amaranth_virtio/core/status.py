"""Device status and feature negotiation."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.virtio import DeviceStatus, Feature

__all__ = ["Negotiation", "check_features"]


def check_features(offered: int, requires: Mapping[int, tuple[int, ...]]) -> None:
    """Raise a ``ValueError`` unless the offered features can be negotiated.  FEAT-DEV-01."""
    if not offered >> Feature.VERSION_1 & 1:
        raise ValueError("offered features must include VERSION_1")
    for bit, needed in requires.items():
        for other in needed:
            if offered >> bit & 1 and not offered >> other & 1:
                raise ValueError(f"feature {bit} is offered without its prerequisite {other}")


class Negotiation(wiring.Component):
    """Status machine and feature words.  [virtio 1.4 §2.1, §2.2, §3.1.1]

    The driver can add status bits and never drop one. FEATURES_OK is taken only if the accepted
    features are offered ones, VERSION_1 is among them and every prerequisite holds; DRIVER_OK only
    together with or after FEATURES_OK. The features are frozen from FEATURES_OK on.

    Parameters
    ----------
    offered : :class:`int`
        Offered features.
    requires : mapping of :class:`int` to a tuple of :class:`int`
        Bit numbers that must be accepted together with a bit.

    Members
    -------
    write : :py:`In(1)`, data : :py:`In(8)`
        The driver writes a status other than 0.
    features_enable : :py:`In(8)`, features_data : :py:`In(64)`
        The driver writes its features, by bytes.
    features_unknown : :py:`In(1)`
        The driver accepts a bit above 63: there is none, so that FEATURES_OK is refused until ``clear``.
    needs_reset : :py:`In(1)`
        Strobe: the device cannot go on.
    clear : :py:`In(1)`
        Strobe: everything returns to 0.
    status : :py:`Out(8)`
        Device status.
    driver_features : :py:`Out(64)`
        What the driver wrote.
    features : :py:`Out(64)`
        The accepted features while FEATURES_OK is set, else 0.
    running : :py:`Out(1)`
        Buffers may be used: DRIVER_OK and neither FAILED nor DEVICE_NEEDS_RESET.
    """

    def __init__(self, *, offered: int, requires: Mapping[int, tuple[int, ...]]):
        check_features(offered, requires)
        self.offered = offered
        self.requires = dict(requires)
        super().__init__(
            {
                "write": In(1),
                "data": In(8),
                "features_enable": In(8),
                "features_data": In(64),
                "features_unknown": In(1),
                "needs_reset": In(1),
                "clear": In(1),
                "status": Out(8),
                "driver_features": Out(64),
                "features": Out(64),
                "running": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chosen = self.driver_features
        features_ok = self.status.bit_select(3, 1)

        unknown = Signal()
        with m.If(self.features_unknown & ~features_ok):
            m.d.sync += unknown.eq(1)

        acceptable = [
            (chosen & ~self.offered & (2**64 - 1)) == 0,
            chosen[Feature.VERSION_1],
            ~unknown,
        ]
        for bit, needed in self.requires.items():
            acceptable.append(~chosen[bit] | Cat(chosen[other] for other in needed).all())

        free = DeviceStatus.ACKNOWLEDGE | DeviceStatus.DRIVER | DeviceStatus.FAILED
        with m.If(self.write):
            m.d.sync += self.status.eq(self.status | (self.data & free))
            with m.If(features_ok | (self.data[3] & Cat(acceptable).all())):
                m.d.sync += [self.status[3].eq(1), self.status[2].eq(self.status[2] | self.data[2])]
        with m.If(self.needs_reset):
            m.d.sync += self.status[6].eq(1)

        with m.If(~features_ok):
            for byte in range(8):
                with m.If(self.features_enable[byte]):
                    m.d.sync += chosen.word_select(byte, 8).eq(self.features_data.word_select(byte, 8))
        with m.If(self.clear):
            m.d.sync += [self.status.eq(0), chosen.eq(0), unknown.eq(0)]

        with m.If(features_ok):
            m.d.comb += self.features.eq(chosen)
        m.d.comb += self.running.eq(self.status[2] & ~self.status[6] & ~self.status[7])
        return m

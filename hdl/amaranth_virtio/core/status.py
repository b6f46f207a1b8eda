"""Device status and feature negotiation."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from virtio_spec.virtio import DeviceStatus, Feature, feature_mask

__all__ = ["Negotiation", "check_features"]


def check_features(offered: int, requires: Mapping[int, tuple[int, ...]]) -> None:
    """Raise a ``ValueError`` unless the offered features can be negotiated.  FEAT-DEV-01."""
    for bit, needed in requires.items():
        for other in needed:
            if offered >> bit & 1 and not offered >> other & 1:
                raise ValueError(f"feature {bit} is offered without its prerequisite {other}")


def _with_prerequisites(bit: int, requires: Mapping[int, tuple[int, ...]]) -> set[int]:
    """A feature bit, what it requires, what that requires, and so on."""
    found: set[int] = set()
    open_ends = [bit]
    while open_ends:
        if (other := open_ends.pop()) not in found:
            found.add(other)
            open_ends += requires.get(other, ())
    return found


class Negotiation(wiring.Component):
    """Status machine and feature words.  [virtio 1.4 §2.1, §2.2, §3.1.1]

    The driver can add status bits and never drop one. FEATURES_OK is taken only if the accepted
    features are offered ones, VERSION_1 is among them and every prerequisite holds; DRIVER_OK only
    together with or after FEATURES_OK. The features are frozen from FEATURES_OK on.

    On the legacy interface there is no FEATURES_OK: it stays 0, DRIVER_OK needs nothing, and the
    features are frozen from DRIVER_OK on. Since the driver cannot be refused, what it writes counts as
    far as it goes: the low 32 offered bits and ANY_LAYOUT, each only with its prerequisites.
    [virtio 1.4 §2.2.3, §3.1.2, §4.1.4.10]

    Parameters
    ----------
    offered : :class:`int`
        Offered features, of which ANY_LAYOUT is none.
    requires : mapping of :class:`int` to a tuple of :class:`int`
        Bit numbers that must be accepted together with a bit.

    Members
    -------
    legacy : :py:`In(1)`
        The rules of the legacy interface hold.
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
        What the driver wrote; on the legacy interface, what counts of it.
    features : :py:`Out(64)`
        The accepted features: 0 before FEATURES_OK; on the legacy interface as the driver writes them.
    running : :py:`Out(1)`
        Buffers may be used: neither FAILED nor DEVICE_NEEDS_RESET, and DRIVER_OK but for the legacy
        interface, where drivers use buffers before it.
    """

    def __init__(self, *, offered: int, requires: Mapping[int, tuple[int, ...]]):
        check_features(offered, requires)
        self.offered = offered
        self.requires = dict(requires)
        super().__init__(
            {
                "legacy": In(1),
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
        chosen = Signal(64)
        driver_ok = self.status.bit_select(2, 1)
        features_ok = self.status.bit_select(3, 1)
        frozen = Mux(self.legacy, driver_ok, features_ok)

        unknown = Signal()
        with m.If(self.features_unknown & ~frozen):
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
            with m.If(self.legacy):
                m.d.sync += driver_ok.eq(driver_ok | self.data[2])
            with m.Elif(features_ok | (self.data[3] & Cat(acceptable).all())):
                m.d.sync += [features_ok.eq(1), driver_ok.eq(driver_ok | self.data[2])]
        with m.If(self.needs_reset):
            m.d.sync += self.status[6].eq(1)

        with m.If(~frozen):
            for byte in range(8):
                with m.If(self.features_enable[byte]):
                    m.d.sync += chosen.word_select(byte, 8).eq(self.features_data.word_select(byte, 8))
        with m.If(self.clear):
            m.d.sync += [self.status.eq(0), chosen.eq(0), unknown.eq(0)]

        counting = Signal(64)
        legacy_offered = (self.offered & 0xFFFF_FFFF) | feature_mask(Feature.ANY_LAYOUT)
        for bit in range(32):
            needed = _with_prerequisites(bit, self.requires)
            if all(legacy_offered >> other & 1 for other in needed):
                m.d.comb += counting[bit].eq(Cat(chosen[other] for other in needed).all())

        m.d.comb += [
            self.driver_features.eq(Mux(self.legacy, counting, chosen)),
            self.features.eq(Mux(self.legacy, counting, Mux(features_ok, chosen, 0))),
            self.running.eq((driver_ok | self.legacy) & ~self.status[6] & ~self.status[7]),
        ]
        return m

"""Two register front ends in front of one device core."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.enum import Enum
from amaranth.lib.wiring import In, Out

from ..core.interface import CoreSignature

__all__ = ["TransportSelect"]


class _InUse(Enum, shape=2):
    NONE = 0
    LEGACY = 1
    MODERN = 2


class TransportSelect(wiring.Component):
    """Let a transitional device be driven through either interface.  [virtio 1.4 §1.3.1, §2.2.3]

    The first ``write`` after a reset chooses the interface in use until the next one; it goes by that
    interface's rules itself. The other is ``locked``: only its reads and its reset have an effect.

    One access at a time reaches the core. If both sides have one, they take turns; for this the cycle
    after an access of the legacy side belongs to the modern one.

    Members
    -------
    legacy : :py:`In(CoreSignature())`, modern : :py:`In(CoreSignature())`
        The register front ends. Their own ``legacy`` is not looked at.
    core : :py:`Out(CoreSignature())`
        The device core.
    """

    legacy: In(CoreSignature())
    modern: In(CoreSignature())
    core: Out(CoreSignature())

    def elaborate(self, platform):
        m = Module()
        core: Any = self.core
        legacy: Any = self.legacy
        modern: Any = self.modern

        in_use = Signal(_InUse)
        with m.If(core.clear):
            m.d.sync += in_use.eq(_InUse.NONE)
        with m.Elif(in_use == _InUse.NONE):
            with m.If(legacy.write):
                m.d.sync += in_use.eq(_InUse.LEGACY)
            with m.Elif(modern.write):
                m.d.sync += in_use.eq(_InUse.MODERN)

        legacy_strobes = Signal()  # the second cycle of an access
        modern_strobes = Signal()
        modern_turn = Signal()
        m.d.sync += [
            legacy_strobes.eq(legacy.active & ~legacy_strobes),
            modern_strobes.eq(modern.active & ~modern_strobes),
            modern_turn.eq(legacy_strobes),
        ]

        # What the core tells goes to both; what it is told comes from the side whose access it is.
        told = []
        for name, member in CoreSignature().members.items():
            if member.flow is In:
                m.d.comb += [
                    getattr(legacy, name).eq(getattr(core, name)),
                    getattr(modern, name).eq(getattr(core, name)),
                ]
            elif member.is_port:
                told.append(name)

        def tell(side: Any):
            m.d.comb += [getattr(core, name).eq(getattr(side, name)) for name in told]
            m.d.comb += [core.kick.valid.eq(side.kick.valid), core.kick.p.eq(side.kick.p)]

        with m.If(legacy.active):
            tell(legacy)
        with m.Else():
            tell(modern)
        m.d.comb += [
            core.legacy.eq((in_use == _InUse.LEGACY) | ((in_use == _InUse.NONE) & legacy.write)),
            legacy.locked.eq(in_use == _InUse.MODERN),
            modern.locked.eq(in_use == _InUse.LEGACY),
            legacy.busy.eq(core.busy | modern_strobes | modern_turn),
            modern.busy.eq(core.busy | legacy.active),
        ]
        return m

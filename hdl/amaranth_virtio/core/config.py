"""Device configuration and its generation."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for
from virtio_spec.wire import field_offset, field_size, size

from ..devices.interface import ConfigWrite
from .coherent import CoherentGroup

__all__ = ["DeviceConfig", "config_groups"]


def _places(layout: Any) -> dict[str, range]:
    """The bytes of each field."""
    if layout is None:
        return {}
    members: Any = data.Layout.cast(layout)  # iterating a layout gives names and fields
    starts = {name: field_offset(layout, name) for name, _ in members}
    return {name: range(start, start + field_size(layout, name)) for name, start in starts.items()}


def config_groups(
    layout: Any, *, together: tuple[tuple[str, ...], ...], writable: tuple[str, ...], acknowledge: str | None
) -> list[range]:
    """The bytes of each group of fields, in the order of ``layout``.

    A ``ValueError`` if ``together``, ``writable`` or ``acknowledge`` name what is not there, or
    ``together`` joins fields that are not neighbours.
    """
    places = _places(layout)
    named = {
        "together": [name for names in together for name in names],
        "writable": writable,
        "acknowledge": () if acknowledge is None else (acknowledge,),
    }
    for argument, names in named.items():
        for name in names:
            if name not in places:
                raise ValueError(f"{argument} names {name!r}, which is no field of the configuration")
            if list(names).count(name) > 1:
                raise ValueError(f"{argument} names {name!r} twice")
    for names in together:
        for name, following in zip(names, names[1:], strict=False):
            if places[following].start != places[name].stop:
                raise ValueError(f"together has {following!r} after {name!r}, but it does not follow it")
    leaders = {name: names[0] for names in together for name in names}
    groups: dict[str, range] = {}
    for name, place in places.items():
        leader = leaders.get(name, name)
        groups[leader] = range(groups.get(leader, place).start, place.stop)
    return list(groups.values())


class DeviceConfig(wiring.Component):
    """Dword access to the device configuration.  [virtio 1.4 §2.5, §4.1.4.3.1]

    **Reads are coherent.** Each field, or group of fields that belong ``together``, of two or more bytes
    is a :class:`CoherentGroup`: what is read of it in several accesses is of one instant, whatever their
    widths and order. A driver that reads a byte a second time before it has read all gets a new sample.
    All samples are forgotten on ``release`` and when nothing was read for ``hold`` cycles, so that a
    driver which stops half-way does not get an old value later.

    **The generation** counts up when the configuration changes, but only if any of it was read since it
    counted last: what was never read cannot have been read torn. A reset does not touch it.

    **Writes** reach only the writable fields.

    Parameters
    ----------
    layout
        Layout of the configuration.
    together, writable, acknowledge
        As :class:`DeviceTable` has them.
    hold : :class:`int`
        Cycles since the last read for which samples are kept, at least 1.

    Members
    -------
    config : :py:`In(layout)`, changed : :py:`In(1)`
        The configuration; ``changed`` in the first cycle with the new value.
    index : :py:`In(10)`, data : :py:`Out(32)`
        Dword ``index`` in the same cycle; 0 behind the end.
    read : :py:`In(4)`
        The driver reads these bytes of the dword in this cycle.
    enable : :py:`In(4)`, write_data : :py:`In(32)`
        The driver writes these bytes of the dword.
    write : :py:`Out(ConfigWrite(layout))`
        The same cycle's write of writable fields; present if there are any.
    generation : :py:`Out(8)`
    release : :py:`In(1)`
        Strobe: forget all samples.
    acknowledged : :py:`Out(1)`
        Strobe: byte 0 of the ``acknowledge`` field is written, or read. A read that an older sample
        answers, when the configuration has changed since, does not count: it has not seen the change.
    """

    def __init__(
        self,
        *,
        layout: Any,
        together: tuple[tuple[str, ...], ...] = (),
        writable: tuple[str, ...] = (),
        acknowledge: str | None = None,
        hold: int,
    ):
        if hold < 1:
            raise ValueError(f"hold must be at least 1 cycle, not {hold}")
        self.layout = layout
        self.together = together
        self.writable = writable
        self.acknowledge = acknowledge
        self.hold = hold
        self.groups = config_groups(layout, together=together, writable=writable, acknowledge=acknowledge)
        members: dict[str, Any] = {
            "config": In(layout),
            "changed": In(1),
            "index": In(10),
            "data": Out(32),
            "read": In(4),
            "enable": In(4),
            "write_data": In(32),
            "generation": Out(8),
            "release": In(1),
            "acknowledged": Out(1),
        }
        if writable:
            members["write"] = Out(ConfigWrite(layout))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        places = _places(self.layout)
        dwords = -(-size(self.layout) // 4)
        selected = Signal(dwords)
        m.d.comb += selected.eq(Cat(self.index == dword for dword in range(dwords)))

        forget = self._forget(m)
        answer, sampled = self._groups(m, selected, forget)
        with m.Switch(self.index):
            for dword in range(dwords):
                with m.Case(dword):
                    m.d.comb += self.data.eq(answer[32 * dword : 32 * dword + 32])

        read_since = Signal()
        with m.If(self.changed & read_since):
            m.d.sync += [self.generation.eq(self.generation + 1), read_since.eq(0)]
        with m.If(self.read.any()):
            m.d.sync += read_since.eq(1)

        for name in self.writable:
            for byte in places[name]:
                m.d.comb += [
                    self.write.enable[byte].eq(selected[byte // 4] & self.enable[byte % 4]),
                    Value.cast(self.write.data)[8 * byte : 8 * byte + 8].eq(
                        self.write_data.word_select(byte % 4, 8)
                    ),
                ]

        if self.acknowledge is not None:
            byte = places[self.acknowledge].start
            sample_is_old = Signal()
            if byte in sampled:
                with m.If(self.changed):
                    m.d.sync += sample_is_old.eq(1)
                with m.If(sampled[byte]):
                    m.d.sync += sample_is_old.eq(0)
            seen = self.read[byte % 4] & (~sample_is_old | sampled.get(byte, 0))
            m.d.comb += self.acknowledged.eq(selected[byte // 4] & (seen | self.enable[byte % 4]))
        return m

    def _forget(self, m: Module) -> Any:
        """High when samples are to be forgotten: ``release``, or ``hold`` cycles without a read."""
        # Below 0 the time is up. Two cycles of it pass in loading the counter and in forgetting.
        left = Signal(signed(bits_for(self.hold) + 1), init=-1)
        with m.If(self.read.any()):
            m.d.sync += left.eq(self.hold - 2)
        with m.Elif(~left[-1]):
            m.d.sync += left.eq(left - 1)
        forget = Signal()
        m.d.comb += forget.eq(self.release | (left[-1] & ~self.read.any()))
        return forget

    def _groups(self, m: Module, selected: Any, forget: Any) -> tuple[Any, dict[int, Any]]:
        """The configuration as it is read, and for each byte of a group its group's ``sampled``."""
        config = Value.cast(self.config)
        answer = Signal(len(config))
        sampled = {}
        m.d.comb += answer.eq(config)
        for number, place in enumerate(self.groups):
            if len(place) < 2:
                continue
            m.submodules[f"group_{number}"] = group = CoherentGroup(place=place)
            bits = slice(8 * place.start, 8 * place.stop)
            m.d.comb += [
                group.value.eq(config[bits]),
                group.selected.eq(selected[place[0] // 4 : place[-1] // 4 + 1]),
                group.read.eq(self.read),
                group.release.eq(forget),
                answer[bits].eq(group.answer),
            ]
            sampled |= dict.fromkeys(place, group.sampled)
        return answer, sampled

"""The last things that passed between host and device: packets, accesses, rings, interrupts.

Everything is kept as it was, and told only when asked.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from .checkers.packet import Packet
from .meaning import Structure, of_config, of_memory, of_register
from .memory import Area, HostMemory

__all__ = ["Event", "Mark", "Trace"]

Mark = str
#: Towards the device, from it; what the driver does in memory alone; what must not be.
TO_DEVICE, TO_HOST, DRIVER, WRONG = ">", "<", "=", "!"

DEPTH = 200
VECTORS = 128
BAR_REACH = 1 << 20
ASSERT_INTX, DEASSERT_INTX = range(0x20, 0x24), range(0x24, 0x28)


class Event(NamedTuple):
    """One line of a trace.

    ``mark`` is ``>`` for what goes to the device, ``<`` for what comes from it, ``=`` for what the driver
    does in memory, ``!`` for what must not be. ``text`` is a few words, ``detail`` all of it.
    """

    ns: int
    mark: Mark
    text: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.ns:>10} {self.mark} {self.text}" + (f"   ({self.detail})" if self.detail else "")


class Trace:
    """Keeps what it hears of; an :class:`~.phy.Observer` and a :class:`~.memory.MemoryObserver`.

    Hosts whose device sends packets give it those; others call :meth:`access` and :meth:`interrupt`, and have
    their device's accesses to memory observed.

    Parameters
    ----------
    now
        Time, in nanoseconds.
    memory
        Which queues there are; the trace becomes its observer.
    message
        The interrupt message of a vector, where they are packets.
    depth
        How many are kept.

    Attributes
    ----------
    bars
        Where BARs are, by their numbers, as far as that is known.
    structures
        The device's virtio structures, as far as they are known.
    """

    def __init__(
        self,
        now: Callable[[], int],
        memory: HostMemory,
        *,
        message: Callable[[int], tuple[int, int]] | None = None,
        depth: int = DEPTH,
    ):
        self._now, self._memory = now, memory
        self._messages = {message(vector): vector for vector in range(VECTORS)} if message else {}
        self._kept: deque[tuple[int, Callable[[_Asked], Event]]] = deque(maxlen=depth)
        self.bars: Mapping[int, int] = {}
        self.structures: Sequence[Structure] = ()
        memory.observer = self

    def _keep(self, told: Callable[..., Event], *what: Any) -> None:
        self._kept.append((self._now(), partial(told, *what)))

    # -- packets -----------------------------------------------------------------------------------

    def from_host(self, dwords: Sequence[int]) -> None:
        """See :class:`~.phy.Observer`."""
        self._keep(self._packet, TO_DEVICE, dwords, self._memory.areas)

    def from_device(self, dwords: Sequence[int]) -> None:
        """See :class:`~.phy.Observer`."""
        self._keep(self._packet, TO_HOST, dwords, self._memory.areas)

    def broken_framing(self, what: str) -> None:
        """See :class:`~.phy.Observer`."""
        self._keep(lambda asked: Event(0, WRONG, what))

    # -- without packets ---------------------------------------------------------------------------

    def access(self, bar: int | None, offset: int, size: int, value: int | None, *, write: bool) -> None:
        """The host read or wrote a BAR, or without one configuration space; no value is no answer."""

        def told(_: "_Asked") -> Event:
            name = of_config(offset) if bar is None else of_register(self.structures, bar, offset)
            shown = "no answer" if value is None else f"{value:#x}"
            text = f"write {name} {shown}" if write else f"read {name}: {shown}"
            where = "configuration space" if bar is None else f"BAR {bar}"
            return Event(0, TO_DEVICE, text, f"{size} bytes of {where} at {offset:#x}")

        self._keep(told)

    def dma(self, address: int, data: bytes, *, write: bool) -> None:
        """See :class:`~.memory.MemoryObserver`."""
        areas = self._memory.areas

        def told(_: "_Asked") -> Event:
            verb = "write" if write else "read"
            text = f"{verb} {of_memory(areas, address, data) or _run(len(data), address)}"
            return Event(0, TO_HOST, text, f"{_run(len(data), address)}: {_hex(data)}")

        self._keep(told)

    def stored(self, address: int, data: bytes) -> None:
        """See :class:`~.memory.MemoryObserver`; what is in no queue is not kept."""
        areas = self._memory.areas
        if any(area.address <= address < area.address + area.length for area in areas):
            before = self._memory.read(address, len(data))
            self._keep(self._stored, areas, address, data, before)

    def took(self, queue: int, identity: int, length: int) -> None:
        """See :class:`~.memory.MemoryObserver`."""
        self._keep(lambda asked: Event(0, DRIVER, f"queue {queue}: takes used id {identity} len {length}"))

    def interrupt(self, what: str) -> None:
        """An interrupt arrived that was no packet: ``"vector 1"``, ``"INTA asserted"``."""
        self._keep(lambda asked: Event(0, TO_HOST, f"interrupt: {what}"))

    # -- telling -----------------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget what was kept: something else begins."""
        self._kept.clear()

    def events(self) -> list[Event]:
        """What was kept, oldest first."""
        asked = _Asked()
        return [told(asked)._replace(ns=ns) for ns, told in self._kept]

    def lines(self) -> list[str]:
        """The same, a line for each."""
        return [str(event) for event in self.events()]

    @staticmethod
    def _stored(areas: Sequence[Area], address: int, data: bytes, before: bytes, _: "_Asked") -> Event:
        text = of_memory(areas, address, data, before)
        return Event(0, DRIVER, text, f"{_run(len(data), address)}: {_hex(data)}")

    def _packet(self, mark: Mark, dwords: Sequence[int], areas: Sequence[Area], asked: "_Asked") -> Event:
        count = 4 if dwords and dwords[0] >> 29 & 1 else 3
        if len(dwords) < count:
            return Event(0, mark, "cut packet", " ".join(f"{dword:08x}" for dword in dwords))
        packet = Packet(dwords)
        words = packet.name or "unknown packet"
        meaning = self._meaning(mark, packet, areas, asked)
        return Event(0, mark, f"{words} {meaning}".rstrip(), str(packet))

    def _meaning(self, mark: Mark, packet: Packet, areas: Sequence[Area], asked: "_Asked") -> str:
        data = _bytes(packet.payload)
        if packet.is_completion:
            return asked.answer(mark, packet, data)
        if packet.name in ("Msg", "MsgD"):
            kinds = {**dict.fromkeys(ASSERT_INTX, "asserted"), **dict.fromkeys(DEASSERT_INTX, "deasserted")}
            wire = f"interrupt: INT{'ABCD'[packet.code & 3]} {kinds.get(packet.code)}"
            return wire if packet.code in kinds else f"code {packet.code:#x}"
        if packet.name not in ("MRd", "MWr", "IORd", "IOWr") and not packet.is_config:
            return ""
        address, size = packet.address + packet.byte_offset, packet.bytes_asked
        data = data[packet.byte_offset :][:size]
        if packet.is_config:
            return asked.of_host(packet, of_config(address), data)
        if mark == TO_DEVICE:
            return asked.of_host(packet, self._register(address) or _run(size, address), data)
        vector = self._messages.get((address, int.from_bytes(data, "little"))) if data else None
        if vector is not None:
            return f"interrupt: vector {vector}"
        asked[mark, packet.tag] = _Request("", address, size, areas)
        return of_memory(areas, address, data or size) or _run(size, address)

    def _register(self, address: int) -> str:
        reached = {base: bar for bar, base in self.bars.items() if base <= address < base + BAR_REACH}
        if not reached:
            return ""
        base = max(reached)
        return of_register(self.structures, reached[base], address - base)


class _Request(NamedTuple):
    """The host's have a name, the device's not."""

    name: str
    address: int
    size: int
    areas: Sequence[Area] = ()


class _Asked(dict[tuple[Mark, int], _Request]):
    """Requests by direction and tag, as they are told, so that a completion can say what it answers."""

    def of_host(self, packet: Packet, name: str, data: bytes) -> str:
        """A request of the host."""
        self[TO_DEVICE, packet.tag] = _Request(name, packet.byte_offset, packet.bytes_asked)
        return f"{name} {_value(data)}".rstrip()

    def answer(self, mark: Mark, packet: Packet, data: bytes) -> str:
        """What a completion brings."""
        request = self.get((TO_HOST if mark == TO_DEVICE else TO_DEVICE, packet.tag))
        failed = f"status {packet.status}" if packet.status else ""
        if request is None:
            return failed
        if request.name:
            return f"{request.name}: {failed or _value(data[request.address :][: request.size])}".rstrip(": ")
        end = request.address + request.size
        address = end - (packet.byte_count or 4096)
        data = data[address % 4 :][: end - address]
        return failed or of_memory(request.areas, address, data) or f"{len(data)} bytes"


def _run(size: int, address: int) -> str:
    return f"{size} {'byte' if size == 1 else 'bytes'} at {address:#x}"


def _bytes(payload: Sequence[int]) -> bytes:
    return b"".join(dword.to_bytes(4, "little") for dword in payload)


def _value(data: bytes) -> str:
    """Of a register."""
    return f"{int.from_bytes(data, 'little'):#x}" if data else ""


def _hex(data: bytes) -> str:
    return data[:16].hex(" ", 4) + (" …" if len(data) > 16 else "")

"""Work for a device that never runs dry: chains that are made available again as soon as they come back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cocotbext.virtio.driver import VirtioDevice
from cocotbext.virtio.memory import Buffer
from cocotbext.virtio.packed import PackedQueue
from cocotbext.virtio.ring import Ring
from cocotbext.virtio.split import SplitQueue

from .traffic import Kind

__all__ = ["Chain", "Load", "aligned_rings"]

PAGE = 4096
TIMEOUT_NS = 10_000_000

#: Address and length.
Piece = tuple[int, int]


@dataclass(frozen=True)
class Chain:
    """Buffers of a request; what they hold is written once."""

    readable: Sequence[Piece] = ()
    writable: Sequence[Piece] = ()


class _Aligned(Ring):
    """A ring whose areas are pages, as those of common drivers are."""

    def _alloc(self, size: int, align: int, *, below: int = 1 << 64, spread: int = 64) -> Buffer:
        return super()._alloc(size, PAGE, below=below, spread=PAGE)


class _Split(_Aligned, SplitQueue):
    """Descriptors are taken in the order in which they became free."""

    def take_descriptors(self, count: int) -> list[int]:
        taken, self.unused = self.unused[:count], self.unused[count:]
        return taken


class _Packed(_Aligned, PackedQueue):
    pass


def aligned_rings(device: VirtioDevice) -> None:
    """Let a device that is not set up yet have such rings."""

    def make(number: int, size: int) -> Ring:
        kind = _Packed if device.variant.packed else _Split
        return kind(device.host.memory, number, size, rng=device.rng, variant=device.variant)

    device.make_ring = make


@dataclass
class Load:
    """Chains by queue, all of which the device has at any time: the depth is their number.

    The driver is as fast as can be: it sees a used chain in the cycle in which it became visible, and makes
    it available again in the same cycle; only a kick takes its time on the link. With interrupts ``wanted``
    it asks for one with every chain that comes next.

    Attributes
    ----------
    areas
        What memory of the chains is for.
    completed
        Chains that have come back, the same ones again and again.
    passed
        Called whenever something came back.
    """

    device: VirtioDevice
    chains: dict[int, list[Chain]]
    areas: list[tuple[range, Kind]]
    wanted: bool = True
    direct: int | None = None
    completed: int = 0
    passed: Callable[[], None] = lambda: None
    _under_way: dict[tuple[int, int], Chain] = field(default_factory=dict)

    async def start(self) -> None:
        """Make everything available, and kick every queue."""
        for number, chains in self.chains.items():
            ring = self.device.queues[number]
            ring.want_interrupts(self.wanted)
            for chain in chains:
                self._add(number, chain)
            ring.publish()
        for number in self.chains:
            await self.device.kick(number)

    async def until(self, completed: int) -> None:
        """Go on until so many chains have come back."""
        rings = {number: self.device.queues[number] for number in self.chains}
        while self.completed < completed:
            back: list[int] = []

            def look(back: list[int] = back) -> bool:
                self.passed()
                back[:] = [number for number, ring in rings.items() if ring.has_used]
                return bool(back)

            await self.device.host.until(look, timeout_ns=TIMEOUT_NS)
            for number in back:
                while (used := rings[number].get_used()) is not None:
                    self._add(number, self._under_way.pop((number, used.head)))
                    self.completed += 1
                rings[number].publish()
            for number in back:
                await self.device.kick(number)

    def _add(self, number: int, chain: Chain) -> None:
        head = self.device.queues[number].add_chain(
            chain.readable, chain.writable, direct=self.direct, publish=False
        )
        self._under_way[number, head] = chain

"""Host of a real card, through Linux VFIO.  [Linux, driver-api/vfio; linux/vfio.h]"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from virtio_models.clock import Clock
from virtio_spec.pci import Capability, Command, ConfigOffset, MsixMessageControl, Status

from ..function import walk
from ..host import BusError, Host, HostTimeout, check_io
from ..trace import Trace
from .run import run
from .shared_memory import SharedMemory
from .vfio_abi import CONFIG_REGION
from .vfio_card import Card
from .vfio_interrupts import ENTRY_BYTES, Intx, VectorTable
from .vfio_memory import Pinned, Words, Zone, physical_zones

__all__ = ["PATIENCE_S", "VfioHost"]

#: Where a card finds memory behind an IOMMU: below and above 4 GiB, as a large page can lie.
ADDRESSES = (0x1000_0000, 0x1_2340_0000)
ZONE_BYTES = 1 << 20
#: How long a card is watched that should do nothing, and how many times as long what should happen may take.
PATIENCE_S, TIMES = 0.002, 100
#: Between two looks at memory, of which nobody tells that it changed; the first of them follow at once.
LOOK_S, PROMPT = 0.0002, 50
BAR_IO = 1


@contextmanager
def _answered(what: str) -> Iterator[None]:
    """An access that the kernel lets through."""
    try:
        yield
    except OSError as error:
        raise BusError("UR", what) from error


class VfioHost(Host):
    """A host of a card. It has been enumerated by the kernel.

    Time is the wall clock's. A card works at its own pace: what is to be waited for may take many times as
    long as asked for before the host gives up, and silence is watched for longer.

    What a driver sees of configuration space and of the MSI-X table is partly the kernel's; see
    docs/vfio.md. Accesses that nobody answers end as on any PC, with ones; only what the kernel refuses is
    a :class:`~..host.BusError`, ``"UR"``.

    Parameters
    ----------
    card
        Belongs to the host from now on.
    seed
        For buffer addresses.
    patience_s
        How long a card is watched that should do nothing, at least; a simulated one needs more.
    """

    memory: SharedMemory

    def __init__(self, card: Card, *, seed: int = 0, patience_s: float = PATIENCE_S):
        self.card, self._patience_s = card, patience_s
        self._started = time.monotonic_ns()
        self._ticks = 0
        self.clocks: list[Clock] = []
        self._zones = self._zones_of(card)
        self.memory = SharedMemory(dict(self._zones), seed=seed)
        self.trace = Trace(self.now_ns, self.memory)
        self._vectors = VectorTable(
            card, card.vectors, lambda vector: self.trace.interrupt(f"vector {vector}")
        )
        self._intx = Intx(card, self._pending, self._intx_heard)
        self._msix_at: int | None = None
        self._table = 0, 0  # BAR and offset
        self._enumerate()

    def _zones_of(self, card: Card) -> list[Zone]:
        if not card.group.iommu:
            self._pinned = [Pinned(locked=True)]
            return physical_zones(self._pinned[0])
        self._pinned = [Pinned(locked=False) for _ in ADDRESSES]
        zones = list(zip(ADDRESSES, self._pinned, strict=True))
        for iova, pinned in zones:
            card.map(pinned.address, iova, pinned.size)
        return [(iova, Words(pinned.address, ZONE_BYTES)) for iova, pinned in zones]

    def _enumerate(self) -> None:
        self._io_bars = {
            bar
            for bar in self.card.regions
            if bar < CONFIG_REGION - 1
            and self.card.read(CONFIG_REGION, ConfigOffset.BAR0 + 4 * bar, 4) & BAR_IO
        }
        command = Command.MEMORY_SPACE | Command.BUS_MASTER | (Command.IO_SPACE if self._io_bars else 0)
        self.card.write(CONFIG_REGION, ConfigOffset.COMMAND, 2, command)
        for found in run(walk(self)):
            if found.identity == Capability.MSIX and self._msix_at is None:
                pointer = self.card.read(CONFIG_REGION, found.position + 4, 4)
                self._msix_at, self._table = found.position, (pointer & 7, pointer & ~7)
        self._intx.enable(self.card.has_intx)

    def _pending(self) -> bool:
        return bool(self.card.read(CONFIG_REGION, ConfigOffset.STATUS, 2) & Status.INTERRUPT)

    def _intx_heard(self, level: bool) -> None:
        self.trace.interrupt("INTA asserted" if level else "INTA deasserted")

    # -- registers ---------------------------------------------------------------------------------

    async def config_read(self, offset: int, size: int) -> int:
        """See :class:`Host`."""
        with _answered("a read of configuration space"):
            value = self.card.read(CONFIG_REGION, offset, size)
        if self._in_control(offset, size) and self._vectors.bits & MsixMessageControl.FUNCTION_MASK:
            assert self._msix_at is not None
            value |= MsixMessageControl.FUNCTION_MASK << 8 * (self._msix_at + 2 - offset)
        self.trace.access(None, offset, size, value, write=False)
        self._accessed()
        return value

    async def config_write(self, offset: int, size: int, value: int) -> None:
        """See :class:`Host`."""
        self.trace.access(None, offset, size, value, write=True)
        if self._in_control(offset, size):
            assert self._msix_at is not None
            at = self._msix_at + 2 - offset
            self._set_control(value >> 8 * at if at >= 0 else value << -8 * at)
        else:
            with _answered("a write to configuration space"):
                self.card.write(CONFIG_REGION, offset, size, value)
        self._accessed()

    def _in_control(self, offset: int, size: int) -> bool:
        """Whether an access covers the upper byte of Message Control, where its bits are."""
        return self._msix_at is not None and offset <= self._msix_at + 3 < offset + size

    def _set_control(self, bits: int) -> None:
        if bits & MsixMessageControl.ENABLE:
            self._intx.enable(False)
        self._vectors.control(bits)
        if not bits & MsixMessageControl.ENABLE:
            self._intx.enable(self.card.has_intx)

    async def bar_read(self, bar: int, offset: int, size: int) -> int:
        """See :class:`Host`."""
        self._check(bar, offset, size)
        if (at := self._in_table(bar, offset)) is not None:
            value = self._vectors.read(at) >> 8 * (offset % 4) & (1 << 8 * size) - 1
        else:
            with _answered(f"a read of BAR {bar}"):
                value = self.card.read(bar, offset, size)
        self.trace.access(bar, offset, size, value, write=False)
        self._accessed()
        return value

    async def bar_write(self, bar: int, offset: int, size: int, value: int) -> None:
        """See :class:`Host`."""
        self._check(bar, offset, size)
        self.trace.access(bar, offset, size, value, write=True)
        if (at := self._in_table(bar, offset)) is not None:
            self._vectors.write(at, value)
        else:
            with _answered(f"a write to BAR {bar}"):
                self.card.write(bar, offset, size, value)
        self._accessed()

    def _check(self, bar: int, offset: int, size: int) -> None:
        if bar in self._io_bars:
            check_io(offset, size)

    def _in_table(self, bar: int, offset: int) -> int | None:
        """Where in the MSI-X table an offset is."""
        table_bar, table = self._table
        inside = bar == table_bar and 0 <= offset - table < ENTRY_BYTES * self.card.vectors
        return offset - table & ~3 if inside else None

    def _accessed(self) -> None:
        self._tick()
        self.memory.look()

    # -- interrupts --------------------------------------------------------------------------------

    def msix_message(self, vector: int) -> tuple[int, int]:
        """See :class:`Host`."""
        return self._vectors.message(vector)

    def interrupts(self, vector: int) -> int:
        """See :class:`Host`."""
        return self._vectors.count(vector)

    def intx(self) -> bool:
        """See :class:`Host`."""
        return self._intx.level()

    def intx_asserted(self) -> int:
        """See :class:`Host`."""
        self._intx.level()
        return self._intx.assertions

    # -- time --------------------------------------------------------------------------------------

    async def until(self, condition: Callable[[], bool], *, timeout_ns: int = 1_000_000) -> None:
        """See :class:`Host`."""
        end = time.monotonic() + max(timeout_ns * 1e-9, TIMES * self._patience_s)
        looks = 0
        while True:
            late = time.monotonic() > end
            self._accessed()
            if condition():
                return
            if late:
                raise HostTimeout(f"did not happen within {timeout_ns} ns, nor long after")
            looks += 1
            if looks > PROMPT:
                time.sleep(LOOK_S)

    async def sleep(self, ns: int) -> None:
        """See :class:`Host`."""
        time.sleep(max(ns * 1e-9, self._patience_s))
        self._tick()
        self.memory.look(everywhere=True)

    def _tick(self) -> None:
        passed = self.now_ns() // 1_000 - self._ticks
        self._ticks += passed
        for clock in self.clocks if passed else ():
            clock.advance(passed)

    def now_ns(self) -> int:
        """See :class:`Host`."""
        return time.monotonic_ns() - self._started

    def close(self) -> None:
        """Reset the card and give it back; the host cannot be used any more."""
        self.card.close()
        self._vectors.close()
        self._intx.close()
        for pinned in self._pinned:
            pinned.close()

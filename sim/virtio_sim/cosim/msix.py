"""How a message that the device writes becomes an interrupt of the client.

The device has an MSI-X table and sends what stands in it: a memory write. Who fills the table in is
told by :class:`Table`:

``client``
    The protocol's way, and the default: the client emulates a table for its guest and gives an eventfd
    for each vector it uses. The guest never reaches the device's table, so the server fills it in, with
    addresses of its own (:data:`MESSAGES`) and the vector's number as data; such a message signals the
    eventfd. A vector without an eventfd, or masked by the client, is masked in the device, which then
    shows it in its own pending bits.
``device``
    The guest fills in the device's own table, as with a card: no emulation is between its driver and
    the device. QEMU knows no such mode. It reads configuration space once and whole, when the device is
    attached, and takes its list of capabilities from there; a list that is hidden in this one read is
    a list it does not emulate, and later accesses of the guest, of 4 bytes at most, see the
    device's own. The messages go to the client as DMA_WRITE without reply. A habit of QEMU 11.1, not a
    promise.
"""

import enum
from collections.abc import Container

from virtio_spec import pci, wire
from virtio_spec.pci import Capability, Command, ConfigOffset, MsixMessageControl, Status

from .function import CONFIG_REGION, Function

__all__ = ["MESSAGES", "DeviceTable", "Table", "hide_capabilities"]

#: Where the server lets vectors write: at the end of the address space, where no guest has memory.
MESSAGES = 0xFFFF_FFFF_FEE0_0000

ENTRY = wire.size(pci.MsixEntry)


class Table(enum.StrEnum):
    """Whose MSI-X table the guest programs."""

    CLIENT = "client"
    DEVICE = "device"


def hide_capabilities(config: bytes) -> bytes:
    """Configuration space as if it had no list of capabilities."""
    hidden = bytearray(config)
    hidden[ConfigOffset.STATUS] &= ~Status.CAPABILITIES_LIST & 0xFF
    hidden[ConfigOffset.CAPABILITIES_POINTER] = 0
    return bytes(hidden)


def find_capabilities(function: Function) -> dict[int, int]:
    """Offset of the first capability of each ID."""
    found: dict[int, int] = {}
    seen: set[int] = set()
    if not function.config_read(ConfigOffset.STATUS, 2) & Status.CAPABILITIES_LIST:
        return found
    offset = function.config_read(ConfigOffset.CAPABILITIES_POINTER, 1) & ~3
    while offset and offset not in seen:
        seen.add(offset)
        found.setdefault(function.config_read(offset, 1), offset)
        offset = function.config_read(offset + 1, 1) & ~3
    return found


class DeviceTable:
    """The device's MSI-X table, filled in by the server.

    Parameters
    ----------
    function
        The device.

    Attributes
    ----------
    vectors
        Entries; 0 if the device has no MSI-X.
    """

    def __init__(self, function: Function):
        self._function = function
        self.vectors = self._bar = self._offset = 0
        self._written: dict[int, bool] = {}
        capabilities = find_capabilities(function)
        self._control = capabilities.get(Capability.MSIX, 0)
        # A write to one of these may bring the table into use, anew after a reset, or into reach.
        self._touchy = {ConfigOffset.COMMAND, *range(ConfigOffset.BAR0, ConfigOffset.CARDBUS_CIS)}
        if self._control:
            self._touchy.update((self._control + 2, self._control + 3))
            self.vectors = (function.config_read(self._control + 2, 2) & 0x7FF) + 1
            where = function.config_read(self._control + 4, 4)
            self._bar, self._offset = where & 7, where & ~7

    def covers(self, region: int, offset: int, count: int) -> bool:
        """Whether an access touches the table."""
        start, end = self._offset, self._offset + ENTRY * self.vectors
        return region == self._bar and offset < end and start < offset + count

    def forget(self, region: int, offset: int, count: int) -> bool:
        """The client has written to a region; whether :meth:`fill_in` has to look at the table again."""
        if region != CONFIG_REGION or self._touchy.isdisjoint(range(offset, offset + count)):
            return False
        self._written.clear()
        return True

    def fill_in(self, live: Container[int]) -> None:
        """Bring the table up to date, if it is in use and can be reached: vectors not ``live`` are masked."""
        if not self.vectors:
            return
        function = self._function
        if not function.config_read(self._control + 2, 2) & MsixMessageControl.ENABLE:
            return
        if not function.config_read(ConfigOffset.COMMAND, 2) & Command.MEMORY_SPACE:
            return
        for vector in range(self.vectors):
            masked = vector not in live
            if self._written.get(vector) != masked:
                self._write(vector, masked)
                self._written[vector] = masked

    def _write(self, vector: int, masked: bool) -> None:
        at = self._offset + ENTRY * vector
        address = MESSAGES + ENTRY * vector
        put = self._function.bar_write
        if vector not in self._written:
            put(self._bar, at + 12, 4, 1)
            put(self._bar, at, 4, address & 0xFFFF_FFFF)
            put(self._bar, at + 4, 4, address >> 32)
            put(self._bar, at + 8, 4, vector)
        put(self._bar, at + 12, 4, int(masked))

    def vector_of(self, address: int, data: int) -> int | None:
        """The vector whose message this is, or ``None``."""
        mine = address == MESSAGES + ENTRY * data
        return data if mine and data < self.vectors else None

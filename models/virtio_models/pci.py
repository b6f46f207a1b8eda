"""A PCI Express function as software sees it: configuration space, BARs, power, FLR.

What lies behind the BARs is given as a :class:`Registers`, but for the MSI-X table.
"""

from typing import Protocol

from virtio_spec import layout, pci, wire
from virtio_spec.pci import Command, ConfigOffset, Status
from virtio_spec.virtio_pci import Interface, VirtioPciCap

from .config_space import ConfigSpace, Identity
from .dma import Dma
from .interrupts import Interrupts

__all__ = ["MAX_VECTORS", "PciFunction", "Registers", "RequestRetry", "UnsupportedRequest"]

#: Entries of the MSI-X table that fit below the pending bits.
MAX_VECTORS = (layout.MSIX_PBA_OFFSET - layout.MSIX_TABLE_OFFSET) // wire.size(pci.MsixEntry)

D3HOT = 3
WINDOW_LENGTHS = (1, 2, 4)


class UnsupportedRequest(Exception):
    """The function completes the request with UR."""


class RequestRetry(Exception):
    """The function is being reset and completes the configuration request with RRS."""


class Registers(Protocol):
    """What lies behind the BARs, dword by dword."""

    def read(self, offset: int, enable: int) -> int:
        """The dword at ``offset`` of the structures; side effects on the bytes of ``enable`` only."""
        ...

    def write(self, offset: int, enable: int, value: int) -> None:
        """Write the bytes of the mask ``enable`` of the dword at ``offset`` of the structures."""
        ...

    def legacy_read(self, offset: int, enable: int) -> int:
        """The same in I/O space."""
        ...

    def legacy_write(self, offset: int, enable: int, value: int) -> None:
        """The same in I/O space."""
        ...

    def function_reset(self) -> int:
        """Reset everything; returns for how many configuration requests that lasts."""
        ...

    def interrupt_status(self) -> bool:
        """PCI Interrupt Status: whether there is something to interrupt for, and not by MSI-X."""
        ...


class PciFunction(Interrupts):
    """Configuration space and BARs.

    Parameters
    ----------
    identity
        What the function says it is.
    registers
        Behind the BARs.
    dma
        The way to host memory.
    interface
        Which BARs and virtio capabilities there are.
    device_config
        Whether there is a device configuration structure.

    Attributes
    ----------
    config
        Configuration space as it is.
    """

    def __init__(
        self,
        identity: Identity,
        registers: Registers,
        dma: Dma,
        *,
        interface: Interface = Interface.MODERN,
        device_config: bool,
    ):
        if not 0 <= identity.vectors <= MAX_VECTORS:
            raise ValueError(f"a function has 0 to {MAX_VECTORS} MSI-X vectors here, not {identity.vectors}")
        self.identity, self.interface, self.registers = identity, interface, registers
        self._retries = 0
        config = ConfigSpace(identity, interface=interface, device_config=device_config)
        super().__init__(config, dma, identity.vectors)

    # -- configuration space -----------------------------------------------------------------------

    def config_read(self, offset: int, size: int) -> int:
        """Read 1, 2 or 4 bytes, naturally aligned; :class:`RequestRetry` during a function level reset."""
        self._ready()
        status = self.config.get(ConfigOffset.STATUS, 2) & ~Status.INTERRUPT
        if self.registers.interrupt_status():
            status |= Status.INTERRUPT
        self.config.put(ConfigOffset.STATUS, 2, status)
        if self._in_window(offset):
            return self._window_read(offset, size)
        return self.config.get(offset, size)

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Write 1, 2 or 4 bytes, naturally aligned; :class:`RequestRetry` during a function level reset."""
        self._ready()
        if self._in_window(offset):
            self._window_write(offset, size, value)
            return
        self.config.write(offset, size, value)
        if (
            offset <= self.config.pcie + 9 < offset + size
            and value >> 8 * (self.config.pcie + 9 - offset) & 0x80
        ):
            self._function_level_reset()
        self._send_pending()
        self.update_intx()

    def _ready(self) -> None:
        if self._retries:
            self._retries -= 1
            raise RequestRetry("function level reset")

    def _function_level_reset(self) -> None:
        self.config.function_level_reset()
        self._reset_msix()
        self._retries = self.registers.function_reset()
        self.update_intx()

    def intx_wanted(self) -> bool:
        """Whether Interrupt Status is set, and the function awake."""
        return self.registers.interrupt_status() and self._awake

    @property
    def bus_master(self) -> bool:
        """Whether the function may access host memory."""
        return bool(self.config.get(ConfigOffset.COMMAND, 2) & Command.BUS_MASTER) and self._awake

    @property
    def _awake(self) -> bool:
        return self.config.get(self.config.pm + 4, 2) & 3 != D3HOT

    # -- PCI_CFG window, virtio 1.4 §4.1.4.9 -----------------------------------------------------------

    def _in_window(self, offset: int) -> bool:
        data = self.config.window + 16
        return bool(self.config.window) and data <= offset < data + 4

    def _target(self) -> tuple[int, int, int] | None:
        raw = self.config.bytes[self.config.window : self.config.window + wire.size(VirtioPciCap)]
        cap = wire.unpack(VirtioPciCap, raw)
        if cap.length not in WINDOW_LENGTHS or cap.offset % cap.length:
            return None
        return None if cap.offset + cap.length > self._size(cap.bar) else (cap.bar, cap.offset, cap.length)

    def _size(self, bar: int) -> int:
        """Of a BAR in either space; 0 if there is none."""
        if bar == layout.LEGACY_BAR and self.interface.has_legacy:
            return layout.LEGACY_BAR_SIZE
        return self.config.memory_bars.get(bar, 0)

    def _window_read(self, offset: int, size: int) -> int:
        if (target := self._target()) is None:
            return 0
        data = self._access(*target).to_bytes(4, "little")
        start = offset - self.config.window - 16
        return int.from_bytes(data[start : start + size], "little")

    def _window_write(self, offset: int, size: int, value: int) -> None:
        start = offset - self.config.window - 16
        if (target := self._target()) is not None:
            self._access(*target, value << 8 * start & (1 << 8 * target[2]) - 1)

    # -- BARs --------------------------------------------------------------------------------------

    def bar_address(self, bar: int) -> int:
        """Where software put a BAR."""
        size = 8 if bar == layout.MODERN_BAR else 4
        kind = 0x3 if bar == layout.LEGACY_BAR else 0xF
        return self.config.get(ConfigOffset.BAR0 + 4 * bar, size) & ~kind

    def bar_read(self, bar: int, offset: int, size: int) -> int:
        """One read of 1, 2, 4 or, in memory space, 8 bytes; :class:`UnsupportedRequest`."""
        self._decode(bar, offset, size)
        return self._access(bar, offset, size)

    def bar_write(self, bar: int, offset: int, size: int, value: int) -> None:
        """One write of 1, 2, 4 or, in memory space, 8 bytes; :class:`UnsupportedRequest`."""
        self._decode(bar, offset, size)
        self._access(bar, offset, size, value)

    def _decode(self, bar: int, offset: int, size: int) -> None:
        io = bar == layout.LEGACY_BAR and self.interface.has_legacy
        if io and offset % 4 + size > 4:
            raise ValueError(f"{size} bytes at {offset:#x} are no I/O access")
        space = Command.IO_SPACE if io else Command.MEMORY_SPACE
        enabled = self.config.get(ConfigOffset.COMMAND, 2) & space
        if not 0 <= offset <= self._size(bar) - size or not enabled or not self._awake:
            raise UnsupportedRequest(f"{size} bytes at {offset:#x} of BAR {bar}")

    def _access(self, bar: int, offset: int, size: int, value: int | None = None) -> int:
        """Dword by dword; a write with ``value``."""
        result, done = 0, 0
        while done < size:
            dword, start = (offset + done) & ~3, (offset + done) & 3
            count = min(4 - start, size - done)
            enable = (1 << count) - 1 << start
            if value is None:
                got = self._read_dword(bar, dword, enable) >> 8 * start & (1 << 8 * count) - 1
                result |= got << 8 * done
            else:
                part = value >> 8 * done & (1 << 8 * count) - 1
                self._write_dword(bar, dword, enable, part << 8 * start)
            done += count
        return result

    def _read_dword(self, bar: int, offset: int, enable: int) -> int:
        if bar == layout.LEGACY_BAR:
            return self.registers.legacy_read(offset, enable)
        if bar == layout.MODERN_BAR:
            return self.registers.read(offset, enable)
        if offset < len(self._table):
            return int.from_bytes(self._table[offset : offset + 4], "little")
        word = (offset - layout.MSIX_PBA_OFFSET) // 4
        return sum(1 << v % 32 for v in self._pending if v // 32 == word)

    def _write_dword(self, bar: int, offset: int, enable: int, value: int) -> None:
        if bar == layout.LEGACY_BAR:
            self.registers.legacy_write(offset, enable, value)
        elif bar == layout.MODERN_BAR:
            self.registers.write(offset, enable, value)
        elif offset < len(self._table):
            for byte in range(4):
                if enable >> byte & 1:
                    self._table[offset + byte] = value >> 8 * byte & (0x01 if offset % 16 == 12 else 0xFF)
            self._send_pending()

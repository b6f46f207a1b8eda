"""A PCI Express function as software sees it: configuration space, BARs, MSI-X, power, FLR.

What lies behind the BARs is given as a :class:`Registers`; the MSI-X table is this module's own.
"""

from dataclasses import dataclass
from typing import Protocol

from virtio_spec import layout, pci, virtio_pci, wire
from virtio_spec.pci import Capability, Command, ConfigOffset, MsixMessageControl, Status
from virtio_spec.virtio import NO_VECTOR
from virtio_spec.virtio_pci import CfgType, VirtioPciCap, VirtioPciCfgCap, VirtioPciNotifyCap

__all__ = ["Dma", "DmaError", "Identity", "PciFunction", "Registers", "RequestRetry", "UnsupportedRequest"]

CONFIG_BYTES = 256
PM_BYTES, PCIE_BYTES, MSIX_BYTES = 8, 60, 12
D3HOT = 3
WINDOW_LENGTHS = (1, 2, 4)


class UnsupportedRequest(Exception):
    """The function completes the request with UR."""


class RequestRetry(Exception):
    """The function is being reset and completes the configuration request with RRS."""


class DmaError(Exception):
    """The host did not answer a read with data."""


class Dma(Protocol):
    """The way to host memory."""

    def read(self, address: int, length: int, /) -> bytes:
        """Bytes from host memory; :class:`DmaError`."""
        ...

    def write(self, address: int, data: bytes, /) -> None:
        """Posted write into host memory."""
        ...

    def interrupt(self, address: int, data: int, /) -> None:
        """An MSI-X message: a posted write of one dword."""
        ...


class Registers(Protocol):
    """What lies behind the structures BAR, dword by dword."""

    def read(self, offset: int, enable: int) -> int:
        """The dword at ``offset``; side effects on the bytes of the mask ``enable`` only."""
        ...

    def write(self, offset: int, enable: int, value: int) -> None:
        """Write the bytes of the mask ``enable`` of the dword at ``offset``."""
        ...

    def function_reset(self) -> int:
        """Reset everything; returns for how many configuration requests that lasts."""
        ...

    def interrupt_status(self) -> bool:
        """Whether INTx would be asserted."""
        ...


@dataclass(frozen=True)
class Identity:
    """Identification of a function, and its number of MSI-X vectors."""

    vendor_id: int
    device_id: int
    revision_id: int
    class_code: int
    subsystem_vendor_id: int
    subsystem_id: int
    vectors: int


class _Config:
    """Bytes of configuration space, and which of their bits software may write."""

    def __init__(self) -> None:
        self.bytes = bytearray(CONFIG_BYTES)
        self.writable = bytearray(CONFIG_BYTES)
        self.init = bytes(CONFIG_BYTES)

    def put(self, offset: int, size: int, value: int, *, writable: int = 0) -> None:
        self.bytes[offset : offset + size] = value.to_bytes(size, "little")
        self.writable[offset : offset + size] = writable.to_bytes(size, "little")

    def get(self, offset: int, size: int) -> int:
        return int.from_bytes(self.bytes[offset : offset + size], "little")


class PciFunction:
    """Configuration space and memory BARs.

    Parameters
    ----------
    identity
        What the function says it is.
    registers
        Behind the structures BAR.
    dma
        The way to host memory.
    device_config
        Whether there is a device configuration structure.
    """

    def __init__(self, identity: Identity, registers: Registers, dma: Dma, *, device_config: bool):
        if not 1 <= identity.vectors <= layout.MSIX_PBA_OFFSET // 16:
            raise ValueError(f"a function has 1 to 128 MSI-X vectors here, not {identity.vectors}")
        self.identity, self.registers, self.dma = identity, registers, dma
        self._config = _Config()
        self._fill_header()
        self._fill_capabilities(device_config)
        self._config.init = bytes(self._config.bytes)
        self._retries = 0
        self._table = bytearray()
        self._pending: set[int] = set()
        self._reset_msix()

    # -- layout ------------------------------------------------------------------------------------

    def _fill_header(self) -> None:
        who, put = self.identity, self._config.put
        put(ConfigOffset.VENDOR_ID, 2, who.vendor_id)
        put(ConfigOffset.DEVICE_ID, 2, who.device_id)
        command = Command.MEMORY_SPACE | Command.BUS_MASTER | Command.PARITY_ERROR_RESPONSE
        command |= Command.SERR_ENABLE | Command.INTERRUPT_DISABLE
        put(ConfigOffset.COMMAND, 2, 0, writable=command)
        put(ConfigOffset.STATUS, 2, Status.CAPABILITIES_LIST)
        put(ConfigOffset.REVISION_ID, 1, who.revision_id)
        put(ConfigOffset.CLASS_CODE, 3, who.class_code)
        put(ConfigOffset.CACHE_LINE_SIZE, 1, 0, writable=0xFF)
        put(ConfigOffset.SUBSYSTEM_VENDOR_ID, 2, who.subsystem_vendor_id)
        put(ConfigOffset.SUBSYSTEM_ID, 2, who.subsystem_id)
        put(ConfigOffset.INTERRUPT_LINE, 1, 0, writable=0xFF)
        put(ConfigOffset.INTERRUPT_PIN, 1, 1)
        put(ConfigOffset.CAPABILITIES_POINTER, 1, pci.CAPABILITIES_OFFSET)
        bars = ConfigOffset.BAR0
        put(bars + 4 * layout.MSIX_BAR, 4, 0, writable=-layout.MSIX_BAR_SIZE & 0xFFFF_FFFF)
        size = -layout.MODERN_BAR_SIZE & 0xFFFF_FFFF_FFFF_FFFF
        put(bars + 4 * layout.MODERN_BAR, 8, 0b1100, writable=size)  # 64 bits, prefetchable

    def _fill_capabilities(self, device_config: bool) -> None:
        put = self._config.put
        self.pm = position = pci.CAPABILITIES_OFFSET
        put(position, 4, Capability.POWER_MANAGEMENT | 3 << 16)  # version 3, no PME
        put(position + 4, 2, 1 << 3, writable=3)  # No_Soft_Reset; PowerState
        previous, position = position, position + PM_BYTES
        self.pcie = position
        put(position, 4, Capability.PCI_EXPRESS | 2 << 16)  # version 2, endpoint
        put(position + 4, 4, 1 << 5 | 1 << 15 | 1 << 28)  # extended tags, role-based errors, FLR
        control = (1 << 15) - 1 & ~(1 << 9 | 1 << 10)
        put(position + 8, 2, 2 << 12 | 1 << 4 | 1 << 11, writable=control)
        put(position + 12, 4, 1 << 4 | 1)  # x1, 2.5 GT/s
        put(position + 18, 2, 1 << 4 | 1)
        previous = self._link(previous, position)
        position += PCIE_BYTES
        self.msix = position
        put(position, 2, Capability.MSIX)
        put(position + 2, 2, self.identity.vectors - 1, writable=0xC000)
        put(position + 4, 4, layout.MSIX_TABLE_OFFSET | layout.MSIX_BAR)
        put(position + 8, 4, layout.MSIX_PBA_OFFSET | layout.MSIX_BAR)
        previous = self._link(previous, position)
        position += MSIX_BYTES
        structures = [
            (CfgType.COMMON, layout.COMMON_OFFSET, layout.COMMON_LENGTH),
            (CfgType.NOTIFY, layout.NOTIFY_OFFSET, layout.NOTIFY_LENGTH),
            (CfgType.ISR, layout.ISR_OFFSET, layout.ISR_LENGTH),
            (CfgType.DEVICE, layout.DEVICE_OFFSET, layout.DEVICE_LENGTH),
            (CfgType.PCI, 0, 0),
        ]
        for kind, offset, length in structures:
            if kind == CfgType.DEVICE and not device_config:
                continue
            cap = {
                "cap_vndr": Capability.VENDOR,
                "cfg_type": kind,
                "bar": 0 if kind == CfgType.PCI else layout.MODERN_BAR,
                "offset": offset,
                "length": length,
            }
            if kind == CfgType.NOTIFY:
                cap["cap_len"] = wire.size(VirtioPciNotifyCap)
                raw = wire.pack(VirtioPciNotifyCap, cap=cap, notify_off_multiplier=layout.NOTIFY_MULTIPLIER)
            elif kind == CfgType.PCI:
                cap["cap_len"] = wire.size(VirtioPciCfgCap)
                raw = wire.pack(VirtioPciCfgCap, cap=cap)
                self.window = position
                self._config.writable[position + 4] = 0xFF
                self._config.writable[position + 8 : position + 16] = b"\xff" * 8
            else:
                cap["cap_len"] = wire.size(VirtioPciCap)
                raw = wire.pack(VirtioPciCap, **cap)
            self._config.bytes[position : position + len(raw)] = raw
            previous = self._link(previous, position)
            position += len(raw)

    def _link(self, previous: int, position: int) -> int:
        self._config.bytes[previous + 1] = position
        return position

    # -- configuration space -----------------------------------------------------------------------

    def config_read(self, offset: int, size: int) -> int:
        """Read 1, 2 or 4 bytes, naturally aligned; :class:`RequestRetry` during a function level reset."""
        self._ready()
        status = self._config.get(ConfigOffset.STATUS, 2) & ~Status.INTERRUPT
        if self.registers.interrupt_status():
            status |= Status.INTERRUPT
        self._config.bytes[ConfigOffset.STATUS : ConfigOffset.STATUS + 2] = status.to_bytes(2, "little")
        if self._in_window(offset):
            return self._window_read(offset, size)
        return self._config.get(offset, size)

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Write 1, 2 or 4 bytes, naturally aligned; :class:`RequestRetry` during a function level reset."""
        self._ready()
        if self._in_window(offset):
            self._window_write(offset, size, value)
            return
        for position, byte in enumerate(value.to_bytes(size, "little"), offset):
            mask = self._config.writable[position]
            self._config.bytes[position] = self._config.bytes[position] & ~mask & 0xFF | byte & mask
        if offset <= self.pcie + 9 < offset + size and value >> 8 * (self.pcie + 9 - offset) & 0x80:
            self._function_level_reset()
        self._send_pending()

    def _ready(self) -> None:
        if self._retries:
            self._retries -= 1
            raise RequestRetry("function level reset")

    def _function_level_reset(self) -> None:
        max_payload = self._config.get(self.pcie + 8, 2) & 7 << 5
        self._config.bytes[:] = self._config.init
        kept = self._config.get(self.pcie + 8, 2) & ~(7 << 5) | max_payload  # FLR leaves it alone, §6.6.2
        self._config.bytes[self.pcie + 8 : self.pcie + 10] = kept.to_bytes(2, "little")
        self._reset_msix()
        self._retries = self.registers.function_reset()

    @property
    def bus_master(self) -> bool:
        """Whether the function may access host memory."""
        return bool(self._config.get(ConfigOffset.COMMAND, 2) & Command.BUS_MASTER) and self._awake

    @property
    def _awake(self) -> bool:
        return self._config.get(self.pm + 4, 2) & 3 != D3HOT

    # -- PCI_CFG window, virtio 1.4 §4.1.4.9 -----------------------------------------------------------

    def _in_window(self, offset: int) -> bool:
        return self.window + 16 <= offset < self.window + 20

    def _target(self) -> tuple[int, int, int] | None:
        raw = self._config.bytes[self.window : self.window + wire.size(VirtioPciCap)]
        cap = wire.unpack(VirtioPciCap, raw)
        size = {layout.MSIX_BAR: layout.MSIX_BAR_SIZE, layout.MODERN_BAR: layout.MODERN_BAR_SIZE}.get(cap.bar)
        if size is None or cap.length not in WINDOW_LENGTHS or cap.offset % cap.length:
            return None
        return None if cap.offset + cap.length > size else (cap.bar, cap.offset, cap.length)

    def _window_read(self, offset: int, size: int) -> int:
        if (target := self._target()) is None:
            return 0
        data = self._access(*target).to_bytes(4, "little")
        start = offset - self.window - 16
        return int.from_bytes(data[start : start + size], "little")

    def _window_write(self, offset: int, size: int, value: int) -> None:
        start = offset - self.window - 16
        if (target := self._target()) is not None:
            self._access(*target, value << 8 * start & (1 << 8 * target[2]) - 1)

    # -- memory BARs -------------------------------------------------------------------------------

    def bar_address(self, bar: int) -> int:
        """Where software put a BAR."""
        size = 8 if bar == layout.MODERN_BAR else 4
        return self._config.get(ConfigOffset.BAR0 + 4 * bar, size) & ~0xF

    def bar_read(self, bar: int, offset: int, size: int) -> int:
        """One memory read of 1, 2, 4 or 8 bytes; :class:`UnsupportedRequest`."""
        self._decode(bar, offset, size)
        return self._access(bar, offset, size)

    def bar_write(self, bar: int, offset: int, size: int, value: int) -> None:
        """One memory write of 1, 2, 4 or 8 bytes; :class:`UnsupportedRequest`."""
        self._decode(bar, offset, size)
        self._access(bar, offset, size, value)

    def _decode(self, bar: int, offset: int, size: int) -> None:
        lengths = {layout.MSIX_BAR: layout.MSIX_BAR_SIZE, layout.MODERN_BAR: layout.MODERN_BAR_SIZE}
        enabled = self._config.get(ConfigOffset.COMMAND, 2) & Command.MEMORY_SPACE
        if bar not in lengths or not 0 <= offset <= lengths[bar] - size or not enabled or not self._awake:
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
        if bar == layout.MODERN_BAR:
            return self.registers.read(offset, enable)
        if offset < len(self._table):
            return int.from_bytes(self._table[offset : offset + 4], "little")
        word = (offset - layout.MSIX_PBA_OFFSET) // 4
        return sum(1 << v % 32 for v in self._pending if v // 32 == word)

    def _write_dword(self, bar: int, offset: int, enable: int, value: int) -> None:
        if bar == layout.MODERN_BAR:
            self.registers.write(offset, enable, value)
        elif offset < len(self._table):
            for byte in range(4):
                if enable >> byte & 1:
                    self._table[offset + byte] = value >> 8 * byte & (0x01 if offset % 16 == 12 else 0xFF)
            self._send_pending()

    # -- MSI-X, PCIe 5.0 §6.1.4 ----------------------------------------------------------------------

    def _reset_msix(self) -> None:
        self._table = bytearray(wire.pack(pci.MsixEntry, masked=1) * self.identity.vectors)
        self._pending.clear()

    def forget_interrupts(self) -> None:
        """A virtio reset takes back messages that were not sent yet."""
        self._pending.clear()

    @property
    def msix_enabled(self) -> bool:
        """Whether MSI-X is in use instead of INTx."""
        return bool(self._config.get(self.msix + 2, 2) & MsixMessageControl.ENABLE)

    def raise_vector(self, vector: int) -> None:
        """Send the message of ``vector``, or hold it as pending while it is masked."""
        if vector != NO_VECTOR and self.msix_enabled:
            self._pending.add(vector)
            self._send_pending()

    def _send_pending(self) -> None:
        control = self._config.get(self.msix + 2, 2)
        if control & MsixMessageControl.FUNCTION_MASK or not self.msix_enabled or not self.bus_master:
            return
        for vector in sorted(self._pending):
            entry = wire.unpack(pci.MsixEntry, self._table[16 * vector : 16 * vector + 16])
            if not entry.masked:
                self._pending.discard(vector)
                self.dma.interrupt(entry.address_high << 32 | entry.address_low, entry.data)


def modern_identity(device_type: int, class_code: int, vectors: int) -> Identity:
    """A non-transitional virtio function.  [virtio 1.4 §4.1.2]"""
    return Identity(
        vendor_id=virtio_pci.VENDOR_ID,
        device_id=virtio_pci.MODERN_DEVICE_ID_BASE + device_type,
        revision_id=1,
        class_code=class_code,
        subsystem_vendor_id=virtio_pci.VENDOR_ID,
        subsystem_id=0x1100,
        vectors=vectors,
    )

"""What a function's configuration space says, learnt from the accesses that pass by."""

from dataclasses import dataclass

from virtio_spec.pci import Capability, Command, ConfigOffset, DeviceControl, MsixMessageControl
from virtio_spec.wire import unpack

__all__ = ["ConfigShadow", "Settings"]

_DEVICE_CONTROL = 0x08  # offset in the PCI Express capability
_INITIATE_FLR = 1 << 15
#: After a reset: 512-byte reads, relaxed ordering and no-snoop on; extended tags may be either.
_DEVICE_CONTROL_RESET = 0x2910
_MAX_PAYLOAD_FIELD = 0x00E0


@dataclass(frozen=True)
class Settings:
    """What the host allows the function to do; ``intx`` is whether it may assert INTx."""

    bus_master: bool
    max_payload: int
    max_read_request: int
    extended_tag: bool
    relaxed_ordering: bool
    no_snoop: bool
    msix: bool
    intx: bool


class ConfigShadow:
    """Values of the configuration registers that were read or written.

    The capability list is walked over what the host has read itself, so nothing needs to be told.
    """

    def __init__(self) -> None:
        self._dwords: dict[int, int] = {}
        self._known: dict[int, int] = {}  # bits of them that were seen
        self._settings: Settings | None = None
        self._interrupt_pin: int | None = None

    def read(self, offset: int, byte_enable: int, value: int) -> None:
        """The function answered a read of the dword at ``offset``."""
        if offset == ConfigOffset.INTERRUPT_LINE and byte_enable & 0b0010:
            self._interrupt_pin = value >> 8 & 0xFF
        self._store(offset, _mask(byte_enable), value)

    def write(self, offset: int, byte_enable: int, value: int) -> bool:
        """The host wrote the dword at ``offset``; whether that initiated a function-level reset."""
        writable = self._writable().get(offset, 0) & _mask(byte_enable)
        if writable & value & _INITIATE_FLR and offset != ConfigOffset.COMMAND:
            self._reset(offset)
            return True
        self._store(offset, writable & ~_INITIATE_FLR, value)
        return False

    def link_reset(self) -> None:
        """All registers are as after power-on; where they are is known as before."""
        express = self._capability(Capability.PCI_EXPRESS)
        if express is not None:
            self._dwords[express + _DEVICE_CONTROL] = 0
            self._reset(express + _DEVICE_CONTROL)

    def concerns(self, offset: int) -> bool:
        """Whether a write to the dword at ``offset`` has a say in :meth:`settings`."""
        return offset in self._writable()

    def settings(self) -> Settings:
        """What holds now."""
        if self._settings is None:
            self._settings = self._derive()
        return self._settings

    def _derive(self) -> Settings:
        command = self._dwords.get(ConfigOffset.COMMAND, 0)
        express, msix = self._capability(Capability.PCI_EXPRESS), self._capability(Capability.MSIX)
        word = _DEVICE_CONTROL_RESET
        if express is not None:
            known = self._known.get(express + _DEVICE_CONTROL, 0) & 0xFFFF
            word = word & ~known | self._dwords.get(express + _DEVICE_CONTROL, 0) & known
        control = unpack(DeviceControl, word.to_bytes(2, "little"))
        message_control = 0 if msix is None else self._dwords.get(msix, 0) >> 16
        return Settings(
            bus_master=bool(command & Command.BUS_MASTER),
            max_payload=128 << control.max_payload,
            max_read_request=128 << control.max_read_request,
            extended_tag=bool(control.extended_tag),
            relaxed_ordering=bool(control.relaxed_ordering),
            no_snoop=bool(control.no_snoop),
            msix=bool(message_control & MsixMessageControl.ENABLE)
            and not message_control & MsixMessageControl.FUNCTION_MASK,
            intx=not command & Command.INTERRUPT_DISABLE and not message_control & MsixMessageControl.ENABLE,
        )

    def interrupt_pin(self) -> int | None:
        """1 to 4 for INTA to INTD, 0 for none; ``None`` before the host has read it."""
        return self._interrupt_pin

    def _writable(self) -> dict[int, int]:
        """Offsets of the registers in question, and their writable bits."""
        express, msix = self._capability(Capability.PCI_EXPRESS), self._capability(Capability.MSIX)
        found: dict[int, int] = {ConfigOffset.COMMAND: 0xFFFF}
        if express is not None:
            found[express + _DEVICE_CONTROL] = 0xFFFF
        if msix is not None:
            found[msix] = (MsixMessageControl.ENABLE | MsixMessageControl.FUNCTION_MASK) << 16
        return found

    def _store(self, offset: int, mask: int, value: int) -> None:
        known, held = self._known.get(offset, 0), self._dwords.get(offset, 0)
        after = held & ~mask | value & mask
        if known | mask == known and after == held and offset in self._dwords:
            return  # most of what is read is known
        self._dwords[offset], self._known[offset] = after, known | mask
        self._settings = None

    def _reset(self, device_control: int) -> None:
        """Function-level reset; the payload size stays.  [PCIe base 5.0 §6.6.2]"""
        kept = self._dwords.get(device_control, 0) & _MAX_PAYLOAD_FIELD
        self._dwords[device_control] = _DEVICE_CONTROL_RESET & ~_MAX_PAYLOAD_FIELD | kept
        self._dwords[ConfigOffset.COMMAND] = 0
        msix = self._capability(Capability.MSIX)
        if msix is not None:
            self._dwords[msix] = self._dwords.get(msix, 0) & 0xFFFF
        self._settings = None

    def _capability(self, number: int) -> int | None:
        """Offset of a capability, as far as the host has followed the list."""
        offset = self._dwords.get(ConfigOffset.CAPABILITIES_POINTER, 0) & 0xFC
        for _ in range(48):
            if not offset or offset not in self._dwords:
                return None
            if self._dwords[offset] & 0xFF == number:
                return offset
            offset = self._dwords[offset] >> 8 & 0xFC
        return None


def _mask(byte_enable: int) -> int:
    return sum(0xFF << 8 * lane for lane in range(4) if byte_enable >> lane & 1)

"""A vmmci device as OpenBSD's vmd(8) serves it, with all that is odd about it.

vmd answers reads of 32 bits at a register's own offset. It takes the time when the low word of the
seconds is read, and has 0 in the high words. A narrower read gets what fits of the register if it is at
the register's offset, and 0 anywhere else.
"""

from virtio_spec import wire
from virtio_spec.vmmci import VmmciConfig

from .device import ReferenceDevice

__all__ = ["Vmd"]

COMMAND = wire.field_offset(VmmciConfig, "command")
SECONDS = wire.field_offset(VmmciConfig, "time_sec")
MICROSECONDS = wire.field_offset(VmmciConfig, "time_usec")


class Vmd(ReferenceDevice):
    """A device for :class:`~.vmmci.Vmmci` whose configuration is read as vmd has it."""

    _sampled = bytes(wire.size(VmmciConfig))

    def config_read(self, offset: int, enable: int) -> int:
        """A dword of the device configuration."""
        now = self.kind.config() or b""
        if not enable & 1:
            return 0
        if offset == SECONDS:
            self._sampled = now
        source = now if offset == COMMAND else self._sampled
        if offset not in (COMMAND, SECONDS, MICROSECONDS):
            return 0
        width = enable.bit_count()
        return int.from_bytes(source[offset : offset + width], "little")

"""OpenBSD's virtual machine monitor control interface, vmmci(4): what vmd and its guests agree on.

A legacy virtio device outside the standard, without virtqueues.
"""

import enum

from amaranth.lib import data

__all__ = [
    "DEVICE_ID",
    "SUBSYSTEM_ID",
    "VENDOR_ID",
    "VmmciAnswer",
    "VmmciCommand",
    "VmmciConfig",
    "VmmciEvent",
    "VmmciFeature",
]

VENDOR_ID = 0x0B5D
DEVICE_ID = 0x0777
SUBSYSTEM_ID = 0xFFFF


class VmmciFeature(enum.IntEnum):
    """Bit numbers of the features."""

    TIMESYNC = 0  # the configuration has the host's time
    ACK = 1  # the guest acknowledges commands
    SYNCRTC = 2  # the guest can be told to read its real-time clock again


class VmmciCommand(enum.IntEnum):
    """What the host wants of the guest, and what the guest writes back as an acknowledgement."""

    NONE = 0
    SHUTDOWN = 1
    REBOOT = 2
    SYNCRTC = 3


class VmmciConfig(data.Struct):
    """Device configuration, 20 bytes; the 64-bit fields are signed, and not aligned to 8."""

    command: 32
    time_sec: 64
    time_usec: 64


class VmmciAnswer(enum.IntEnum):
    """What became of a command of the host; this project's own numbers."""

    RAISED = 0  # the guest is told
    PENDING = 1  # the same command is pending already: nothing new
    NOT_RUNNING = 2  # refused: the guest's driver is not there (no DRIVER_OK)
    NOT_NEGOTIATED = 3  # refused: SYNCRTC, and the guest has not accepted it
    UNKNOWN = 4  # refused: no such command, or NONE


class VmmciEvent(enum.IntEnum):
    """What the host is told; this project's own numbers."""

    ACKNOWLEDGED = 0  # the guest wrote back the pending command
    SHUTDOWN = 1  # the guest says on its own that it is shutting down
    TIMED_OUT = 2  # a shutdown or reboot took longer than it may

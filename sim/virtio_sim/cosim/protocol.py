"""Messages of vfio-user 0.0 between client (the virtual machine) and server (the device).

Layouts and numbers are those of the protocol's specification; numbers are in the host's byte order.
"""

import enum
import errno
import json
import struct
from typing import Any, NamedTuple

__all__ = [
    "DMA_ACCESS",
    "DMA_MAP",
    "DMA_UNMAP",
    "HEADER",
    "INFO",
    "IRQ_SET",
    "MAJOR",
    "MAX_DATA",
    "MAX_FDS",
    "MAX_MAPS",
    "MAX_MESSAGE",
    "MINOR",
    "PAGE",
    "REGION_ACCESS",
    "REGION_INFO",
    "VERSION",
    "WRITE_COUNT",
    "Command",
    "DeviceFlag",
    "Flag",
    "Header",
    "Irq",
    "IrqFlag",
    "IrqSet",
    "ProtocolError",
    "Refused",
    "RegionFlag",
    "UnmapFlag",
    "answer_capabilities",
    "command_name",
]

MAJOR, MINOR = 0, 0

# Limits of this server. A client may lower those it is told of.
MAX_FDS = 16  # the most QEMU accepts here
MAX_DATA = 1 << 20
MAX_MAPS = 256  # each holds a file descriptor
PAGE = 4096

HEADER = struct.Struct("=HHIII")  # id, command, size, flags, error
VERSION = struct.Struct("=HH")  # major, minor; JSON follows
DMA_MAP = struct.Struct("=IIQQQ")  # argsz, flags, offset, address, size
DMA_UNMAP = struct.Struct("=IIQQ")  # argsz, flags, address, size
INFO = struct.Struct("=IIII")  # argsz, flags, then two numbers: of the device, of an interrupt type
REGION_INFO = struct.Struct("=IIIIQQ")  # argsz, flags, index, cap_offset, size, offset
IRQ_SET = struct.Struct("=IIIII")  # argsz, flags, index, start, count; booleans may follow
REGION_ACCESS = struct.Struct("=QII")  # offset, region, count; data follows
WRITE_COUNT = struct.Struct("=Q")  # how many writes follow in a REGION_WRITE_MULTI
DMA_ACCESS = struct.Struct("=QQ")  # address, count; data follows

MAX_MESSAGE = HEADER.size + REGION_ACCESS.size + MAX_DATA


class Command(enum.IntEnum):
    """What a message asks for."""

    VERSION = 1
    DMA_MAP = 2
    DMA_UNMAP = 3
    DEVICE_GET_INFO = 4
    DEVICE_GET_REGION_INFO = 5
    DEVICE_GET_REGION_IO_FDS = 6
    DEVICE_GET_IRQ_INFO = 7
    DEVICE_SET_IRQS = 8
    REGION_READ = 9
    REGION_WRITE = 10
    DMA_READ = 11
    DMA_WRITE = 12
    DEVICE_RESET = 13
    DIRTY_PAGES = 14
    REGION_WRITE_MULTI = 15
    DEVICE_FEATURE = 16
    MIG_DATA_READ = 17
    MIG_DATA_WRITE = 18


class Flag(enum.IntEnum):
    """Flags of a header; bits 3:0 are the type: 0 a command, 1 a reply.

    No ``IntFlag``, whose operators take most of the time of a register access.
    """

    REPLY = 1
    TYPE = 0xF
    NO_REPLY = 1 << 4
    ERROR = 1 << 5


class DeviceFlag(enum.IntFlag):
    """Flags of DEVICE_GET_INFO."""

    RESET = 1 << 0
    PCI = 1 << 1


class RegionFlag(enum.IntFlag):
    """Flags of DEVICE_GET_REGION_INFO."""

    READ = 1 << 0
    WRITE = 1 << 1


class UnmapFlag(enum.IntFlag):
    """Flags of DMA_UNMAP."""

    ALL = 1 << 1


class Irq(enum.IntEnum):
    """Interrupt types of a PCI device."""

    INTX = 0
    MSI = 1
    MSIX = 2
    ERROR = 3
    REQUEST = 4


class IrqFlag(enum.IntFlag):
    """Flags of DEVICE_GET_IRQ_INFO."""

    EVENTFD = 1 << 0
    MASKABLE = 1 << 1
    AUTOMASKED = 1 << 2
    NORESIZE = 1 << 3


class IrqSet(enum.IntFlag):
    """Flags of DEVICE_SET_IRQS: one of the first three, what comes along, and one action."""

    NONE = 1 << 0
    BOOL = 1 << 1
    EVENTFD = 1 << 2
    MASK = 1 << 3
    UNMASK = 1 << 4
    TRIGGER = 1 << 5


class ProtocolError(Exception):
    """The stream of messages makes no sense any more: the connection has to end.

    The text is one sentence; ``number`` is the errno for the client, where a message can be answered.
    """

    def __init__(self, sentence: str, number: int = errno.EPROTO):
        super().__init__(sentence)
        self.number = number


class Refused(Exception):
    """One message is answered with an error; ``number`` is the errno, the text one sentence."""

    def __init__(self, number: int, sentence: str):
        super().__init__(sentence)
        self.number = number


class Header(NamedTuple):
    """The first 16 bytes of every message."""

    id: int
    command: int
    size: int
    flags: int
    error: int

    @property
    def is_reply(self) -> bool:
        """Whether it answers a command."""
        return self.flags & Flag.TYPE == Flag.REPLY

    @property
    def wants_reply(self) -> bool:
        """Whether it is a command that is to be answered."""
        return not self.is_reply and not self.flags & Flag.NO_REPLY

    @classmethod
    def parse(cls, raw: bytes | bytearray) -> "Header":
        """Check and unpack; :class:`ProtocolError`."""
        header = cls(*HEADER.unpack(raw))
        if header.size < HEADER.size:
            raise ProtocolError(
                f"a message says that it has {header.size} bytes, and its header has {HEADER.size}"
            )
        if header.size > MAX_MESSAGE:
            raise ProtocolError(f"a message of {header.size} bytes is longer than the limit of {MAX_MESSAGE}")
        if header.flags & Flag.TYPE not in (0, Flag.REPLY):
            raise ProtocolError(f"a message is of type {header.flags & Flag.TYPE}, neither command nor reply")
        return header


def command_name(number: int) -> str:
    """Name of a command for a message to the user."""
    return Command(number).name if number in list(Command) else f"command {number}"


def answer_capabilities(proposal: bytes) -> bytes:
    """What this server says to a client's proposal: its own limits, of those the client knows.

    Both are JSON that ends with a zero byte; an empty proposal has no capabilities. :class:`Refused`.
    """
    ours: dict[str, int | bool] = {
        "max_msg_fds": MAX_FDS,
        "max_data_xfer_size": MAX_DATA,
        "max_dma_maps": MAX_MAPS,
        "pgsizes": PAGE,
        "write_multiple": True,
    }
    theirs = _parse_capabilities(proposal) if proposal else {}
    answer: dict[str, int | bool] = {}
    for name, limit in ours.items():
        if name not in theirs:
            continue
        value = theirs[name]
        if type(value) is not type(limit) or value < 0:
            raise Refused(errno.EINVAL, f"the client's capability {name} is {value!r:.40}")
        if name == "pgsizes":
            if not value & limit:
                raise Refused(errno.EINVAL, f"the client's page sizes {value:#x} do not include {PAGE:#x}")
            answer[name] = limit
        else:
            answer[name] = min(value, limit)
    return json.dumps({"capabilities": answer}).encode() + b"\0"


def _parse_capabilities(proposal: bytes) -> dict[str, Any]:
    if proposal[-1:] != b"\0":
        raise Refused(errno.EINVAL, "the client's capabilities do not end with a zero byte")
    try:
        data = json.loads(proposal[:-1].decode())
    except (ValueError, RecursionError):
        raise Refused(errno.EINVAL, "the client's capabilities are not JSON") from None
    capabilities = data.get("capabilities", {}) if isinstance(data, dict) else None
    if not isinstance(capabilities, dict):
        raise Refused(errno.EINVAL, "the client's capabilities are no JSON object")
    return capabilities

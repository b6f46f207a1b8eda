"""PCI Express transaction layer packets.  [PCIe base 5.0 §2.2]

A header is four dwords, dword 0 in the least significant bits; inside a dword, byte 0 of the
standard's figures is bits 31:24, so that a field's bit numbers are those of the standard.  In a
3-dword header dword 3 is zero.
"""

import enum

from amaranth.lib import data

__all__ = [
    "CompletionHeader",
    "CompletionStatus",
    "ConfigHeader",
    "Fmt",
    "InterruptMessage",
    "Memory32Header",
    "Memory64Header",
    "MessageCode",
    "MessageHeader",
    "TlpHeader",
    "TlpType",
]


class Fmt(enum.IntEnum):
    """Fmt[2:0]."""

    HEADER_3DW = 0
    HEADER_4DW = 1
    DATA_3DW = 2
    DATA_4DW = 3
    PREFIX = 4


class TlpType(enum.IntEnum):
    """Type[4:0]; a message is 0b10rrr with the routing in the low three bits."""

    MEMORY = 0b00000
    MEMORY_LOCKED = 0b00001
    IO = 0b00010
    CONFIG_0 = 0b00100
    CONFIG_1 = 0b00101
    COMPLETION = 0b01010
    COMPLETION_LOCKED = 0b01011
    FETCH_ADD = 0b01100
    SWAP = 0b01101
    COMPARE_AND_SWAP = 0b01110
    MESSAGE = 0b10000
    DEFERRABLE_MEMORY_WRITE = 0b11011


class CompletionStatus(enum.IntEnum):
    """Completion Status[2:0]."""

    SUCCESSFUL = 0
    UNSUPPORTED_REQUEST = 1
    REQUEST_RETRY = 2
    COMPLETER_ABORT = 4


class MessageCode(enum.IntEnum):
    """Message codes that an endpoint is sent and takes without an error.  [§2.2.8]"""

    UNLOCK = 0x00
    PM_ACTIVE_STATE_NAK = 0x14
    PME_TURN_OFF = 0x19
    IGNORED_40 = 0x40
    IGNORED_41 = 0x41
    IGNORED_43 = 0x43
    IGNORED_44 = 0x44
    IGNORED_45 = 0x45
    IGNORED_47 = 0x47
    IGNORED_48 = 0x48
    SET_SLOT_POWER_LIMIT = 0x50
    VENDOR_DEFINED_1 = 0x7F


class InterruptMessage(enum.IntEnum):
    """Message codes of the virtual wires INTA to INTD: each of the four follows its first.  [§2.2.8.1]"""

    ASSERT_INTA = 0x20
    DEASSERT_INTA = 0x24


class _Common(data.Struct):
    """Dword 0, the same in every header."""

    length: 10  # dwords; 0 stands for 1024
    address_type: 2
    attr: 2  # bit 0 No Snoop, bit 1 Relaxed Ordering
    poisoned: 1  # EP
    digest: 1  # TD
    hints: 1  # TH
    reserved_17: 1
    ordering_id: 1  # Attr[2], ID-based ordering
    tag_8: 1
    traffic_class: 3
    tag_9: 1
    type: 5
    fmt: 3


class Memory32Header(data.Struct):
    """Memory or I/O request with a 32-bit address, 3 dwords.  [§2.2.7]"""

    common: _Common
    first_be: 4
    last_be: 4
    tag: 8
    requester_id: 16
    address: 32  # bits 1:0 are zero
    reserved_96: 32


class Memory64Header(data.Struct):
    """Memory request with a 64-bit address, 4 dwords.  [§2.2.7]"""

    common: _Common
    first_be: 4
    last_be: 4
    tag: 8
    requester_id: 16
    address_high: 32
    address_low: 32  # bits 1:0 are zero


class ConfigHeader(data.Struct):
    """Configuration request, 3 dwords.  [§2.2.7]"""

    common: _Common
    first_be: 4
    last_be: 4
    tag: 8
    requester_id: 16
    reserved_64: 2
    register: 10  # dword number; Extended Register Number in the upper four bits
    reserved_76: 4
    function: 3
    device: 5
    bus: 8
    reserved_96: 32


class CompletionHeader(data.Struct):
    """Completion, 3 dwords.  [§2.2.9]"""

    common: _Common
    byte_count: 12  # remaining, this packet included; 0 stands for 4096
    byte_count_modified: 1
    status: 3
    completer_id: 16
    lower_address: 7
    reserved_71: 1
    tag: 8
    requester_id: 16
    reserved_96: 32


class MessageHeader(data.Struct):
    """Message, 4 dwords.  [§2.2.8]"""

    common: _Common
    code: 8
    tag: 8
    requester_id: 16
    dword_2: 32
    dword_3: 32


class TlpHeader(data.Union):
    """Any header: the four dwords and every way to read them; 128 bits."""

    dwords: data.ArrayLayout(32, 4)
    common: _Common
    memory32: Memory32Header
    memory64: Memory64Header
    config: ConfigHeader
    completion: CompletionHeader
    message: MessageHeader

"""Packet headers, PCIe base 5.0 §2.2: against dwords written down bit by bit."""

import pytest
from virtio_spec import wire
from virtio_spec.tlp import (
    CompletionHeader,
    CompletionStatus,
    ConfigHeader,
    Fmt,
    InterruptMessage,
    Memory32Header,
    Memory64Header,
    MessageCode,
    MessageHeader,
    TlpHeader,
    TlpType,
)


def dwords(layout, **fields):
    raw = wire.pack(layout, **fields)
    return [int.from_bytes(raw[n : n + 4], "little") for n in range(0, 16, 4)]


@pytest.mark.parametrize(
    ("field", "value", "dword"),
    [
        ("length", 0x3FF, 0x0000_03FF),
        ("address_type", 3, 0x0000_0C00),
        ("attr", 3, 0x0000_3000),
        ("poisoned", 1, 0x0000_4000),
        ("digest", 1, 0x0000_8000),
        ("hints", 1, 0x0001_0000),
        ("reserved_17", 1, 0x0002_0000),
        ("ordering_id", 1, 0x0004_0000),
        ("tag_8", 1, 0x0008_0000),
        ("traffic_class", 7, 0x0070_0000),
        ("tag_9", 1, 0x0080_0000),
        ("type", 0x1F, 0x1F00_0000),
        ("fmt", 7, 0xE000_0000),
    ],
)
def test_dword_0_has_its_bits(field, value, dword):
    assert dwords(Memory32Header, common={field: value}) == [dword, 0, 0, 0]


# The first three dwords of real packets: lspci-style dumps written out by hand.
def test_a_memory_read_of_one_dword():
    header = dwords(
        Memory32Header,
        common={"fmt": Fmt.HEADER_3DW, "type": TlpType.MEMORY, "length": 1},
        requester_id=0x0100,
        tag=0x0C,
        first_be=0xF,
        address=0xFDAFF040,
    )
    assert header == [0x0000_0001, 0x0100_0C0F, 0xFDAF_F040, 0]


def test_a_memory_write_above_4_gib():
    header = dwords(
        Memory64Header,
        common={"fmt": Fmt.DATA_4DW, "type": TlpType.MEMORY, "length": 2},
        requester_id=0x0208,
        tag=0xAB,
        first_be=0x8,
        last_be=0x1,
        address_high=0x12,
        address_low=0x3456_7890,
    )
    assert header == [0x6000_0002, 0x0208_AB18, 0x0000_0012, 0x3456_7890]


def test_a_configuration_write():
    header = dwords(
        ConfigHeader,
        common={"fmt": Fmt.DATA_3DW, "type": TlpType.CONFIG_0, "length": 1},
        requester_id=0,
        tag=1,
        first_be=0x3,
        bus=1,
        device=2,
        function=3,
        register=0x41,
    )
    assert header == [0x4400_0001, 0x0000_0103, 0x0113_0104, 0]


def test_a_completion_with_data():
    header = dwords(
        CompletionHeader,
        common={"fmt": Fmt.DATA_3DW, "type": TlpType.COMPLETION, "length": 1},
        completer_id=0x0100,
        status=CompletionStatus.SUCCESSFUL,
        byte_count=4,
        requester_id=0x0000,
        tag=0x0C,
        lower_address=0x40,
    )
    assert header == [0x4A00_0001, 0x0100_0004, 0x0000_0C40, 0]


def test_a_completion_with_an_error():
    header = dwords(CompletionHeader, status=CompletionStatus.COMPLETER_ABORT, byte_count_modified=1)
    assert header == [0, 0x0000_9000, 0, 0]


def test_a_message():
    header = dwords(
        MessageHeader,
        common={"fmt": Fmt.HEADER_4DW, "type": TlpType.MESSAGE | 0b100},
        requester_id=0x0100,
        tag=0,
        code=0x20,
    )
    assert header == [0x3400_0000, 0x0100_0020, 0, 0]


def test_an_io_read_of_one_byte():
    header = dwords(
        Memory32Header,
        common={"fmt": Fmt.HEADER_3DW, "type": TlpType.IO, "length": 1},
        requester_id=0x0000,
        tag=0x03,
        first_be=0x8,
        address=0x0000_C010,
    )
    assert header == [0x0200_0001, 0x0000_0308, 0x0000_C010, 0]


def test_an_interrupt_message_is_local_and_has_no_data():
    header = dwords(
        MessageHeader,
        common={"fmt": Fmt.HEADER_4DW, "type": TlpType.MESSAGE | 0b100},
        requester_id=0x0108,
        code=InterruptMessage.DEASSERT_INTA,
    )
    assert header == [0x3400_0000, 0x0108_0024, 0, 0]


def test_numbers_are_those_of_the_standard():
    assert {member.name: member.value for member in Fmt} == {
        "HEADER_3DW": 0,
        "HEADER_4DW": 1,
        "DATA_3DW": 2,
        "DATA_4DW": 3,
        "PREFIX": 4,
    }
    assert {member.name: member.value for member in TlpType} == {
        "MEMORY": 0x00,
        "MEMORY_LOCKED": 0x01,
        "IO": 0x02,
        "CONFIG_0": 0x04,
        "CONFIG_1": 0x05,
        "COMPLETION": 0x0A,
        "COMPLETION_LOCKED": 0x0B,
        "FETCH_ADD": 0x0C,
        "SWAP": 0x0D,
        "COMPARE_AND_SWAP": 0x0E,
        "MESSAGE": 0x10,
        "DEFERRABLE_MEMORY_WRITE": 0x1B,
    }
    assert {member.name: member.value for member in CompletionStatus} == {
        "SUCCESSFUL": 0,
        "UNSUPPORTED_REQUEST": 1,
        "REQUEST_RETRY": 2,
        "COMPLETER_ABORT": 4,
    }


def test_message_codes_are_those_of_the_standard():
    assert {member.name: member.value for member in InterruptMessage} == {
        "ASSERT_INTA": 0x20,
        "DEASSERT_INTA": 0x24,
    }
    assert {member.name: member.value for member in MessageCode} == {
        "UNLOCK": 0x00,
        "PM_ACTIVE_STATE_NAK": 0x14,
        "PME_TURN_OFF": 0x19,
        "IGNORED_40": 0x40,
        "IGNORED_41": 0x41,
        "IGNORED_43": 0x43,
        "IGNORED_44": 0x44,
        "IGNORED_45": 0x45,
        "IGNORED_47": 0x47,
        "IGNORED_48": 0x48,
        "SET_SLOT_POWER_LIMIT": 0x50,
        "VENDOR_DEFINED_1": 0x7F,
    }


@pytest.mark.parametrize("name", ["memory32", "memory64", "config", "completion", "message", "dwords"])
def test_every_view_of_a_header_is_128_bits(name):
    assert wire.size(TlpHeader) == 16
    assert (wire.field_offset(TlpHeader, name), wire.field_size(TlpHeader, name)) == (0, 16)

"""PCI configuration space, PCIe base 5.0 §7.5 and §7.7: literal values."""

import pytest
from virtio_spec import pci, wire


@pytest.mark.parametrize(
    ("enumeration", "values"),
    [
        (
            pci.ConfigOffset,
            {
                "VENDOR_ID": 0x00,
                "DEVICE_ID": 0x02,
                "COMMAND": 0x04,
                "STATUS": 0x06,
                "REVISION_ID": 0x08,
                "CLASS_CODE": 0x09,
                "CACHE_LINE_SIZE": 0x0C,
                "LATENCY_TIMER": 0x0D,
                "HEADER_TYPE": 0x0E,
                "BIST": 0x0F,
                "BAR0": 0x10,
                "CARDBUS_CIS": 0x28,
                "SUBSYSTEM_VENDOR_ID": 0x2C,
                "SUBSYSTEM_ID": 0x2E,
                "EXPANSION_ROM": 0x30,
                "CAPABILITIES_POINTER": 0x34,
                "INTERRUPT_LINE": 0x3C,
                "INTERRUPT_PIN": 0x3D,
            },
        ),
        (pci.Capability, {"POWER_MANAGEMENT": 1, "VENDOR": 9, "PCI_EXPRESS": 0x10, "MSIX": 0x11}),
        (
            pci.ClassCode,
            {"NET": 0x020000, "BLOCK": 0x010000, "CONSOLE": 0x078000, "ENTROPY": 0x00FF00},
        ),
        (
            pci.Command,
            {
                "IO_SPACE": 0x001,
                "MEMORY_SPACE": 0x002,
                "BUS_MASTER": 0x004,
                "PARITY_ERROR_RESPONSE": 0x040,
                "SERR_ENABLE": 0x100,
                "INTERRUPT_DISABLE": 0x400,
            },
        ),
        (
            pci.Status,
            {
                "INTERRUPT": 0x0008,
                "CAPABILITIES_LIST": 0x0010,
                "MASTER_DATA_PARITY_ERROR": 0x0100,
                "SIGNALED_TARGET_ABORT": 0x0800,
                "RECEIVED_TARGET_ABORT": 0x1000,
                "RECEIVED_MASTER_ABORT": 0x2000,
                "SIGNALED_SYSTEM_ERROR": 0x4000,
                "DETECTED_PARITY_ERROR": 0x8000,
            },
        ),
        (
            pci.DeviceStatus,
            {
                "CORRECTABLE_ERROR": 1,
                "NON_FATAL_ERROR": 2,
                "FATAL_ERROR": 4,
                "UNSUPPORTED_REQUEST": 8,
                "AUX_POWER": 16,
                "TRANSACTIONS_PENDING": 32,
            },
        ),
        (pci.MsixMessageControl, {"FUNCTION_MASK": 0x4000, "ENABLE": 0x8000}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_numbers_are_those_of_the_standard(enumeration, values):
    assert {member.name: member.value for member in enumeration} == values


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("correctable_error_enable", 1, 0x0001),
        ("non_fatal_error_enable", 1, 0x0002),
        ("fatal_error_enable", 1, 0x0004),
        ("unsupported_request_enable", 1, 0x0008),
        ("relaxed_ordering", 1, 0x0010),
        ("max_payload", 7, 0x00E0),
        ("extended_tag", 1, 0x0100),
        ("phantom_functions", 1, 0x0200),
        ("aux_power", 1, 0x0400),
        ("no_snoop", 1, 0x0800),
        ("max_read_request", 7, 0x7000),
        ("initiate_flr", 1, 0x8000),
    ],
)
def test_device_control_has_its_bits(field, value, word):
    assert wire.pack(pci.DeviceControl, **{field: value}) == word.to_bytes(2, "little")


def test_an_msix_entry_is_16_bytes():
    fields = {"address_low": 0xFEE00000, "address_high": 0x12, "data": 0x4321, "masked": 1}
    raw = bytes.fromhex("0000e0fe 12000000 21430000 01000000".replace(" ", ""))
    assert wire.pack(pci.MsixEntry, **fields) == raw


def test_vmmci_is_in_the_class_of_the_console():
    assert pci.ClassCode.VMMCI == 0x078000


def test_capabilities_start_behind_the_header():
    assert pci.CAPABILITIES_OFFSET == 0x40

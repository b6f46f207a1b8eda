"""OpenBSD's vmmci(4): ids, registers and commands as its guests know them, written out again."""

import pytest
from virtio_spec import vmmci, wire
from virtio_spec.vmmci import VmmciAnswer, VmmciCommand, VmmciConfig, VmmciEvent, VmmciFeature


def numbers(enumeration):
    return {member.name: member.value for member in enumeration}


def test_ids_are_openbsds():
    assert (vmmci.VENDOR_ID, vmmci.DEVICE_ID, vmmci.SUBSYSTEM_ID) == (0x0B5D, 0x0777, 0xFFFF)


@pytest.mark.parametrize(
    ("name", "offset", "size"), [("command", 0, 4), ("time_sec", 4, 8), ("time_usec", 12, 8)]
)
def test_a_register_is_in_its_place(name, offset, size):
    assert (wire.field_offset(VmmciConfig, name), wire.field_size(VmmciConfig, name)) == (offset, size)


def test_the_configuration_is_20_bytes_without_padding():
    raw = wire.pack(VmmciConfig, command=3, time_sec=0x0102030405060708, time_usec=999_999)
    assert raw == bytes.fromhex("03000000 0807060504030201 3f420f0000000000".replace(" ", ""))
    assert list(vars(wire.unpack(VmmciConfig, raw))) == ["command", "time_sec", "time_usec"]


def test_what_guests_know_has_its_numbers():
    assert numbers(VmmciFeature) == {"TIMESYNC": 0, "ACK": 1, "SYNCRTC": 2}
    assert numbers(VmmciCommand) == {"NONE": 0, "SHUTDOWN": 1, "REBOOT": 2, "SYNCRTC": 3}


def test_what_the_ports_say_has_its_numbers():
    assert numbers(VmmciAnswer) == {
        "RAISED": 0,
        "PENDING": 1,
        "NOT_RUNNING": 2,
        "NOT_NEGOTIATED": 3,
        "UNKNOWN": 4,
    }
    assert numbers(VmmciEvent) == {"ACKNOWLEDGED": 0, "SHUTDOWN": 1, "TIMED_OUT": 2}

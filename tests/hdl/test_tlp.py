"""The test helpers' TLPs against cocotbext-pcie's, and the header structs against both."""

import random
from typing import Any

import pytest
from cocotbext.pcie.core.tlp import CplStatus, Tlp, TlpAttr, TlpTc, TlpType
from cocotbext.pcie.core.utils import PcieId
from helpers.tlp import atomic, completion, config, header_dwords, io, memory_read, memory_write, parse
from virtio_spec.tlp import TlpHeader


def to_bytes(packet: list[int]) -> bytes:
    """A packet on the wire: header dwords big-endian, payload dwords little-endian."""
    size = header_dwords(packet)
    return b"".join(
        [dword.to_bytes(4, "big") for dword in packet[:size]]
        + [dword.to_bytes(4, "little") for dword in packet[size:]]
    )


RNG = random.Random(9)
COMMON: dict[str, Any] = {"tc": 5, "attr": 0b101, "ep": True, "tag": 0x2A7, "requester": 0xBEEF}
PAYLOAD = [RNG.getrandbits(32) for _ in range(5)]
PACKETS = {
    "MEM_READ": memory_read(0x12345678 & ~3, 7, first_be=0xC, last_be=0x3, **COMMON),
    "MEM_READ_64": memory_read(0xFEDC_BA98_7654_3210, 1024, **COMMON),
    "MEM_READ_LOCKED": memory_read(0x1000, 1, locked=True, **COMMON),
    "MEM_WRITE": memory_write(0x1000, PAYLOAD, first_be=0x8, last_be=0x1, **COMMON),
    "MEM_WRITE_64": memory_write(0x1000, PAYLOAD, wide=True, **COMMON),
    "IO_READ": io(0x1000, first_be=2, **COMMON),
    "IO_WRITE": io(0x1000, 0x01020304, **COMMON),
    "CFG_READ_0": config(0x3FF, target=0x1234, **COMMON),
    "CFG_WRITE_0": config(0x001, 0x55667788, target=0x1234, first_be=6, **COMMON),
    "CFG_READ_1": config(0x2AA, target=0xFFFF, kind=1, **COMMON),
    "CPL": completion(status=1, byte_count=4096, completer=0x4321, lower_address=0x7F, **COMMON),
    "CPL_DATA": completion(PAYLOAD, byte_count=20, completer=0x4321, lower_address=4, **COMMON),
    "CPL_LOCKED": completion(status=1, locked=True, completer=0x4321, **COMMON),
    "CAS_64": atomic(0b01110, 0xFEDC_BA98_7654_3210, PAYLOAD[:2], **COMMON),
}


@pytest.mark.parametrize("name", PACKETS)
def test_an_independent_implementation_reads_what_the_helpers_build(name):
    packet = PACKETS[name]
    tlp = Tlp.unpack(to_bytes(packet))
    fields = parse(packet)
    assert tlp.fmt_type == TlpType[name]
    assert (int(tlp.tc), int(tlp.attr), tlp.ep, tlp.tag) == (5, 0b101, True, 0x2A7)
    assert (fields.tc, fields.attr, fields.ep, fields.tag) == (5, 0b101, 1, 0x2A7)
    assert int(tlp.requester_id) == fields.requester == 0xBEEF
    assert bytes(tlp.data) == to_bytes(packet)[4 * header_dwords(packet) :]
    if name.startswith("CPL"):
        assert int(tlp.completer_id) == fields.completer == 0x4321
        assert (int(tlp.status), tlp.byte_count) == (fields.status, fields.byte_count)
        assert tlp.lower_address == fields.lower_address
        return
    assert (tlp.first_be, tlp.last_be) == (fields.first_be, fields.last_be)
    if name.startswith("CFG"):
        assert int(tlp.completer_id) == fields.target
        assert tlp.address == 4 * fields.register
    else:
        assert tlp.address == fields.address


@pytest.mark.parametrize("name", PACKETS)
def test_an_independent_implementation_builds_the_same_packet(name):
    assert bytes(Tlp.unpack(to_bytes(PACKETS[name])).pack()) == to_bytes(PACKETS[name])


def test_a_packet_built_from_scratch_is_read_by_the_helpers():
    tlp = Tlp()
    tlp.fmt_type = TlpType.CPL_DATA
    tlp.tc, tlp.attr, tlp.status = TlpTc.TC3, TlpAttr.RO, CplStatus.SC
    tlp.completer_id, tlp.requester_id = PcieId(1, 2, 3), PcieId(4, 5, 6)
    tlp.tag, tlp.byte_count, tlp.lower_address = 0x1F0, 77, 0x23
    tlp.set_data(bytes(range(8)))
    wire = bytes(tlp.pack())
    packet = [int.from_bytes(wire[at : at + 4], "big" if at < 12 else "little") for at in range(0, 20, 4)]
    fields = parse(packet)
    assert (fields.tc, fields.attr, fields.status, fields.tag) == (3, 2, 0, 0x1F0)
    assert (fields.completer, fields.requester) == (1 << 8 | 2 << 3 | 3, 4 << 8 | 5 << 3 | 6)
    assert (fields.byte_count, fields.lower_address) == (77, 0x23)
    assert fields.payload == [0x03020100, 0x07060504]


# Members of TlpHeader that name the same as a field of the helpers' parser.
VIEWS = {
    "MEM": ("memory32", {"first_be": "first_be", "last_be": "last_be", "requester_id": "requester"}),
    "CFG": ("config", {"register": "register", "first_be": "first_be", "requester_id": "requester"}),
    "CPL": (
        "completion",
        {
            "byte_count": "byte_count",
            "status": "status",
            "completer_id": "completer",
            "lower_address": "lower_address",
            "requester_id": "requester",
        },
    ),
}


@pytest.mark.parametrize("name", [name for name in PACKETS if name[:3] in VIEWS])
def test_the_header_structs_read_the_same_fields(name):
    packet = PACKETS[name]
    head = [*packet[: header_dwords(packet)], 0][:4]
    fields = parse(packet)
    member, names = VIEWS[name[:3]]
    header = TlpHeader.from_bits(sum(dword << 32 * at for at, dword in enumerate(head)))
    view = getattr(header, member)
    for ours, theirs in names.items():
        expected = getattr(fields, theirs)
        assert getattr(view, ours) == (expected & 0xFFF if ours == "byte_count" else expected)
    common = view.common
    assert common.tag_9 << 9 | common.tag_8 << 8 | view.tag == 0x2A7
    assert (common.traffic_class, common.ordering_id << 2 | common.attr, common.poisoned) == (5, 0b101, 1)
    assert (common.fmt << 5 | common.type) == packet[0] >> 24

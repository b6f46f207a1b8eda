"""Packing and unpacking, whatever the layout."""

from types import SimpleNamespace

import pytest
from amaranth.lib import data
from hypothesis import given
from hypothesis import strategies as st
from virtio_spec import wire
from virtio_spec.blk import BlkConfig, BlkReqHeader
from virtio_spec.layout import Diagnostics
from virtio_spec.pci import DeviceControl, MsixEntry
from virtio_spec.split import Descriptor, UsedElem
from virtio_spec.tlp import CompletionHeader, ConfigHeader, Memory64Header
from virtio_spec.virtio_pci import CommonCfg, VirtioPciNotifyCap

LAYOUTS = [
    BlkConfig,
    BlkReqHeader,
    CommonCfg,
    CompletionHeader,
    ConfigHeader,
    Descriptor,
    DeviceControl,
    Diagnostics,
    Memory64Header,
    MsixEntry,
    UsedElem,
    VirtioPciNotifyCap,
]


def fields(value):
    return {n: fields(v) if isinstance(v, SimpleNamespace) else v for n, v in vars(value).items()}


@given(st.sampled_from(LAYOUTS), st.data())
def test_unpacking_and_packing_gives_the_same_bytes(layout, draw):
    raw = draw.draw(st.binary(min_size=wire.size(layout), max_size=wire.size(layout)))
    found = wire.unpack(layout, raw)
    assert wire.pack(layout, **vars(found)) == raw
    assert wire.pack(layout, **fields(found)) == raw


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 65535), st.integers(0, 65535))
def test_values_come_back(addr, length, flags, following):
    raw = wire.pack(Descriptor, addr=addr, len=length, flags=flags, next=following)
    assert raw == b"".join(
        value.to_bytes(size, "little") for value, size in ((addr, 8), (length, 4), (flags, 2), (following, 2))
    )
    found = wire.unpack(Descriptor, raw)
    assert (found.addr, found.len, found.flags, found.next) == (addr, length, flags, following)


@pytest.mark.parametrize("value", [-1, 2**32, 2**40])
def test_a_value_that_does_not_fit_is_refused(value):
    with pytest.raises(ValueError, match=r"Descriptor\.len is .* which does not fit into 32 bits"):
        wire.pack(Descriptor, len=value)


def test_a_value_that_does_not_fit_deep_inside_is_refused():
    with pytest.raises(ValueError, match=r"VirtioPciNotifyCap\.cap\.bar is 0x100, .* 8 bits"):
        wire.pack(VirtioPciNotifyCap, cap={"bar": 256})


def test_an_unknown_field_is_refused():
    with pytest.raises(ValueError, match="Descriptor has no field 'length'"):
        wire.pack(Descriptor, length=1)


@pytest.mark.parametrize("length", [15, 17, 0])
def test_a_wrong_number_of_bytes_is_refused(length):
    with pytest.raises(ValueError, match=f"Descriptor is 16 bytes, not {length}"):
        wire.unpack(Descriptor, bytes(length))


def test_a_layout_that_is_not_whole_bytes_is_refused():
    with pytest.raises(TypeError, match="12 bits wide, not a whole number of bytes"):
        wire.size(data.StructLayout({"a": 12}))


def test_a_field_inside_a_byte_has_no_offset_and_no_size():
    with pytest.raises(ValueError, match="field 'max_payload' starts at bit 5, not on a byte"):
        wire.field_offset(DeviceControl, "max_payload")
    with pytest.raises(ValueError, match="field 'max_payload' is 3 bits wide, not a whole number of bytes"):
        wire.field_size(DeviceControl, "max_payload")


def test_an_array_needs_all_its_elements():
    layout = data.StructLayout({"words": data.ArrayLayout(16, 2)})
    assert wire.pack(layout, words=[1, 0x203]) == b"\x01\x00\x03\x02"
    assert wire.unpack(layout, b"\x01\x00\x03\x02").words == [1, 0x203]
    with pytest.raises(ValueError, match="takes 2 elements, not 3"):
        wire.pack(layout, words=[1, 2, 3])

"""The endpoint's own layout: a driver may have learnt these numbers."""

from virtio_spec import layout, wire
from virtio_spec.layout import Cause, Diagnostics


def test_bars_are_laid_out_as_qemu_does():
    assert (layout.MSIX_BAR, layout.MSIX_BAR_SIZE) == (1, 0x1000)
    assert (layout.MSIX_TABLE_OFFSET, layout.MSIX_PBA_OFFSET) == (0, 0x800)
    assert (layout.MODERN_BAR, layout.MODERN_BAR_SIZE) == (4, 0x4000)
    assert (layout.COMMON_OFFSET, layout.COMMON_LENGTH) == (0, 0x800)
    assert (layout.ISR_OFFSET, layout.ISR_LENGTH) == (0x1000, 0x1000)
    assert (layout.DEVICE_OFFSET, layout.DEVICE_LENGTH) == (0x2000, 0x1000)
    assert (layout.NOTIFY_OFFSET, layout.NOTIFY_LENGTH, layout.NOTIFY_MULTIPLIER) == (0x3000, 0x1000, 4)


def test_the_legacy_registers_are_in_bar_0_with_the_diagnostics_at_its_end():
    assert (layout.LEGACY_BAR, layout.LEGACY_BAR_SIZE, layout.LEGACY_DIAGNOSTICS_OFFSET) == (0, 0x100, 0xF0)


def test_no_two_structures_overlap():
    structures = [
        (layout.COMMON_OFFSET, layout.COMMON_LENGTH),
        (layout.DIAGNOSTICS_OFFSET, wire.size(Diagnostics)),
        (layout.ISR_OFFSET, layout.ISR_LENGTH),
        (layout.DEVICE_OFFSET, layout.DEVICE_LENGTH),
        (layout.NOTIFY_OFFSET, layout.NOTIFY_LENGTH),
    ]
    for (start, length), (following, _) in zip(structures, structures[1:], strict=False):
        assert start + length <= following
    assert sum(structures[-1]) <= layout.MODERN_BAR_SIZE
    assert layout.LEGACY_DIAGNOSTICS_OFFSET + wire.size(Diagnostics) <= layout.LEGACY_BAR_SIZE
    # The block device's configuration, the longest, behind header and vectors.
    assert 24 + 96 <= layout.LEGACY_DIAGNOSTICS_OFFSET


def test_diagnostics_are_16_bytes():
    raw = wire.pack(Diagnostics, magic=layout.DIAGNOSTICS_MAGIC, cause=9, queue=1, head=2, descriptor=3)
    assert raw == b"VIDE" + bytes.fromhex("0900 0100 0200 0300 00000000".replace(" ", ""))


def test_causes_have_their_numbers():
    assert {member.name: member.value for member in Cause} == {
        "NONE": 0,
        "AVAIL_INDEX": 1,
        "HEAD_INDEX": 2,
        "NEXT_INDEX": 3,
        "CHAIN_LOOP": 4,
        "ZERO_LENGTH": 5,
        "READABLE_AFTER_WRITABLE": 6,
        "INDIRECT": 7,
        "TOTAL_LENGTH": 8,
        "DMA_ERROR": 9,
        "INDIRECT_TABLE": 10,
        "INDIRECT_NESTED": 11,
        "CHAIN_INCOMPLETE": 12,
        "DESCRIPTOR_REUSE": 13,
    }

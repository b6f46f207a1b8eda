"""What a function shows of itself, by its register interfaces."""

import pytest
from virtio_models.blk import Blk
from virtio_models.disk import Disk
from virtio_models.entropy import EntropySource
from virtio_models.pci import UnsupportedRequest
from virtio_models.rng import Rng
from virtio_spec.virtio_pci import Interface


@pytest.fixture
def disk():
    return Disk(16)


@pytest.fixture
def device(make, disk):
    return make(Blk(disk), interface=Interface.LEGACY)


def read(device, offset, size):
    return device.pci.bar_read(0, offset, size)


@pytest.mark.parametrize("interface", [Interface.TRANSITIONAL, Interface.LEGACY])
@pytest.mark.parametrize(
    ("kind", "device_id", "type"),
    [(lambda: Blk(Disk(1)), 0x1001, 2), (lambda: Rng(EntropySource(1)), 0x1005, 4)],
    ids=["blk", "rng"],
)
def test_a_legacy_driver_recognises_it(make, interface, kind, device_id, type):
    """PCI-LEG-DEV-01, PCI-LEG-DEV-02, PCI-LEG-DEV-03."""
    config = make(kind(), interface=interface).pci.config
    assert [config.get(offset, 2) for offset in (0x00, 0x02, 0x2C, 0x2E)] == [0x1AF4, device_id, 0x1AF4, type]
    assert (config.get(8, 1), config.get(0x3D, 1)) == (0, 1)


def test_a_type_without_a_transitional_id_is_modern_only(make):
    kind = Rng(EntropySource(1))
    kind.device_type = 17
    with pytest.raises(ValueError, match="device type 17 has no transitional PCI device id"):
        make(kind, interface=Interface.TRANSITIONAL)


@pytest.mark.parametrize(
    ("interface", "sizes"),
    [
        (Interface.MODERN, [0, 0xFFFF_F000, 0, 0, 0xFFFF_C00C, 0xFFFF_FFFF]),
        (Interface.TRANSITIONAL, [0xFFFF_FF01, 0xFFFF_F000, 0, 0, 0xFFFF_C00C, 0xFFFF_FFFF]),
        (Interface.LEGACY, [0xFFFF_FF01, 0xFFFF_F000, 0, 0, 0, 0]),
    ],
)
def test_bars_are_those_of_the_interface(make, disk, interface, sizes):
    """PCI-LEG-DEV-04, PCI-LEG-DEV-11."""
    pci = make(Blk(disk), interface=interface).pci
    for bar in range(6):
        pci.config_write(0x10 + 4 * bar, 4, 0xFFFF_FFFF)
    assert [pci.config_read(0x10 + 4 * bar, 4) for bar in range(6)] == sizes
    pci.config_write(4, 2, 7)
    assert pci.config_read(4, 2) == (6 if interface is Interface.MODERN else 7)


def capabilities(pci):
    position, found = pci.config_read(0x34, 1), []
    while position:
        found.append(pci.config_read(position, 1))
        position = pci.config_read(position + 1, 1)
    return found


def test_a_legacy_device_has_no_virtio_capabilities(make, disk):
    assert capabilities(make(Blk(disk), interface=Interface.TRANSITIONAL).pci) == [1, 16, 17] + [9] * 5
    assert capabilities(make(Blk(disk), interface=Interface.LEGACY).pci) == [1, 16, 17]
    assert capabilities(make(Blk(disk), interface=Interface.LEGACY, vectors=0).pci) == [1, 16]


def test_without_vectors_there_is_no_table(make, disk):
    pci = make(Blk(disk), interface=Interface.LEGACY, vectors=0).pci
    pci.config_write(0x14, 4, 0xFFFF_FFFF)
    assert pci.config_read(0x14, 4) == 0
    with pytest.raises(UnsupportedRequest):
        pci.bar_read(1, 0, 4)


def test_io_space_is_enabled_on_its_own(device):
    for command, bar in ((6, 0), (5, 1)):
        device.pci.config_write(4, 2, command)
        with pytest.raises(UnsupportedRequest):
            device.pci.bar_read(bar, 0, 4)
        device.pci.bar_read(1 - bar, 0, 4)


def test_asleep_it_does_not_answer(device):
    device.pci.config_write(device.pci.config.pm + 4, 2, 3)
    with pytest.raises(UnsupportedRequest):
        read(device, 0, 4)


@pytest.mark.parametrize(("offset", "size"), [(0, 8), (2, 4), (3, 2)])
def test_an_io_access_is_inside_a_dword(device, offset, size):
    with pytest.raises(ValueError, match=f"{size} bytes at {offset:#x} are no I/O access"):
        read(device, offset, size)


def test_a_modern_device_has_no_io_bar(make, disk):
    device = make(Blk(disk))
    with pytest.raises(UnsupportedRequest):
        device.pci.bar_read(0, 0, 4)

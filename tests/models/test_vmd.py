"""The bug this project is about: a guest that reads byte by byte gets garbage from vmd."""

import pytest
from virtio_models.clock import Clock
from virtio_models.vmd import Vmd
from virtio_models.vmmci import Vmmci
from virtio_spec.virtio_pci import Interface

SECONDS, MICROSECONDS = 0x5F5E_1234, 0x9_8765
CONFIG = 20


@pytest.fixture
def clock():
    return Clock(SECONDS, MICROSECONDS)


@pytest.fixture
def device(make, clock):
    return make(Vmmci(clock), device=Vmd, interface=Interface.LEGACY)


def read(device, offset, size):
    return device.pci.bar_read(0, CONFIG + offset, size)


def bytewise(device, offset, size):
    return sum(read(device, offset + n, 1) << 8 * n for n in range(size))


def test_words_at_their_own_offsets_are_right(device):
    assert [read(device, offset, 4) for offset in (0, 4, 8, 12, 16)] == [0, SECONDS, 0, MICROSECONDS, 0]


def test_bytes_are_garbage(device):
    """Trap 24: PCI-LEG-DEV-05."""
    assert bytewise(device, 4, 8) == SECONDS & 0xFF
    assert bytewise(device, 12, 8) == MICROSECONDS & 0xFF


def test_half_words_are_garbage(device):
    assert [read(device, offset, 2) for offset in (4, 6)] == [SECONDS & 0xFFFF, 0]


def test_the_time_is_that_of_the_last_read_of_the_seconds(device, clock):
    read(device, 4, 4)
    clock.set(7, 8)
    assert read(device, 12, 4) == MICROSECONDS
    assert read(device, 4, 4) == 7
    assert read(device, 12, 4) == 8


def test_high_words_are_lost(device, clock):
    clock.set(0x12_0000_0003, 0)
    assert (read(device, 4, 4), read(device, 8, 4)) == (3, 0)


def test_the_header_is_as_everywhere(device):
    assert device.pci.bar_read(0, 0, 4) & 7 == 7
    device.pci.bar_write(0, 18, 1, 1)
    assert device.pci.bar_read(0, 18, 1) == 1

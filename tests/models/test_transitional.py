"""A device with both interfaces: which of them counts."""

import pytest
from virtio_models.blk import Blk
from virtio_models.disk import Disk
from virtio_spec.virtio_pci import Interface

ANY_LAYOUT, FLUSH = 1 << 27, 1 << 9


@pytest.fixture
def device(make):
    return make(Blk(Disk(16)), interface=Interface.TRANSITIONAL, queue_size=8, seed=3)


def legacy(device, offset, size, value=None):
    if value is None:
        return device.pci.bar_read(0, offset, size)
    return device.pci.bar_write(0, offset, size, value)


def modern(device, offset, size, value=None):
    if value is None:
        return device.pci.bar_read(4, offset, size)
    return device.pci.bar_write(4, offset, size, value)


def use_modern(device):
    for window, value in ((0, FLUSH), (1, 1)):
        modern(device, 8, 4, window)
        modern(device, 12, 4, value)
    modern(device, 20, 1, 11)
    return modern(device, 20, 1)


def test_each_side_has_its_own_offer(device):
    modern(device, 0, 4, 0)
    assert modern(device, 4, 4) == device.kind.features
    modern(device, 0, 4, 1)
    assert modern(device, 4, 4) == 0x13  # VERSION_1, ACCESS_PLATFORM, ORDER_PLATFORM
    assert legacy(device, 0, 4) == device.kind.features | ANY_LAYOUT


def test_at_first_none_is_in_use_and_reads_choose_none(device):
    legacy(device, 0, 4)
    modern(device, 20, 1)
    legacy(device, 18, 1, 0)
    assert (device.in_use, device.kind.legacy) == (None, False)


@pytest.mark.parametrize(
    ("offset", "size"), [(0, 4), (4, 2), (12, 2), (17, 1), (19, 1), (0xF0, 4), (0xFC, 4)]
)
def test_what_no_register_takes_chooses_none(device, offset, size):
    legacy(device, offset, size, (1 << 8 * size) - 1)
    assert device.in_use is None


@pytest.mark.parametrize(
    ("offset", "size", "value"), [(4, 4, 0), (8, 4, 4), (14, 2, 0), (16, 2, 0), (18, 1, 1)]
)
def test_a_write_chooses_the_legacy_interface(device, offset, size, value):
    """FEAT-LEG-DEV-01."""
    legacy(device, offset, size, value)
    assert (device.in_use, device.kind.legacy) == (Interface.LEGACY, True)
    assert use_modern(device) & 8 == 0


@pytest.mark.parametrize(
    ("offset", "size", "value"), [(0, 4, 0), (8, 4, 0), (20, 1, 1), (22, 2, 0), (0x3000, 2, 0), (32, 1, 0)]
)
def test_a_write_chooses_the_modern_interface(device, offset, size, value):
    modern(device, offset, size, value)
    assert (device.in_use, device.kind.legacy) == (Interface.MODERN, False)
    legacy(device, 18, 1, 7)
    legacy(device, 8, 4, 4)
    assert legacy(device, 18, 1) & 6 == 0
    assert (legacy(device, 8, 4), device.kind.driver_ok) == (0, False)


def test_a_write_through_the_window_is_one_of_the_modern_interface(device):
    config = device.pci.config
    device.pci.config_write(config.window + 4, 1, 4)
    device.pci.config_write(config.window + 8, 4, 22)
    device.pci.config_write(config.window + 12, 4, 2)
    device.pci.config_write(config.window + 16, 2, 0)
    assert device.in_use is Interface.MODERN


def test_both_sides_are_readable_all_the_time(device):
    assert use_modern(device) == 11
    modern(device, 20, 1, 4)
    assert legacy(device, 18, 1) == 7
    assert legacy(device, 4, 4) == FLUSH
    assert legacy(device, 20, 4) == modern(device, 0x2000, 4) == 16
    device.kind.disk.resize(12)
    assert (legacy(device, 19, 1), modern(device, 0x1000, 1)) == (2, 0)


def test_high_features_are_void_on_legacy(device):
    """Trap 25: PCI-LEG-DEV-07."""
    assert use_modern(device) == 11
    legacy(device, 18, 1, 0)
    legacy(device, 4, 4, 0xFFFF_FFFF)
    assert device.kind.accepted >> 32 == 0
    modern(device, 8, 4, 1)
    assert modern(device, 8, 4) == 0


@pytest.mark.parametrize("through", ["legacy", "modern"])
def test_a_reset_through_either_side_lets_the_driver_change_its_mind(device, through):
    def reset():
        if through == "legacy":
            legacy(device, 18, 1, 0)
            assert legacy(device, 18, 1) == 0
        else:
            modern(device, 20, 1, 0)
            assert 0 in [modern(device, 20, 1) for _ in range(8)]
        assert device.in_use is None

    legacy(device, 4, 4, FLUSH)
    legacy(device, 8, 4, 4)
    legacy(device, 18, 1, 7)
    reset()
    assert use_modern(device) == 11
    modern(device, 28, 2, 1)
    assert modern(device, 28, 2) == 1
    reset()
    legacy(device, 8, 4, 4)
    legacy(device, 18, 1, 7)
    assert (legacy(device, 8, 4), legacy(device, 4, 4), legacy(device, 18, 1)) == (4, 0, 7)
    assert (device.kind.driver_ok, device.running) == (True, True)


def test_a_function_level_reset_forgets_the_choice(device):
    legacy(device, 18, 1, 7)
    device.pci.config_write(device.pci.config.pcie + 9, 1, 0x80)
    assert (device.in_use, device.kind.legacy, device.kind.driver_ok) == (None, False, False)


def test_before_driver_ok_only_the_legacy_side_uses_buffers(device):
    """Traps 8 and 9: STATUS-DEV-01, INIT-LEG-DEV-02."""
    assert use_modern(device) == 11
    modern(device, 28, 2, 1)
    assert not device.running
    legacy(device, 18, 1, 0)
    legacy(device, 8, 4, 4)
    assert device.running


def test_a_read_goes_on_across_the_interfaces(device):
    """A snapshot belongs to the field, not to who reads it; looking at the generation drops it."""
    device.kind.disk.resize(0x1_0000)
    assert legacy(device, 20, 2) == 0
    device.kind.disk.resize(0x2_0000)
    assert modern(device, 0x2002, 2) == 1
    assert legacy(device, 20, 2) == 0
    device.kind.disk.resize(0x3_0000)
    modern(device, 21, 1)
    assert modern(device, 0x2002, 2) == 3

"""Registers of the reference device, written and read at literal offsets."""

import pytest
from virtio_models.blk import Blk
from virtio_models.device import ReferenceDevice
from virtio_models.disk import Disk
from virtio_models.pci import RequestRetry, UnsupportedRequest

MEMORY_AND_MASTER = 6


class Dma:
    def __init__(self):
        self.messages: list[tuple[int, int]] = []
        self.levels: list[bool] = []

    def read(self, address, length):
        raise AssertionError(f"a read of {length} at {address:#x}")

    def write(self, address, data):
        raise AssertionError(f"a write at {address:#x}")

    def interrupt(self, address, data):
        self.messages.append((address, data))

    def intx(self, asserted):
        self.levels.append(asserted)


@pytest.fixture
def disk():
    return Disk(16)


@pytest.fixture
def device(disk):
    device = ReferenceDevice(Blk(disk), Dma(), queue_size=8, vectors=2, seed=1)
    device.pci.config_write(0x04, 2, MEMORY_AND_MASTER)
    return device


def read(device, offset, size):
    return device.pci.bar_read(4, offset, size)


def write(device, offset, size, value):
    device.pci.bar_write(4, offset, size, value)


def negotiate(device, low, high=1):
    for window, value in ((0, low), (1, high)):
        write(device, 8, 4, window)
        write(device, 12, 4, value)
    write(device, 20, 1, 3)
    write(device, 20, 1, 11)
    return read(device, 20, 1)


def start(device):
    assert negotiate(device, 0) == 11
    write(device, 20, 1, 15)


def test_a_queue_size_is_a_power_of_two(disk):
    with pytest.raises(ValueError, match="queue_size is a power of two up to 32768, not 12"):
        ReferenceDevice(Blk(disk), Dma(), queue_size=12)


def test_the_table_has_to_fit_below_the_pending_bits(disk):
    with pytest.raises(ValueError, match="a function has 0 to 128 MSI-X vectors here, not 129"):
        ReferenceDevice(Blk(disk), Dma(), vectors=129)


def test_registers_after_reset(device):
    assert [read(device, offset, 2) for offset in (16, 18, 22, 24, 26, 28, 30)] == [
        0xFFFF,
        1,
        0,
        8,
        0xFFFF,
        0,
        0,
    ]
    assert read(device, 20, 1) == 0


def test_status_bits_add_up_and_the_devices_own_cannot_be_set(device):
    write(device, 20, 1, 1)
    write(device, 20, 1, 2 | 64 | 16 | 32)
    assert read(device, 20, 1) == 3


@pytest.mark.parametrize(
    ("low", "high", "status"), [(0, 1, 11), (0x200, 1, 11), (0, 0x13, 11), (0, 0, 3), (1, 1, 3), (0, 0x21, 3)]
)
def test_features_ok_depends_on_the_features(device, low, high, status):
    assert negotiate(device, low, high) == status


def test_prerequisites_are_needed(device):
    device.kind.requires = {9: (6,)}
    assert negotiate(device, 1 << 9) == 3
    write(device, 20, 1, 0)
    assert 0 in [read(device, 20, 1) for _ in range(8)]
    assert negotiate(device, 1 << 9 | 1 << 6) == 11


def test_features_are_frozen_by_features_ok(device):
    negotiate(device, 0x200)
    write(device, 8, 4, 0)
    write(device, 12, 4, 0)
    assert read(device, 12, 4) == 0x200


def test_driver_ok_needs_features_ok(device):
    write(device, 20, 1, 7)
    assert read(device, 20, 1) == 3


def test_the_generation_counts_changes_that_could_have_been_missed(device, disk):
    assert read(device, 21, 1) == 0
    disk.resize(15)
    assert read(device, 21, 1) == 0
    assert read(device, 0x2000, 4) == 15
    disk.resize(14)
    disk.resize(13)
    assert read(device, 21, 1) == 1
    read(device, 0x2004, 1)
    disk.resize(12)
    assert read(device, 21, 1) == 2


def test_a_change_sets_the_isr_before_its_message(device, disk):
    start(device)
    device.pci.config_write(device.pci.config.msix + 2, 2, 0x8000)
    write(device, 16, 2, 1)
    for offset, value in ((16, 0xFEE0_1000), (20, 1), (24, 0x77), (28, 0)):
        device.pci.bar_write(1, offset, 4, value)
    seen = []
    device.dma.interrupt = lambda address, data: seen.append((address, data, device.isr))
    disk.resize(3)
    assert seen == [(0x1_FEE0_1000, 0x77, 2)]
    assert [read(device, 0x1000, 1) for _ in range(2)] == [2, 0]


def test_without_msix_the_interrupt_status_is_the_isr(device, disk):
    start(device)
    assert device.pci.config_read(6, 2) == 0x0010
    disk.resize(3)
    assert device.pci.config_read(6, 2) == 0x0018
    read(device, 0x1001, 1)
    assert device.pci.config_read(6, 2) == 0x0018
    read(device, 0x1000, 4)
    assert device.pci.config_read(6, 2) == 0x0010


def test_a_read_across_dwords_is_put_together(device):
    write(device, 32, 8, 0x1122334455667788)
    assert read(device, 32, 8) == 0x1122334455667788
    assert read(device, 34, 4) == 0x33445566


def test_disabled_memory_space_is_unsupported(device):
    device.pci.config_write(4, 2, 4)
    with pytest.raises(UnsupportedRequest):
        read(device, 0, 4)
    device.pci.config_write(4, 2, 6)
    with pytest.raises(UnsupportedRequest):
        device.pci.bar_read(0, 0, 4)
    with pytest.raises(UnsupportedRequest):
        read(device, 0x3FFE, 4)


def test_function_level_reset_keeps_the_payload_size_only(device):
    control = device.pci.config.pcie + 8
    device.pci.config_write(control, 2, 0x0020)
    write(device, 20, 1, 1)
    device.pci.config_write(control + 1, 1, 0x80)
    for _ in range(10):
        try:
            found = device.pci.config_read(control, 2)
            break
        except RequestRetry:
            pass
    assert found & 0x80E0 == 0x0020
    assert device.pci.config_read(4, 2) == 0
    assert device.status == 0


def test_the_pending_bits_are_one_per_vector(disk):
    device = ReferenceDevice(Blk(disk), Dma(), vectors=40)
    device.pci.config_write(4, 2, MEMORY_AND_MASTER)
    device.pci.config_write(device.pci.config.msix + 2, 2, 0x8000)
    for vector in (0, 31, 33):
        device.pci.raise_vector(vector)
    assert device.pci.bar_read(1, 0x800, 4) == 0x8000_0001
    assert device.pci.bar_read(1, 0x804, 4) == 2
    device.pci.bar_write(1, 16 * 33 + 12, 4, 0)
    assert device.pci.bar_read(1, 0x804, 4) == 0
    assert len(device.dma.messages) == 1


def test_every_queue_has_registers_of_its_own(disk):
    device = ReferenceDevice(Blk(disk, queues=3), Dma(), queue_size=8)
    device.pci.config_write(4, 2, MEMORY_AND_MASTER)
    assert read(device, 18, 2) == 3
    for queue in range(3):
        write(device, 22, 2, queue)
        write(device, 24, 2, 2 << queue)
        write(device, 26, 2, 3 - queue)
        write(device, 32, 4, 0x1000 * (queue + 1))
    for queue, vector in ((2, 1), (0, 3), (1, 2)):
        write(device, 22, 2, queue)
        found = [read(device, offset, 2) for offset in (24, 26, 30, 32)]
        assert found == [2 << queue, vector, queue, 0x1000 * (queue + 1)]
    write(device, 22, 2, 3)
    assert [read(device, offset, 2) for offset in (24, 26, 30, 32)] == [0, 0xFFFF, 0, 0]


@pytest.mark.parametrize(("queues", "last"), [(1, 1), (3, 3), (127, 127), (128, 127), (256, 127)])
def test_there_is_a_vector_per_queue_as_far_as_they_fit(disk, queues, last):
    device = ReferenceDevice(Blk(disk, queues=queues), Dma())
    assert device.pci.config_read(device.pci.config.msix + 2, 2) & 0x7FF == last

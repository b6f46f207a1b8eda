"""The legacy interface at literal offsets of I/O BAR 0."""

import pytest
from virtio_models.blk import Blk
from virtio_models.disk import Disk
from virtio_models.entropy import EntropySource
from virtio_models.pci import UnsupportedRequest
from virtio_models.rng import Rng
from virtio_spec.virtio_pci import Interface

ANY_LAYOUT, FLUSH, MQ, SEG_MAX = 1 << 27, 1 << 9, 1 << 12, 1 << 2
DESC, AVAIL, USED, DATA = 0x4000, 0x4080, 0x5000, 0x8000  # of a ring of 8 at page 4
NEXT, WRITE = 1, 2


@pytest.fixture
def disk():
    return Disk(16)


@pytest.fixture
def device(make, disk):
    return make(Blk(disk, queues=2), interface=Interface.LEGACY, queue_size=8, seed=1)


@pytest.fixture
def rng(make):
    return make(Rng(EntropySource(1)), interface=Interface.LEGACY, queue_size=8)


def read(device, offset, size):
    return device.pci.bar_read(0, offset, size)


def write(device, offset, size, value):
    device.pci.bar_write(0, offset, size, value)


def msix(device, enable):
    device.pci.config_write(device.pci.config.msix + 2, 2, 0x8000 if enable else 0)


def offer(device, address, length, flags=WRITE):
    """One buffer in the next available slot of the ring at page 4."""
    index = device.dma.get(AVAIL + 2, 2)
    device.dma.put(DESC, address | length << 64 | flags << 96, 16)
    device.dma.put(AVAIL + 4 + 2 * (index % 8), 0, 2)
    device.dma.put(AVAIL + 2, index + 1, 2)


def work(device):
    while device.step():
        pass


# -- header ----------------------------------------------------------------------------------------


def test_registers_after_reset(device):
    """PCI-LEG-DEV-P03: little-endian."""
    assert [read(device, offset, 4) for offset in (4, 8, 12, 16)] == [0, 0, 8, 0]
    assert read(device, 0xF0, 4) == 0x4544_4956


def test_the_device_type_knows_from_the_start_whom_it_serves(device):
    assert device.kind.legacy
    write(device, 18, 1, 0)
    assert (read(device, 18, 1), device.kind.legacy) == (0, True)


def test_low_features_and_any_layout_are_offered(device):
    assert read(device, 0, 4) == device.kind.features | ANY_LAYOUT
    assert device.offered >> 32 == 0


@pytest.mark.parametrize(
    ("offset", "size"), [(0, 1), (1, 1), (3, 1), (0, 2), (2, 2), (12, 2), (13, 1), (18, 1)]
)
def test_reads_of_any_width_agree(device, offset, size):
    write(device, 18, 1, 3)
    whole = read(device, offset & ~3, 4)
    assert read(device, offset, size) == whole >> 8 * (offset % 4) & (1 << 8 * size) - 1


def test_what_is_not_offered_does_not_count(device):
    write(device, 4, 4, 0xFFFF_FFFF)
    assert read(device, 4, 4) == device.kind.features | ANY_LAYOUT == device.kind.accepted
    write(device, 4, 4, FLUSH)
    assert read(device, 4, 4) == FLUSH == device.kind.accepted


def test_what_lacks_a_prerequisite_does_not_count(device):
    device.kind.requires = {9: (12,), 12: (2,)}
    write(device, 4, 4, FLUSH | MQ)
    assert read(device, 4, 4) == 0
    write(device, 4, 4, FLUSH | MQ | SEG_MAX)
    assert read(device, 4, 4) == FLUSH | MQ | SEG_MAX


def test_features_are_frozen_by_driver_ok(device):
    write(device, 18, 1, 3)
    write(device, 4, 4, FLUSH)
    write(device, 18, 1, 7)
    write(device, 4, 4, 0)
    assert read(device, 4, 4) == FLUSH


def test_there_is_no_features_ok_and_driver_ok_needs_nothing(device):
    write(device, 18, 1, 8)
    assert read(device, 18, 1) == 0
    write(device, 18, 1, 4)
    assert (read(device, 18, 1), device.kind.driver_ok) == (4, True)
    write(device, 18, 1, 0x80 | 0x40 | 0x10)
    assert read(device, 18, 1) == 0x84


@pytest.mark.parametrize(
    ("offset", "size", "value"),
    [(4, 2, FLUSH), (5, 1, 2), (8, 2, 4), (14, 1, 1), (17, 1, 0), (12, 2, 4), (0, 4, 1)],
)
def test_parts_of_registers_and_read_only_ones_are_not_written(device, offset, size, value):
    before = [read(device, dword, 4) for dword in range(0, 24, 4)]
    write(device, offset, size, value)
    assert [read(device, dword, 4) for dword in range(0, 24, 4)] == before
    assert device._kicked == set()


def test_one_write_covers_several_registers(device):
    write(device, 12, 4, 1 << 16 | 0x1234)
    assert read(device, 12, 4) == 1 << 16 | 8
    write(device, 16, 4, 0xFF_03_0001)
    assert (device._kicked, read(device, 16, 4)) == ({1}, 0x03_0000)


def test_beyond_the_registers_there_is_nothing(make):
    device = make(Rng(EntropySource(1)), interface=Interface.LEGACY)
    for offset in range(20, 0xF0, 4):
        write(device, offset, 4, 0xFFFF_FFFF)
        assert read(device, offset, 4) == 0
    with pytest.raises(UnsupportedRequest):
        read(device, 0x100, 1)


# -- queues ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "avail", "used"),
    [(8, 0x80, 0x1000), (64, 0x400, 0x1000), (256, 0x1000, 0x2000), (1024, 0x4000, 0x5000)],
)
def test_a_page_places_the_whole_ring(make, disk, size, avail, used):
    """SPLIT-LEG-DEV-01, PCI-LEG-DEV-P04, PCI-LEG-DEV-P05."""
    device = make(Blk(disk), interface=Interface.LEGACY, queue_size=size)
    assert read(device, 12, 2) == size
    write(device, 8, 4, 0xFFFF_FFF0)
    (queue,) = device.queues
    base = 0xFFF_FFFF_0000
    assert (queue.desc, queue.driver, queue.device) == (base, base + avail, base + used)
    assert (queue.enabled, queue.size, read(device, 8, 4)) == (True, size, 0xFFFF_FFF0)


def test_a_queue_in_use_stays_where_it_is(device):
    write(device, 8, 4, 4)
    write(device, 8, 4, 5)
    assert read(device, 8, 4) == 4
    write(device, 14, 2, 1)
    assert read(device, 8, 4) == 0
    write(device, 8, 4, 0)
    write(device, 8, 4, 6)
    assert (read(device, 8, 4), read(device, 12, 2)) == (6, 8)
    write(device, 14, 2, 2)
    write(device, 8, 4, 7)
    assert (read(device, 8, 4), read(device, 12, 2)) == (0, 0)
    write(device, 14, 2, 0)
    assert read(device, 8, 4) == 4


def test_taking_a_page_away_resets_the_device(device):
    write(device, 4, 4, FLUSH)
    write(device, 8, 4, 4)
    write(device, 18, 1, 7)
    write(device, 8, 4, 0)
    assert [read(device, offset, 4) for offset in (4, 8, 16)] == [0, 0, 0]
    assert not device.kind.driver_ok


def test_buffers_are_used_before_driver_ok(rng):
    """Trap 9: INIT-LEG-DEV-02."""
    write(rng, 8, 4, 4)
    offer(rng, DATA, 5)
    write(rng, 16, 2, 0)
    work(rng)
    assert rng.dma.get(USED, 12) == 5 << 64 | 1 << 16
    assert rng.dma.bytes[DATA : DATA + 5] in rng.kind.source.history
    assert rng.dma.sent == ["assert"]
    assert read(rng, 19, 1) == 1


@pytest.mark.parametrize("status", [0x80, 0x87])
def test_nothing_is_used_once_the_driver_has_given_up(rng, status):
    write(rng, 8, 4, 4)
    write(rng, 18, 1, status)
    offer(rng, DATA, 5)
    write(rng, 16, 2, 0)
    work(rng)
    assert (rng.dma.get(USED, 4), rng.dma.sent) == (0, [])


def test_a_kick_while_the_ring_is_found_empty_is_heard(rng):
    """SPLIT-DEV-22."""
    write(rng, 8, 4, 4)
    write(rng, 16, 2, 0)
    rng.step()
    offer(rng, DATA, 5)
    write(rng, 16, 2, 0)
    work(rng)
    assert rng.dma.get(USED + 2, 2) == 1


def test_a_kick_before_the_queue_has_a_page_is_remembered(rng):
    """INIT-LEG-DEV-02."""
    offer(rng, DATA, 5)
    write(rng, 16, 2, 0)
    work(rng)
    assert rng.dma.get(USED + 2, 2) == 0
    write(rng, 8, 4, 4)
    work(rng)
    assert rng.dma.get(USED + 2, 2) == 1


def test_a_broken_ring_is_told_to_a_driver_that_is_there(rng):
    write(rng, 8, 4, 4)
    write(rng, 18, 1, 7)
    offer(rng, DATA, 0)
    write(rng, 16, 2, 0)
    work(rng)
    assert (read(rng, 18, 1), rng.dma.sent) == (0x47, ["assert"])
    assert read(rng, 0xF4, 4) == 5
    assert read(rng, 16, 4) >> 24 == 2


def test_a_driver_that_wants_no_interrupt_gets_none(rng):
    """SPLIT-DEV-11."""
    write(rng, 8, 4, 4)
    rng.dma.put(AVAIL, 1, 2)
    offer(rng, DATA, 5)
    write(rng, 16, 2, 0)
    work(rng)
    assert (rng.dma.get(USED + 2, 2), rng.dma.sent, read(rng, 19, 1)) == (1, [], 0)


@pytest.mark.parametrize("seed", range(4))
def test_a_driver_that_does_not_wait_for_the_reset_loses_nothing(make, seed):
    device = make(Rng(EntropySource(1)), interface=Interface.LEGACY, queue_size=8, seed=seed)
    write(device, 8, 4, 4)
    write(device, 18, 1, 7)
    write(device, 18, 1, 0)
    write(device, 18, 1, 1)
    assert read(device, 18, 1) == 1
    assert read(device, 8, 4) == 0
    write(device, 18, 1, 0)
    assert read(device, 18, 1) == 0


# -- configuration and vectors ----------------------------------------------------------------------


def test_the_configuration_moves_with_msix(device, disk):
    """Trap 23: PCI-LEG-DEV-06, PCI-LEG-DEV-P01, PCI-LEG-DEV-P02."""
    assert read(device, 20, 4) == 16
    msix(device, True)
    assert read(device, 20, 4) == 0xFFFF_FFFF
    assert read(device, 24, 4) == 16
    write(device, 20, 2, 1)
    write(device, 22, 2, 2)
    assert read(device, 20, 4) == 0x0002_0001
    msix(device, False)
    assert read(device, 20, 4) == 16
    msix(device, True)
    assert read(device, 20, 4) == 0x0002_0001


def test_msix_enabled_between_two_reads_moves_the_second(device):
    device.kind.disk.resize(0x1_0000)
    assert read(device, 20, 2) == 0
    msix(device, True)
    assert read(device, 22, 2) == 0xFFFF
    assert read(device, 26, 2) == 1


def test_vectors_belong_to_queues_and_read_back_only_if_they_exist(device):
    msix(device, True)
    for queue, vector in ((0, 2), (1, 3), (2, 1)):
        write(device, 14, 2, queue)
        write(device, 22, 2, vector)
    found = []
    for queue in range(3):
        write(device, 14, 2, queue)
        found.append(read(device, 22, 2))
    assert found == [2, 0xFFFF, 0xFFFF]
    write(device, 20, 1, 0)
    assert read(device, 20, 2) == 0xFFFF
    write(device, 18, 1, 0)
    write(device, 14, 2, 0)
    assert read(device, 22, 2) == 0xFFFF


def test_a_change_is_told_from_driver_ok_on(device, disk):
    disk.resize(15)
    assert (read(device, 19, 1), device.dma.sent) == (0, [])
    write(device, 18, 1, 4)
    disk.resize(14)
    assert device.dma.sent == ["assert"]
    assert read(device, 19, 1) == 2
    assert device.dma.sent == ["assert", "deassert"]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_configuration_is_read_in_any_width(device, size):
    """Trap 24: PCI-LEG-DEV-05."""
    expected = device.kind.config()
    content = b"".join(read(device, 20 + n, size).to_bytes(size, "little") for n in range(0, 96, size))
    assert content == expected


class WritableBlk(Blk):
    writable = ("writeback", "num_queues")

    def __init__(self, disk):
        super().__init__(disk)
        self.written = []

    def config_written(self, offset, data):
        self.written.append((offset, data))


def test_only_writable_bytes_reach_the_device_at_any_time(make, disk):
    """INIT-LEG-DEV-01."""
    device = make(WritableBlk(disk), interface=Interface.LEGACY)
    write(device, 20 + 32, 4, 0x4433_2211)
    write(device, 20 + 35, 1, 9)
    write(device, 20, 4, 7)
    assert device.kind.written == [(32, b"\x11"), (34, b"\x33\x44"), (35, b"\x09")]
    msix(device, True)
    write(device, 24 + 32, 1, 5)
    assert device.kind.written[3:] == [(32, b"\5")]


def test_modern_configuration_is_written_alike(make, disk):
    device = make(WritableBlk(disk))
    device.pci.bar_write(4, 0x2020, 8, 0x8877_6655_4433_2211)
    assert device.kind.written == [(32, b"\x11"), (34, b"\x33\x44")]

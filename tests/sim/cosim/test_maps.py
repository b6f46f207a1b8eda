"""The client's memory: DMA_MAP and DMA_UNMAP."""

import os
import struct

import pytest
from helpers.vfio_user_client import Failed, GuestMemory
from helpers.vfio_user_guest import BASE, DATA

from .conftest import Recorded

PAGE = 4096


@pytest.fixture
def memory():
    with GuestMemory(4 * PAGE) as memory:
        yield memory


@pytest.fixture
def connected(serve):
    with serve() as running, running.connect() as client:
        client.version()
        yield running, client


def test_a_map_is_unmapped_as_it_was_mapped(connected, memory):
    running, client = connected
    client.dma_map(0x8000, 2 * PAGE, memory.fd, offset=PAGE, flags=1)
    assert running.function.calls[-1] == ("map", 0x8000, 2 * PAGE, 1)
    for address, size in [(0x8000, PAGE), (0x9000, PAGE), (0x6000, 3 * PAGE), (0x8000, 0), (0, 0)]:
        with pytest.raises(Failed, match="ENOENT"):
            client.dma_unmap(address, size)
    client.dma_unmap(0x8000, 2 * PAGE)
    assert running.function.calls[-1] == ("unmap", 0x8000, 2 * PAGE)
    assert running.function.buffers[-1].closed
    with pytest.raises(Failed, match="ENOENT"):
        client.dma_unmap(0x8000, 2 * PAGE)
    assert "0x2000 bytes at 0x8000 are not a map" in running.wait_for("0x2000 bytes")


def test_an_unmap_takes_all_maps_inside_as_behind_an_iommu(connected, memory):
    running, client = connected
    for address in (0x10000, 0x11000, 0x13000, 0x14000):
        client.dma_map(address, PAGE, memory.fd)
    client.dma_unmap(0x10000, 4 * PAGE)
    assert running.function.calls[-3:] == [("unmap", at, PAGE) for at in (0x10000, 0x11000, 0x13000)]
    client.dma_unmap(0x14000, PAGE)


def test_an_overlapping_map_is_refused(connected, memory):
    running, client = connected
    client.dma_map(0x10000, 2 * PAGE, memory.fd)
    for address, size in [(0x10000, PAGE), (0x11000, PAGE), (0xF000, 4 * PAGE), (0xF000, 2 * PAGE)]:
        with pytest.raises(Failed, match="EEXIST"):
            client.dma_map(address, size, memory.fd)
    line = running.wait_for("overlap")
    assert line.endswith("0x1000 bytes at 0x10000 overlap 0x2000 bytes at 0x10000, which are mapped already")
    client.dma_map(0xF000, PAGE, memory.fd)
    client.dma_map(0x12000, PAGE, memory.fd)


def test_everything_can_be_unmapped_at_once(connected, memory):
    running, client = connected
    client.dma_map(0x10000, PAGE, memory.fd)
    client.dma_map(0x20000, PAGE, memory.fd)
    client.dma_map(0x30000, PAGE, flags=1)
    client.dma_unmap(0, 0, flags=2)
    assert running.function.calls[-2:] == [("unmap", 0x10000, PAGE), ("unmap", 0x20000, PAGE)]
    client.dma_map(0x30000, PAGE, memory.fd)
    with pytest.raises(Failed, match="EINVAL"):
        client.dma_unmap(0x30000, PAGE, flags=2)
    with pytest.raises(Failed, match="EINVAL"):
        client.dma_unmap(0x30000, PAGE, flags=1)


def test_a_region_without_a_descriptor_is_taken_but_out_of_the_devices_reach(connected, memory):
    """QEMU's ROMs come so."""
    running, client = connected
    before = list(running.function.calls)
    client.dma_map(0xC0000, PAGE, flags=1)
    with pytest.raises(Failed, match="EEXIST"):
        client.dma_map(0xC0000, PAGE, memory.fd)
    client.dma_unmap(0xC0000, PAGE)
    assert running.function.calls == before


@pytest.mark.parametrize(
    "address, size, offset, flags, sentence",
    [
        (0x8000, 0, 0, 3, "0x0 bytes at 0x8000 from file offset 0x0 are not whole pages"),
        (0x8001, PAGE, 0, 3, "0x1000 bytes at 0x8001 from file offset 0x0 are not whole pages"),
        (0x8000, 100, 0, 3, "0x64 bytes at 0x8000 from file offset 0x0 are not whole pages"),
        (0x8000, PAGE, 1, 3, "0x1000 bytes at 0x8000 from file offset 0x1 are not whole pages"),
        ((1 << 64) - PAGE, 2 * PAGE, 0, 3, "are not whole pages"),
        (0x8000, PAGE, 0, 0, "0x1000 bytes at 0x8000 have flags 0x0"),
        (0x8000, PAGE, 0, 7, "0x1000 bytes at 0x8000 have flags 0x7"),
        (0x8000, 5 * PAGE, 0, 3, "cannot be mapped: mmap length is greater than file size"),
        (0x8000, PAGE, 4 * PAGE, 3, "cannot be mapped: mmap length is greater than file size"),
        (0, (1 << 64) - PAGE, 0, 3, "cannot be mapped: "),
        (0x8000, PAGE, (1 << 64) - PAGE, 3, "cannot be mapped: "),
    ],
)
def test_a_wrong_map_is_refused_with_a_sentence(connected, memory, address, size, offset, flags, sentence):
    running, client = connected
    with pytest.raises(Failed, match="EINVAL"):
        client.dma_map(address, size, memory.fd, offset=offset, flags=flags)
    assert sentence in running.wait_for("DMA_MAP is refused: ")
    client.dma_map(0x8000, PAGE, memory.fd)


def test_the_last_page_of_the_address_space_can_be_mapped(connected, memory):
    _, client = connected
    client.dma_map((1 << 64) - PAGE, PAGE, memory.fd)
    client.dma_unmap((1 << 64) - PAGE, PAGE)


def test_a_file_opened_for_reading_is_mapped_for_reading_only(connected, tmp_path):
    running, client = connected
    path = tmp_path / "rom"
    path.write_bytes(bytes(PAGE))
    fd = os.open(path, os.O_RDONLY)
    client.dma_map(0x8000, PAGE, fd, flags=1)
    with pytest.raises(Failed, match="EINVAL"):
        client.dma_map(0x9000, PAGE, fd, flags=3)
    os.close(fd)
    assert "cannot be mapped: Permission denied" in running.wait_for("cannot be mapped")


def test_there_are_only_so_many_maps(connected, memory):
    _, client = connected
    for index in range(256):
        client.dma_map(index * PAGE, PAGE, flags=1)
    with pytest.raises(Failed, match="ENOSPC"):
        client.dma_map(256 * PAGE, PAGE, flags=1)
    client.dma_unmap(0, PAGE)
    client.dma_map(256 * PAGE, PAGE, memory.fd)


def test_descriptors_are_closed_when_they_are_done_with(connected, memory):
    _, client = connected

    def count():
        client.info()  # the server has gone on from what was before
        return len(os.listdir("/proc/self/fd"))

    client.dma_map(0x8000, PAGE, memory.fd)
    client.dma_unmap(0x8000, PAGE)
    before = count()
    for _ in range(20):
        client.dma_map(0x8000, PAGE, memory.fd)
        with pytest.raises(Failed):
            client.dma_map(0x8000, PAGE, memory.fd)
        client.dma_unmap(0x8000, PAGE)
        with pytest.raises(Failed):
            client.request(13, fds=(memory.fd, memory.fd))
        with pytest.raises(Failed):
            client.set_irqs(2, 0x24, 0, 2, fds=(memory.fd,))
        client.set_irqs(2, 0x24, 0, 2, fds=(memory.fd, memory.fd))
        client.set_irqs(2, 0x21, 0, 0)
    assert count() == before


def test_memory_that_was_unmapped_is_not_touched_again(attached):
    with attached(budget=1) as (_, client, guest):
        guest.start()
        for index in range(1, 5):
            guest.ask(64, address=BASE + 0x4000 + 64 * index)
        client.dma_unmap(BASE, guest.memory.size)
        snapshot = guest.memory.read(0, guest.memory.size)
        for _ in range(50):
            guest.status()
        assert guest.memory.read(0, guest.memory.size) == snapshot


def test_the_server_waits_for_the_device_before_it_answers_an_unmap(serve, memory):
    """What the device still wrote stands in the memory when the answer arrives."""

    class Slow(Recorded):
        def unmap(self, address, size):
            buffer, _ = self._memory.maps[address]
            buffer[:4] = b"late"
            super().unmap(address, size)

    with serve(Slow()) as running, running.connect() as client:
        client.version()
        client.dma_map(0, PAGE, memory.fd)
        client.dma_unmap(0, PAGE)
        assert memory.read(0, 4) == b"late"


def test_a_device_without_its_memory_needs_a_reset_and_gets_one(attached):
    with attached() as (_, client, guest):
        guest.start()
        client.dma_unmap(BASE, guest.memory.size)
        guest.client.write(4, 0x3000, 2, 0, posted=True)
        while not guest.status() & 0x40:
            pass
        client.dma_map(BASE, guest.memory.size, guest.memory.fd)
        guest.start()
        guest.ask(8)
        while not guest.used():
            guest.status()
        assert struct.unpack("<II", guest.memory.read(0x2004, 8)) == (0, 8)
        assert guest.memory.read(DATA, 8) != bytes(8)

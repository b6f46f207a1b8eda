"""A disk image behind the storage port."""

import ctypes

import pytest
from virtio_sim.cosim.image import ImageFile

SECTOR = 512


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(range(256)) * 2 * 8)
    return path


def buffer(content):
    held = (ctypes.c_char * len(content)).from_buffer_copy(content)
    return held, ctypes.addressof(held)


READ, WRITE, FLUSH, DISCARD, ZEROES, ZEROES_UNMAP = range(6)


def test_an_image_is_read_and_written_in_place(image):
    with ImageFile(image) as disk:
        assert disk.sectors == 8
        held, address = buffer(bytes(2 * SECTOR))
        assert disk.serve(READ, 3, 2, address)
        assert held.raw == bytes(range(256)) * 4
        held, address = buffer(b"\x5a" * SECTOR)
        assert disk.serve(WRITE, 7, 1, address)
        assert disk.serve(FLUSH, 0, 0, 0)
        assert image.read_bytes()[7 * SECTOR :] == b"\x5a" * SECTOR


@pytest.mark.parametrize("operation", [ZEROES, ZEROES_UNMAP])
def test_zeros_are_written_and_a_discard_leaves_the_content(image, operation):
    before = image.read_bytes()
    with ImageFile(image) as disk:
        assert disk.serve(DISCARD, 0, 8, 0)
        assert disk.serve(operation, 2, 3, 0)
    assert image.read_bytes() == before[: 2 * SECTOR] + bytes(3 * SECTOR) + before[5 * SECTOR :]


@pytest.mark.parametrize(("sector", "count"), [(8, 1), (7, 2), (2**64 - 1, 2), (0, 9)])
def test_nothing_beyond_the_end_of_an_image_is_touched(image, sector, count):
    before = image.read_bytes()
    with ImageFile(image) as disk:
        held, address = buffer(b"\xee" * count * SECTOR)
        assert not disk.serve(READ, sector, count, address)
        for operation in (WRITE, DISCARD, ZEROES):
            assert not disk.serve(operation, sector, count, address)
        assert held.raw == b"\xee" * count * SECTOR
    assert image.read_bytes() == before


def test_a_read_only_image_refuses_writes(image):
    image.chmod(0o444)
    with ImageFile(image, read_only=True) as disk:
        held, address = buffer(bytes(SECTOR))
        assert disk.serve(READ, 0, 1, address)
        assert held.raw == bytes(range(256)) * 2
        for operation in (WRITE, DISCARD, ZEROES):
            assert not disk.serve(operation, 0, 1, address)
        assert disk.serve(FLUSH, 0, 0, 0)

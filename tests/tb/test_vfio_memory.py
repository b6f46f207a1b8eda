"""Memory that a card reaches: single accesses to words, and where pages physically are."""

import ctypes
from types import SimpleNamespace

import pytest
from cocotbext.virtio.backends import vfio_memory
from cocotbext.virtio.backends.vfio_group import VfioError
from cocotbext.virtio.backends.vfio_memory import Words, physical_zones

PAGE = 4096


@pytest.fixture
def words():
    store = (ctypes.c_uint64 * (2 * PAGE // 8))()
    made = Words(ctypes.addressof(store), 2 * PAGE)
    made.store = store  # not to go before it
    return made


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 16, 63, 64, 65, 300])
@pytest.mark.parametrize("start", [0, 1, 2, 5, 8])
def test_what_was_written_is_read(words, start, size):
    content = bytes(1 + n % 255 for n in range(size))
    words[start : start + size] = content
    assert words[start : start + size] == content
    assert words[0:start] == bytes(start) and words[start + size : start + size + 9] == bytes(9)
    assert len(words) == 2 * PAGE


def test_content_of_another_length_is_refused(words):
    with pytest.raises(ValueError, match="^3 bytes do not fit into 2$"):
        words[0:2] = b"abc"


class Seen:
    """Stands for a type of ctypes, and keeps which words were accessed."""

    def __init__(self, size, accesses):
        self._size, self._accesses = size, accesses

    def from_address(self, address):
        self._accesses.append((address, self._size))
        return {1: ctypes.c_uint8, 2: ctypes.c_uint16, 4: ctypes.c_uint32, 8: ctypes.c_uint64}[
            self._size
        ].from_address(address)


@pytest.fixture
def accesses(monkeypatch):
    found = []
    monkeypatch.setattr(vfio_memory, "TYPES", {size: Seen(size, found) for size in (1, 2, 4, 8)})
    return found


def test_a_descriptor_is_stored_with_its_flags_last_and_loaded_with_its_flags_first(words, accesses):
    words[16:32] = bytes(range(16))
    assert accesses == [(words.address + 16, 8), (words.address + 24, 8)]
    accesses.clear()
    assert words[16:32] == bytes(range(16))
    assert accesses == [(words.address + 24, 8), (words.address + 16, 8)]


@pytest.mark.parametrize("at, size", [(2, 2), (4, 4), (8, 8), (3, 1)])
def test_a_word_that_is_aligned_is_one_access(words, accesses, at, size):
    words[at : at + size] = bytes(size)
    assert accesses == [(words.address + at, size)]


def test_each_byte_is_stored_once(words, accesses):
    words[3:21] = bytes(18)
    assert [(at - words.address, size) for at, size in accesses] == [(3, 1), (4, 4), (8, 8), (16, 4), (20, 1)]


def test_pages_side_by_side_in_physical_memory_are_one_zone():
    pinned = SimpleNamespace(address=0x7F00_0000_0000, size=5 * PAGE)
    zones = physical_zones(pinned, frames=[0x100, 0x101, 0x300, 0x102, 0x103], page=PAGE)
    assert [(base, words.address - pinned.address, len(words)) for base, words in zones] == [
        (0x10_0000, 0, 2 * PAGE),
        (0x30_0000, 2 * PAGE, PAGE),
        (0x10_2000, 3 * PAGE, 2 * PAGE),
    ]


def test_a_kernel_that_does_not_tell_frames_is_asked_as_root(monkeypatch, tmp_path):
    table = tmp_path / "pagemap"
    table.write_bytes((1 << 63).to_bytes(8, "little") * 2)  # there, without a number: as for anybody but root
    monkeypatch.setattr(vfio_memory, "PAGEMAP", table)
    with pytest.raises(VfioError, match="^be root: without an IOMMU it has to be known where memory is"):
        vfio_memory._frames(0, 2, PAGE)


def test_frames_are_the_low_55_bits_of_the_kernels_table(monkeypatch, tmp_path):
    table = tmp_path / "pagemap"
    entries = [0, 1 << 63 | 1 << 55 | 0x1234, 1 << 63 | 1 << 61 | 0x8_0000_0001]
    table.write_bytes(b"".join(entry.to_bytes(8, "little") for entry in entries))
    monkeypatch.setattr(vfio_memory, "PAGEMAP", table)
    assert vfio_memory._frames(PAGE, 2, PAGE) == [0x1234, 0x8_0000_0001]

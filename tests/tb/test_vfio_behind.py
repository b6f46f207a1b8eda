"""What nobody sees: noise, as far as what a device gives out says something about it, and disks."""

import pytest
from cocotbext.virtio.backends.vfio_behind import HeardNoise, UnseenDisk


def test_noise_is_taken_for_what_it_is_once():
    heard = HeardNoise().history
    assert heard.find(bytes(range(16))) == 0
    assert heard.find(b"another 16 bytes", 5) == 16
    assert len(heard) == 32
    assert heard.find(bytes(range(8)) + b"more") < 0  # came before


def test_equal_bytes_are_no_noise():
    assert HeardNoise().history.find(b"\xa5" * 8) < 0


def test_a_few_bytes_say_nothing():
    heard = HeardNoise().history
    assert [heard.find(b"\0"), heard.find(b"\0"), heard.find(b"\1\1\1\1\1\1\1")] == [0, 1, 2]


def test_of_a_disk_the_capacity_is_known_and_nothing_else():
    disk = UnseenDisk(64)
    disk.heal()
    assert disk.capacity == 64
    for look in (lambda: disk.data, lambda: disk.counts, lambda: disk.resize(3), lambda: disk.read(0, 1)):
        with pytest.raises(LookupError, match="^nothing shows what is behind a card: "):
            look()
    with pytest.raises(LookupError, match="^nothing reaches what is behind a card: flush_fails of its disk"):
        disk.flush_fails = True

"""Noise that nobody sees, as far as what a device gives out says something about it."""

from cocotbext.virtio.backends.vfio_behind import HeardNoise


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

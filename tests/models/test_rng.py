import random

import pytest
from virtio_models.entropy import EntropySource
from virtio_models.rng import Rng, healthy, proportion_cutoff, repetition_cutoff


# 1 + ceil(20 / H), for a false positive rate of 2**-20.  [NIST SP 800-90B §4.4.1]
@pytest.mark.parametrize(("min_entropy", "expected"), [(1, 21), (2, 11), (4, 6), (8, 4)])
def test_the_repetition_cutoff_follows_from_the_entropy(min_entropy, expected):
    assert repetition_cutoff(min_entropy) == expected


def test_the_proportion_cutoff_bounds_the_rate_of_false_alarms():
    assert proportion_cutoff(1) == 311
    assert proportion_cutoff(4) < proportion_cutoff(2) < proportion_cutoff(1)


def test_noise_is_healthy():
    assert healthy(random.Random(1).randbytes(4096), 4)


def test_a_run_of_equal_samples_is_not():
    samples = bytearray(random.Random(1).randbytes(512))
    samples[100:105] = b"\x11" * 5
    samples[99] = samples[105] = 0
    assert healthy(bytes(samples), 4)
    samples[105] = 0x11
    assert not healthy(bytes(samples), 4)


def test_too_much_of_a_windows_first_sample_is_not():
    cutoff = proportion_cutoff(4)
    for count, expected in ((cutoff - 1, True), (cutoff, False)):
        samples = bytearray(1 + n % 255 for n in range(512))
        samples[: 2 * count : 2] = bytes(count)
        assert healthy(bytes(samples), 4) is expected


def test_bytes_are_those_of_the_source_behind_the_start_up_test():
    source = EntropySource(5)
    data = Rng(source).handle(b"", 700)
    assert data == source.history[1024 : 1024 + 700]


def test_nothing_comes_while_the_source_is_bad_and_nothing_of_it_later():
    source = EntropySource(5)
    rng = Rng(source)
    assert rng.handle(b"", 10) is not None
    source.stick(9)
    assert rng.handle(b"", 600) is None
    source.heal()
    position = len(source.history)
    data = rng.handle(b"", 600)
    assert data == source.history[position + 1024 :][:600]


def test_a_run_across_two_windows_is_found():
    source = EntropySource(5)
    rng = Rng(source)
    good = random.Random(2).randbytes
    stream = iter(good(1024) + b"\x01" + good(508) + b"\x55" * 6 + good(1021))
    source.next_byte = lambda: next(stream)
    assert rng.handle(b"", 513) is None

import random

import pytest
from virtio_sim.guest import fips


def names(block):
    return {failure.partition(":")[0] for failure in fips.failures(block)}


def noise(seed):
    return bytearray(random.Random(seed).randbytes(2500))


def test_noise_passes():
    assert sum(bool(fips.failures(bytes(noise(seed)))) for seed in range(20)) <= 1


def test_a_constant_fails_every_test():
    assert names(bytes(2500)) == {"monobit", "poker", "runs", "long run"}


def test_alternating_bits_have_the_right_number_of_ones_and_nothing_else():
    assert names(b"\x55" * 2500) == {"poker", "runs"}


def test_equally_many_of_each_digit_are_too_even_for_the_poker_test():
    assert "poker" in names((bytes.fromhex("0123456789abcdef") * 313)[:2500])


def test_one_run_of_26_bits_is_too_long_and_one_of_25_is_not():
    block = noise(1)
    assert not names(bytes(block))
    block[100:106] = b"\x5a\x03\xff\xff\xfe\x5a"  # two and 16 and seven ones
    assert not names(bytes(block))
    block[100:106] = b"\x5a\x07\xff\xff\xfe\x5a"
    assert names(bytes(block)) == {"long run"}


def test_a_bias_of_three_percent_fails_the_monobit_test():
    generator = random.Random(3)
    bits = "".join("1" if generator.random() < 0.53 else "0" for _ in range(20_000))
    assert "monobit" in names(int(bits, 2).to_bytes(2500, "big"))


def test_a_block_has_20000_bits():
    with pytest.raises(ValueError, match="^a block has 2500 bytes, not 2499$"):
        fips.failures(bytes(2499))

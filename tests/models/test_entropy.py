from virtio_models.entropy import EntropySource


def take(source: EntropySource, count: int) -> bytes:
    return bytes(source.next_byte() for _ in range(count))


def test_the_same_seed_gives_the_same_bytes():
    assert take(EntropySource(3), 64) == take(EntropySource(3), 64)
    assert take(EntropySource(3), 64) != take(EntropySource(4), 64)


def test_it_remembers_what_it_gave_out():
    source = EntropySource(1)
    assert source.history == take(source, 10)


def test_it_sticks_until_it_is_healed():
    source = EntropySource(1)
    source.stick(0x77)
    assert take(source, 50) == b"\x77" * 50
    source.heal()
    assert len(set(take(source, 50))) > 20


def test_a_bias_shows_in_about_that_share_of_the_bytes():
    source = EntropySource(1)
    source.bias(0x42, 0.5)
    assert 800 < take(source, 2000).count(0x42) < 1200
    source.heal()
    assert take(source, 2000).count(0x42) < 40

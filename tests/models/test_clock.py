import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtio_models.clock import Clock


def test_it_stands_where_it_was_set():
    assert Clock(12, 34).now() == (12, 34)
    clock = Clock()
    clock.set(-5, 999_999)
    assert clock.now() == (-5, 999_999)


def test_microseconds_carry_into_seconds():
    clock = Clock(0xFFFF_FFFF, 999_999)
    clock.advance(1)
    assert clock.now() == (0x1_0000_0000, 0)
    clock.advance(2_500_001)
    assert clock.now() == (0x1_0000_0002, 500_001)


def test_before_1970_it_runs_forward_too():
    clock = Clock(-1, 999_999)
    clock.advance(1)
    assert clock.now() == (0, 0)


def test_listeners_hear_of_every_change_when_it_has_happened():
    clock, heard = Clock(1), []
    clock.listeners.append(lambda: heard.append(clock.now()))
    clock.set(2)
    clock.advance(3)
    assert heard == [(2, 0), (2, 3)]


@pytest.mark.parametrize("seconds", [-(2**63) - 1, 2**63])
def test_seconds_have_64_bits(seconds):
    with pytest.raises(ValueError, match=f"seconds are a signed number of 64 bits, not {seconds}"):
        Clock(seconds)


@pytest.mark.parametrize("microseconds", [-1, 1_000_000])
def test_microseconds_are_less_than_a_second(microseconds):
    with pytest.raises(ValueError, match=f"microseconds are 0 to 999999, not {microseconds}"):
        Clock(0, microseconds)


@given(st.lists(st.integers(0, 10**9), max_size=8))
def test_steps_add_up(steps):
    clock = Clock(-3, 250_000)
    for step in steps:
        clock.advance(step)
    seconds, microseconds = clock.now()
    assert 10**6 * seconds + microseconds == -2_750_000 + sum(steps)

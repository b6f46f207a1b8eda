"""Benchmarks are chosen by words of their names."""

from virtio_sim.benchmarks.catalog import BENCHMARKS, chosen


def names(words, guest=True):
    return [each.name for each in chosen(words, guest=guest)]


def test_without_words_all_are_chosen_and_guests_can_be_left_out():
    assert names("") == [each.name for each in BENCHMARKS]
    assert set(names("")) - set(names("", guest=False)) == {"Linux guest"}


def test_all_words_have_to_be_in_the_name():
    assert names("host BULK") == ["bulk to host", "bulk from host"]
    assert names("bulk nothing") == []


def test_names_are_unique_and_each_says_how_it_is_measured():
    assert len({each.name for each in BENCHMARKS}) == len(BENCHMARKS)
    assert all(each.how for each in BENCHMARKS)

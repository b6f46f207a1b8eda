"""The catalogue of planted bugs, and that the test list finds each where it says so."""

import pytest
from virtio_sim.mutation.planted.bug import bug, bugs, seen
from virtio_sim.mutation.planted.finding import finding

BUGS = bugs()
TRAPS = range(1, 31)
SEEN = [(each, where) for each in BUGS.values() for where in each.seen]


@pytest.mark.parametrize(
    ("planted", "where"), SEEN, ids=[f"{each.name}-{where.device}-{where.case}" for each, where in SEEN]
)
def test_a_planted_bug_is_found(planted, where):
    assert finding(planted, where), f"{where.case} passes"


def test_all_known_traps_are_among_them():
    assert {trap for each in BUGS.values() for trap in each.traps} == set(TRAPS)


def test_there_are_more_than_60_and_each_has_a_sentence_and_is_seen_somewhere():
    assert len(BUGS) >= 60
    assert [each.name for each in BUGS.values() if not each.seen] == []
    assert [each.name for each in BUGS.values() if not each.what.endswith(".")] == []
    assert len({each.what for each in BUGS.values()}) == len(BUGS)


def test_no_two_bugs_have_a_name():
    with pytest.raises(ValueError, match="there are two bugs 'echoes-vectors'"):

        @bug(seen("rng", "msix.a_reset_takes_all_vectors_away"))
        class EchoesVectors:
            pass

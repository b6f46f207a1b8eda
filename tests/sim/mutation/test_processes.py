"""Work in processes, some of which end before their time."""

import os
import signal
import time

import pytest
from virtio_sim.mutation.processes import limit, spread


def by_item(ended):
    return {each.item: (each.told, each.ended_by) for each in ended}


def test_each_item_has_a_process_that_tells_what_it_found():
    def work(item, tell):
        tell(item * "x")
        tell(os.getpid())

    found = by_item(spread([1, 2, 70_000], work, jobs=2))
    assert [found[item][0][0] for item in (1, 2, 70_000)] == ["x", "xx", 70_000 * "x"]
    assert len({told[1] for told, _ in found.values()} | {os.getpid()}) == 4
    assert {ended_by for _, ended_by in found.values()} == {None}


def test_a_crash_is_an_answer():
    def work(item, tell):
        tell("begun")
        if item:
            os.kill(os.getpid(), signal.SIGKILL)

    assert by_item(spread([0, 1], work, jobs=1)) == {0: (["begun"], None), 1: (["begun"], signal.SIGKILL)}


def test_what_never_ends_is_ended():
    def work(item, tell):
        limit(0.05)
        tell("begun")
        time.sleep(60)

    assert by_item(spread([0], work, jobs=1)) == {0: (["begun"], signal.SIGALRM)}


def test_a_mistake_in_the_work_is_none_of_the_answers(capfd):
    def work(item, tell):
        raise ValueError

    with pytest.raises(RuntimeError, match="the process for 0 failed"):
        list(spread([0], work, jobs=1))
    assert "ValueError" in capfd.readouterr().err

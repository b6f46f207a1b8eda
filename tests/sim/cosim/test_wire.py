"""The cable between two network devices, or one and QEMU."""

import socket
import threading

import pytest
from virtio_sim.cosim.listener import SocketInUse
from virtio_sim.cosim.wire import AHEAD, BUFFER, Wire


class End:
    """One end, and what became of it."""

    def __init__(self, path):
        self.said, self.changes = [], 0
        self.wire = Wire(path, report=self.said.append)
        self.wire.changed = self.note

    def note(self):
        self.changes += 1

    def got(self):
        """All frames that are there or still come out of the sockets."""
        found = []
        for _ in range(50):
            self.wire.look()
            while (frame := self.wire.take()) is not None:
                found.append(frame)
        return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "wire"


@pytest.fixture
def ends(path):
    first, second = End(path), End(path)
    first.wire.look()
    yield first, second
    second.wire.close()
    first.wire.close()
    assert not path.exists()


def test_frames_pass_both_ways_in_order_and_whole(ends):
    first, second = ends
    frames = [bytes([n % 256]) * n for n in (1, 60, 1514, 65_550, 3)]
    for frame in frames:
        first.wire.put(frame)
        second.wire.put(frame[::-1])
        assert second.got() == [frame]
        assert first.got() == [frame[::-1]]


def test_there_is_a_link_while_both_ends_are_there(path):
    first = End(path)
    assert not first.wire.link_up
    for times in (1, 2):
        second = End(path)
        assert second.wire.link_up and not first.wire.link_up
        first.wire.look()
        assert first.wire.link_up
        assert first.changes == 2 * times - 1
        second.wire.close()
        first.wire.look()
        assert not first.wire.link_up
        assert first.changes == 2 * times
    assert first.said == ["the wire's other end is there", "the wire's other end is gone"] * 2
    first.wire.close()


def test_a_frame_that_comes_is_told(ends):
    first, second = ends
    before = second.changes
    first.wire.put(bytes(60))
    second.wire.look()
    assert second.changes == before + 1


def test_without_another_end_frames_are_lost(path):
    first = End(path)
    first.wire.put(bytes(60))
    second = End(path)
    first.wire.look()
    assert second.got() == []
    second.wire.close()
    first.wire.close()


def test_who_closes_its_end_is_not_told_of_it(ends):
    first, second = ends
    before = second.changes
    second.wire.close()
    assert second.changes == before
    first.wire.look()
    assert not first.wire.link_up


def test_a_third_one_is_not_let_in(ends, path):
    first, second = ends
    with socket.socket(socket.AF_UNIX) as third:
        third.connect(str(path))
        first.wire.look()
        assert third.recv(1) == b""
    first.wire.put(bytes(60))
    assert second.got() == [bytes(60)]


def test_frames_wait_for_a_device_that_takes_none_and_are_lost_if_they_are_too_many(ends):
    first, second = ends
    frames = [number.to_bytes(4, "big") * 300 for number in range(4000)]
    for frame in frames:
        first.wire.put(frame)
        second.wire.look()
    found = []
    for _ in range(4000):
        if not (some := second.got()):
            break
        found += some
        first.wire.look()
    assert BUFFER // 1204 < len(found) < len(frames)
    assert found == frames[: len(found)]


def test_no_more_is_read_than_fits(ends):
    first, second = ends
    for _ in range(10 * AHEAD):
        first.wire.put(bytes(10_000))
        second.wire.look()
    count = 0
    while second.wire.take() is not None:
        count += 1
    assert AHEAD <= count < AHEAD + 10


def test_ends_that_come_at_the_same_moment_meet(path):
    for _ in range(100):
        together, ends = threading.Barrier(2), []

        def come(together=together, ends=ends):
            together.wait()
            ends.append(End(path))

        comers = [threading.Thread(target=come) for _ in range(2)]
        for comer in comers:
            comer.start()
        for comer in comers:
            comer.join()
        for end in ends:
            end.wire.look()
        assert [end.wire.link_up for end in ends] == [True, True]
        for end in ends:
            end.wire.close()


@pytest.mark.parametrize("size", [0, 65_551, 0xFFFF_FFFF])
def test_who_sends_no_frames_is_cut_off(path, size):
    first = End(path)
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(path))
        first.wire.look()
        other.sendall(size.to_bytes(4, "big"))
        first.wire.look()
    assert first.said[-1] == f"the wire's other end is gone: it sent a frame of {size} octets"
    assert not first.wire.link_up
    first.wire.close()


def test_a_path_that_cannot_be_a_socket_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SocketInUse, match="file exists already and is no socket"):
        Wire(tmp_path / "file", report=print)

"""Clients that come and go, and the socket they come to."""

import array
import errno
import os
import socket
import stat
import struct
import threading
import time

import pytest
from helpers.vfio_user_client import Failed, GuestMemory
from helpers.vfio_user_guest import BASE, RngGuest
from virtio_sim.cosim.function import FunctionFault
from virtio_sim.cosim.listener import SocketInUse, listen
from virtio_sim.cosim.server import Server

from .conftest import Recorded

PAGE = 4096


def served(running):
    """A whole session, with a request in it."""
    with running.connect() as client, GuestMemory(RngGuest.memory_size()) as memory:
        client.version()
        client.dma_map(BASE, memory.size, memory.fd)
        guest = RngGuest(client, memory)
        guest.enumerate()
        guest.start()
        guest.ask(32)
        while guest.used() != 1:
            guest.status()


def test_clients_come_one_after_the_other(serve):
    with serve() as running:
        for _ in range(3):
            served(running)
        assert not [call for call in running.function.calls if call[0] == "map"][3:]


def test_a_client_that_disappears_leaves_a_device_like_new(attached, serve):
    with serve() as running:
        client = running.connect()
        client.version()
        memory = GuestMemory(RngGuest.memory_size())
        client.dma_map(BASE, memory.size, memory.fd)
        guest = RngGuest(client, memory)
        guest.enumerate()
        guest.start()
        guest.ask(4096)
        client.close()
        line = running.wait_for("the client left")
        assert line == "the client left; the device is reset and waits for the next"
        assert running.function.calls[-2:] == ["reset", ("unmap", BASE, memory.size)]
        os.close(memory.fd)
        with running.connect() as client:
            client.version()
            assert client.read(7, 4, 2) == 0
            client.dma_unmap(0, 0, flags=2)
        served(running)


def test_a_client_that_disappears_in_a_message_is_no_different(serve):
    with serve() as running:
        with running.connect() as client:
            client.version()
            client.raw(struct.pack("<HHIII", 1, 10, 16 + 17, 0, 0) + bytes(9))
        line = running.wait_for("left in a message")
        assert line.startswith("the client left in a message, after 25 of its bytes; ")
        served(running)


def test_nothing_of_a_client_that_left_stays_open(serve):
    with serve() as running:

        def leave():
            with running.connect() as client, GuestMemory(PAGE) as memory:
                client.version()
                client.dma_map(0, PAGE, memory.fd)
                client.set_irqs(0, 0x24, 0, 1, fds=(memory.fd,))
                client.set_irqs(2, 0x24, 0, 2, fds=(memory.fd, memory.fd))
                fds = array.array("i", [memory.fd])
                half = struct.pack("<HHIII", 1, 8, 40, 0, 0)
                client.socket.sendmsg([half], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])

        def count():
            with running.connect() as client:  # once this one is served, the one before is done with
                client.version()
                return len(os.listdir("/proc/self/fd"))

        leave()
        before = count()
        for _ in range(5):
            leave()
        assert count() == before


def test_a_client_that_does_not_take_its_answers_is_dropped(serve):
    with serve(patience=0.2) as running:
        with running.connect() as client:
            client.version()
            try:
                for _ in range(20_000):
                    client.send(9, struct.pack("<QII", 0, 7, 4096))
            except OSError:
                pass
            running.wait_for("the client is dropped: the client has taken no reply for 0.2 s")
        served(running)


@pytest.mark.parametrize("begun", [b"", b"\1\0\2", struct.pack("<HHIII", 1, 13, 20, 0, 0)])
def test_a_client_that_stops_in_a_message_is_dropped(serve, begun):
    with serve(patience=0.2) as running:
        with running.connect() as client:
            if begun:
                client.version()
                client.raw(begun)
            assert client.closed()
        line = running.wait_for("dropped")
        assert line.startswith("the client is dropped: it has not finished a message in 0.2 s")
        served(running)


def test_a_silent_client_that_owes_nothing_stays(serve):
    with serve(patience=0.1) as running, running.connect() as client:
        client.version()
        time.sleep(0.3)  # longer than the server's patience: nothing must happen in it
        assert client.info() == (3, 9, 5)


def test_a_second_client_is_told_that_the_device_is_busy(serve):
    with serve() as running, running.connect() as first:
        first.version()
        with running.connect() as second:
            with pytest.raises(Failed) as refused:
                second.version()
            assert refused.value.number == errno.EBUSY
            assert second.closed()
        running.wait_for("a second client is refused: the device serves one at a time")
        assert first.info() == (3, 9, 5)
        first.close()
        running.wait_for("the client left")
        served(running)


def test_a_second_client_that_says_nothing_does_not_stay(serve):
    with serve(patience=0.2) as running, running.connect() as first:
        first.version()
        with running.connect() as second:
            assert second.closed()
        with running.connect() as third:
            third.raw(struct.pack("<HHIII", 1, 1, 3, 0, 0))
            assert third.closed()
        running.wait_for("a second client is refused: a message says that it has 3 bytes")
        crowd = [running.connect() for _ in range(6)]
        for other in crowd:
            assert other.closed()
            other.close()
        assert first.info() == (3, 9, 5)


def test_a_new_client_is_let_in_while_the_last_word_of_the_old_is_unread(serve):
    with serve() as running:
        for _ in range(20):
            with running.connect() as client:
                client.version()
                client.send(13, flags=0x10)


def test_the_server_sleeps_while_the_device_has_nothing_to_do(attached):
    rounds = []

    class Counted(Recorded):
        def work(self, budget):
            rounds.append(budget)
            return super().work(budget)

    with attached(Counted()) as (_, _client, guest):
        guest.start()
        guest.ask(8)
        while guest.used() != 1:
            guest.status()
        time.sleep(0.05)
        before = len(rounds)
        time.sleep(0.3)  # nothing must happen in it
        assert len(rounds) == before


def test_the_device_goes_on_while_a_client_is_silent(attached):
    with attached(budget=1) as (_, _client, guest):
        guest.start()
        for _ in range(8):
            guest.ask(64)
        end = time.monotonic() + 10
        while guest.used() != 8 and time.monotonic() < end:
            time.sleep(0.01)
        assert guest.used() == 8


def test_a_device_that_fails_an_access_is_an_error_and_not_the_end(serve):
    class Broken(Recorded):
        def bar_read(self, bar, offset, size):
            raise FunctionFault(f"the device has not answered a read of {size} bytes at {offset:#x}")

    with serve(Broken()) as running, running.connect() as client:
        client.version()
        with pytest.raises(Failed, match="EIO"):
            client.read(4, 20, 1)
        line = running.wait_for("REGION_READ")
        assert line == "REGION_READ is refused: the device has not answered a read of 1 bytes at 0x14"
        assert client.info() == (3, 9, 5)


def test_a_device_that_fails_at_work_ends_the_session(serve):
    class Broken(Recorded):
        faults = 1

        def work(self, budget):
            if self.faults and self.device.pci.bus_master:
                self.faults -= 1
                raise FunctionFault("the device sent a malformed packet")
            return super().work(budget)

    with serve(Broken()) as running:
        with running.connect() as client:
            client.version()
            client.write(7, 4, 2, 6, posted=True)
            assert client.closed()
        running.wait_for("the client is dropped: the device sent a malformed packet")
        served(running)


def test_messages_to_nowhere_are_told_of(serve):
    class Stray(Recorded):
        def interrupts(self):
            return [(0xFEE0_0000, 7)] if self.device.pci.bus_master else []

    with serve(Stray()) as running, running.connect() as client:
        client.version()
        for _ in range(30):
            client.write(7, 4, 2, 4)
        running.wait_for("the device wrote 0x7 to 0xfee00000, where it has no memory")
        running.wait_for("this client has more to complain of")
        assert len(running.lines) < 30


# -- the socket --------------------------------------------------------------------------------------


def test_the_socket_is_the_users_alone_and_goes_with_the_server(tmp_path):
    path = tmp_path / "s"
    with Server(Recorded(), path, report=lambda line: None) as server:
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert server.path == str(path)
    assert not path.exists()


def test_a_file_that_is_no_socket_stays_as_it_is(tmp_path):
    path = tmp_path / "s"
    path.write_text("mine")
    with pytest.raises(SocketInUse, match=f"^{path} exists already and is no socket$"):
        Server(Recorded(), path)
    assert path.read_text() == "mine"


def test_a_living_servers_socket_is_left_to_it(serve):
    with serve() as running:
        with pytest.raises(SocketInUse, match=f"^a server is listening at {running.path} already$"):
            Server(Recorded(), running.path)
        served(running)
        assert running.lines[1] == "a client has come"  # nothing of the other server's question


def test_a_dead_servers_socket_is_replaced(tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listener = listen(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()
    assert not path.exists()


def test_a_socket_that_is_somebody_elses_by_now_is_not_removed(tmp_path):
    path = tmp_path / "s"
    first = listen(path)
    path.unlink()
    second = listen(path)
    first.close()
    assert path.exists()
    second.close()
    second.close()
    assert not path.exists()


@pytest.mark.parametrize(
    "name, reason", [("missing/s", "No such file or directory"), ("x" * 120, "its name is too long")]
)
def test_a_path_where_no_socket_can_be_is_one_sentence(tmp_path, name, reason):
    with pytest.raises(SocketInUse, match=f"^there can be no socket at .*{name}: {reason}$"):
        Server(Recorded(), tmp_path / name)


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"budget": 0}, "^a budget of 0 steps lets the device do nothing$"),
        ({"patience": 0}, "^patience for 0 s is none$"),
        ({"table": "guest"}, "'guest' is not a valid Table"),
    ],
)
def test_options_are_checked(tmp_path, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Server(Recorded(), tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()


def test_stop_ends_a_server_that_sleeps_and_one_that_works(tmp_path):
    for attempt in range(2):
        server = Server(Recorded(), tmp_path / f"s{attempt}", report=lambda line: None)
        thread = threading.Thread(target=server.serve)
        thread.start()
        if attempt:
            client = socket.socket(socket.AF_UNIX)
            client.connect(server.path)
        server.stop()
        thread.join(10)
        assert not thread.is_alive()
        server.close()
        server.stop()  # too late, and harmless
    client.close()

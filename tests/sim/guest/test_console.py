import base64
import socket
import subprocess
import threading
from importlib.resources import files

import pytest
from virtio_sim.guest import console
from virtio_sim.guest.console import Console, ConsoleError


class Guest:
    """The other end: says one list of lines after each line it hears."""

    def __init__(self, *answers):
        self.port, self._mine = socket.socketpair()
        self.heard = []
        self._answers = answers
        self._thread = threading.Thread(target=self._talk)

    def say(self, *lines):
        self._mine.sendall("".join(f"{line}\n" for line in lines).encode())

    def hang_up(self):
        self._mine.shutdown(socket.SHUT_RDWR)

    def _talk(self):
        with self._mine.makefile("r") as lines:
            for answer in self._answers:
                self.heard.append(lines.readline().rstrip())
                self.say(*answer)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._mine.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._mine.close()
        self.port.close()


def test_the_guest_says_what_it_is():
    with Guest() as guest:
        guest.say("noise from the firmware", "@up root initramfs release 6.1.0")
        assert Console(guest.port).up(5) == {"root": "initramfs", "release": "6.1.0"}


def test_an_answer_has_facts_data_marks_and_a_status():
    content = bytes(range(256)) * 3
    lines = base64.encodebytes(content).decode().split()
    answer = ["@begin 1", "@mark begin", "@fact name a b", "hello  there", "@data blob", *lines, "@done"]
    with Guest([*answer, "@mark end", "@end 1 0"]) as guest:
        got = Console(guest.port).run("check", "x", "7", deadline=5)
        assert guest.heard == ["@run 11 1 check x 7"]
    assert (got.status, got.facts, got.data) == (0, {"name": "a b"}, {"blob": content})
    assert got.said == ["hello  there"]
    assert 0 <= got.between("begin", "end") < 5


def test_a_script_that_fails_says_why():
    with Guest(["@begin 1", "@fail there is no disk", "@end 1 3"]) as guest:
        got = Console(guest.port).run("check", deadline=5)
    assert (got.status, got.failures) == (3, ["there is no disk"])


def test_what_an_earlier_script_still_says_is_not_mistaken_for_the_answer():
    late = ["@fact old 1", "@end 1 0"]
    with Guest(["@begin 1"], [*late, "@begin 2", "@fact new 2", "@end 2 0"]) as guest:
        console = Console(guest.port)
        with pytest.raises(ConsoleError, match="waited in vain for slow to end"):
            console.run("slow", deadline=0.2)
        assert console.run("next", deadline=5).facts == {"new": "2"}


def test_an_order_that_got_lost_on_the_way_is_sent_again(monkeypatch):
    monkeypatch.setattr(console, "SILENCE", 0.2)
    with Guest(["@again"], [], ["late", "@begin 1", "@end 1 0"]) as guest:
        assert Console(guest.port).run("check", deadline=5).status == 0
        assert guest.heard == ["@run 7 1 check"] * 3


def test_the_agent_takes_a_whole_order_once(tmp_path):
    """The script itself, with files for the serial port."""
    (tmp_path / "check.sh").write_text('echo "done $*"; [ "${1-}" != bad ]\n')
    orders = ["5 check", "@run 7 1 check", "@run 7 1 check", "@run 11 2 check x y", "@run 99 3 check"]
    orders += ["@run 11 3 check bad", "un 7 4 check", ""]
    (tmp_path / "orders").write_text("\n".join(orders) + "\n")
    agent = (files("virtio_sim.guest") / "scripts" / "agent.sh").read_text()
    loop = agent[agent.index("last=") : agent.index("poweroff")].replace("/checks", str(tmp_path))
    (tmp_path / "loop.sh").write_text(loop)
    with (tmp_path / "orders").open() as given:
        ran = subprocess.run(["sh", "loop.sh"], stdin=given, capture_output=True, text=True, cwd=tmp_path)
    assert ran.stdout.split("\n") == [
        *("@again", "@begin 1", "done ", "@end 1 0", "@begin 2", "done x y", "@end 2 0", "@again"),
        *("@begin 3", "done bad", "@end 3 1", "@again", "@again", ""),
    ]


def test_a_silent_guest_is_given_up_with_its_last_words():
    with Guest() as guest:
        guest.say("Booting")
        with pytest.raises(ConsoleError, match="^waited in vain for the guest to come up; .* is 'Booting'$"):
            Console(guest.port).up(0.2)


def test_a_guest_that_goes_is_missed_at_once():
    with Guest() as guest:
        console = Console(guest.port)
        guest.say("bye")
        guest.hang_up()
        with pytest.raises(ConsoleError, match="^the guest was gone, waiting for .*; the last .* is 'bye'$"):
            console.up(60)
        assert console.gone


def test_a_wrong_end_is_an_error():
    with Guest(["@begin 1", "@end 9 0"]) as guest:
        with pytest.raises(ConsoleError, match="^the guest ended '9 0' while check was running$"):
            Console(guest.port).run("check", deadline=5)


def test_garbled_data_is_an_error():
    with Guest(["@begin 1", "@data blob", "AAA", "@done", "@end 1 0"]) as guest:
        with pytest.raises(ConsoleError, match="^what the guest sent is not base64"):
            Console(guest.port).run("check", deadline=5)


def test_a_call_is_one_line():
    message = "^the call of check is not one line of words, 4000 bytes at most$"
    with Guest() as guest:
        for wrong in ("a\nb", "a b  c", "x" * 4001):
            with pytest.raises(ValueError, match=message):
                Console(guest.port).run("check", wrong, deadline=5)


def test_every_line_is_heard_by_the_listener():
    heard = []
    with Guest(["@begin 1", "one", "@end 1 0"]) as guest:
        Console(guest.port, listen=heard.append).run("check", deadline=5)
    assert heard == ["@begin 1", "one", "@end 1 0"]

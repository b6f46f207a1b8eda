"""The line protocol between the host and ``agent.sh`` in the guest, over a serial port of its own.

The host sends ``@run LENGTH NUMBER SCRIPT ARGUMENTS``, where LENGTH is that of what follows it, and again
if nothing begins: a serial port may lose characters, and the agent takes each number once. The guest
answers with lines:

==========================  ==================================================================
``@up KEY VALUE…``          the agent is there, sent once after each boot
``@again``                  the order was no order, or not as long as it said
``@begin NUMBER``           the script starts
``@fact KEY VALUE``         something found out
``@data KEY``               bytes in base64 until ``@done``
``@mark NAME``              a moment; what counts is when the host sees it
``@fail SENTENCE``          what is wrong
``@end NUMBER STATUS``      the script's exit status
==========================  ==================================================================

Other lines are what the script's programs said; they are kept and mean nothing.
"""

import base64
import binascii
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Answer", "Console", "ConsoleError"]

#: Longest line the agent can read: what a Linux terminal takes at once.
LINE_BYTES = 4000
#: Seconds without an answer after which an order is sent again.
SILENCE = 10.0


class ConsoleError(Exception):
    """The guest is silent, gone, or speaks something else; the message says what it did last."""


@dataclass
class Answer:
    """What a script said; ``marks`` in seconds of the host's clock."""

    status: int = -1
    facts: dict[str, str] = field(default_factory=dict)
    data: dict[str, bytes] = field(default_factory=dict)
    marks: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def between(self, first: str, second: str) -> float:
        """Seconds that passed on the host between two marks; the second has to be later."""
        return self.marks[second] - self.marks[first]


class Console:
    """The host's end.

    Parameters
    ----------
    port : the connected socket behind the guest's serial port.
    listen : called with every line, for a log.

    Attributes
    ----------
    gone : whether the guest has closed its end.
    """

    def __init__(self, port: socket.socket, *, listen: Callable[[str], None] = lambda line: None):
        self._port, self._listen = port, listen
        self._buffer = b""
        self._number = 0
        self._last = "nothing"
        self.gone = False

    def up(self, deadline: float) -> dict[str, str]:
        """Wait for the agent, ``deadline`` seconds at most; what it says about the guest."""
        until = time.monotonic() + deadline
        while True:
            words = self._line(until, "the guest to come up").split(maxsplit=1)
            if words and words[0] == "@up":
                pairs = words[1].split() if len(words) > 1 else []
                return dict(zip(pairs[::2], pairs[1::2], strict=False))

    def run(self, script: str, *arguments: str, deadline: float) -> Answer:
        """Run ``checks/SCRIPT.sh`` in the guest and wait for its end, ``deadline`` seconds at most."""
        self._number += 1
        order = " ".join([str(self._number), script, *arguments])
        if "\n" in order or len(order) > LINE_BYTES or order.split(" ") != order.split():
            raise ValueError(f"the call of {script} is not one line of words, {LINE_BYTES} bytes at most")
        until = time.monotonic() + deadline
        what = f"{script} to end"
        self._order(order, until, what)
        answer = Answer()
        while True:
            word, _, rest = self._line(until, what).partition(" ")
            match word:
                case "@end":
                    number, _, status = rest.partition(" ")
                    if number != str(self._number) or not status.isdecimal():
                        raise ConsoleError(f"the guest ended {rest!r} while {script} was running")
                    answer.status = int(status)
                    return answer
                case "@fact":
                    key, _, value = rest.partition(" ")
                    answer.facts[key] = value.strip()
                case "@mark":
                    answer.marks[rest] = time.monotonic()
                case "@fail":
                    answer.failures.append(rest)
                case "@data":
                    answer.data[rest] = self._data(until, what)
                case _:
                    answer.said.append(f"{word} {rest}".rstrip())

    def _order(self, order: str, until: float, what: str) -> None:
        """Send an order until it is taken."""
        line = f"@run {len(order)} {order}\n".encode()
        while time.monotonic() < until:
            self._port.sendall(line)
            patience = time.monotonic() + SILENCE
            while (left := min(patience, until) - time.monotonic()) > 0:
                if b"\n" not in self._buffer and not select.select([self._port], [], [], left)[0]:
                    break
                said = self._line(until, what)
                if said == f"@begin {self._number}":
                    return
                if said == "@again":
                    break
                # Anything else is what an earlier script, given up, still says.
        raise ConsoleError(f"waited in vain for {what}; the last that was heard is {self._last}")

    def _data(self, until: float, what: str) -> bytes:
        text = ""
        while (line := self._line(until, what)) != "@done":
            text += line
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ConsoleError(f"what the guest sent is not base64: {error}") from None

    def _line(self, until: float, what: str) -> str:
        while b"\n" not in self._buffer:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._port], [], [], left)[0]:
                raise ConsoleError(f"waited in vain for {what}; the last that was heard is {self._last}")
            try:
                received = self._port.recv(65536)
            except ConnectionResetError:
                received = b""
            if not received:
                self.gone = True
                raise ConsoleError(
                    f"the guest was gone, waiting for {what}; the last that was heard is {self._last}"
                )
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\n")
        text = line.decode(errors="replace").rstrip("\r")
        self._last = repr(text)
        self._listen(text)
        return text

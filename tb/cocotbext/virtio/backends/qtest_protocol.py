"""QEMU's qtest protocol: lines of text that access the machine's memory and ports, and its clock.

``-accel qtest`` runs no processor, so what these commands do is all that happens.
[QEMU, docs/devel/testing/qtest]
"""

import json
import socket
from collections import deque
from typing import Any

from .qtest_pump import Pump

__all__ = ["Qmp", "Qtest", "QtestError"]

#: For an answer, in real time: QEMU answers at once unless it hangs.
DEADLINE_S = 20.0
LETTERS = {1: "b", 2: "w", 4: "l", 8: "q"}
#: Lines of the I/O APIC that PCI interrupts arrive at.
GSI = range(16, 24)


class QtestError(Exception):
    """QEMU refuses a command."""


class Qtest:
    """One connection.

    Attributes
    ----------
    asserted
        Lines of the I/O APIC for PCI interrupts that are high, once they are intercepted.
    assertions
        How many times one went high.
    """

    def __init__(self, pump: Pump, peer: socket.socket):
        self.asserted: set[int] = set()
        self.assertions = 0
        self._pump, self._peer = pump, peer
        self._rest = b""
        self._answers: deque[str] = deque()
        pump.add(peer, self._receive)

    def _receive(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in map(bytes.decode, lines):
            if line.startswith("IRQ "):
                self._interrupt(*line.split()[1:])
            else:
                self._answers.append(line)

    def _interrupt(self, verb: str, line: str) -> None:
        number = int(line)
        if number not in GSI:
            return
        if verb == "raise" and number not in self.asserted:
            self.asserted.add(number)
            self.assertions += 1
        elif verb == "lower":
            self.asserted.discard(number)

    def command(self, *words: str) -> list[str]:
        """Send one and wait for its answer, whose words these are; :class:`QtestError`."""
        self._peer.sendall((" ".join(words) + "\n").encode())
        self._pump.until(lambda: bool(self._answers), deadline_s=DEADLINE_S, what=f"answered {words[0]}")
        verdict, *found = self._answers.popleft().split()
        if verdict != "OK":
            raise QtestError(f"QEMU answers {' '.join(words)} with {verdict} {' '.join(found)}")
        return found

    def intercept(self, path: str) -> None:
        """Hear of the interrupt inputs of a device of the machine; it hears nothing of them any more."""
        self.command("irq_intercept_in", path)

    def read(self, address: int, size: int) -> int:
        """Read memory space in one access of 1, 2, 4 or 8 bytes."""
        return int(self.command(f"read{LETTERS[size]}", hex(address))[0], 16)

    def write(self, address: int, size: int, value: int) -> None:
        """Write memory space in one access of 1, 2, 4 or 8 bytes."""
        self.command(f"write{LETTERS[size]}", hex(address), hex(value))

    def io_read(self, port: int, size: int) -> int:
        """Read a port of 1, 2 or 4 bytes."""
        return int(self.command(f"in{LETTERS[size]}", hex(port))[0], 16)

    def io_write(self, port: int, size: int, value: int) -> None:
        """Write a port of 1, 2 or 4 bytes."""
        self.command(f"out{LETTERS[size]}", hex(port), hex(value))

    def step(self, ns: int) -> None:
        """Move the clock of the machine, and run what is due."""
        self.command("clock_step", str(ns))


class Qmp:
    """QEMU's monitor, for what a user can do to a machine: pull a cable, grow a disk."""

    def __init__(self, pump: Pump, peer: socket.socket):
        self._pump, self._peer = pump, peer
        self._rest = b""
        self._answers: deque[dict[str, Any]] = deque()
        pump.add(peer, self._receive)
        self.command("qmp_capabilities")

    def _receive(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            if "return" in said or "error" in said:  # else a greeting or an event
                self._answers.append(said)

    def command(self, execute: str, /, **arguments: Any) -> Any:
        """Send a command and wait for what it returns; :class:`QtestError`."""
        request = {"execute": execute, "arguments": arguments}
        self._peer.sendall(json.dumps(request).encode() + b"\n")
        self._pump.until(lambda: bool(self._answers), deadline_s=DEADLINE_S, what=f"answered {execute}")
        answer = self._answers.popleft()
        if "error" in answer:
            raise QtestError(f"QEMU answers {execute} with: {answer['error'].get('desc')}")
        return answer["return"]

"""A guest: QEMU's command line, its process, its two serial ports.

The first port is the kernel's console and goes into a file; the second carries the protocol of
:mod:`virtio_sim.guest.console`, so that a message of the kernel never falls into an answer.
"""

import re
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .artifacts import Kernel, Prefix
from .console import Console, ConsoleError
from .devices import ROOT_PORT

__all__ = ["Guest", "GuestError", "command_line", "complaints"]

MEMORY = "256M"

#: What a kernel prints when something is wrong that it can tell.
ALARMS = re.compile(
    r"BUG:|WARNING:|Oops|Kernel panic|Call Trace|blocked for more than|rcu: INFO|I/O error|EXT4-fs error"
    r"|EXT4-fs warning|nobody cared|probe with driver \S+ failed|probe of \S+ failed|Unable to mount|insmod"
    r"|virtio\S*: .*(error|failed)"
)
#: Whose logs there can be in a boot's directory.
LOGS = {
    "qemu.log": "QEMU",
    "kernel.log": "the kernel",
    "device.log": "the device's server",
    "peer.log": "the peer's server",
}
#: How long QEMU may take to end once it was asked to, in seconds.
END = 10.0


class GuestError(Exception):
    """The guest did not come up or did not end; the message holds what is known."""


def command_line(
    prefix: Prefix,
    kernel: Path,
    initrd: Path,
    append: str,
    device: Sequence[str],
    *,
    serial: Sequence[str],
    platform: Sequence[str] = (),
    extra: Sequence[str] = (),
    memory: str = MEMORY,
    cpus: int = 1,
) -> list[str]:
    """QEMU's command line: q35 under TCG, shared memory, one root port with ``device`` behind it.

    Guest memory is a memfd, so that a vfio-user server can map it. ``serial`` are the two character devices,
    ``platform`` is what has to be there before any device, as an IOMMU.
    """
    return [
        *prefix.qemu(),
        *(
            "-machine",
            "q35,memory-backend=ram",
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-smp",
            str(cpus),
            "-m",
            memory,
        ),
        *("-object", f"memory-backend-memfd,id=ram,size={memory},share=on"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *(word for port in serial for word in ("-serial", port)),
        *("-kernel", str(kernel), "-initrd", str(initrd), "-append", append),
        *platform,
        *("-device", f"pcie-root-port,id={ROOT_PORT},chassis=1,slot=1"),
        *device,
        *extra,
    ]


def complaints(log: str) -> list[str]:
    """Lines of a kernel's console that tell of something wrong."""
    return [line.strip() for line in log.splitlines() if ALARMS.search(line)]


class Guest:
    """One boot; a context manager, whose end is the end of the process that it started.

    Parameters
    ----------
    directory : where ``kernel.log``, ``console.log``, ``qemu.log`` and the command go.
    """

    def __init__(
        self,
        prefix: Prefix,
        kernel: Kernel,
        initrd: Path,
        *,
        directory: Path,
        append: str = "",
        device: Sequence[str] = (),
        platform: Sequence[str] = (),
        extra: Sequence[str] = (),
        cpus: int = 1,
        say: Callable[[str], None] = lambda line: None,
    ):
        self.directory, self._say = directory, say
        self._prefix, self._kernel, self._initrd = prefix, kernel, initrd
        self._append = f"console=ttyS0 panic=-1 loglevel=6 {append}".strip()
        self._device, self._platform, self._extra, self._cpus = device, platform, extra, cpus
        self._process: subprocess.Popen[bytes] | None = None
        self._files: list[Any] = []

    def __enter__(self) -> "Guest":
        self.directory.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair()
        log = (self.directory / "console.log").open("w")
        qemu_log = (self.directory / "qemu.log").open("w")
        self._files = [ours, log, qemu_log]
        kernel_log = self.directory / "kernel.log"
        kernel_log.unlink(missing_ok=True)
        path = str(kernel_log).replace(",", ",,")
        protocol = ["-chardev", f"socket,id=protocol,fd={theirs.fileno()}"]
        command = command_line(
            self._prefix,
            self._kernel.image,
            self._initrd,
            self._append,
            self._device,
            serial=[f"file:{path}", "chardev:protocol"],
            platform=self._platform,
            extra=[*protocol, *self._extra],
            cpus=self._cpus,
        )
        (self.directory / "command").write_text(shlex.join(command) + "\n")

        def listen(line: str) -> None:
            log.write(f"{time.monotonic() - self.started:9.3f} {line}\n")
            log.flush()

        self.started = time.monotonic()
        try:
            self._process = subprocess.Popen(
                command,
                env=self._prefix.environment,
                stdin=subprocess.DEVNULL,
                stdout=qemu_log,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
            )
        except OSError as error:
            self._close()
            raise GuestError(f"QEMU cannot be started: {error}") from None
        finally:
            theirs.close()
        self.console = Console(ours, listen=listen)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._close()

    def up(self, deadline: float) -> tuple[dict[str, str], float]:
        """Wait for the agent; what it says, and the seconds since QEMU was started."""
        try:
            facts = self.console.up(deadline)
        except ConsoleError as error:
            raise GuestError(f"{error}; {self.last_words()}") from None
        took = time.monotonic() - self.started
        self._say(f"up after {took:.1f} s: {' '.join(facts.values())}")
        return facts, took

    def kill(self) -> None:
        """End QEMU as a crash would, whatever it is doing."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise GuestError(f"QEMU had ended before it was killed; {self.last_words()}")
        self._process.kill()
        self._process.wait()

    def panic(self) -> None:
        """Let the guest's kernel die, and wait for QEMU's end."""
        try:
            self.console.run("panic", deadline=4 * END)
        except ConsoleError as error:
            if not self.console.gone:
                raise GuestError(f"the guest does not die: {error}") from None
        self._ended("after the guest's kernel died")
        if "Kernel panic" not in self.kernel_log:
            raise GuestError(f"the guest went without a panic; {self.last_words()}")

    def off(self) -> None:
        """Have the guest switch itself off, and wait for QEMU's end."""
        try:
            self.console.run("off", deadline=4 * END)
        except ConsoleError as error:
            if not self.console.gone:
                raise GuestError(f"the guest does not switch itself off: {error}") from None
        self._ended("after the guest was switched off")

    def _ended(self, when: str) -> None:
        assert self._process is not None
        try:
            status = self._process.wait(END)
        except subprocess.TimeoutExpired:
            raise GuestError(f"QEMU still runs {END:.0f} s {when}") from None
        if status:
            raise GuestError(f"QEMU ended with {status}; {self.last_words()}")

    @property
    def kernel_log(self) -> str:
        """What the kernel printed so far."""
        try:
            return (self.directory / "kernel.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def last_words(self) -> str:
        """Last lines of everyone who has a log here, for a message."""
        said = []
        for name, whose in LOGS.items():
            path = self.directory / name
            lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
            if lines:
                said.append(f"{whose}: {lines[-1].strip()}")
        return f"last words of {'; '.join(said) or 'nobody'}"

    def _close(self) -> None:
        for file in self._files:
            file.close()
        self._files = []

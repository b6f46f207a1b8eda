"""A QEMU without a processor, and a virtio device of its own behind a root port."""

import mmap
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from virtio_spec.pci import Command, ConfigOffset

from .messages import MESSAGE_VECTORS
from .qtest_doorbell import Doorbell
from .qtest_protocol import Qmp, Qtest
from .qtest_pump import Pump, QemuGone

__all__ = ["ARENAS", "Machine", "Program"]

#: 4 GiB of memory are half below and half above 4 GiB; none of it exists before it is touched.
MEMORY_BYTES, LOW_BYTES = 4 << 30, 2 << 30
HIGH_BASE = 1 << 32
#: What of it the host uses, by its address.
ARENAS = {0x1000_0000: 1 << 20, 0x1_2345_0000: 1 << 20}

ECAM = 0xB000_0000
CONFIG_ADDRESS, CONFIG_DATA, PCIEXBAR = 0xCF8, 0xCFC, 0x8000_0060
ROOT_PORT, DOORBELL_SLOT, BUS = 2, 3, 1
#: Windows of the root port, and where the doorbell's registers are.
IO_BASE, IO_BYTES = 0xC000, 0x1000
LOW_BASE, PREFETCHABLE_BASE, WINDOW_BYTES = 0xE000_0000, 0x80_0000_0000, 1 << 20
DOORBELL_BASE = 0xE800_0000
#: Of a type 1 header.  [PCI-to-PCI bridge 1.2 §3.2]
BUS_NUMBERS, IO_WINDOW, MEMORY_WINDOW, PREFETCHABLE_WINDOW, IO_WINDOW_HIGH = 0x18, 0x1C, 0x20, 0x24, 0x30


@dataclass(frozen=True)
class Program:
    """How QEMU is started: the words of its command, and its environment."""

    command: Sequence[str]
    environment: Mapping[str, str]


class Machine:
    """A q35 machine with ``device`` as 01:00.0; nothing is enumerated yet.

    Parameters
    ----------
    program
        QEMU.
    pump
        Serves whatever the device needs.
    device
        Its command line: the device has to be on the bus ``below``.
    sockets
        QEMU's ends of the connections that ``device`` names by their number; they are closed here.

    Attributes
    ----------
    qtest, qmp
        The connections to it.
    doorbell
        Counts interrupt messages.
    stores
        The parts of its memory that are :data:`ARENAS`, by address.
    """

    def __init__(self, program: Program, pump: Pump, device: Sequence[str], sockets: Sequence[socket.socket]):
        memory = os.memfd_create("memory")
        os.ftruncate(memory, MEMORY_BYTES)
        self.stores = {
            base: mmap.mmap(memory, size, offset=base if base < LOW_BYTES else base - HIGH_BASE + LOW_BYTES)
            for base, size in ARENAS.items()
        }
        self.doorbell = Doorbell(MESSAGE_VECTORS)
        qtest, qmp = socket.socketpair(), socket.socketpair()
        self._ours = qtest[0], qmp[0]
        given = [*sockets, qtest[1], qmp[1], self.doorbell.theirs]
        try:
            self._process = subprocess.Popen(
                [*program.command, *_arguments(memory, qtest[1], qmp[1], self.doorbell.theirs), *device],
                env=dict(program.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[memory, *(each.fileno() for each in given)],
            )
        finally:
            os.close(memory)
            for each in given:
                each.close()
        try:
            self.qtest, self.qmp = Qtest(pump, self._ours[0]), Qmp(pump, self._ours[1])
            self._enumerate()
        except (QemuGone, OSError) as error:
            self.close()
            assert self._process.stdout is not None
            said = self._process.stdout.read().decode(errors="replace").strip()
            raise QemuGone(f"QEMU did not come up: {said or error}") from error

    def _enumerate(self) -> None:
        """Configuration space in memory, the root port's windows, the doorbell's registers."""
        self.qtest.io_write(CONFIG_ADDRESS, 4, PCIEXBAR)
        self.qtest.io_write(CONFIG_DATA, 4, ECAM | 1)

        def port(offset: int, size: int, value: int) -> None:
            self.qtest.write(ECAM + (ROOT_PORT << 15) + offset, size, value)

        high = PREFETCHABLE_BASE >> 32
        port(BUS_NUMBERS, 4, BUS << 16 | BUS << 8)
        port(IO_WINDOW, 2, _window(IO_BASE, IO_BYTES, 8))
        port(IO_WINDOW_HIGH, 4, 0)
        port(MEMORY_WINDOW, 4, _window(LOW_BASE, WINDOW_BYTES, 16))
        port(PREFETCHABLE_WINDOW, 4, _window(PREFETCHABLE_BASE & 0xFFFF_FFFF, WINDOW_BYTES, 16))
        port(PREFETCHABLE_WINDOW + 4, 4, high)
        port(PREFETCHABLE_WINDOW + 8, 4, high)
        port(ConfigOffset.COMMAND, 2, Command.IO_SPACE | Command.MEMORY_SPACE | Command.BUS_MASTER)
        doorbell = ECAM + (DOORBELL_SLOT << 15)
        self.qtest.write(doorbell + ConfigOffset.BAR0, 4, DOORBELL_BASE)
        self.qtest.write(doorbell + ConfigOffset.COMMAND, 2, Command.MEMORY_SPACE)
        self.qtest.intercept("ioapic")

    @staticmethod
    def config(offset: int) -> int:
        """Where in memory a byte of the device's configuration space is."""
        return ECAM + (BUS << 20) + offset

    @staticmethod
    def message(vector: int) -> tuple[int, int]:
        """Address and data of a message that the doorbell counts for ``vector``."""
        return Doorbell.message(DOORBELL_BASE, vector)

    def close(self) -> None:
        """End QEMU, which has nothing to keep; asked to end, it would wait for its disk, which is here."""
        self._process.kill()
        self._process.wait()
        for each in self._ours:
            each.close()
        self.doorbell.close()


def _window(base: int, size: int, bits: int) -> int:
    """Base and limit of a window of a bridge, of ``bits`` each: the upper ones of 16 or 32."""
    width = 16 if bits == 8 else 32
    first, last = base >> width - bits, base + size - 1 >> width - bits
    mask = 0xF0 if bits == 8 else 0xFFF0
    return (last & mask) << bits | first & mask


def _arguments(memory: int, qtest: socket.socket, qmp: socket.socket, doorbell: socket.socket) -> list[Any]:
    """The machine, everything but its device."""

    def chardev(name: str, peer: socket.socket) -> tuple[str, str]:
        return "-chardev", f"socket,id={name},fd={peer.fileno()}"

    return [
        *("-machine", "q35,memory-backend=ram,sata=off,smbus=off,usb=off,i8042=off,hpet=off"),
        *("-accel", "qtest", "-display", "none", "-nodefaults", "-no-user-config"),
        *("-m", f"{MEMORY_BYTES >> 20}M"),
        "-object",
        f"memory-backend-file,id=ram,size={MEMORY_BYTES},mem-path=/proc/self/fd/{memory},share=on",
        *(*chardev("qtest", qtest), "-qtest", "chardev:qtest", "-qtest-log", "/dev/null"),
        *(*chardev("qmp", qmp), "-object", "monitor-qmp,id=monitor,chardev=qmp"),
        *chardev("doorbell", doorbell),
        "-device",
        f"ivshmem-doorbell,addr={DOORBELL_SLOT:02x}.0,chardev=doorbell,vectors={MESSAGE_VECTORS},ioeventfd=off",
        *("-device", f"pcie-root-port,id=below,chassis=1,slot=1,addr={ROOT_PORT:02x}.0"),
    ]

"""How QEMU attaches a device behind a vfio-user socket."""

import json
import shlex
from pathlib import Path

__all__ = ["command_line", "vfio_user"]

#: Milliseconds that QEMU waits for an answer; simulated devices are slow.
MESSAGE_TIMEOUT = 60_000


def vfio_user(bus: str, socket: Path) -> list[str]:
    """QEMU's arguments for the device at ``socket``, behind the port ``bus``."""
    device = {
        "driver": "vfio-user-pci",
        "bus": bus,
        "socket": {"type": "unix", "path": str(socket)},
        "x-msg-timeout": MESSAGE_TIMEOUT,
    }
    return ["-device", json.dumps(device)]


def command_line(socket: Path) -> str:
    """A whole command line with the device at ``socket``; kernel and image are the user's."""
    arguments = [
        ["qemu-system-x86_64", "-machine", "q35,memory-backend=ram", "-m", "512M"],
        ["-object", "memory-backend-memfd,id=ram,size=512M,share=on"],
        ["-device", "pcie-root-port,id=port,chassis=1"],
        vfio_user("port", socket),
        ["-nographic", "-kernel", "vmlinuz", "-initrd", "initrd.img", "-append", "console=ttyS0"],
    ]
    return " \\\n    ".join(shlex.join(part) for part in arguments)

"""Devices under test, and who provides them.

A row of the table names a :class:`Device`; a :class:`Provider` puts one behind a root port of the guest.
QEMU's own devices are :class:`QemuProvider`; an endpoint behind a vfio-user socket is another provider.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..cosim.qemu import vfio_user

__all__ = [
    "Device",
    "DeviceError",
    "Provider",
    "QemuProvider",
    "ServedProvider",
    "model_provider",
    "rtl_provider",
]

KINDS = ("rng", "blk")
INTERFACES = ("modern", "transitional", "legacy")
RINGS = ("split", "packed")

#: Seconds that a server has until its socket is there, and until it has ended.
START, STOP = 300.0, 30.0


class DeviceError(Exception):
    """A device did not come up or did not end well; the message holds what its server said last."""


@dataclass(frozen=True)
class Device:
    """What a row wants: ``kind`` of device, ``interface`` of its registers, layout of its ``ring``."""

    kind: str
    interface: str = "modern"
    ring: str = "split"

    def __post_init__(self):
        for value, known in ((self.kind, KINDS), (self.interface, INTERFACES), (self.ring, RINGS)):
            if value not in known:
                raise ValueError(f"{value} is none of {', '.join(known)}")

    def __str__(self) -> str:
        extra = [word for word in (self.interface, self.ring) if word not in ("modern", "split")]
        return " ".join([self.kind, *extra])


class Provider(Protocol):
    """Puts devices into guests. One device is started at a time; ``stop`` always follows ``start``."""

    @property
    def name(self) -> str:
        """What stands in the report."""
        ...

    @property
    def arguments(self) -> Sequence[str]:
        """What the machine as a whole needs on QEMU's command line, ``-icount`` for example."""
        ...

    def offers(self, device: Device) -> bool:
        """Whether there is such a device; rows with others are left out."""
        ...

    def start(self, device: Device, *, image: Path | None, directory: Path) -> None:
        """Bring the device up before QEMU is started.

        ``image`` is the disk of blk; what the guest flushed is in that file after :meth:`stop`.
        ``directory`` is there for sockets and logs.
        """
        ...

    def qemu_arguments(self, bus: str) -> list[str]:
        """Command line that puts the device behind the port ``bus``."""
        ...

    def stop(self) -> None:
        """End everything that ``start`` began; called after QEMU has ended, however that was."""
        ...


class QemuProvider:
    """QEMU's own virtio devices, the golden peers."""

    name = "qemu"
    arguments: Sequence[str] = ()

    def __init__(self):
        self._device: Device | None = None
        self._image: Path | None = None

    def offers(self, device: Device) -> bool:
        """All but legacy-only ones, which in QEMU are conventional PCI, without function level reset."""
        return device.interface != "legacy"

    def start(self, device: Device, *, image: Path | None, directory: Path) -> None:
        """Remember what is wanted: the device is in QEMU."""
        if (device.kind == "blk") != (image is not None):
            raise ValueError(f"{device.kind} with image {image}")
        self._device, self._image = device, image

    def qemu_arguments(self, bus: str) -> list[str]:
        """The device and its backend."""
        if self._device is None:
            raise RuntimeError("no device was started")
        legacy = "off" if self._device.interface == "transitional" else "on"
        packed = "on" if self._device.ring == "packed" else "off"
        options = f"bus={bus},disable-legacy={legacy},disable-modern=off,packed={packed}"
        if self._device.kind == "rng":
            backend = ["-object", f"rng-builtin,id=noise-{bus}"]
            return [*backend, "-device", f"virtio-rng-pci,rng=noise-{bus},{options}"]
        file = str(self._image).replace(",", ",,")
        drive = f"if=none,id=disk-{bus},format=raw,cache=writeback,file={file}"
        return ["-drive", drive, "-device", f"virtio-blk-pci,drive=disk-{bus},{options}"]

    def stop(self) -> None:
        """Nothing runs outside of QEMU."""
        self._device = self._image = None


class ServedProvider:
    """Devices behind a vfio-user socket, each served by a process that is started for it.

    Parameters
    ----------
    name
        For the report.
    command
        How to serve a device with an image (or none) at a socket; it ends with status 0 on SIGTERM, and
        what was flushed is in the image then.
    devices
        What there is.
    """

    arguments: Sequence[str] = ()

    def __init__(
        self,
        name: str,
        command: Callable[[Device, Path | None, Path], Sequence[str]],
        devices: Sequence[Device],
    ):
        self.name = name
        self._command, self._devices = command, tuple(devices)
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Any = None
        self._sockets: Path | None = None

    def offers(self, device: Device) -> bool:
        """Whether it is among those named."""
        return device in self._devices

    def start(self, device: Device, *, image: Path | None, directory: Path) -> None:
        """Start the server and wait for its socket, whose path has to be short."""
        self._sockets = Path(tempfile.mkdtemp(prefix="guest-"))
        self._log = (directory / "device.log").open("w+")
        command = list(self._command(device, image, self._socket))
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT
        )
        until = time.monotonic() + START
        while not self._socket.is_socket():
            if self._process.poll() is not None:
                raise DeviceError(f"the device's server did not start: {self._last_word()}")
            if time.monotonic() > until:
                raise DeviceError(f"the device's server has no socket after {START:.0f} s")
            time.sleep(0.05)

    def qemu_arguments(self, bus: str) -> list[str]:
        """The client of the socket."""
        return vfio_user(bus, self._socket)

    def stop(self) -> None:
        """Ask the server to end, and see that it does."""
        if self._process is None:
            return
        process, self._process = self._process, None
        try:
            early = process.poll() is not None
            process.terminate()
            try:
                status = process.wait(STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise DeviceError(f"the device's server did not end in {STOP:.0f} s") from None
            if early or status:
                raise DeviceError(f"the device's server ended with {status}: {self._last_word()}")
        finally:
            self._log.close()
            shutil.rmtree(self._socket.parent, ignore_errors=True)

    @property
    def _socket(self) -> Path:
        if self._sockets is None:
            raise RuntimeError("no device was started")
        return self._sockets / "device"

    def _last_word(self) -> str:
        self._log.flush()
        said = Path(self._log.name).read_text(errors="replace").strip().splitlines()
        return said[-1] if said else "it said nothing"


def model_provider() -> ServedProvider:
    """The reference model behind the vfio-user server: the way to the guest without a simulator."""

    def command(device: Device, image: Path | None, socket: Path) -> list[str]:
        module = ["-m", "virtio_sim.guest.model", device.kind, device.interface, str(socket)]
        return [sys.executable, *module, *([str(image)] if image is not None else [])]

    kinds, interfaces = ("rng", "blk"), ("modern", "transitional")
    devices = [Device(kind, interface) for kind in kinds for interface in interfaces]
    return ServedProvider("model", command, devices)


def rtl_provider() -> ServedProvider:
    """The endpoint itself, compiled and served by ``virtio-endpoint cosim`` as it is for users."""

    def command(device: Device, image: Path | None, socket: Path) -> list[str]:
        words = ["cosim", "--device", device.kind, "--interface", device.interface, "--socket", str(socket)]
        words += ["--image", str(image)] if image is not None else []
        words += ["--no-packed"] if device.ring == "split" else []
        return [sys.executable, "-m", "virtio_sim.cli", *words]

    devices = [Device(kind, interface) for kind in KINDS for interface in INTERFACES]
    devices += [Device(kind, ring="packed") for kind in KINDS]
    return ServedProvider("rtl", command, devices)
